import { identifier } from "../duckdb/duckdb.ts";
import { failedOnCopies } from "../query/damaged-copies.ts";
import type { Store } from "../store/store.ts";
import { type ConvertContext, type Converted, NO_NOTES } from "./types.ts";
import { writeParquet } from "./write.ts";

/** A query that passed the guard: statements that make its datasets visible, and what to run. */
export interface Plan {
  sql: string;
  views: string[];
  datasets: string[];
  /** Of the files that it reads as local copies. */
  keys: string[];
}

/** Runs a guarded query in the ingest's own DuckDB and writes its rows. */
export async function convertQuery(
  { sql, views, keys }: Plan,
  context: ConvertContext,
  store: Store,
): Promise<Converted> {
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
  } catch (error) {
    return await failedOnCopies(store, keys, error);
  } finally {
    connection.close();
  }
}

/**
 * Types that DuckDB writes to Parquet as something that holds less, and what holds all of it. A field of a STRUCT may be
 * called like a type; a type has nothing but a bracket or a comma after it.
 */
const STORED: [RegExp, string][] = [
  [/\bU?HUGEINT(?=[,)[]|$)/g, "DECIMAL(38,0)"],
  [/\bTIMESTAMP_M?S(?=[,)[]|$)/g, "TIMESTAMP"],
  [/\b(?:BIGNUM|BIT|INTERVAL|TIME WITH TIME ZONE)(?=[,)[]|$)/g, "VARCHAR"],
];
const QUOTED = /("(?:[^"]|"")*")/;
/** A quoted name is matched first, so that nothing inside of one is taken for a type. */
const QUOTED_OR_ENUM = /("(?:[^"]|"")*")|\bENUM\((?:'(?:[^']|'')*'(?:, )?)*\)/g;

/**
 * The type a column is kept in so that no value changes on the way: `sum()` makes HUGEINT, which Parquet does not have and
 * DuckDB writes as DOUBLE. A UNION, which comes back as something else, becomes JSON as a whole.
 */
function storedType(type: string): string {
  const parts = type.replace(QUOTED_OR_ENUM, (_, quoted: string | undefined) => quoted ?? "VARCHAR").split(QUOTED);
  if (parts.some((part) => !part.startsWith('"') && /\bUNION\(/.test(part))) return "JSON";
  if (type === '"NULL"') return "INTEGER";
  return parts
    .map((part) => (part.startsWith('"') ? part : STORED.reduce((text, [from, to]) => text.replace(from, to), part)))
    .join("");
}
