import { execFile } from "node:child_process";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import type { BareCopyOptions, BareCopyResult } from "./bare-copy.ts";
import { type Context, callTool, ingestOptions, probed, SETTINGS, script, withServer } from "./context.ts";
import { alternate, askProbe, median, timed } from "./measure.ts";
import { useOfTree } from "./processes.ts";
import { atMost, type Report } from "./report.ts";

const run = promisify(execFile);
const MB = 1e6;
const MIB = 2 ** 20;

interface Round extends BareCopyResult {
  /** The loop's longest block while the process started and loaded its modules. */
  starting: number;
}

/** The whole of `ingest` through stdio, hash, fsync and commit included, beside a process that only runs `COPY`. */
export async function benchIngest(context: Context): Promise<Report> {
  const { bytes } = await context.workers();
  const ours: Round[] = [];
  const same: BareCopyResult[] = [];
  const free: BareCopyResult[] = [];
  const config = { memory_limit: SETTINGS.ingestMemory, threads: SETTINGS.threads };
  await alternate(context.quick ? 1 : 5, [
    async () => void ours.push(await serverRound(context)),
    async () => void same.push(await bareRound(context, config, ", ROW_GROUP_SIZE 20480")),
    async () => void free.push(await bareRound(context, {}, "")),
  ]);
  const ms = median(ours.map((round) => round.ms));
  const bareMs = median(same.map((round) => round.ms));
  const peak = Math.max(...ours.map((round) => round.peak));
  const longest = (rounds: BareCopyResult[], which: "max" | "blocked"): number =>
    Math.max(...rounds.map((round) => round.loop[which]));
  const quickest = (rounds: BareCopyResult[]): number => Math.min(...rounds.map((round) => round.ms));
  const worst = (rounds: BareCopyResult[]): number => Math.max(...rounds.map((round) => round.peak));
  return {
    title: `ingest: ${context.rows} × 18 CSV, ${(bytes / MB).toFixed(0)} MB, median of ${ours.length}`,
    headings: ["ingest", "bare COPY"],
    figures: [
      { what: "same options", unit: "ms", ours: ms, other: bareMs, target: atMost(ms, 1.3 * bareMs, "≤ 1.3×") },
      { what: "same options, quickest", unit: "ms", ours: quickest(ours), other: quickest(same) },
      { what: "COPY with DuckDB's defaults", unit: "ms", ours: ms, other: median(free.map((round) => round.ms)) },
      {
        what: "highest RSS, all processes",
        unit: "MB",
        ours: peak / MB,
        other: worst(same) / MB,
        target: atMost(peak, 600 * MIB, "≤ 600 MiB"),
      },
      { what: "highest RSS, DuckDB's defaults", unit: "MB", ours: peak / MB, other: worst(free) / MB },
      { what: "event loop, longest delay", unit: "ms", ours: longest(ours, "max"), other: longest(same, "max") },
      {
        what: "event loop, of it not waiting for a CPU",
        unit: "ms",
        ours: longest(ours, "blocked"),
        other: longest(same, "blocked"),
        target: atMost(longest(ours, "blocked"), 20, "≤ 20 ms"),
      },
      {
        what: "event loop, p99 of delays",
        unit: "ms",
        ours: median(ours.map((round) => round.loop.p99)),
        other: median(same.map((round) => round.loop.p99)),
      },
      { what: "event loop, while starting", unit: "ms", ours: Math.max(...ours.map((round) => round.starting)) },
      { what: "Parquet", unit: "MB", ours: (ours[0]?.bytes ?? 0) / MB, other: (same[0]?.bytes ?? 0) / MB },
    ],
  };
}

async function serverRound(context: Context): Promise<Round> {
  context.say("ingest through stdio");
  const { path } = await context.workers();
  const { allow, env } = await ingestOptions(context);
  const probe = join(await context.folder(), "probe.json");
  const options = { allow, env: { ...env, BENCH_PROBE_FILE: probe }, nodeFlags: probed() };
  return await withServer(context, options, async (server) => {
    // Loads what is loaded once, so that what follows is the steady state.
    await callTool(server, "sql", { sql: "SELECT 1" });
    await sleep(300);
    const starting = (await askProbe(server.pid, probe)).blocked;
    let result = { rows: 0, bytes: 0 };
    const ms = await timed(async () => {
      result = await callTool(server, "ingest", { name: "workers", path });
    });
    const loop = await askProbe(server.pid, probe);
    if (result.rows !== context.rows) throw new Error(`ingest kept ${result.rows} of ${context.rows} rows`);
    return { ms, peak: (await useOfTree(server.pid)).peak, bytes: result.bytes, loop, starting };
  });
}

async function bareRound(
  context: Context,
  config: Record<string, string>,
  copyOptions: string,
): Promise<BareCopyResult> {
  context.say("bare COPY");
  const folder = await context.folder();
  const { path: csv } = await context.workers();
  const options: BareCopyOptions = { csv, parquet: join(folder, "bare.parquet"), config, copyOptions };
  const { stdout } = await run(process.execPath, [...probed(), script("bare-copy"), JSON.stringify(options)], {
    env: { ...process.env, BENCH_PROBE_FILE: join(folder, "probe.json") },
  });
  return JSON.parse(stdout) as BareCopyResult;
}
