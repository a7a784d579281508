// @module-tag slow
import { expect, test, vi } from "vitest";
import { efFor } from "../../../src/engine/index/search.ts";
import { LakeError } from "../../../src/engine/kernel/errors.ts";
import { VECTOR } from "../../support/embedder.ts";
import { failure, openRandom, openVectorLake, randomVector, sorted, until } from "../../support/vectors.ts";

const random = openRandom(3);
const many = (count: number, dimension: number, from = 0) =>
  Array.from({ length: count }, (_, n) => ({ id: `i${from + n}`, vector: randomVector(random, dimension) }));

test("closing among upserts answers every one of them, and keeps what was acknowledged", async () => {
  for (let round = 0; round < 4; round++) {
    await using lake = await openVectorLake();
    const { engine } = lake;
    await engine.createIndex({ name: "things", dimension: 8 });
    const acknowledged: string[] = [];
    const failures: unknown[] = [];
    const writers = Array.from({ length: 12 }, async (_, writer) => {
      for (let n = 0; ; n++) {
        const id = `w${writer} ${n}`;
        try {
          await engine.upsert("things", [{ id, vector: randomVector(random, 8) }]);
        } catch (error) {
          failures.push(error);
          return;
        }
        acknowledged.push(id);
      }
    });
    await until(() => acknowledged.length > 5 + round * 7);
    await engine.close();
    await Promise.all(writers);
    expect(failures).toHaveLength(12);
    for (const error of failures) {
      expect(error).toBeInstanceOf(LakeError);
      expect((error as LakeError).kind).toBe("closed");
    }
    const again = await lake.reopen();
    const { rows } = await again.query("SELECT id FROM things", { maxRows: 10_000, maxBytes: 2 ** 24 });
    const there = new Set(rows.map(([id]) => id));
    expect(acknowledged.filter((id) => !there.has(id))).toEqual([]);
    expect((await again.indexStatus("things")).count).toBe(there.size);
  }
});

test("a condition over another dataset follows that dataset", async () => {
  await using lake = await openVectorLake();
  const { engine } = lake;
  await engine.createIndex({ name: "things", dimension: 2 });
  await engine.upsert("things", many(20, 2));
  const choose = (ids: string): Promise<unknown> =>
    engine.ingest({ name: "chosen", source: { sql: `SELECT unnest([${ids}]) AS id` } });
  const found = async (): Promise<string[]> => {
    const where = "id IN (SELECT id FROM chosen)";
    return sorted((await engine.search({ index: "things", vector: [1, 1], where })).hits.map((hit) => hit.id));
  };
  await choose("'i1', 'i2'");
  expect(await found()).toEqual(["i1", "i2"]);
  expect(await found()).toEqual(["i1", "i2"]);
  await choose("'i7'");
  expect(await found()).toEqual(["i7"]);
});

test("an index that grows beyond vector_memory goes to disk, and others make room before", async () => {
  await using lake = await openVectorLake({ vector: { ...VECTOR, memoryBytes: 4_800_000 } });
  const { engine } = lake;
  for (const name of ["one", "two"]) {
    await engine.createIndex({ name, dimension: 64 });
    await engine.upsert(name, many(1_500, 64));
    await engine.search({ index: name, vector: randomVector(random, 64) });
  }
  expect((await engine.indexStatus("one")).memory).toBeDefined();
  expect((await engine.indexStatus("two")).memory).toBeDefined();
  await engine.upsert("two", many(2_500, 64, 1_500));
  const grown = await engine.search({ index: "two", vector: randomVector(random, 64) });
  expect(grown.note ?? "").not.toContain("vector_memory");
  expect((await engine.indexStatus("one")).memory).toBeUndefined();
  await engine.upsert("two", many(4_000, 64, 4_000));
  const large = await engine.search({ index: "two", vector: randomVector(random, 64), k: 3 });
  expect(large.note).toContain("does not fit in vector_memory");
  expect(large.hits).toHaveLength(3);
  expect((await engine.indexStatus("two")).memory).toBeUndefined();
});

