import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Lake, openLake } from "../../support/lake.ts";

let lake: Lake;
beforeAll(async () => {
  lake = await openLake();
  await lake.call("ingest", { name: "pay", text: "id,cents\n1,9007199254740993\n2,9007199254740995\n" });
});
afterAll(async () => {
  await lake[Symbol.asyncDispose]();
});

describe("a query becomes a dataset", () => {
  test("and the same result again changes nothing", async () => {
    const request = { name: "top", sql: "SELECT id, cents FROM pay ORDER BY id LIMIT 1; -- one" };
    expect(await lake.call("ingest", request)).toMatchObject({ version: 1, rows: 1, unchanged: false });
    expect(await lake.call("ingest", request)).toMatchObject({ version: 1, unchanged: true, rows_written: 0 });
  });

  test("which may read the dataset it replaces", async () => {
    await lake.call("ingest", { name: "self", text: "n\n1\n2\n" });
    await lake.call("ingest", { name: "self", sql: "SELECT n * 10 AS n FROM self" });
    expect((await lake.call("sql", { sql: "SELECT n FROM self ORDER BY n" })).rows).toEqual([[10], [20]]);
    await lake.call("ingest", { name: "self", sql: 'SELECT * FROM "self@1"' });
    expect((await lake.call("sql", { sql: "SELECT n FROM self ORDER BY n" })).rows).toEqual([[1], [2]]);
  });

  test.each([
    ["COPY pay TO 'x'", /^denied/],
    ["SELECT * FROM read_csv('/etc/passwd')", /^denied/],
    ["EXPLAIN SELECT 1", /^denied/],
    ["SELECT * FROM nowhere", /^not_found/],
    ["SELECT nope FROM pay", /^invalid/],
    ["SELECT error('boom')", /boom/],
    [
      "SELECT ROW(1, 2) AS r",
      /^invalid: Column r is of type STRUCT\(INTEGER, INTEGER\)\.\nNext: Give its fields names/,
    ],
    ["SELECT {'a': [ROW(now(), 2)]} AS r", /^invalid: Column r is of type .*Next: Give its fields names/s],
    ["SELECT MAP {'k': ROW(1.5::DECIMAL(9,2))} AS r", /^invalid: Column r is of type .*Next: Give its fields names/s],
  ])("but %s is refused and leaves nothing", async (sql, said) => {
    expect(await lake.refused("ingest", { name: "never", sql })).toMatch(said);
    expect((await lake.call("catalog-list", { search: "never" })).total).toBe(0);
  });
});

test.each([
  ["sum(cents)", "DECIMAL(38,0)", "18014398509481988"],
  ["[sum(cents)]", "DECIMAL(38,0)[]", ["18014398509481988"]],
  [
    "{'DECIMAL(': 1, 'a, b': {'TIME': 2}}",
    'STRUCT("DECIMAL(" INTEGER, "a, b" STRUCT("TIME" INTEGER))',
    { "DECIMAL(": 1, "a, b": { TIME: 2 } },
  ],
  ["{'HUGEINT': max(cents)::HUGEINT}", "STRUCT(HUGEINT DECIMAL(38,0))", { HUGEINT: "9007199254740995" }],
  [
    "{'x ENUM(''q'') y': 1, 'a\"b': 2}",
    'STRUCT("x ENUM(\'q\') y" INTEGER, "a""b" INTEGER)',
    { "x ENUM('q') y": 1, 'a"b': 2 },
  ],
  ["INTERVAL '1 month -3.123456 seconds'", "VARCHAR", "1 month -00:00:03.123456"],
  ["TIMETZ '01:02:03+05:30'", "VARCHAR", "01:02:03+05:30"],
  ["TIMESTAMP_S '2024-01-01 01:02:03'", "TIMESTAMP", "2024-01-01T01:02:03"],
  ["'b, ''c'')'::ENUM('a', 'b, ''c'')')", "VARCHAR", "b, 'c')"],
  ["'b'::ENUM('a', 'b')", "VARCHAR", "b"],
  ["'101'::BIT", "VARCHAR", "101"],
  ["union_value(k := 7)", "JSON", undefined],
  ["[1, 2]::FLOAT[2]", "FLOAT[2]", [1, 2]],
  ["NULL", "INTEGER", null],
])("%s is kept as %s without loss", async (expression, type, value) => {
  const kept = await lake.call("ingest", {
    name: "kept",
    sql: `SELECT ${expression} AS v FROM pay`,
    schema_change: "allow",
  });
  expect(kept.columns).toEqual([{ name: "v", type }]);
  const { rows } = await lake.call<{ rows: unknown[][] }>("sql", { sql: "SELECT v FROM kept LIMIT 1" });
  if (value !== undefined) expect(rows[0]?.[0]).toEqual(value);
  else expect(JSON.stringify(rows[0]?.[0])).toContain("7");
});
