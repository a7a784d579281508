import { expect, test } from "vitest";
import type { Item } from "../../../src/engine/index/types.ts";
import { VECTOR } from "../../support/embedder.ts";
import { cosine, failure, openRandom, openVectorLake, randomVector, sorted } from "../../support/vectors.ts";

const D = 8;
const random = openRandom(7);
const vector = (): number[] => randomVector(random, D);

test("items are found by vector, nearest first, with their metadata", async () => {
  await using lake = await openVectorLake();
  const { engine } = lake;
  expect(await engine.createIndex({ name: "things", dimension: D })).toMatchObject({
    index: "things",
    created: true,
    count: 0,
    dimension: D,
    metric: "cosine",
    model: null,
  });
  const items = Array.from({ length: 200 }, (_, n): Item => ({ id: `i${n}`, vector: vector(), metadata: { n } }));
  expect(await engine.upsert("things", items)).toMatchObject({ inserted: 200, updated: 0, count: 200 });

  const query = vector();
  const { hits, matched, method } = await engine.search({ index: "things", vector: query, k: 7 });
  const best = items
    .map((item) => ({ id: item.id, distance: cosine(query, item.vector ?? []), n: item.metadata?.n }))
    .sort((a, b) => a.distance - b.distance)
    .slice(0, 7);
  expect(hits.map((hit) => hit.id)).toEqual(best.map((item) => item.id));
  expect(hits.map((hit) => hit.metadata)).toEqual(best.map(({ n }) => ({ n })));
  for (const [at, hit] of hits.entries()) {
    expect(hit.distance).toBeCloseTo(best[at]?.distance ?? Number.NaN, 5);
    expect(hit.score).toBeCloseTo(1 - hit.distance, 6);
  }
  expect(matched).toBeUndefined();
  expect(["hnsw", "exact"]).toContain(method);
});

test.each([
  { metric: "ip" as const, sql: "array_negative_inner_product" },
  { metric: "l2" as const, sql: "array_distance" },
  { metric: "cosine" as const, sql: "array_cosine_distance" },
])("the distance of $metric is that of DuckDB's $sql", async ({ metric, sql }) => {
  await using lake = await openVectorLake();
  const { engine } = lake;
  await engine.createIndex({ name: "things", dimension: D, metric });
  await engine.upsert(
    "things",
    Array.from({ length: 50 }, (_, n) => ({ id: `i${n}`, vector: vector() })),
  );
  const query = vector();
  const { hits } = await engine.search({ index: "things", vector: query, k: 5 });
  const { rows } = await engine.query(
    `SELECT id, ${sql}(vector, $1::FLOAT[${D}]) AS d FROM things ORDER BY d LIMIT 5`,
    { params: [query] },
  );
  expect(hits.map((hit) => hit.id)).toEqual(rows.map(([id]) => id));
  for (const [at, hit] of hits.entries()) expect(hit.distance).toBeCloseTo(Number(rows[at]?.[1]), 4);
});

test("an upsert replaces, keeps metadata that is left out, and clears it with {}", async () => {
  await using lake = await openVectorLake();
  const { engine } = lake;
  await engine.createIndex({ name: "things", dimension: 2 });
  await engine.upsert("things", [
    { id: "a", vector: [1, 0], metadata: { role: "driver" } },
    { id: "b", vector: [1, 2], metadata: { role: "welder" } },
  ]);
  expect(await engine.upsert("things", [{ id: "a", vector: [0, 1] }])).toMatchObject({
    inserted: 0,
    updated: 1,
    count: 2,
  });
  expect((await engine.search({ index: "things", vector: [0, 1] })).hits).toMatchObject([
    { metadata: { role: "driver" } },
    { metadata: { role: "welder" } },
  ]);
  await engine.upsert("things", [{ id: "a", vector: [1, 0], metadata: {} }]);
  expect((await engine.search({ index: "things", vector: [1, 0], k: 1 })).hits).toMatchObject([
    { id: "a", metadata: null },
  ]);
  const { rows } = await engine.query("SELECT id, metadata->>'role' FROM things ORDER BY id");
  expect(rows).toEqual([
    ["a", null],
    ["b", "welder"],
  ]);
});

