import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { setImmediate, setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { ROOT } from "../demo/server.ts";
import { DIMENSION, roleOf, rowOf, type VectorData } from "./vector-data.ts";

/** The built engine over a folder, with the server's defaults, and its one index. */

export const INDEX = "bench";

export interface Item {
  id: string;
  vector: number[];
  metadata: { role: string; n: number };
}

export interface Status {
  version: number;
  count: number;
  segments: number;
  changes: number;
  memory?: { bytes: number; graph: number; pending: number };
  snapshot: { version: number; bytes: number } | null;
}

export interface Engine extends AsyncDisposable {
  createIndex(request: { name: string }): Promise<unknown>;
  upsert(index: string, items: Item[]): Promise<unknown>;
  search(request: {
    index: string;
    vector?: number[];
    text?: string;
    k?: number;
    where?: string;
  }): Promise<{ hits: { id: string; distance: number }[]; method: string; count: number }>;
  indexStatus(name: string): Promise<Status>;
  query(sql: string, options?: { params?: unknown[] }): Promise<{ rows: unknown[][] }>;
  ingest(request: { name: string; source: { path: string } }): Promise<unknown>;
  warm(): Promise<void>;
}

/** Of a source file, of rows and of results: nothing here is to meet a limit. */
const NO_LIMIT = 2 ** 40;
const POLL_MS = 50;

export async function openEngine(folder: string): Promise<Engine> {
  const load = (module: string) => import(pathToFileURL(join(ROOT, ".build", "src", "engine", `${module}.js`)).href);
  const { openEngine: open } = await load("engine");
  const { systemClock } = await load("settings");
  const threads = availableParallelism();
  return open({
    data: folder,
    allow: [dirname(folder)],
    maxIngestBytes: NO_LIMIT,
    uploadQuotaBytes: NO_LIMIT,
    uploadExpiryMs: 3600e3,
    maxIngestRows: NO_LIMIT,
    ingestTimeoutMs: 600_000,
    ingestMemoryBytes: 256 * 2 ** 20,
    queryMemoryBytes: 2 ** 30,
    maxTempBytes: 10 * 2 ** 30,
    threads,
    queryTimeoutMs: 60_000,
    maxConcurrentIngests: 2,
    maxConcurrentQueries: 4,
    maxQueuedQueries: 128,
    maxResultBytes: 64 * 1024,
    refreshMs: 2_000,
    embed: {
      provider: "builtin",
      dimension: DIMENSION,
      ollamaUrl: "http://127.0.0.1:9",
      openaiUrl: "http://127.0.0.1:9/v1",
      truncate: true,
      timeoutMs: 60_000,
      concurrency: 4,
      cacheBytes: 10_000 * DIMENSION * 4,
    },
    vector: { memoryBytes: 2 * 2 ** 30, threads: Math.min(4, threads), ef: 64, hnsw: true, quietMs: 2_000 },
    clock: systemClock,
    log: () => {},
  });
}

/** Vector `n` of the data has the id n + 1, which is also a worker's. */
export function idOf(n: number): string {
  return String(n + 1);
}

export function numbersOf({ hits }: { hits: { id: string }[] }): number[] {
  return hits.map(({ id }) => Number(id) - 1);
}

/** Items of a part of the data, made in short turns. `newIds` gives them other ids than the data has. */
export async function itemsOf(data: VectorData, from: number, to: number, newIds = false): Promise<Item[]> {
  const items: Item[] = [];
  for (let n = from; n < to; n++) {
    const metadata = { role: roleOf(data.clusters[n] ?? 0), n };
    items.push({ id: newIds ? `again ${n}` : idOf(n), vector: Array.from(rowOf(data.vectors, n)), metadata });
    if (n % 100 === 0) await setImmediate();
  }
  return items;
}

/** Asks for the index's status until it is as wanted. False when that takes too long. */
export async function statusIs(engine: Engine, wanted: (status: Status) => boolean, mostMs: number): Promise<boolean> {
  const end = performance.now() + mostMs;
  while (!wanted(await engine.indexStatus(INDEX))) {
    if (performance.now() > end) return false;
    await sleep(POLL_MS);
  }
  return true;
}

/** Collects what making the items has left, so that the pause does not come in what is measured next. */
export function collectGarbage(): void {
  setFlagsFromString("--expose-gc");
  (runInNewContext("gc") as () => void)();
}
