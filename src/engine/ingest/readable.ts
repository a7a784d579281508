import { shown } from "../catalog/nearest.ts";
import { type Connection, literal } from "../duckdb/duckdb.ts";
import { LakeError } from "../kernel/errors.ts";

type Typed = { name: string; type: string };

/** Types that DuckDB reads back from Parquet as it wrote them. */
const PLAIN = /^[A-Z_ ]+(?:\(\d+,\d+\))?$/;

/**
 * Throws `invalid` for a column whose type SQL cannot spell: queries spell it, and names of fields come from the source.
 * Plain types cost nothing.
 */
export async function assertNameable(connection: Connection, columns: readonly Typed[]): Promise<void> {
  for (const { name, type } of columns) {
    if (PLAIN.test(type)) continue;
    const isGood =
      !type.includes("\0") &&
      (await connection.rows(`DESCRIBE SELECT CAST(NULL AS ${type})`).then(
        () => true,
        () => false,
      ));
    if (!isGood) throw refusal(name, type, "which cannot be written in SQL");
  }
}

/** Throws `invalid` for a column that DuckDB reads back from the written file as a type that does not hold its values. */
export async function assertReadable(connection: Connection, path: string, columns: readonly Typed[]): Promise<void> {
  if (columns.every(({ type }) => PLAIN.test(type) && type !== "GEOMETRY")) return;
  const read = await connection.rows<{ column_name: string; column_type: string }>(
    `DESCRIBE FROM read_parquet(${literal(path)}, hive_partitioning = false)`,
  );
  const types = new Map(read.map(({ column_name, column_type }) => [column_name, column_type]));
  for (const { name, type } of columns) {
    const from = types.get(name) ?? "nothing";
    if (from === type || sameShape(from, type)) continue;
    throw refusal(name, type, `which Parquet gives back as ${from.slice(0, 100)}`);
  }
}

/** Parquet stores arrays of a fixed size as lists. */
function sameShape(from: string, type: string): boolean {
  return from.replace(/\[\d+\]/g, "[]") === type.replace(/\[\d+\]/g, "[]");
}

function refusal(name: string, type: string, why: string): LakeError {
  const message = `Column ${shown(name)} is of type ${JSON.stringify(type.slice(0, 200))}, ${why}.`;
  return new LakeError("invalid", message, {
    hint: "Give its fields other names, or write it as JSON text.",
    facts: { column: name },
  });
}