test("one bad vector among 10,000 refuses all of them and names it", async () => {
  await using lake = await openVectorLake();
  const { engine } = lake;
  await engine.createIndex({ name: "things", dimension: 4 });
  const items = Array.from({ length: 10_000 }, (_, n): Item => ({ id: `i${n}`, vector: [1, 2, 3, n] }));
  items[7_777] = { id: "bad one", vector: [1, 2, Number.NaN, 4] };
  const error = await failure(engine.upsert("things", items));
  expect(error.kind).toBe("invalid");
  expect(error.message).toBe('items[7777] (id "bad one"): vector[2] is NaN, not a finite float32.');
  expect(await engine.indexStatus("things")).toMatchObject({ count: 0, version: 1 });
});

test.each<{ what: string; item: unknown; says: RegExp; kind?: string }>([
  { what: "neither a vector nor a text", item: { id: "a" }, says: /neither a vector nor a text/ },
  { what: "a text where there is no model", item: { id: "a", text: "x" }, says: /has no model/ },
  { what: "too few values", item: { id: "a", vector: [1] }, says: /has 1 values, and the index has 2/ },
  { what: "too many values", item: { id: "a", vector: [1, 2, 3] }, says: /has 3 values/ },
  { what: "infinity", item: { id: "a", vector: [1, Infinity] }, says: /not a finite/ },
  { what: "a number beyond float32", item: { id: "a", vector: [1, 1e39] }, says: /not a finite/ },
  { what: "a text in the vector", item: { id: "a", vector: [1, "2"] }, says: /vector\[1\] is "2"/ },
  { what: "null in the vector", item: { id: "a", vector: [1, null] }, says: /vector\[1\] is null/ },
  { what: "a vector of zeros", item: { id: "a", vector: [0, 0] }, says: /no direction/ },
  { what: "a vector too short to have a direction", item: { id: "a", vector: [1e-30, 0] }, says: /no direction/ },
  { what: "an empty id", item: { id: "", vector: [1, 2] }, says: /items\[0\]\.id is empty/ },
  { what: "a number as id", item: { id: 7, vector: [1, 2] }, says: /not a string/ },
  { what: "half a character in the id", item: { id: "a\ud800", vector: [1, 2] }, says: /half of a character/ },
  {
    what: "an id of 1,025 bytes",
    item: { id: `${"ü".repeat(512)}a`, vector: [1, 2] },
    says: /1025 bytes/,
    kind: "limit",
  },
  { what: "metadata that is a list", item: { id: "a", vector: [1, 2], metadata: [1] }, says: /not an object/ },
  {
    what: "metadata of 1 MB",
    item: { id: "a", vector: [1, 2], metadata: { x: "y".repeat(1e6) } },
    says: /1000008 bytes/,
    kind: "limit",
  },
  {
    what: "half a character in metadata",
    item: { id: "a", vector: [1, 2], metadata: { x: "\udc00" } },
    says: /half of a character/,
  },
  { what: "an empty text", item: { id: "a", vector: [1, 2], text: "  " }, says: /text is empty/ },
  { what: "a NUL in the id", item: { id: "a\0b", vector: [1, 2] }, says: /^items\[0\]\.id has a NUL/ },
  {
    what: "a NUL in the text",
    item: { id: "a", vector: [1, 2], text: "a\0b" },
    says: /^items\[0\] \(id "a"\): text is empty or no text/,
  },
  {
    what: "a long text beside a vector",
    item: { id: "a", vector: [1, 2], text: "x".repeat(32_769) },
    says: /^items\[0\] \(id "a"\): text has 32769 characters, more than 32768/,
    kind: "limit",
  },
  {
    what: "metadata 33 deep",
    item: { id: "a", vector: [1, 2], metadata: nested(33) },
    says: /^items\[0\] \(id "a"\): metadata is nested more than 32 deep/,
    kind: "limit",
  },
  {
    what: "a vector of too great a length",
    item: { id: "a", vector: [1e20, 1e20] },
    says: /^items\[0\] \(id "a"\): vector has a length of almost 0, or beyond float32/,
  },
])("an item with $what is refused, and nothing changes", async ({ item, says, kind = "invalid" }) => {
  await using lake = await openVectorLake();
  const { engine } = lake;
  await engine.createIndex({ name: "things", dimension: 2 });
  const error = await failure(engine.upsert("things", [item as Item]));
  expect(error.message).toMatch(says);
  expect(error.kind).toBe(kind);
  expect(error.hint).toBeTruthy();
  expect(await engine.indexStatus("things")).toMatchObject({ count: 0, version: 1 });
});

