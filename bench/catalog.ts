import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { startServer } from "../demo/server.ts";
import { type Context, callTool, script } from "./context.ts";
import { fillLake } from "./lake.ts";
import { median, memoryOf, timed } from "./measure.ts";
import type { Rehydrated } from "./rehydrate.ts";
import { atMost, type Figure, type Report } from "./report.ts";

const run = promisify(execFile);
const MB = 1e6;
/** Ten times the datasets may take ten times as long, and a fifth more for a busy machine. */
const LINEAR = 12;

/** Ten times as many datasets: memory and time should grow no faster than that. */
export async function benchCatalog(context: Context): Promise<Report> {
  const few = context.quick ? 100 : 1_000;
  const small = await measure(context, few);
  const large = await measure(context, few * 10);
  const linear = (what: string, pick: (size: Size) => number): Figure => {
    const ours = pick(large);
    const other = pick(small);
    return { what, unit: "ms", ours, other, target: atMost(ours / other, LINEAR, `≤ ${LINEAR}×`) };
  };
  const perDataset = (large.heapBytes - small.heapBytes) / (large.datasets - small.datasets);
  return {
    title: "catalog: growth with the number of datasets",
    headings: [`${large.datasets}`, `${small.datasets}`],
    figures: [
      { what: "commit of one dataset, 16 at a time", unit: "ms", ours: large.commitMs, other: small.commitMs },
      linear("rehydrate", (size) => size.openMs),
      linear("refresh, nothing new", (size) => size.refreshMs),
      linear("refresh, one new version", (size) => size.refreshOneMs),
      {
        what: "rehydrate, longest block of the event loop",
        unit: "ms",
        ours: large.openDelayMs,
        other: small.openDelayMs,
        target: atMost(large.openDelayMs, 20, "≤ 20 ms"),
      },
      {
        what: "refresh, longest block of the event loop",
        unit: "ms",
        ours: large.refreshDelayMs,
        other: small.refreshDelayMs,
        target: atMost(large.refreshDelayMs, 20, "≤ 20 ms"),
      },
      { what: "heap of the catalog", unit: "MB", ours: large.heapBytes / MB, other: small.heapBytes / MB },
      { what: "heap a dataset", unit: "kB", ours: perDataset / 1e3 },
      { what: "RSS after rehydrate", unit: "MB", ours: large.rssBytes / MB, other: small.rssBytes / MB },
      linear("server: start to complete catalog-list", (size) => size.listMs),
      { what: "server: RSS", unit: "MB", ours: large.serverBytes / MB, other: small.serverBytes / MB },
    ],
  };
}

interface Size extends Rehydrated {
  commitMs: number;
  listMs: number;
  serverBytes: number;
}

async function measure(context: Context, count: number): Promise<Size> {
  const data = join(await context.folder(), "lake");
  context.say(`${count} datasets: writing`);
  const fillMs = await timed(() => fillLake(data, count));
  context.say(`${count} datasets: measuring`);
  const served: { ms: number; bytes: number }[] = [];
  const rounds: Rehydrated[] = [];
  for (let round = 0; round < (context.quick ? 1 : 3); round++) {
    served.push(await serve(data, count));
    const { stdout } = await run(process.execPath, ["--expose-gc", script("rehydrate"), data]);
    rounds.push(JSON.parse(stdout) as Rehydrated);
    // The child leaves a few new datasets behind.
    const found = rounds.at(-1)?.datasets ?? 0;
    if (found < count) throw new Error(`The catalog found ${found} of ${count} datasets`);
  }
  const of = (pick: (round: Rehydrated) => number): number => median(rounds.map(pick));
  return {
    datasets: count,
    openMs: of((round) => round.openMs),
    refreshMs: of((round) => round.refreshMs),
    refreshOneMs: of((round) => round.refreshOneMs),
    openDelayMs: Math.max(...rounds.map((round) => round.openDelayMs)),
    refreshDelayMs: Math.max(...rounds.map((round) => round.refreshDelayMs)),
    heapBytes: of((round) => round.heapBytes),
    rssBytes: of((round) => round.rssBytes),
    commitMs: fillMs / count,
    listMs: median(served.map(({ ms }) => ms)),
    serverBytes: median(served.map(({ bytes }) => bytes)),
  };
}

async function serve(data: string, count: number): Promise<{ ms: number; bytes: number }> {
  const started = performance.now();
  const server = await startServer({ data });
  try {
    const listed = await listAll(server);
    const ms = performance.now() - started;
    if (listed < count) throw new Error(`catalog-list gave ${listed} of ${count} datasets`);
    return { ms, bytes: (await memoryOf(server.pid)).now };
  } finally {
    await server.close();
  }
}

/** Follows the cursors to the last page and returns how many datasets there were. */
export async function listAll(server: Awaited<ReturnType<typeof startServer>>): Promise<number> {
  let listed = 0;
  let cursor: string | undefined;
  do {
    const args = cursor === undefined ? { limit: 500 } : { limit: 500, cursor };
    const page = await callTool<{ datasets: unknown[]; next_cursor?: string }>(server, "catalog-list", args);
    listed += page.datasets.length;
    cursor = page.next_cursor;
  } while (cursor !== undefined);
  return listed;
}