test("an index that fits by its vectors, and not by its metadata, is read once to find that out", async () => {
  await using lake = await openVectorLake({ vector: { ...VECTOR, memoryBytes: 3_500_000 } });
  const { engine } = lake;
  await engine.createIndex({ name: "things", dimension: 16 });
  const metadata = { text: "é".repeat(1_000) };
  await engine.upsert(
    "things",
    many(3_000, 16).map((item) => ({ ...item, metadata })),
  );
  for (let round = 0; round < 3; round++) {
    const { note, hits } = await engine.search({ index: "things", vector: randomVector(random, 16), k: 3 });
    expect(note).toContain("does not fit in vector_memory");
    expect(hits.map((hit) => hit.metadata)).toEqual([metadata, metadata, metadata]);
  }
  const read = lake.logged.filter(({ message }) => message === "a vector index does not fit in memory");
  expect(read).toHaveLength(1);
  expect(read[0]?.fields).toEqual({ index: "things", items: 3_000 });

  // Without its metadata it fits, which is found out some versions later.
  await engine.upsert(
    "things",
    many(3_000, 16).map((item) => ({ ...item, metadata: {} })),
  );
  for (let version = 0; version < 32; version++) await engine.upsert("things", many(1, 16));
  const { note } = await engine.search({ index: "things", vector: randomVector(random, 16), k: 3 });
  expect(note ?? "").not.toContain("vector_memory");
  expect((await engine.indexStatus("things")).memory).toBeDefined();
});

test("a saved index that is too large keeps a smaller one of today from memory no more than once", async () => {
  await using lake = await openVectorLake();
  await lake.engine.createIndex({ name: "things", dimension: 16 });
  const metadata = { text: "é".repeat(1_000) };
  const items = many(3_000, 16).map((item) => ({ ...item, metadata }));
  await lake.engine.upsert("things", items);
  await lake.engine.search({ index: "things", vector: randomVector(random, 16) });
  await vi.waitFor(async () => expect((await lake.engine.indexStatus("things")).snapshot).not.toBeNull(), 20_000);
  const engine = await lake.reopen({ vector: { ...VECTOR, memoryBytes: 3_500_000 } });
  await engine.deleteItems({ index: "things", ids: items.slice(100).map(({ id }) => id) });
  const { note, hits } = await engine.search({ index: "things", vector: randomVector(random, 16), k: 3 });
  expect(note ?? "").not.toContain("vector_memory");
  expect(hits).toHaveLength(3);
  expect((await engine.indexStatus("things")).memory).toBeDefined();
});

test("metadata of a dataset keeps what JSON numbers cannot hold", async () => {
  await using lake = await openVectorLake();
  const { engine } = lake;
  await engine.ingest({
    name: "odd",
    source: {
      sql: `SELECT 'a' AS id, 'a text' AS words, 'NaN'::DOUBLE AS n, '-Infinity'::FLOAT AS f, 1.5::DOUBLE AS d,
        9007199254740993::BIGINT AS big, 7::BIGINT AS small, 1.10::DECIMAL(9,2) AS price, NULL::DOUBLE AS none, [1, 2] AS list`,
    },
  });
  const metadata = ["n", "f", "d", "big", "small", "price", "none", "list"];
  await engine.createIndex({ name: "texts", source: { dataset: "odd", id: "id", text: "words", metadata } });
  const expected = {
    n: "nan",
    f: "-inf",
    d: 1.5,
    big: "9007199254740993",
    small: 7,
    price: "1.10",
    none: null,
    list: [1, 2],
  };
  expect((await engine.search({ index: "texts", text: "text" })).hits[0]?.metadata).toEqual(expected);
  const { rows } = await engine.query(
    "SELECT metadata->>'big', metadata->'price' FROM vector_search('texts', 'text', 1)",
  );
  expect(rows).toEqual([["9007199254740993", '"1.10"']]);

  await engine.ingest({
    name: "odd",
    source: { sql: "SELECT 'a' AS id, 'a' AS words, ['NaN'::DOUBLE] AS list" },
    schemaChange: "allow",
  });
  const source = { dataset: "odd", id: "id", text: "words", metadata: ["list"] };
  expect((await failure(engine.createIndex({ name: "more", source }))).message).toMatch(/metadata of id "a" has NaN/);
});

