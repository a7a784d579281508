import { setTimeout as sleep } from "node:timers/promises";
import { generateVectors } from "./vector-data.ts";
import { INDEX, openEngine } from "./vector-lake.ts";

/**
 * A process of its own (`--expose-gc`) that opens the lake of a folder, searches its index, and tells on stdout what that
 * took. Given `empty` besides, it does the same without a search: what is left is what the engine takes by itself.
 */
export interface Restarted {
  /** From opening to the answer of the first search. */
  firstMs: number;
  method: string;
  count: number;
  rssBytes: number;
}

const SEARCHES = 50;
const SETTLE_MS = 1_000;

const [folder = "", mode = ""] = process.argv.slice(2);
const { queries } = await generateVectors(0, SEARCHES);
// A server waits for its client; here nothing else would keep the process from ending while a worker searches.
const alive = setInterval(() => {}, 60_000);
// Loads the engine's own module, which a server has before it opens a lake.
await (await openEngine(`${folder}-none`))[Symbol.asyncDispose]();

const started = performance.now();
const engine = await openEngine(folder);
const result: Restarted = { firstMs: 0, method: "", count: 0, rssBytes: 0 };
const search = (vector: number[]) => engine.search({ index: INDEX, vector });
if (mode !== "empty") {
  const { method, count } = await search(queries[0] ?? []);
  Object.assign(result, { method, count, firstMs: performance.now() - started });
}
await engine.warm();
if (mode !== "empty") for (const vector of queries) await search(vector);
await sleep(SETTLE_MS);
globalThis.gc?.();
result.rssBytes = process.memoryUsage().rss;
await engine[Symbol.asyncDispose]();
clearInterval(alive);
process.stdout.write(JSON.stringify(result));
