import { identifier, literalList } from "../duckdb/duckdb.ts";
import { type ConvertContext, type Converted, NO_NOTES } from "./types.ts";
import { writeParquet } from "./write.ts";

/** Rows of a statement, as the query engine has written them. */
export interface QueryRows {
  columns: { name: string; type: string }[];
  /** Parquet files in the folder of the ingest. */
  files: string[];
}

/** Writes the rows as the dataset wants them. */
export async function convertRows({ columns, files }: QueryRows, context: ConvertContext): Promise<Converted> {
  const connection = await context.duck.connect();
  try {
    const rows = `FROM read_parquet(${literalList(files)}, hive_partitioning = false)`;
    const described = await connection.rows<{ column_name: string; column_type: string }>(`DESCRIBE ${rows}`);
    const project = ({ name, type }: QueryRows["columns"][number], index: number): string =>
      described[index]?.column_type === type
        ? identifier(name)
        : `CAST(${identifier(name)} AS ${type}) AS ${identifier(name)}`;
    const written = await writeParquet(
      connection,
      `SELECT ${columns.map(project).join(", ")} ${rows}`,
      columns,
      context,
    );
    return { columns, files: written, rows: written.reduce((sum, file) => sum + file.rows, 0), notes: NO_NOTES };
  } finally {
    connection.close();
  }
}
