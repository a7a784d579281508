import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { Context } from "./context.ts";
import { type LoopDelay, watchLoop } from "./loop-delay.ts";
import { type Figure, type Report, render } from "./report.ts";
import { buildBare } from "./vector-bare.ts";
import { build, fill } from "./vector-build.ts";
import { DIMENSION, generateVectors, nearestOf, type VectorData } from "./vector-data.ts";
import { openEngine } from "./vector-lake.ts";
import { addMore, reopen } from "./vector-reopen.ts";
import { filteredSearch, hybrid, scan, search } from "./vector-search.ts";

const SIZE = 100_000;
const HEADINGS = ["index", "bare hnswlib"] as const;

/** A vector index in the engine beside the bare library on the same vectors; with several sizes, how each figure grows. */
export async function benchVectors(
  context: Context,
  sizes: number[] = [context.quick ? SIZE / 10 : SIZE],
): Promise<Report> {
  const late = watchLoop();
  const all: { size: number; figures: Figure[] }[] = [];
  for (const size of sizes) {
    const figures = await measure(context, size, late);
    all.push({ size, figures });
    if (sizes.length > 1) context.say(render({ title: titleOf([size]), headings: HEADINGS, figures }));
  }
  const [first] = all;
  return {
    title: titleOf(sizes),
    headings: HEADINGS,
    figures: all.length === 1 && first ? first.figures : bySize(all),
  };
}

function titleOf(sizes: number[]): string {
  return `vectors: in the engine, ${sizes.join(", ")} × ${DIMENSION}, k 10`;
}

/** The same figure of every size on lines that follow each other. */
function bySize(all: { size: number; figures: Figure[] }[]): Figure[] {
  const names = new Set(all.flatMap(({ figures }) => figures.map(({ what }) => what)));
  return [...names].flatMap((what) =>
    all.flatMap(({ size, figures }) => {
      const figure = figures.find((one) => one.what === what);
      return figure ? [{ ...figure, what: `${what}: ${size}` }] : [];
    }),
  );
}

async function measure(context: Context, size: number, late: () => LoopDelay): Promise<Figure[]> {
  context.say(`vectors: generating ${size}`);
  const data = await generateVectors(size, context.quick ? 200 : 1_000);
  context.say("vectors: comparing with all");
  const truth = await nearestOf(data, context.quick ? 50 : 200);
  const folder = await context.folder();
  try {
    const figures = await inOneProcess(context, folder, data, truth, late);
    return [...figures, ...(await reopen(context, lakeOf(folder)))];
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function lakeOf(folder: string): string {
  return join(folder, "lake");
}

async function inOneProcess(
  context: Context,
  folder: string,
  data: VectorData,
  truth: Awaited<ReturnType<typeof nearestOf>>,
  late: () => LoopDelay,
): Promise<Figure[]> {
  context.say("vectors: building the bare graph");
  const bare = await buildBare(data);
  await using engine = await openEngine(lakeOf(folder));
  await engine.warm();
  const measured = { context, engine, bare, data, truth, late, folder };
  return [
    ...(await fill(context, engine, data, late)),
    ...(await build(context, engine, data, bare, late)),
    ...(await search(measured)),
    ...(await filteredSearch(measured)),
    ...(await hybrid(measured)),
    ...(await scan(measured)),
    ...(await addMore(context, engine, data)),
  ];
}
