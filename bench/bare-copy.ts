import { rm, stat } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { DuckDBInstance } from "@duckdb/node-api";
import type { LoopDelay } from "./loop-delay.ts";
import { askProbe, memoryOf } from "./measure.ts";

/** A process of its own that does nothing but `COPY` a CSV to Parquet, and tells on stdout what that took. */

export interface BareCopyOptions {
  csv: string;
  parquet: string;
  /** Settings of the DuckDB instance. */
  config: Record<string, string>;
  /** After `FORMAT parquet, COMPRESSION zstd`. */
  copyOptions: string;
}

export interface BareCopyResult {
  ms: number;
  peak: number;
  bytes: number;
  loop: LoopDelay;
}

const options = JSON.parse(process.argv[2] ?? "") as BareCopyOptions;
const instance = await DuckDBInstance.create(":memory:", options.config);
const connection = await instance.connect();
const probe = process.env.BENCH_PROBE_FILE ?? "";
await sleep(50);
await askProbe(process.pid, probe);

const started = performance.now();
await connection.run(
  `COPY (SELECT * FROM read_csv('${options.csv}', types = {'zip': 'VARCHAR'}))
   TO '${options.parquet}' (FORMAT parquet, COMPRESSION zstd${options.copyOptions})`,
);
const ms = performance.now() - started;
const loop = await askProbe(process.pid, probe);
const result: BareCopyResult = {
  ms,
  peak: (await memoryOf(process.pid)).peak,
  bytes: (await stat(options.parquet)).size,
  loop,
};
await rm(options.parquet);
process.stdout.write(JSON.stringify(result));
