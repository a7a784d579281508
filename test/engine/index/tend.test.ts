import { expect, test } from "vitest";
import { VECTOR } from "../../support/embedder.ts";
import { openRandom, openVectorLake, randomVector, sorted } from "../../support/vectors.ts";

const D = 8;
const timeout = 30_000;
const random = openRandom(17);

test("many small files of new items become one, with the same items", { tags: ["slow"] }, async () => {
  await using lake = await openVectorLake({ vector: { ...VECTOR, quietMs: 3_600_000 } });
  await lake.engine.createIndex({ name: "things", dimension: D });
  for (let n = 0; n < 20; n++) {
    const items = [0, 1].map((part) => ({ id: `i${n}.${part}`, vector: randomVector(random, D), metadata: { n } }));
    await lake.engine.upsert("things", items);
  }
  const content = async () => (await lake.engine.query("FROM things ORDER BY id")).rows;
  const before = await content();
  expect(before).toHaveLength(40);
  expect(await lake.engine.indexStatus("things")).toMatchObject({ segments: 20, index_details: { baseFiles: 20 } });

  const engine = await lake.reopen({ vector: { ...VECTOR, quietMs: 20 } });
  await engine.search({ index: "things", vector: randomVector(random, D) });
  await expect
    .poll(() => engine.indexStatus("things"), { timeout })
    .toMatchObject({ segments: 1, index_details: { baseFiles: 1, count: 40 } });
  expect(await content()).toEqual(before);
});

test("an index with many dead places in memory is read anew, without them", async () => {
  await using lake = await openVectorLake();
  const { engine } = lake;
  await engine.createIndex({ name: "things", dimension: D });
  const ids = Array.from({ length: 1_200 }, (_, n) => `i${n}`);
  const put = (round: number) =>
    engine.upsert(
      "things",
      ids.map((id) => ({ id, vector: randomVector(random, D), metadata: { round } })),
    );
  const found = async () => {
    const { hits } = await engine.search({ index: "things", vector: Array(D).fill(1), k: 2_000 });
    return sorted(hits.map(({ id, metadata }) => `${id} ${JSON.stringify(metadata)}`));
  };
  await put(1);
  expect(await found()).toHaveLength(1_200);
  await put(2);
  // From here on the places of the first round are dead.
  await found();
  await expect.poll(async () => (await engine.indexStatus("things")).memory?.deleted, { timeout }).toBe(0);
  expect(await found()).toEqual(sorted(ids.map((id) => `${id} {"round":2}`)));
});
