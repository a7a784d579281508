import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { DuckDBInstance } from "@duckdb/node-api";
import { SETTINGS } from "./context.ts";

/** DuckDB in this process, with the server's settings and a view of the server's own files of one dataset. */
export async function openBareDuckDB(data: string, dataset: string): Promise<DuckDBInstance> {
  const folder = join(data, "data", dataset);
  const files = (await readdir(folder, { recursive: true })).filter((name) => name.endsWith(".parquet"));
  const instance = await DuckDBInstance.create(":memory:", {
    threads: SETTINGS.threads,
    memory_limit: SETTINGS.queryMemory,
  });
  const setup = await instance.connect();
  await setup.run("SET GLOBAL parquet_metadata_cache = true");
  const list = files.map((file) => `'${join(folder, file)}'`).join(", ");
  await setup.run(`CREATE VIEW ${dataset} AS SELECT * FROM read_parquet([${list}])`);
  setup.closeSync();
  return instance;
}
