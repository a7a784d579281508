import { literal } from "./duckdb.ts";

/**
 * A statement that adds rows to a table, by the names of its columns. `types` are those of the JSON values; the columns
 * of the table may have others.
 */
export function insertJson(table: string, types: Readonly<Record<string, string>>, rows: readonly object[]): string {
  const json = literal(JSON.stringify(rows, wellFormed));
  const shape = literal(JSON.stringify([types]));
  return `INSERT INTO ${table} BY NAME SELECT unnest(from_json(${json}, ${shape}), max_depth := 2)`;
}

/** One half of a surrogate pair would make DuckDB refuse the JSON as a whole. */
function wellFormed(_key: string, value: unknown): unknown {
  return typeof value === "string" ? value.replace(/\p{Surrogate}/gu, "\ufffd") : value;
}
