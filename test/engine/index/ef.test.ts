import { expect, test } from "vitest";
import { VECTOR } from "../../support/embedder.ts";
import { openRandom, openVectorLake, randomVector } from "../../support/vectors.ts";

const D = 4;
/** In one part: a walk as wide as `NARROW` looks at fewer of them than there are, one as wide as `WIDE` at more. */
const COUNT = 2_000;
const NARROW = 16;
const WIDE = 256;
const random = openRandom(13);

test.each([
  { asked: NARROW, set: WIDE, method: "hnsw" },
  { asked: WIDE, set: NARROW, method: "exact" },
  { asked: undefined, set: NARROW, method: "hnsw" },
  { asked: undefined, set: WIDE, method: "exact" },
])("ef $asked, where vector.ef is $set, makes a search $method", async ({ asked: ef, set, method }) => {
  await using lake = await openVectorLake({ vector: { ...VECTOR, threads: 1, ef: set } });
  const { engine } = lake;
  await engine.createIndex({ name: "things", dimension: D });
  await engine.upsert(
    "things",
    Array.from({ length: COUNT }, (_, n) => ({ id: `i${n}`, vector: randomVector(random, D) })),
  );
  const request = { index: "things", vector: [1, 1, 1, 1], ef };
  await engine.search(request);
  await expect
    .poll(async () => (await engine.indexStatus("things")).memory, { timeout: 30_000 })
    .toMatchObject({ graph: COUNT, pending: 0 });
  expect((await engine.search(request)).method).toBe(method);
  // Not by the thread that was asked, but by a worker.
  expect((await engine.search({ ...request, where: "id LIKE 'i%'" })).method).toBe(method);
});
