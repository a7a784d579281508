import type { Manifest } from "../../catalog/types.ts";
import { identifier, literalList } from "../../duckdb/duckdb.ts";

/** Columns of segments that the index does not have as a table. */
const HIDDEN_COLUMNS: Readonly<Record<string, string>> = { from_dataset: "BOOLEAN" };

/**
 * A SELECT of the current items of an index: the last row of every id, unless that is a deletion. `paths` are the
 * manifest's files in their order; `columns` are columns of the manifest, or `from_dataset`. Only a statement that uses
 * vectors reads them, and a condition on `id` is pushed down to every file.
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
  // The last change of each id is found without vectors, so that these need not be in memory.
  const changed = readSegments(changes);
  const last = `SELECT id, max(file_index) AS file_index FROM ${changed} GROUP BY id`;
  const lastChanges = `SELECT ${select(true)} FROM ${changed} SEMI JOIN (${last}) USING (id, file_index)
    WHERE deleted IS NOT TRUE`;
  if (base.length === 0) return lastChanges;
  return `SELECT ${select(true)} FROM ${readSegments(base)} ANTI JOIN (SELECT id FROM ${changed}) USING (id)
    UNION ALL ${lastChanges}`;
}

/** `file_index` is the position in this list, also when some files are not read. */
function readSegments(paths: readonly string[]): string {
  return `read_parquet(${literalList([...paths])}, hive_partitioning = false)`;
}