test("texts of spaces in any script are skipped, and long ones are named before anything is embedded", async () => {
  await using lake = await openVectorLake();
  const { engine } = lake;
  await engine.ingest({
    name: "texts",
    source: {
      sql: "SELECT * FROM (VALUES ('a', 'words'), ('b', chr(160)), ('c', chr(12288) || ' '), ('d', ''), ('e', NULL)) t(id, words)",
    },
  });
  const request = { name: "index_of_texts", source: { dataset: "texts", id: "id", text: "words" } };
  expect(await engine.createIndex(request)).toMatchObject({ count: 1, skipped: 4 });
  await engine.ingest({ name: "texts", source: { sql: "SELECT 'a' AS id, repeat('🚜', 16385) AS words" } });
  const error = await failure(engine.createIndex(request));
  expect(error.message).toBe('The text of id "a" has 32770 characters, more than 32768.');
  expect((await engine.indexStatus("index_of_texts")).count).toBe(1);
});

test("several builds at once do not get in each other's way", async () => {
  await using lake = await openVectorLake();
  const { engine } = lake;
  const other = await lake.another();
  await engine.ingest({ name: "texts", source: { sql: "SELECT i AS id, 'text ' || i AS words FROM range(400) t(i)" } });
  const build = (of: typeof engine, name: string) =>
    of.createIndex({ name, source: { dataset: "texts", id: "id", text: "words" } });
  const built = await Promise.all([
    build(engine, "a"),
    build(engine, "b"),
    build(engine, "c"),
    build(other, "a"),
    build(other, "d"),
  ]);
  for (const { count } of built) expect(count).toBe(400);
  for (const name of ["a", "b", "c", "d"]) {
    expect((await engine.query(`SELECT count(*), count(DISTINCT id) FROM ${name}`)).rows).toEqual([[400, 400]]);
    expect((await engine.search({ index: name, text: "text 7", k: 500 })).hits).toHaveLength(400);
  }
});

test("an index that is never left alone is merged all the same", async () => {
  await using lake = await openVectorLake({ vector: { ...VECTOR, quietMs: 60 } });
  const { engine } = lake;
  await engine.createIndex({ name: "things", dimension: 4 });
  await engine.upsert("things", many(300, 4));
  const stop = new AbortController();
  let most = 0;
  const writing = (async () => {
    while (!stop.signal.aborted) await engine.upsert("things", many(20, 4));
  })();
  await until(async () => {
    const { changes, version } = await engine.indexStatus("things");
    most = Math.max(most, changes);
    return version > 40 && changes < most / 2;
  });
  stop.abort();
  await writing;
  expect((await engine.query("SELECT count(*) FROM things")).rows).toEqual([[300]]);
});

test("metadata about NUL is text like any other", async () => {
  await using lake = await openVectorLake();
  const { engine } = lake;
  await engine.createIndex({ name: "things", dimension: 1 });
  await engine.upsert("things", [{ id: "a", vector: [1], metadata: { about: "\\u0000 and \\ud800" } }]);
  expect((await engine.search({ index: "things", vector: [1] })).hits[0]?.metadata).toEqual({
    about: "\\u0000 and \\ud800",
  });
  expect((await failure(engine.upsert("things", [{ id: "b", vector: [1], metadata: { nul: "\0" } }]))).message).toMatch(
    /NUL/,
  );
});

test("a large index is searched wider by default, by two thirds of the power of its size", () => {
  expect([0, 1, 100_000].map((count) => efFor(count, 64))).toEqual([64, 64, 64]);
  expect(efFor(300_000, 64)).toBe(133);
  expect(efFor(1_000_000, 100)).toBe(464);
  expect(efFor(10 ** 9, 64)).toBe(10_000);
});
