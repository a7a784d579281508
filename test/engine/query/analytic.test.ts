// @module-tag slow
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openParquetLake, type ParquetLake } from "../../support/parquet-lake.ts";
import { ANALYTIC } from "./analytic/statements.ts";
import { TPCH, TPCH_TABLES } from "./analytic/tpch.ts";

let lake: ParquetLake;
beforeAll(async () => {
  lake = await openParquetLake({ queryMemoryBytes: 2 ** 31 });
  for (const [name, select] of Object.entries(TPCH_TABLES)) await lake.write(name, select);
});
afterAll(() => lake[Symbol.asyncDispose]());

/** What is written every day is answered: the guard's limits are for what nobody writes. */
describe("analytic statements", () => {
  test.each([...TPCH, ...ANALYTIC].map((sql) => ({ start: sql.slice(0, 70), sql })))("$start", async ({ sql }) => {
    const result = await lake.query.query(sql, { maxBytes: 2 ** 22 });
    expect(result.columns.length).toBeGreaterThan(0);
    expect(result.rows.length).toBe(result.row_count);
  });
});
