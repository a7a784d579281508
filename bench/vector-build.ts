import type { Context } from "./context.ts";
import type { LoopDelay } from "./loop-delay.ts";
import { median, timed } from "./measure.ts";
import { atMost, type Figure } from "./report.ts";
import type { BareIndex } from "./vector-bare.ts";
import type { VectorData } from "./vector-data.ts";
import { collectGarbage, type Engine, INDEX, itemsOf, statusIs } from "./vector-lake.ts";

/** The most of one call, and what an agent may send. */
const BATCH = 10_000;
const SMALL_BATCH = 1_000;
const SMALL_BATCHES = 7;
const PATIENCE_MS = 30 * 60_000;

/** Takes the data in, the last of it in small batches. Nothing searches it yet, so no graph is built meanwhile. */
export async function fill(
  context: Context,
  engine: Engine,
  data: VectorData,
  late: () => LoopDelay,
): Promise<Figure[]> {
  await engine.createIndex({ name: INDEX });
  const large: number[] = [];
  const small: number[] = [];
  const blocks: number[] = [];
  const smallFrom = Math.max(0, data.count - SMALL_BATCHES * SMALL_BATCH);
  for (let from = 0; from < data.count; ) {
    const to = Math.min(data.count, from < smallFrom ? Math.min(smallFrom, from + BATCH) : from + SMALL_BATCH);
    if (from % (5 * BATCH) === 0) context.say(`vectors: ${from} of ${data.count} are in`);
    const items = await itemsOf(data, from, to);
    collectGarbage();
    late();
    const ms = await timed(() => engine.upsert(INDEX, items));
    blocks.push(late().blocked);
    if (items.length === SMALL_BATCH) small.push(ms);
    if (items.length === BATCH) large.push(ms);
    from = to;
  }
  const figures: Figure[] = [
    {
      what: `upsert of ${SMALL_BATCH}, acknowledged`,
      unit: "ms",
      ours: median(small),
      target: atMost(median(small), 150, "≤ 150 ms"),
    },
  ];
  if (large.length > 0) figures.push({ what: `upsert of ${BATCH}, acknowledged`, unit: "ms", ours: median(large) });
  return [...figures, loopFigure("upserts", Math.max(...blocks))];
}

/** The first search brings the index into memory; then its graphs grow until every vector is in them. */
export async function build(
  context: Context,
  engine: Engine,
  data: VectorData,
  bare: BareIndex,
  late: () => LoopDelay,
): Promise<Figure[]> {
  context.say("vectors: building our graphs");
  collectGarbage();
  late();
  const started = performance.now();
  const firstMs = await timed(() => engine.search({ index: INDEX, vector: data.queries[0] ?? [] }));
  const complete = await statusIs(engine, ({ memory }) => memory?.pending === 0, PATIENCE_MS);
  const buildMs = performance.now() - started;
  const { blocked } = late();
  if (!complete) throw new Error("The graphs were not complete in time");
  // Merging files and saving graphs, which follow when the index is quiet, are not what is measured next.
  await statusIs(engine, ({ snapshot, version }) => snapshot?.version === version, PATIENCE_MS);
  const rate = data.count / (buildMs / 1e3);
  const bareRate = data.count / (bare.buildMs / 1e3);
  return [
    { what: "build, until every vector is in a graph", unit: "ms", ours: buildMs, other: bare.buildMs },
    {
      what: "build, vectors a second",
      unit: "",
      ours: rate,
      other: bareRate,
      target: { text: "≥ 1.6×", met: rate >= 1.6 * bareRate },
    },
    { what: "search that starts it, exact", unit: "ms", ours: firstMs },
    loopFigure("building", blocked),
  ];
}

export function loopFigure(when: string, blocked: number): Figure {
  return {
    what: `longest block of the event loop, ${when}`,
    unit: "ms",
    ours: blocked,
    target: atMost(blocked, 20, "≤ 20 ms"),
  };
}
