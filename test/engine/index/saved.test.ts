import { existsSync } from "node:fs";
import { readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Engine } from "../../../src/engine/engine.ts";
import { VECTOR } from "../../support/embedder.ts";
import { openRandom, openVectorLake, randomVector, until, type VectorLake } from "../../support/vectors.ts";

const D = 16;
const COUNT = 600;
const random = openRandom(11);
const QUERY = randomVector(random, D);

/** An index of 600 items that is saved, and what it answers. */
async function openSaved(): Promise<{ lake: VectorLake; answer: string[]; file: string }> {
  const lake = await openVectorLake();
  const { engine } = lake;
  await engine.createIndex({ name: "things", dimension: D });
  await engine.upsert(
    "things",
    Array.from({ length: COUNT }, (_, n) => ({ id: `i${n}`, vector: randomVector(random, D), metadata: { n } })),
  );
  const answer = await nearest(engine);
  return { lake, answer, file: await saved(lake) };
}

async function nearest(engine: Engine): Promise<string[]> {
  return (await engine.search({ index: "things", vector: QUERY, k: 5 })).hits.map(
    (hit) => `${hit.id} ${JSON.stringify(hit.metadata)} ${hit.distance.toFixed(4)}`,
  );
}

/** The one file of the newest version, once there is one. */
async function saved(lake: VectorLake): Promise<string> {
  const folder = join(lake.folder, "lake", "vectors", "things");
  const { version } = await lake.engine.indexStatus("things");
  await until(async () => (await lake.engine.indexStatus("things")).snapshot?.version === version);
  await until(async () => (await readdir(folder)).length === 1);
  return join(folder, (await readdir(folder))[0] ?? "");
}

function sources(lake: VectorLake): unknown[] {
  return lake.logged.filter(({ message }) => message === "vector index in memory").map(({ fields }) => fields?.from);
}

test("an index is saved once it is quiet, and read from there by the next process", async () => {
  const { lake, answer, file } = await openSaved();
  await using _ = lake;
  expect(sources(lake)).toEqual(["segments"]);
  expect((await readFile(file)).subarray(0, 4).toString()).toBe("LHV1");
  const { snapshot, memory } = await lake.engine.indexStatus("things");
  expect(snapshot?.age_ms).toBeGreaterThanOrEqual(0);
  expect(snapshot?.bytes).toBe((await stat(file)).size);
  expect(memory).toMatchObject({ graph: COUNT, pending: 0, deleted: 0, method: "hnsw" });

  expect(await nearest(await lake.reopen())).toEqual(answer);
  expect(sources(lake)).toEqual(["segments", "snapshot"]);
});

test("what was committed after it was saved is there too", { tags: ["slow"] }, async () => {
  const { lake, file } = await openSaved();
  await using _ = lake;
  const before = await readFile(file);
  await lake.engine.upsert("things", [{ id: "near", vector: QUERY }]);
  await lake.engine.deleteItems({ index: "things", ids: ["i0", "i1"] });
  const answer = await nearest(lake.engine);
  expect(answer[0]).toMatch(/^near null 0\.0000/);
  await lake.engine.close();
  // As if the process had ended before it saved again.
  await rm(join(lake.folder, "lake", "vectors"), { recursive: true });
  await (await import("node:fs/promises")).mkdir(join(file, ".."), { recursive: true });
  await writeFile(file, before);

  const engine = await lake.reopen();
  expect(await nearest(engine)).toEqual(answer);
  expect(sources(lake)).toEqual(["segments", "snapshot"]);
  const { hits, count } = await engine.search({ index: "things", vector: QUERY, k: 1000 });
  expect(count).toBe(COUNT - 1);
  expect(hits).toHaveLength(COUNT - 1);
  expect(hits.map((hit) => hit.id)).not.toContain("i0");
});

test("one that is missing is made again", { tags: ["slow"] }, async () => {
  const { lake, answer, file } = await openSaved();
  await using _ = lake;
  await lake.engine.close();
  await rm(file);
  const engine = await lake.reopen();
  expect(await nearest(engine)).toEqual(answer);
  expect(sources(lake)).toEqual(["segments", "segments"]);
  await engine.upsert("things", [{ id: "one more", vector: randomVector(random, D) }]);
  await saved(lake);
});

test.each<{ what: string; damage: (file: string, size: number) => Promise<void> }>([
  { what: "is cut in half", damage: (file, size) => truncate(file, Math.floor(size / 2)) },
  { what: "lacks its last byte", damage: (file, size) => truncate(file, size - 1) },
  { what: "is empty", damage: (file) => truncate(file, 0) },
  { what: "has another magic", damage: (file) => flip(file, 0) },
  { what: "has a flipped byte in its envelope", damage: (file) => flip(file, 40) },
  { what: "has a flipped byte in its items", damage: (file) => flip(file, 2_000) },
  { what: "has a flipped byte in a graph", damage: (file, size) => flip(file, size - 5_000) },
  { what: "has a flipped byte at its end", damage: (file, size) => flip(file, size - 1) },
  { what: "is something else", damage: (file) => writeFile(file, "not a snapshot at all") },
])("one that $what is removed, logged and made again", { tags: ["slow"] }, async ({ damage }) => {
  const { lake, answer, file } = await openSaved();
  await using _ = lake;
  await lake.engine.close();
  await damage(file, (await stat(file)).size);
  expect(await nearest(await lake.reopen())).toEqual(answer);
  expect(sources(lake)).toEqual(["segments", "segments"]);
  expect(lake.logged.map(({ message }) => message)).toContain("a saved vector index is of no use and was removed");
});

