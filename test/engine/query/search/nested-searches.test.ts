import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { argument } from "../../../../src/engine/kernel/next-step.ts";
import type { VectorSearch } from "../../../../src/engine/query/search/vector-calls.ts";
import type { Found } from "../../../../src/engine/query/search/vector-hits.ts";
import { selfSearch } from "../../../support/self-search.ts";
import { type IndexLake, openIndexLake } from "../index-lake.ts";

const asked: VectorSearch[] = [];
let indexes: IndexLake;
beforeAll(async () => {
  indexes = await openIndexLake(
    async (call, asking): Promise<Found> => {
      asked.push(call);
      const where = call.filter === undefined ? "true" : `(\n${call.filter}\n)`;
      const { rows } = await indexes.query.query(`SELECT id FROM items WHERE ${where} LIMIT ${call.k}`, asking);
      const hits = rows.map(([id]) => ({ id: String(id), distance: 0, score: 1, metadata: null }));
      return { reference: "items@1", hits, note: "" };
    },
    { maxConcurrentQueries: 2 },
  );
  await indexes.segment("items", [{ id: "0", vector: [1, 0, 0], text: "none" }], 1);
});
afterAll(() => indexes[Symbol.asyncDispose]());
beforeEach(() => {
  asked.length = 0;
});

const quoted = (text: string): string => `'${text.replaceAll("'", "''")}'`;
const within = (filter: string, text = "x"): string =>
  `id IN (SELECT id FROM vector_search('items', ${quoted(text)}, filter := ${quoted(filter)}))`;
const count = (filter: string): string =>
  `SELECT count(*) FROM vector_search('items', 'x', filter := ${quoted(filter)})`;
const query = (sql: string, timeoutMs = 20_000) => indexes.query.query(sql, { timeoutMs });

test("a filter may search, and the filter of that, too", async () => {
  expect((await query(count(within("id = '0'")))).rows).toEqual([[1]]);
  expect(asked).toHaveLength(2);
  asked.length = 0;
  expect((await query(count(within(within("id = '0'"))))).rows).toEqual([[1]]);
  expect(asked).toHaveLength(3);
});

test("what is nested deeper is refused, also when it is written out", async () => {
  await expect(query(count(within(within(within("id = '0'")))))).rejects.toMatchObject({
    kind: "limit",
    message: expect.stringContaining("3 deep"),
  });
  expect(asked).toHaveLength(3);
});

test("a filter that computes to itself is refused before its time is over", async () => {
  const filter = selfSearch("items");
  const started = performance.now();
  await expect(query(count(filter))).rejects.toMatchObject({
    kind: "limit",
    message: expect.stringContaining("3 deep"),
    hint: expect.arrayContaining([argument("params")]),
  });
  expect(performance.now() - started).toBeLessThan(10_000);
  expect(asked.map((call) => call.filter)).toEqual([filter, filter, filter]);
  await expect(query(`SELECT id FROM items WHERE ${filter}`)).rejects.toMatchObject({ kind: "limit" });
});

test("searches in filters count together, however they are spread", async () => {
  const some = (searches: number, from: number): string =>
    Array.from({ length: searches }, (_, n) => within("id = '0'", `${from + n}`)).join(" AND ");
  expect((await query(count(some(16, 0)))).rows).toEqual([[1]]);
  await expect(query(count(some(17, 0)))).rejects.toMatchObject({
    kind: "limit",
    message: expect.stringContaining("more than 16 times"),
  });
  asked.length = 0;
  const spread = Array.from({ length: 4 }, (_, n) => `(${count(some(5, n * 5))})`).join(" + ");
  await expect(query(`SELECT ${spread}`)).rejects.toMatchObject({
    kind: "limit",
    message: expect.stringContaining("more than 16 times"),
  });
  expect(asked.length).toBeLessThanOrEqual(4 + 16);
  // What one statement came to counts for none of the next.
  expect((await query(count(some(16, 100)))).rows).toEqual([[1]]);
});

test("the end of its time ends all that is nested in a statement", async () => {
  const slow = "id IN (SELECT (sum(a.i * b.i) % 2)::VARCHAR FROM range(1000000) a(i), range(1000000) b(i))";
  await expect(query(count(within(slow)), 500)).rejects.toMatchObject({
    kind: "limit",
    message: expect.stringContaining("after 500 ms"),
    code: "query_timeout",
  });
  await expect.poll(() => indexes.query.occupancy().running, { timeout: 5000 }).toBe(0);
});
