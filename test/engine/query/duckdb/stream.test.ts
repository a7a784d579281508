import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { QueryResult, StreamOptions } from "../../../../src/engine/query/types.ts";
import { openParquetLake, type ParquetLake } from "../../../support/parquet-lake.ts";

type Rows = QueryResult["rows"];

let lake: ParquetLake;
beforeAll(async () => {
  lake = await openParquetLake();
  await lake.write("words", "SELECT i, 'w' || i AS word FROM range(250000) t(i)");
});
afterAll(() => lake[Symbol.asyncDispose]());

async function collect(sql: string, options: Omit<StreamOptions, "onRows"> = {}) {
  const rows: Rows = [];
  let calls = 0;
  const result = await lake.query.stream(sql, {
    ...options,
    onRows: async (some) => {
      calls += 1;
      for (const row of some) rows.push(row);
    },
  });
  return { rows, calls, result };
}

test("all rows come, in their order, a few at a time", { tags: ["slow"] }, async () => {
  const { rows, calls, result } = await collect("SELECT i, word FROM words ORDER BY i");
  expect(result).toMatchObject({ row_count: 250_000, truncated: false, datasets: ["words@1"] });
  expect(result.columns).toEqual([
    { name: "i", type: "BIGINT" },
    { name: "word", type: "VARCHAR" },
  ]);
  expect(rows.every(([i], at) => i === at)).toBe(true);
  expect(rows).toHaveLength(250_000);
  expect(calls).toBeGreaterThan(100);
});

test("the columns come when there are no rows, once", async () => {
  const { rows, calls, result } = await collect("SELECT word FROM words WHERE i < 0");
  expect({ rows, calls, columns: result.columns }).toEqual({
    rows: [],
    calls: 1,
    columns: [{ name: "word", type: "VARCHAR" }],
  });
});

test.each([
  [3, 5, 3, true],
  [5, 5, 5, false],
  [6, 5, 5, false],
])("max rows %i of %i gives %i, and tells exactly whether there are more", async (maxRows, all, count, truncated) => {
  const { rows, result } = await collect(`SELECT * FROM range(${all})`, { maxRows });
  expect(rows).toHaveLength(count);
  expect(result).toMatchObject({ row_count: count, truncated });
});

test("the next rows are read when the reader is done with these", async () => {
  let inside = 0;
  let most = 0;
  await lake.query.stream("SELECT i, word FROM words LIMIT 20000", {
    onRows: async () => {
      most = Math.max(most, ++inside);
      await sleep(2);
      inside -= 1;
    },
  });
  expect(most).toBe(1);
});

test("a reader that fails, and one that leaves, end the statement, and the next one works", async () => {
  const failing = lake.query.stream("SELECT i FROM words", { onRows: () => Promise.reject(new Error("disk full")) });
  await expect(failing).rejects.toThrow();
  const abort = new AbortController();
  const left = lake.query.stream("SELECT i FROM words", { signal: abort.signal, onRows: async () => abort.abort() });
  await expect(left).rejects.toMatchObject({ kind: "unavailable" });
  expect((await collect("SELECT count(*) FROM words")).rows).toEqual([[250_000]]);
  expect(lake.query.occupancy().running).toBe(0);
});

test("the guard, the limit of a row and parameters are those of a query", async () => {
  await expect(collect("COPY words TO 'x.csv'")).rejects.toMatchObject({ kind: "denied" });
  await expect(
    collect("SELECT repeat('x', 4000000) || repeat('x', 4000000) || repeat('x', 9000000) AS big"),
  ).rejects.toMatchObject({
    kind: "limit",
  });
  expect((await collect("SELECT $a AS a", { params: { a: 7 } })).rows).toEqual([[7]]);
  const { rows } = await collect("EXPLAIN SELECT * FROM words");
  expect(JSON.stringify(rows)).not.toContain(lake.folder);
});
