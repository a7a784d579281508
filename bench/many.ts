import { join } from "node:path";
import type { DuckDBConnection, DuckDBInstance } from "@duckdb/node-api";
import type { Server } from "../demo/server.ts";
import { openBareDuckDB } from "./bare-duckdb.ts";
import { type Context, callTool, probed, withServer } from "./context.ts";
import { askProbe, median, percentile, timed } from "./measure.ts";
import { atMost, type Figure, type Report } from "./report.ts";

const MB = 1e6;
const WARM_UP = 500;
const AT_ONCE = 64;
const TABLE_ROWS = 1_000;
const SQL = "SELECT kind, count(*) AS n, avg(value) AS mean FROM small WHERE id % 7 = $1 GROUP BY kind ORDER BY kind";

/** Small queries in a row and at once: what the server adds, whether it stays fair, and whether it keeps memory. */
export async function benchMany(context: Context): Promise<Report> {
  const probe = join(await context.folder(), "probe.json");
  const options = { env: { BENCH_PROBE_FILE: probe }, nodeFlags: ["--expose-gc", ...probed()] };
  return await withServer(context, options, async (server, data) => {
    const rows = Array.from({ length: TABLE_ROWS }, (_, id) => `${id},k${id % 5},${id / 4}`);
    await callTool(server, "ingest", { name: "small", text: `id,kind,value\n${rows.join("\n")}\n` });
    const instance = await openBareDuckDB(data, "small");
    const bare = await instance.connect();
    const figures = [...(await inARow(context, server, probe, bare)), ...(await atOnce(context, server, instance))];
    bare.closeSync();
    instance.closeSync();
    return { title: "many: small queries", headings: ["sql", "bare DuckDB"], figures };
  });
}

async function inARow(context: Context, server: Server, probe: string, bare: DuckDBConnection): Promise<Figure[]> {
  const count = context.quick ? 200 : 1_000;
  context.say(`${count} queries in a row`);
  const query = (at: number): Promise<number> => timed(() => callTool(server, "sql", { sql: SQL, params: [at % 7] }));
  for (let at = 0; at < WARM_UP; at++) await query(at);

  const before = await askProbe(server.pid, probe);
  const ours: number[] = [];
  const other: number[] = [];
  let errors = 0;
  for (let at = 0; at < count; at++) {
    await query(at).then(
      (ms) => ours.push(ms),
      () => errors++,
    );
    other.push(await timed(async () => (await bare.runAndReadAll(SQL, [at % 7])).getRowsJson()));
  }
  const after = await askProbe(server.pid, probe);
  return [
    { what: `${count} in a row: errors`, unit: "", ours: errors, target: atMost(errors, 0, "0") },
    { what: "in a row, p50", unit: "ms", ours: median(ours), other: median(other) },
    { what: "in a row, p99", unit: "ms", ours: percentile(ours, 99), other: percentile(other, 99) },
    {
      what: "heap at the end, and after warm-up",
      unit: "MB",
      ours: after.heap / MB,
      other: before.heap / MB,
      target: atMost(after.heap - before.heap, 2 * MB, "≤ +2 MB"),
    },
    {
      what: "RSS at the end, and after warm-up",
      unit: "MB",
      ours: after.rss / MB,
      other: before.rss / MB,
      target: atMost(after.rss - before.rss, 8 * MB, "≤ +8 MB"),
    },
  ];
}

async function atOnce(context: Context, server: Server, instance: DuckDBInstance): Promise<Figure[]> {
  const bursts = context.quick ? 2 : 10;
  const connections = await Promise.all(Array.from({ length: AT_ONCE }, () => instance.connect()));
  const ours: Burst[] = [];
  const other: Burst[] = [];
  for (let round = 0; round < bursts; round++) {
    context.say(`${AT_ONCE} queries at once, ${round + 1} of ${bursts}`);
    ours.push(await burst((at) => callTool(server, "sql", { sql: SQL, params: [at % 7] })));
    other.push(await burst(async (at) => (await connections[at]?.runAndReadAll(SQL, [at % 7]))?.getRowsJson()));
  }
  for (const connection of connections) connection.closeSync();
  const errors = ours.reduce((sum, { failed }) => sum + failed, 0);
  const lost = Math.max(...ours.map(({ placesLost }) => placesLost));
  const all = (list: Burst[]): number[] => list.flatMap(({ times }) => times);
  const whole = (list: Burst[]): number => median(list.map(({ ms }) => ms));
  return [
    { what: `${AT_ONCE} at once: errors in ${bursts} bursts`, unit: "", ours: errors, target: atMost(errors, 0, "0") },
    { what: "at once, until the last answer", unit: "ms", ours: whole(ours), other: whole(other) },
    { what: "at once, p50", unit: "ms", ours: median(all(ours)), other: median(all(other)) },
    { what: "at once, p99", unit: "ms", ours: percentile(all(ours), 99), other: percentile(all(other), 99) },
    {
      what: "at once, most places lost to later calls",
      unit: "",
      ours: lost,
      other: Math.max(...other.map(({ placesLost }) => placesLost)),
      target: atMost(lost, 8, "≤ 8"),
    },
  ];
}

interface Burst {
  ms: number;
  times: number[];
  failed: number;
  /** How many places behind its turn the unluckiest call was answered. */
  placesLost: number;
}

async function burst(work: (at: number) => Promise<unknown>): Promise<Burst> {
  const started = performance.now();
  const order: number[] = [];
  const times: number[] = [];
  let failed = 0;
  const one = async (at: number): Promise<void> => {
    try {
      await work(at);
      order.push(at);
      times.push(performance.now() - started);
    } catch {
      failed++;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, (_, at) => one(at)));
  return {
    ms: performance.now() - started,
    times,
    failed,
    placesLost: Math.max(0, ...order.map((at, place) => place - at)),
  };
}