function nested(depth: number): unknown {
  return depth === 1 ? {} : { in: nested(depth - 1) };
}

test.each<{ what: string; ids: string[]; says: RegExp; kind?: string }>([
  {
    what: "10,001 ids",
    ids: Array.from({ length: 10_001 }, (_, n) => `i${n}`),
    says: /^ids has 10001 ids; it takes 1 to 10000/,
    kind: "limit",
  },
  { what: "an empty id", ids: ["i0", ""], says: /^ids\[1\] is empty/ },
  { what: "a NUL in an id", ids: ["i0", "i1", "i\0"], says: /^ids\[2\] has a NUL/ },
])("a delete with $what is refused, and nothing changes", async ({ ids, says, kind = "invalid" }) => {
  await using lake = await openVectorLake();
  const { engine } = lake;
  await engine.createIndex({ name: "things", dimension: 2 });
  await engine.upsert("things", [{ id: "i0", vector: [1, 2] }]);
  const error = await failure(engine.deleteItems({ index: "things", ids }));
  expect(error.message).toMatch(says);
  expect(error.kind).toBe(kind);
  expect(error.hint).toBeTruthy();
  expect(await engine.indexStatus("things")).toMatchObject({ count: 1, version: 2 });
});

test("an id that is sent twice is refused with both places", async () => {
  await using lake = await openVectorLake();
  await lake.engine.createIndex({ name: "things", dimension: 2 });
  const error = await failure(
    lake.engine.upsert("things", [
      { id: "a", vector: [1, 2] },
      { id: "b", vector: [1, 2] },
      { id: "a", vector: [2, 2] },
    ]),
  );
  expect(error.message).toBe('items[2] (id "a") has the id of items[0].');
});

test("more than 10,000 items, and none, are refused", async () => {
  await using lake = await openVectorLake();
  await lake.engine.createIndex({ name: "things", dimension: 1 });
  const items = Array.from({ length: 10_001 }, (_, n) => ({ id: String(n), vector: [1] }));
  expect((await failure(lake.engine.upsert("things", items))).kind).toBe("limit");
  expect((await failure(lake.engine.upsert("things", []))).message).toContain("items is empty");
});

test("ids with quotes, other scripts and 1 kB come back as they were", async () => {
  await using lake = await openVectorLake();
  const { engine } = lake;
  await engine.createIndex({ name: "things", dimension: 2 });
  const ids = [
    `it's "one"`,
    "Ünïcödé 漢字 🚜",
    "x".repeat(1024),
    "a\nb\tc",
    "$1",
    "--",
    "%_",
    "{}",
    " lead",
    "'; DROP",
  ];
  await engine.upsert(
    "things",
    ids.map((id, n) => ({ id, vector: [1, n], metadata: { id } })),
  );
  const { hits } = await engine.search({ index: "things", vector: [1, 0], k: 100 });
  expect(sorted(hits.map((hit) => hit.id))).toEqual(sorted(ids));
  for (const hit of hits) expect(hit.metadata).toEqual({ id: hit.id });
  for (const id of ids) {
    const found = await engine.search({ index: "things", likeId: id, k: 100, include: ["vector"] });
    expect(found.hits.map((hit) => hit.id)).not.toContain(id);
    expect(found.hits).toHaveLength(ids.length - 1);
  }
  expect(await engine.deleteItems({ index: "things", ids })).toMatchObject({
    deleted: ids.length,
    count: 0,
    missing: [],
  });
});

