import { identifier } from "../duckdb/duckdb.ts";
import { type ConvertContext, type Converted, NO_NOTES } from "./types.ts";
import { writeParquet } from "./write.ts";

/** A query that passed the guard. `views` are statements that create the views on its datasets. */
export interface Plan {
  sql: string;
  views: string[];
  datasets: string[];
  /** Keys of the data files that it reads as local copies. */
  keys: string[];
}

/** Runs a guarded query in the ingest's own DuckDB and writes its rows. */
export async function convertQuery({ sql, views }: Plan, context: ConvertContext): Promise<Converted> {
  const connection = await context.duck.connect();
  try {
    for (const view of views) await connection.run(view, { signal: context.signal });
    // On lines of its own, since the query may end in a comment.
    const select = `SELECT * FROM (\n${sql}\n)`;
    const described = await connection.rows<{ column_name: string; column_type: string }>(`DESCRIBE ${select}`, {
      signal: context.signal,
    });
    const columns = described.map(({ column_name, column_type }) => ({
      name: column_name,
      type: storedType(column_type),
    }));
    const projection = columns.map(({ name, type }) => `CAST(${identifier(name)} AS ${type}) AS ${identifier(name)}`);
    const stored = `SELECT ${projection.join(", ")} FROM (${select})`;
    const files = await writeParquet(connection, stored, columns, context);
    return {
      columns,
      files,
      rows: files.reduce((sum, file) => sum + file.rows, 0),
      notes: NO_NOTES,
    };
  } finally {
    connection.close();
  }
}

/**
 * Types that DuckDB writes to Parquet with loss, and the types that keep all of their values. A field of a STRUCT may be
 * called like a type, but only a type is followed by a bracket or comma.
 */
const STORED: [RegExp, string][] = [
  [/\bU?HUGEINT(?=[,)[]|$)/g, "DECIMAL(38,0)"],
  [/\bTIMESTAMP_M?S(?=[,)[]|$)/g, "TIMESTAMP"],
  [/\b(?:BIGNUM|BIT|INTERVAL|TIME WITH TIME ZONE)(?=[,)[]|$)/g, "VARCHAR"],
];
const QUOTED = /("(?:[^"]|"")*")/;
/** Matches quoted names first, so that nothing inside one is taken for a type. */
const QUOTED_OR_ENUM = /("(?:[^"]|"")*")|\bENUM\((?:'(?:[^']|'')*'(?:, )?)*\)/g;

/**
 * The type to store a column as, so that no value changes: `sum()` is HUGEINT, for instance, which DuckDB writes as DOUBLE
 * because Parquet does not have it. A type with a UNION inside becomes JSON.
 */
function storedType(type: string): string {
  const parts = type.replace(QUOTED_OR_ENUM, (_, quoted: string | undefined) => quoted ?? "VARCHAR").split(QUOTED);
  if (parts.some((part) => !part.startsWith('"') && /\bUNION\(/.test(part))) return "JSON";
  if (type === '"NULL"') return "INTEGER";
  return parts
    .map((part) => (part.startsWith('"') ? part : STORED.reduce((text, [from, to]) => text.replace(from, to), part)))
    .join("");
}
