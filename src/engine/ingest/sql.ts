import type { ConvertContext, Converted } from "./types.ts";
import { writeParquet } from "./write.ts";

/** A query that passed the guard: statements that make its datasets visible, and what to run. */
export interface Plan {
  sql: string;
  views: string[];
  datasets: string[];
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
    const columns = described.map(({ column_name, column_type }) => ({ name: column_name, type: column_type }));
    const files = await writeParquet(connection, select, columns, context);
    return {
      columns,
      files,
      rows: files.reduce((sum, file) => sum + file.rows, 0),
      notes: { kept_as_text: [], skipped_rows: null, renamed_columns: [], encoding: null, dialect: null },
    };
  } finally {
    connection.close();
  }
}
