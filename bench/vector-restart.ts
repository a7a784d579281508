import { setTimeout as sleep } from "node:timers/promises";
import { timed } from "./measure.ts";
import { generateVectors } from "./vector-data.ts";
import { INDEX, openEngine } from "./vector-lake.ts";

/**
 * A process of its own (`--expose-gc`) that opens a lake, searches its index, and tells on stdout what that took. Without
 * an index it tells what the engine takes by itself.
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
const { queries } = await generateVectors(0, SEARCHES + 1);
// The engine's own module, which a server has loaded before it opens a lake.
await (await openEngine(`${folder}-none`))[Symbol.asyncDispose]();

const result: Restarted = { firstMs: 0, method: "", count: 0, rssBytes: 0 };
const started = performance.now();
const engine = await openEngine(folder);
if (mode !== "empty") {
  const { method, count } = await engine.search({ index: INDEX, vector: queries[0] ?? [] });
  Object.assign(result, { method, count, firstMs: performance.now() - started });
}
await engine.warm();
if (mode !== "empty") await timed(async () => {
  for (const vector of queries.slice(1)) await engine.search({ index: INDEX, vector });
});
await sleep(SETTLE_MS);
globalThis.gc?.();
result.rssBytes = process.memoryUsage().rss;
await engine[Symbol.asyncDispose]();
process.stdout.write(JSON.stringify(result));
