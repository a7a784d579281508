import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Json } from "../../../../src/engine/kernel/json.ts";

import { openParquetLake, type ParquetLake } from "../../../support/parquet-lake.ts";

let lake: ParquetLake;
beforeAll(async () => {
  lake = await openParquetLake();
});
afterAll(() => lake[Symbol.asyncDispose]());

const cases: [sql: string, type: string, value: Json][] = [
  ["true", "BOOLEAN", true],
  ["false", "BOOLEAN", false],
  ["(-128)::TINYINT", "TINYINT", -128],
  ["32767::SMALLINT", "SMALLINT", 32767],
  ["(-2147483648)::INTEGER", "INTEGER", -2147483648],
  ["255::UTINYINT", "UTINYINT", 255],
  ["65535::USMALLINT", "USMALLINT", 65535],
  ["4294967295::UINTEGER", "UINTEGER", 4294967295],
  // Numbers up to 2^53 - 1, texts beyond.
  ["9007199254740991::BIGINT", "BIGINT", 9007199254740991],
  ["9007199254740992::BIGINT", "BIGINT", "9007199254740992"],
  ["-9007199254740991::BIGINT", "BIGINT", -9007199254740991],
  ["(-9223372036854775808)::BIGINT", "BIGINT", "-9223372036854775808"],
  ["18446744073709551615::UBIGINT", "UBIGINT", "18446744073709551615"],
  ["1::HUGEINT", "HUGEINT", 1],
  ["170141183460469231731687303715884105727::HUGEINT", "HUGEINT", "170141183460469231731687303715884105727"],
  ["'340282366920938463463374607431768211455'::UHUGEINT", "UHUGEINT", "340282366920938463463374607431768211455"],
  ["1.50::DECIMAL(4,2)", "DECIMAL(4,2)", "1.50"],
  ["-0.05::DECIMAL(4,2)", "DECIMAL(4,2)", "-0.05"],
  [
    "'9999999999999999999999999999.9999999999'::DECIMAL(38,10)",
    "DECIMAL(38,10)",
    "9999999999999999999999999999.9999999999",
  ],
  ["7::DECIMAL(18,0)", "DECIMAL(18,0)", "7"],
  ["0.1::DOUBLE", "DOUBLE", 0.1],
  ["'-0'::DOUBLE", "DOUBLE", 0],
  ["5e-324::DOUBLE", "DOUBLE", 5e-324],
  ["'NaN'::DOUBLE", "DOUBLE", "NaN"],
  ["'inf'::DOUBLE", "DOUBLE", "Infinity"],
  ["'-inf'::DOUBLE", "DOUBLE", "-Infinity"],
  ["0.1::FLOAT", "FLOAT", 0.1],
  ["16777216::FLOAT", "FLOAT", 16777216],
  ["3.4028234663852886e38::FLOAT", "FLOAT", 3.4028235e38],
  ["'nan'::FLOAT", "FLOAT", "NaN"],
  ["'-inf'::FLOAT", "FLOAT", "-Infinity"],
  ["'é\"\\🦆' || chr(10)", "VARCHAR", 'é"\\🦆\n'],
  ["''", "VARCHAR", ""],
  ["'a' || chr(0) || 'b'", "VARCHAR", "a\0b"],
  ["'\\x00\\xFFab'::BLOB", "BLOB", "AP9hYg=="],
  ["''::BLOB", "BLOB", ""],
  ["'0101'::BIT", "BIT", "0101"],
  ["DATE '2024-02-29'", "DATE", "2024-02-29"],
  ["DATE '1969-12-31'", "DATE", "1969-12-31"],
  ["DATE '0001-01-01'", "DATE", "0001-01-01"],
  ["DATE '0044-03-15 (BC)'", "DATE", "-000043-03-15"],
  ["DATE '12345-06-07'", "DATE", "+012345-06-07"],
  ["DATE '5881580-07-10'", "DATE", "+5881580-07-10"],
  ["DATE 'infinity'", "DATE", "infinity"],
  ["DATE '-infinity'", "DATE", "-infinity"],
  ["TIME '12:34:56.789'", "TIME", "12:34:56.789"],
  ["TIME '24:00:00'", "TIME", "24:00:00"],
  ["'01:02:03.123456789'::TIME_NS", "TIME_NS", "01:02:03.123456789"],
  ["'12:00:00+05:30'::TIMETZ", "TIME WITH TIME ZONE", "12:00:00+05:30"],
  ["'00:00:00-15:59:59'::TIMETZ", "TIME WITH TIME ZONE", "00:00:00-15:59:59"],
  ["TIMESTAMP '2024-02-29 12:34:56.000001'", "TIMESTAMP", "2024-02-29T12:34:56.000001"],
  ["TIMESTAMP '1969-12-31 23:59:59.5'", "TIMESTAMP", "1969-12-31T23:59:59.5"],
  ["TIMESTAMP '0044-03-15 (BC) 01:00:00'", "TIMESTAMP", "-000043-03-15T01:00:00"],
  ["TIMESTAMP '294247-01-10 04:00:54.775806'", "TIMESTAMP", "+294247-01-10T04:00:54.775806"],
  ["TIMESTAMP 'infinity'", "TIMESTAMP", "infinity"],
  ["TIMESTAMP '-infinity'", "TIMESTAMP", "-infinity"],
  ["'2024-01-01 00:00:01'::TIMESTAMP_S", "TIMESTAMP_S", "2024-01-01T00:00:01"],
  ["'2024-01-01 00:00:00.12'::TIMESTAMP_MS", "TIMESTAMP_MS", "2024-01-01T00:00:00.12"],
  ["'2024-01-01 00:00:00.123456789'::TIMESTAMP_NS", "TIMESTAMP_NS", "2024-01-01T00:00:00.123456789"],
  ["'infinity'::TIMESTAMP_S", "TIMESTAMP_S", "infinity"],
  ["'-infinity'::TIMESTAMP_NS", "TIMESTAMP_NS", "-infinity"],
  ["TIMESTAMPTZ '2024-01-01 00:00:00+02'", "TIMESTAMP WITH TIME ZONE", "2023-12-31T22:00:00Z"],
  ["TIMESTAMPTZ 'infinity'", "TIMESTAMP WITH TIME ZONE", "infinity"],
  ["INTERVAL '1 year 2 months 3 days 04:05:06.789'", "INTERVAL", "1 year 2 months 3 days 04:05:06.789"],
  ["INTERVAL '-1 day'", "INTERVAL", "-1 day"],
  ["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::UUID", "UUID", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
  ["'b'::ENUM('a', 'b')", "ENUM('a', 'b')", "b"],
  ["'{\"a\": [1, 1.0]}'::JSON", "JSON", '{"a": [1, 1.0]}'],
  ["NULL", "INTEGER", null],
  ["NULL::VARCHAR", "VARCHAR", null],
  ["NULL::INTEGER[]", "INTEGER[]", null],
  ["NULL::STRUCT(a INTEGER)", 'STRUCT("a" INTEGER)', null],
  ["NULL::MAP(VARCHAR, INTEGER)", "MAP(VARCHAR, INTEGER)", null],
  ["[]::INTEGER[]", "INTEGER[]", []],
  ["[1, NULL, 3]", "INTEGER[]", [1, null, 3]],
  ["[[1], NULL, []]", "INTEGER[][]", [[1], null, []]],
  ["[9007199254740992]", "BIGINT[]", ["9007199254740992"]],
  ["[DATE '2024-01-01', 'infinity'::DATE]", "DATE[]", ["2024-01-01", "infinity"]],
  ["[1, 2, 3]::INTEGER[3]", "INTEGER[3]", [1, 2, 3]],
  ["[['a'], [NULL]]::VARCHAR[1][2]", "VARCHAR[1][2]", [["a"], [null]]],
  ["NULL::INTEGER[2]", "INTEGER[2]", null],
  ["{'a': 1, 'b': {'c': ['x']}}", 'STRUCT("a" INTEGER, "b" STRUCT("c" VARCHAR[]))', { a: 1, b: { c: ["x"] } }],
  ["row(1, 'x')", 'STRUCT("" INTEGER, "" VARCHAR)', [1, "x"]],
  ["[{'a': 0.1::FLOAT}]", 'STRUCT("a" FLOAT)[]', [{ a: 0.1 }]],
  ["map(['a', 'b'], [1, NULL])", "MAP(VARCHAR, INTEGER)", { a: 1, b: null }],
  [
    "map([1, 2], ['a', 'b'])",
    "MAP(INTEGER, VARCHAR)",
    [
      { key: 1, value: "a" },
      { key: 2, value: "b" },
    ],
  ],
  ["map([[1]], [{'a': 1}])", 'MAP(INTEGER[], STRUCT("a" INTEGER))', [{ key: [1], value: { a: 1 } }]],
  ["map([], [])", "MAP(INTEGER, INTEGER)", []],
  ["union_value(num := 2)", 'UNION("num" INTEGER)', { num: 2 }],
  ["union_value(k := 'x')::UNION(n INTEGER, k VARCHAR)", 'UNION("n" INTEGER, "k" VARCHAR)', { k: "x" }],
  ["NULL::UNION(n INTEGER)", 'UNION("n" INTEGER)', null],
  ["'POINT(1 2)'::GEOMETRY", "GEOMETRY", "AQEAAAAAAAAAAADwPwAAAAAAAABA"],
  ["'POINT ZM (1 2 3 4)'::GEOMETRY", "GEOMETRY", "AbkLAAAAAAAAAADwPwAAAAAAAABAAAAAAAAACEAAAAAAAAAQQA=="],
  ["INTERVAL '-14 months'", "INTERVAL", "-1 year -2 months"],
  ["to_microseconds(-9223372036854775807)", "INTERVAL", "-2562047788:00:54.775807"],
  ["'00000001'::BIT", "BIT", "00000001"],
  ["'infinity'::TIMESTAMP_MS", "TIMESTAMP_MS", "infinity"],
  ['struct_pack("a " := 1, "a" := 2)', 'STRUCT("a " INTEGER, "a" INTEGER)', { "a ": 1, a: 2 }],
  ["row(1)", 'STRUCT("" INTEGER)', [1]],
];

describe("every type leaves as JSON", () => {
  test.each(cases)("%s", async (sql, type, value) => {
    const { columns, rows } = await lake.query.query(`SELECT ${sql} AS v`);
    expect(columns).toEqual([{ name: "v", type }]);
    expect(rows).toEqual([[value]]);
    expect(JSON.parse(JSON.stringify(rows))).toEqual([[value]]);
  });

  test.each(cases)("in the second of three rows: %s", async (sql, _, value) => {
    const { rows } = await lake.query.query(
      `SELECT v, [v], {'v': v} FROM (SELECT ${sql} AS v, 2 AS n UNION ALL SELECT NULL, 1 UNION ALL SELECT NULL, 3) ORDER BY n`,
    );
    expect(rows).toEqual([
      [null, [null], { v: null }],
      [value, [value], { v: value }],
      [null, [null], { v: null }],
    ]);
  });

  test("DuckDB's own list of types has none that is missing", async () => {
    const connection = await lake.bare.connect();
    await connection.run("CREATE TABLE all_types AS FROM test_all_types()");
    const { cellReaders } = await import("../../../../src/engine/duckdb/values.ts");
    const result = await connection.raw.run("FROM all_types");
    const types = result.columnTypes();
    const chunk = await result.fetchChunk();
    if (!chunk) expect.fail("no rows");
    const readers = cellReaders(chunk, types);
    for (let row = 0; row < 3; row++) {
      const cells = readers.map((read) => read(row, { left: 1e9 }));
      expect(JSON.parse(JSON.stringify(cells)), `row ${row}`).toEqual(cells);
      if (row === 2) expect(cells.every((cell) => cell === null)).toBe(true);
    }
    expect(chunk.rowCount).toBe(3);
    connection.close();
  });
});

test("a key named __proto__ is a key", async () => {
  const { rows } = await lake.query.query("SELECT {'__proto__': 1}, map(['__proto__'], [2])");
  expect(JSON.stringify(rows)).toBe('[[{"__proto__":1},{"__proto__":2}]]');
});

test.each([
  "SELECT TIME_NS '00:00:00.000000001' AS c",
  "SELECT DATE '5881580-07-10' AS c",
  "SELECT TIMESTAMP '-infinity' AS c",
  "SELECT unnest([1.7e308, -1.7e308, 1.7e308]) AS c",
  "SELECT unnest([99999999999999999999999999999999999999::DECIMAL(38,0), 99999999999999999999999999999999999999]) AS c",
])("a SUMMARIZE that DuckDB cannot average says what to do: %s", async (select) => {
  await expect(lake.query.query(`SUMMARIZE ${select}`)).rejects.toMatchObject({
    hint: expect.stringContaining("SUMMARIZE SELECT *"),
  });
});

test("a type of many words is cut", async () => {
  const values = Array.from({ length: 500 }, (_, n) => `'value ${n}'`).join(", ");
  const { columns } = await lake.query.query(`SELECT 'value 1'::ENUM(${values}) AS v`);
  expect(columns[0]?.type).toMatch(/^ENUM\('value 0'/);
  expect(columns[0]?.type.length).toBeLessThan(600);
});

test("nulls are found past the first 64 rows", async () => {
  const { rows } = await lake.query.query(
    "SELECT CASE WHEN i % 3 = 0 THEN 'x' || i END, CASE WHEN i % 3 = 0 THEN [i] END FROM range(3000) t(i)",
    { maxRows: 3000, maxBytes: 2 ** 20 },
  );
  expect(rows).toEqual(Array.from({ length: 3000 }, (_, i) => (i % 3 === 0 ? [`x${i}`, [i]] : [null, null])));
});
