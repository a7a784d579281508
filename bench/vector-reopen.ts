import { execFile } from "node:child_process";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { type Context, script } from "./context.ts";
import { median, timed } from "./measure.ts";
import { atMost, type Figure } from "./report.ts";
import { DIMENSION, type VectorData } from "./vector-data.ts";
import { collectGarbage, type Engine, INDEX, itemsOf, statusIs } from "./vector-lake.ts";
import type { Restarted } from "./vector-restart.ts";

const MB = 1e6;
const BATCH = 1_000;
const BATCHES = 5;
const SAVED_MS = 5 * 60_000;
const run = promisify(execFile);

/** New items in an index in memory, each batch when the last one is in the graphs, and until all of it is saved. */
export async function addMore(context: Context, engine: Engine, data: VectorData): Promise<Figure[]> {
  context.say("vectors: adding some more");
  const times: number[] = [];
  for (let batch = 0; batch < Math.min(BATCHES, data.count / BATCH); batch++) {
    const items = await itemsOf(data, batch * BATCH, (batch + 1) * BATCH, true);
    collectGarbage();
    times.push(await timed(() => engine.upsert(INDEX, items)));
    await engine.search({ index: INDEX, vector: data.queries[0] ?? [] });
    await statusIs(engine, ({ memory }) => memory?.pending === 0, SAVED_MS);
  }
  context.say("vectors: waiting for the snapshot");
  let saved = false;
  const savedMs = await timed(async () => {
    saved = await statusIs(engine, ({ snapshot, version }) => snapshot?.version === version, SAVED_MS);
  });
  if (!saved) throw new Error("No snapshot was saved");
  const { snapshot } = await engine.indexStatus(INDEX);
  return [
    {
      what: `upsert of ${BATCH} with the index in memory, acknowledged`,
      unit: "ms",
      ours: median(times),
      target: atMost(median(times), 150, "≤ 150 ms"),
    },
    { what: "snapshot saved after the last change", unit: "ms", ours: savedMs },
    {
      what: "snapshot, and the vectors as float32",
      unit: "MB",
      ours: (snapshot?.bytes ?? 0) / MB,
      other: ((data.count + times.length * BATCH) * DIMENSION * 4) / MB,
    },
  ];
}

/** Processes of their own open the lake from its snapshot, and then without one. Nothing else may have it open. */
export async function reopen(context: Context, folder: string): Promise<Figure[]> {
  const rounds = context.quick ? 1 : 3;
  context.say("vectors: restarting");
  const empty = await restart(`${folder}-empty`, rounds, "empty");
  const saved = await restart(folder, rounds);
  const methods = (list: Restarted[]): string => [...new Set(list.map(({ method }) => method))].join(" and ");
  const found = methods(saved);
  await rm(join(folder, "vectors"), { recursive: true });
  context.say("vectors: restarting without the snapshot");
  const rebuilt = await restart(folder, rounds);
  const first = (list: Restarted[]): number => median(list.map(({ firstMs }) => firstMs));
  const rss = (list: Restarted[]): number => median(list.map(({ rssBytes }) => rssBytes));
  const index = rss(saved) - rss(empty);
  const floats = (saved[0]?.count ?? 0) * DIMENSION * 4;
  return [
    {
      what: `restart to the first answer, from the snapshot (${found})`,
      unit: "ms",
      ours: first(saved),
      target: atMost(first(saved), 2_000, "≤ 2 s"),
    },
    { what: `restart to the first answer, without it (${methods(rebuilt)})`, unit: "ms", ours: first(rebuilt) },
    {
      what: "memory of the index, and its float32",
      unit: "MB",
      ours: index / MB,
      other: floats / MB,
      target: atMost(index, 1.35 * floats, "≤ 1.35×"),
    },
    { what: "memory of the engine without it", unit: "MB", ours: rss(empty) / MB },
  ];
}

async function restart(folder: string, rounds: number, ...mode: string[]): Promise<Restarted[]> {
  const all: Restarted[] = [];
  for (let round = 0; round < rounds; round++) {
    const { stdout } = await run(process.execPath, ["--expose-gc", script("vector-restart"), folder, ...mode]);
    all.push(JSON.parse(stdout) as Restarted);
  }
  return all;
}