test("an empty and a fully deleted index answer with nothing, and the last id can come back", async () => {
  // Its versions are looked at: merging files would add to them.
  await using lake = await openVectorLake({ vector: { ...VECTOR, quietMs: 3_600_000 } });
  const { engine } = lake;
  await engine.createIndex({ name: "things", dimension: 2 });
  expect((await engine.search({ index: "things", vector: [1, 1] })).hits).toEqual([]);
  await engine.upsert("things", [{ id: "a", vector: [1, 0], metadata: { old: true } }]);
  expect(await engine.deleteItems({ index: "things", ids: ["a", "b", "a"] })).toMatchObject({
    deleted: 1,
    missing: ["b"],
    count: 0,
  });
  expect((await engine.search({ index: "things", vector: [1, 1] })).hits).toEqual([]);
  expect((await engine.query("SELECT count(*) FROM things")).rows).toEqual([[0]]);
  expect((await failure(engine.search({ index: "things", likeId: "a" }))).kind).toBe("not_found");

  await engine.upsert("things", [{ id: "a", vector: [1, 0] }]);
  expect((await engine.search({ index: "things", vector: [1, 1] })).hits).toMatchObject([{ id: "a", metadata: null }]);
  const before = await engine.indexStatus("things");
  expect(await engine.deleteItems({ index: "things", ids: ["nobody"] })).toMatchObject({
    deleted: 0,
    version: before.version,
  });
});

test("k is 1 to 10,000 and may be more than there is", async () => {
  await using lake = await openVectorLake();
  const { engine } = lake;
  await engine.createIndex({ name: "things", dimension: 2 });
  await engine.upsert(
    "things",
    Array.from({ length: 30 }, (_, n) => ({ id: `i${n}`, vector: [1, n] })),
  );
  for (const [k, found] of [
    [1, 1],
    [31, 30],
    [10_000, 30],
  ] as const) {
    expect((await engine.search({ index: "things", vector: [1, 3], k })).hits).toHaveLength(found);
  }
  for (const k of [0, -1, 1.5, 10_001, Number.NaN]) {
    expect((await failure(engine.search({ index: "things", vector: [1, 1], k }))).message).toMatch(/^k is /);
  }
  expect((await failure(engine.search({ index: "things", vector: [1, 1], ef: 0 }))).message).toMatch(/^ef is 0/);
});

test("wrong queries are refused before anything is searched", async () => {
  await using lake = await openVectorLake();
  const { engine } = lake;
  await engine.createIndex({ name: "things", dimension: 2 });
  const refused = async (request: object): Promise<string> =>
    (await failure(engine.search({ index: "things", ...request }))).message;
  expect(await refused({})).toMatch(/^None of text, vector and like_id is given/);
  expect(await refused({ text: "a", vector: [1, 2] })).toMatch(/^text and vector of text/);
  expect(await refused({ vector: [1] })).toMatch(/has 1 values, and the index has 2 dimensions/);
  expect(await refused({ vector: [0, 0] })).toMatch(/no direction/);
  expect(await refused({ text: "driver" })).toMatch(/things has no model/);
  expect((await failure(engine.search({ index: "thing", vector: [1, 2] }))).message).toMatch(/things/);
});