async function flip(file: string, at: number): Promise<void> {
  const bytes = await readFile(file);
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  await writeFile(file, bytes);
}

test("one of a dropped index of the same name is not taken for it", async () => {
  const { lake, file } = await openSaved();
  await using _ = lake;
  const old = await readFile(file);
  await lake.engine.deleteItems({ index: "things", all: true });
  expect(existsSync(file)).toBe(false);
  await lake.engine.createIndex({ name: "things", dimension: D });
  await lake.engine.upsert("things", [{ id: "new", vector: QUERY }]);
  await lake.engine.close();
  await writeFile(file, old);
  const engine = await lake.reopen();
  expect(await nearest(engine)).toEqual([expect.stringMatching(/^new /)]);
});

test("one that the newest version does not go on from is removed, and the index is made again", {
  tags: ["slow"],
}, async () => {
  const { lake, answer } = await openSaved();
  await using _ = lake;
  await lake.engine.upsert("things", [{ id: "near", vector: QUERY }]);
  const stale = await saved(lake);
  const engine = await lake.reopen({ vector: { ...VECTOR, quietMs: 3_600_000 } });
  expect(await engine.restore("things@2")).toMatchObject({ version: 4, rows: COUNT });
  expect(await nearest(engine)).toEqual(answer);
  expect(sources(lake)).toEqual(["segments", "segments"]);
  expect(lake.logged.map(({ fields }) => fields?.reason)).toContain("version 4 does not go on from it");
  expect(existsSync(stale)).toBe(false);
  expect((await engine.search({ index: "things", vector: QUERY, k: 1000 })).hits).toHaveLength(COUNT);
});

test("many small changes are merged, and nothing is lost by it", { tags: ["slow"] }, async () => {
  const { lake } = await openSaved();
  await using _ = lake;
  const { engine } = lake;
  for (let n = 0; n < 12; n++) {
    await engine.upsert("things", [{ id: `i${n}`, vector: randomVector(random, D), metadata: { again: n } }]);
    await engine.deleteItems({ index: "things", ids: [`i${100 + n}`] });
  }
  const all = async (of: Engine): Promise<string[]> =>
    (await of.search({ index: "things", vector: QUERY, k: 1000 })).hits.map(
      (hit) => `${hit.id} ${JSON.stringify(hit.metadata)}`,
    );
  const before = await all(engine);
  expect(before).toHaveLength(COUNT - 12);
  await until(async () => (await engine.indexStatus("things")).changes < 8);
  const { count, segments } = await engine.indexStatus("things");
  expect(count).toBe(COUNT - 12);
  // One of the base, and at most seven that have changed since the last merge.
  expect(segments).toBeLessThanOrEqual(1 + 7);
  expect(await all(engine)).toEqual(before);
  expect((await engine.query("SELECT count(*), count(DISTINCT id) FROM things")).rows).toEqual([
    [COUNT - 12, COUNT - 12],
  ]);
  // By another engine, which reads what was merged; and by one that follows from what was saved before.
  expect(await all(await lake.another())).toEqual(before);
});

test("without graphs every vector is compared, with the same answers, and that is said", async () => {
  const { lake, answer } = await openSaved();
  await using _ = lake;
  const vector = { memoryBytes: 2 ** 28, threads: 2, ef: 64, hnsw: false, quietMs: 100 };
  const engine = await lake.reopen({ vector });
  expect(await nearest(engine)).toEqual(answer);
  const { method, note } = await engine.search({ index: "things", vector: QUERY });
  expect(method).toBe("exact");
  expect(note).toBeUndefined();
  await engine.upsert("things", [{ id: "near", vector: QUERY }]);
  expect((await nearest(engine))[0]).toMatch(/^near /);
});

test("an index that does not fit in memory is searched on disk, and that is said", async () => {
  const { lake, answer } = await openSaved();
  await using _ = lake;
  const vector = { memoryBytes: 10_000, threads: 2, ef: 64, hnsw: true, quietMs: 100 };
  const engine = await lake.reopen({ vector });
  expect(await nearest(engine)).toEqual(answer);
  const { method, note, hits } = await engine.search({
    index: "things",
    vector: QUERY,
    where: "(metadata->>'n')::INT < 100",
  });
  expect(method).toBe("exact");
  expect(note).toMatch(/does not fit in vector_memory/);
  expect(hits).toHaveLength(10);
  for (const hit of hits) expect((hit.metadata as { n: number }).n).toBeLessThan(100);
  const like = await engine.search({ index: "things", likeId: "i5", k: 3 });
  expect(like.hits).toHaveLength(3);
  expect(like.hits.map((hit) => hit.id)).not.toContain("i5");
  expect((await engine.indexStatus("things")).memory).toBeUndefined();
});
