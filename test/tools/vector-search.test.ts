import { expect, test } from "vitest";
import { answer } from "../support/answer.ts";
import { openLake } from "../support/lake.ts";
import { type Found, openPoints, openResumes } from "../support/vector-tools.ts";

test("the vector of a hit comes back exactly, in the text too", async () => {
  await using lake = await openLake();
  await lake.call("vector-index-create", { name: "points", dimension: 3, metric: "l2" });
  const vector = [0.1, -2 / 3, 1e-7];
  await lake.call("vector-upsert", { index: "points", items: [{ id: "a", vector }] });
  const { structured, text } = await answer(lake, "vector-search", {
    index: "points",
    vector: [0, 0, 0],
    include: ["vector"],
  });
  const [hit] = (structured as Found).hits;
  expect(Float32Array.from(hit?.vector ?? [])).toEqual(Float32Array.from(vector));
  expect(JSON.stringify(hit?.vector).length).toBeLessThan(50);
  const bytes = Buffer.from(/^a \|.* (\S+)$/m.exec(text)?.[1] ?? "", "base64");
  expect([0, 4, 8].map((at) => bytes.readFloatLE(at))).toEqual([...Float32Array.from(vector)]);
});

test("items like one that is there are found without itself", async () => {
  await using lake = await openPoints();
  const { structured } = await answer(lake, "vector-search", { index: "points", like_id: "east" });
  expect((structured as Found).hits.map((hit) => hit.id)).toEqual(["north east", "north"]);
  expect(await lake.refused("vector-search", { index: "points", like_id: "west" })).toMatch(/^not_found: .*west/);
});

test("an empty index and a condition that nothing matches give no hits", async () => {
  await using lake = await openPoints();
  await lake.call("vector-index-create", { name: "empty", dimension: 3 });
  const empty = await answer(lake, "vector-search", { index: "empty", vector: [1, 2, 3] });
  expect(empty.structured).toMatchObject({ hits: [], count: 0 });
  expect(empty.text).toMatch(/^0 hits in empty@1 \(0 items\)/);
  const none = await answer(lake, "vector-search", { index: "points", vector: [1, 2, 3], where: "id = 'west'" });
  expect(none.structured).toMatchObject({ hits: [], matched: 0, count: 3 });
  expect(none.text).toContain("0 hits of 0 that match");
});

test("hits are joined with their dataset in one statement", async () => {
  await using lake = await openResumes();
  const { rows } = await lake.call("sql", {
    sql: "SELECT w.city, s.id FROM vector_search('resumes', $1, 2) s JOIN workers w ON w.worker_id::VARCHAR = s.id ORDER BY s.distance",
    params: ["forklift driver nights"],
  });
  expect(rows).toHaveLength(2);
  expect((rows as unknown[][])[0]).toEqual(["Joliet", "1"]);
  expect((await lake.call("sql", { sql: "SELECT metadata->>'role' FROM resumes WHERE id = '3'" })).rows).toEqual([
    ["welder"],
  ]);
});

test("a result too large for a message is refused with what to ask for instead", { tags: ["slow"] }, async () => {
  await using lake = await openLake();
  await lake.call("vector-index-create", { name: "points", dimension: 2 });
  const metadata = { a: "x".repeat(60_000) };
  const items = Array.from({ length: 150 }, (_, n) => ({ id: `p${n}`, vector: [1, n], metadata }));
  await lake.call("vector-upsert", { index: "points", items });
  const told = await lake.refused("vector-search", { index: "points", vector: [1, 1], k: 150 });
  expect(told).toMatch(/^limit: 1\d\d hits of 150 are more than 8\.0 MiB already\.\nNext: .*smaller k/);
  const cut = await lake.call<Found>("vector-search", { index: "points", vector: [1, 1], k: 100 });
  expect(cut).toMatchObject({ truncated: true, hits: [{ id: "p1" }] });
});
