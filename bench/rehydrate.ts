import { setTimeout as sleep } from "node:timers/promises";
import { commitOne, type OpenLake, openLake } from "./lake.ts";
import { watchLoop } from "./loop-delay.ts";
import { median, timed } from "./measure.ts";

/** A process of its own (`--expose-gc`) that opens the catalog of a folder and tells on stdout what that took. */

export interface Rehydrated {
  datasets: number;
  openMs: number;
  /** Nothing new in the folder. */
  refreshMs: number;
  /** One new version in the folder, written by another. */
  refreshOneMs: number;
  /** Longest block of the event loop while the catalog was opened, and while it was refreshed. */
  openDelayMs: number;
  refreshDelayMs: number;
  heapBytes: number;
  rssBytes: number;
}

const folder = process.argv[2] ?? "";
// Writes and reads once, so that what is loaded once is not part of what follows.
const first = await openLake(`${folder}-warm`);
await commitOne(first.catalog, "warm");
await first.close();
await (await openLake(`${folder}-warm`)).close();
const before = memory();

const delay = watchLoop();
let lake: OpenLake | undefined;
const openMs = await timed(async () => {
  lake = await openLake(folder);
});
if (!lake) throw new Error("unreachable");
const openDelayMs = delay().blocked;
const { catalog } = lake;
const datasets = catalog.list().length;
const after = memory();

const quiet: number[] = [];
await sleep(10);
delay();
for (let round = 0; round < 5; round++) quiet.push(await timed(() => catalog.refresh()));
const refreshDelayMs = delay().blocked;
const other = await openLake(folder);
const noisy: number[] = [];
for (let round = 0; round < 3; round++) {
  await commitOne(other.catalog, `new_${round}`);
  noisy.push(await timed(() => catalog.refresh()));
}
await other.close();
await lake.close();
const result: Rehydrated = {
  datasets,
  openMs,
  refreshMs: median(quiet),
  refreshOneMs: median(noisy),
  openDelayMs,
  refreshDelayMs,
  heapBytes: after.heap - before.heap,
  rssBytes: after.rss - before.rss,
};
process.stdout.write(JSON.stringify(result));

function memory(): { heap: number; rss: number } {
  globalThis.gc?.();
  const { heapUsed, rss } = process.memoryUsage();
  return { heap: heapUsed, rss };
}
