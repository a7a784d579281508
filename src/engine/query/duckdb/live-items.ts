import type { Manifest } from "../../catalog/types.ts";
import { identifier, literalList } from "../../duckdb/duckdb.ts";

/** A column of every segment that is none of the index as a table. */
const HIDDEN_COLUMNS: Readonly<Record<string, string>> = { from_dataset: "BOOLEAN" };

/**
 * A SELECT of the items of an index as it stands: of every id what the last file says, unless that deletes it. `paths`
 * are the manifest's files in their order; `columns` names columns of the manifest, or `from_dataset`. Vectors are read
 * only by a statement that uses them, and a condition on `id` reaches every file.
 */
export function liveItems(
  manifest: Pick<Manifest, "columns" | "index">,
  paths: readonly string[],
  columns: readonly string[],
): string {
  const types = new Map(manifest.columns.map(({ name, type }) => [name, type]));
  const select = (has: boolean): string =>
    columns
      .map((name) => {
        const type = types.get(name) ?? HIDDEN_COLUMNS[name] ?? "VARCHAR";
        return `CAST(${has ? identifier(name) : "NULL"} AS ${type}) AS ${identifier(name)}`;
      })
      .join(", ");
  const baseFiles = manifest.index?.baseFiles ?? 0;
  const base = paths.slice(0, baseFiles);
  const changes = paths.slice(baseFiles);
  if (paths.length === 0) return `SELECT ${select(false)} WHERE false`;
  if (changes.length === 0) return `SELECT ${select(true)} FROM ${readSegments(base)}`;
  // Ids are compared apart from the vectors, so that these are never held while the last change of each is looked for.
  const changed = readSegments(changes);
  const last = `SELECT id, max(file_index) AS file_index FROM ${changed} GROUP BY id`;
  const lastChanges = `SELECT ${select(true)} FROM ${changed} SEMI JOIN (${last}) USING (id, file_index)
    WHERE deleted IS NOT TRUE`;
  if (base.length === 0) return lastChanges;
  return `SELECT ${select(true)} FROM ${readSegments(base)} ANTI JOIN (SELECT id FROM ${changed}) USING (id)
    UNION ALL ${lastChanges}`;
}

/** `file_index` counts the files as they are listed here, also when some are not read. */
function readSegments(paths: readonly string[]): string {
  return `read_parquet(${literalList([...paths])}, hive_partitioning = false)`;
}
