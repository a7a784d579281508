import { expect, test } from "vitest";
import { openRandom, openVectorLake, randomVector, until } from "../../support/vectors.ts";

const D = 16;
const random = openRandom(5);

test("one large deletion is merged into the base", async () => {
  await using lake = await openVectorLake();
  const { engine } = lake;
  await engine.createIndex({ name: "things", dimension: D });
  const ids = Array.from({ length: 1500 }, (_, n) => `i${n}`);
  await engine.upsert(
    "things",
    ids.map((id) => ({ id, vector: randomVector(random, D) })),
  );
  const { bytes } = await engine.indexStatus("things");
  await engine.deleteItems({ index: "things", ids: ids.slice(100) });
  await until(async () => (await engine.indexStatus("things")).bytes < bytes / 5);
  const { rows } = await engine.query("SELECT count(*), min(id), max(id) FROM things");
  expect(rows).toEqual([[100, "i0", "i99"]]);
});
