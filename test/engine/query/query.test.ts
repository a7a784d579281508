import { afterAll, beforeAll, expect, test } from "vitest";
import { openParquetLake, type ParquetLake } from "../../support/parquet-lake.ts";

let lake: ParquetLake;
beforeAll(async () => {
  lake = await openParquetLake();
  await lake.write("workers", "SELECT i AS id, 'w' || i AS name, CASE WHEN i % 2 = 0 THEN 'IL' ELSE 'MA' END AS state, i * 1.5::DOUBLE AS rate FROM range(1000) t(i)");
});
afterAll(() => lake[Symbol.asyncDispose]());

test("smoke", async () => {
  for (const sql of ["SELECT count(*) FROM workers", "FROM workers LIMIT 2", "SHOW TABLES", "DESCRIBE workers", "SUMMARIZE workers", "PIVOT workers ON state USING count(*) GROUP BY id % 3", "EXPLAIN SELECT 1", "EXPLAIN ANALYZE FROM workers", "FROM lakehouse_datasets","FROM lakehouse_versions", "FROM lakehouse_files", "SELECT range(3), repeat('x', 5)", "SHOW ALL TABLES", 'FROM "workers@1" LIMIT 1']) {
    const r = await lake.query.query(sql).catch((e) => ({ error: e, hint: e.hint }));
    console.log(sql, "\n  ", JSON.stringify(r).slice(0, 400), (r as {error?: Error}).error?.message ?? "");
  }
  expect(1).toBe(1);
});