test("a table is no index, and an index is no table to ingest into", async () => {
  await using lake = await openVectorLake();
  const { engine } = lake;
  await lake.csv("workers", "id,name\n1,Ann\n");
  expect((await failure(engine.search({ index: "workers", vector: [1] }))).message).toBe(
    "workers is a table, not a vector index.",
  );
  expect((await failure(engine.createIndex({ name: "workers", dimension: 2 }))).kind).toBe("conflict");
  await engine.createIndex({ name: "things", dimension: 2 });
  expect((await failure(engine.ingest({ name: "things", source: { text: "a\n1\n" } }))).kind).toBe("conflict");
  expect(await engine.createIndex({ name: "things", dimension: 2 })).toMatchObject({ created: false, unchanged: true });
  const other = await failure(engine.createIndex({ name: "things", dimension: 3, metric: "l2" }));
  expect(other.message).toBe('things exists and is different: dimension is 2, not 3; metric is "cosine", not "l2".');
});

test("a dropped index is gone, and its name is free", async () => {
  await using lake = await openVectorLake();
  const { engine } = lake;
  await engine.createIndex({ name: "things", dimension: 2 });
  await engine.upsert("things", [{ id: "a", vector: [1, 2] }]);
  await engine.search({ index: "things", vector: [1, 1] });
  expect(await engine.deleteItems({ index: "things", all: true })).toMatchObject({
    dropped: true,
    deleted: 1,
    count: 0,
  });
  expect((await failure(engine.search({ index: "things", vector: [1, 1] }))).kind).toBe("not_found");
  await engine.createIndex({ name: "things", dimension: 3 });
  expect((await engine.search({ index: "things", vector: [1, 1, 1] })).hits).toEqual([]);
  await engine.upsert("things", [{ id: "b", vector: [1, 2, 3] }]);
  expect((await engine.search({ index: "things", vector: [1, 1, 1] })).hits).toMatchObject([{ id: "b" }]);
  expect((await failure(engine.deleteItems({ index: "things" }))).message).toBe(
    "Exactly one of ids and all has to be given.",
  );
});

test("two engines over one folder lose nothing and see each other's items at once", { tags: ["slow"] }, async () => {
  await using lake = await openVectorLake();
  const one = lake.engine;
  const two = await lake.another();
  await one.createIndex({ name: "things", dimension: 4 });
  const put = (engine: typeof one, who: string) => async () => {
    for (let n = 0; n < 12; n++) {
      await engine.upsert("things", [{ id: `${who}${n}`, vector: randomVector(random, 4) }]);
      await engine.search({ index: "things", vector: [1, 1, 1, 1] });
    }
  };
  await Promise.all([put(one, "a")(), put(two, "b")(), put(one, "c")()]);
  for (const engine of [one, two]) {
    const { hits, count } = await engine.search({ index: "things", vector: [1, 1, 1, 1], k: 100 });
    expect(new Set(hits.map((hit) => hit.id)).size).toBe(36);
    expect(count).toBe(36);
    expect((await engine.query("SELECT count(*), count(DISTINCT id) FROM things")).rows).toEqual([[36, 36]]);
  }
  await two.upsert("things", [{ id: "a0", vector: [9, 9, 9, 9] }]);
  expect((await one.search({ index: "things", vector: [1, 1, 1, 1], k: 1 })).hits).toMatchObject([{ id: "a0" }]);
});

test("searches among upserts and deletes always see whole batches", { tags: ["slow"] }, async () => {
  await using lake = await openVectorLake();
  const { engine } = lake;
  await engine.createIndex({ name: "things", dimension: 2 });
  const batch = (round: number): Item[] =>
    Array.from({ length: 20 }, (_, n) => ({ id: `i${n}`, vector: [1, round + n / 100], metadata: { round } }));
  await engine.upsert("things", batch(0));
  let writing = true;
  const writer = (async () => {
    for (let round = 1; round <= 15; round++) await engine.upsert("things", batch(round));
    writing = false;
  })();
  let searches = 0;
  while (writing) {
    const { hits } = await engine.search({ index: "things", vector: [1, 3], k: 50 });
    const rounds = new Set(hits.map((hit) => (hit.metadata as { round: number }).round));
    expect(hits).toHaveLength(20);
    expect(rounds.size).toBe(1);
    searches++;
  }
  await writer;
  expect(searches).toBeGreaterThan(3);
});
