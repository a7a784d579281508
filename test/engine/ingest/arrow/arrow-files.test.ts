import { readFile } from "node:fs/promises";
import { DuckDBInstance } from "@duckdb/node-api";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cellReaders } from "../../../../src/engine/duckdb/values.ts";
import { convertArrow } from "../../../../src/engine/ingest/arrow/arrow.ts";
import type { Json } from "../../../../src/engine/kernel/json.ts";
import { type Converting, openConverting } from "../../../support/converting.ts";

/** Files of pyarrow and polars, which files/make.py writes. */
let bench: Converting;
beforeAll(async () => {
  bench = await openConverting();
});
afterAll(() => bench[Symbol.asyncDispose]());

async function load(name: string) {
  const data = await readFile(new URL(`files/${name}`, import.meta.url));
  return bench.convert(convertArrow, await bench.source(name, data));
}

/** Each column's type and values, as a result shows them. */
async function columnsOf(name: string): Promise<Record<string, [type: string, ...values: Json[]]>> {
  const { columns, files } = await load(name);
  const instance = await DuckDBInstance.create(":memory:");
  const connection = await instance.connect();
  const result = await connection.run(`FROM read_parquet('${files[0]?.path}')`);
  const chunk = await result.fetchChunk();
  const readers = chunk && chunk.rowCount > 0 ? cellReaders(chunk, result.columnTypes()) : [];
  const shown = columns.map(({ name: column, type }, index): [string, [string, ...Json[]]] => {
    const values = Array.from(
      { length: chunk?.rowCount ?? 0 },
      (_, row) => readers[index]?.(row, { left: 1e9 }) ?? null,
    );
    return [column, [type, ...values]];
  });
  connection.closeSync();
  instance.closeSync();
  return Object.fromEntries(shown);
}

describe("every value is what it was", () => {
  test("moments, to the ends of their types", async () => {
    expect(await columnsOf("moments.arrow")).toEqual({
      time_s: ["TIME", "00:00:00", "23:59:59", null],
      time_ms: ["TIME", "00:00:00", "24:00:00", null],
      time_us: ["TIME", "00:00:00.000001", "24:00:00", null],
      time_ns: ["TIME_NS", "00:00:00.000000001", "23:59:59.999999999", null],
      date32: ["DATE", "1969-12-31", "+5881580-07-10", null],
      endless: ["DATE", "infinity", "-infinity", null],
      date64: ["DATE", "1969-12-31", "+010183-09-21", null],
      s: ["TIMESTAMP", "1969-12-31T23:59:59", "+294247-01-10T04:00:54", null],
      ms: ["TIMESTAMP WITH TIME ZONE", "1969-12-31T23:59:59.999Z", "+294247-01-10T04:00:54.775Z", null],
      us: ["TIMESTAMP WITH TIME ZONE", "1969-12-31T23:59:59.999999Z", "+294247-01-10T04:00:54.775806Z", null],
      ns: ["TIMESTAMP_NS", "1969-12-31T23:59:59.999999999", "2262-04-11T23:47:16.854775806", null],
      ns_utc: ["TIMESTAMP_NS", "1969-12-31T23:59:59.999999999", "2262-04-11T23:47:16.854775806", null],
      nowhere: ["TIMESTAMP", "1970-01-01T00:00:00", "1970-01-01T00:00:00.000001", null],
      duration_ns: ["BIGINT", -1, "-9223372036854775808", null],
      duration_s: ["BIGINT", -1, "9223372036854775807", null],
      interval: [
        "VARCHAR",
        "-1 year -2 months 2 days 00:00:00.000000001",
        "178956970 years 7 months -2147483648 days 2562047:47:16.854775807",
        null,
      ],
      nested: ["STRUCT(x TIME)[]", [{ x: "00:00:05" }], [null], null],
    });
  });

  test("what is not kept as it was is told", async () => {
    const { notes } = await load("moments.arrow");
    expect(notes.converted.map(({ column, from, to }) => [column, from, to])).toEqual([
      ["us", "timestamp[us, tz=Asia/Tokyo]", "TIMESTAMP WITH TIME ZONE"],
      ["ns_utc", "timestamp[ns, tz=UTC]", "TIMESTAMP_NS"],
      ["duration_ns", "duration[ns]", "BIGINT"],
      ["duration_s", "duration[s]", "BIGINT"],
      ["interval", "interval[month_day_nano]", "VARCHAR"],
      ["endless", "date32", "DATE"],
    ]);
    expect(notes.converted[2]?.reason).toBe("Parquet has no durations: the numbers count nanoseconds.");
    expect((await load("texts.arrow")).notes.converted).toEqual([
      {
        column: "opaque",
        from: "extension<arrow.opaque>",
        to: "BLOB",
        reason:
          'The values are kept as they are stored. Its metadata: {"type_name":"geometry","vendor_name":"PostGIS"}',
      },
    ]);
  });

  test("numbers", async () => {
    expect(await columnsOf("numbers.arrow")).toEqual({
      d32: ["DECIMAL(9,2)", "-9999999.99", null],
      d64: ["DECIMAL(18,2)", "-9999999999999999.99", null],
      d128: ["DECIMAL(38,2)", "-999999999999999999999999999999999999.99", null],
      d256: ["DECIMAL(38,2)", "-999999999999999999999999999999999999.99", null],
      hundreds: ["DECIMAL(7,0)", "-9999900", null],
      millionths: ["DECIMAL(6,6)", "0.000099", null],
      f16: ["FLOAT", 65504, -0.5],
      bool8: ["BOOLEAN", true, null],
    });
  });

  test("dictionaries, lists, structs and maps of every kind", async () => {
    const twice = [
      { key: "a", value: 1 },
      { key: "a", value: 2 },
    ];
    expect(await columnsOf("nested.arrow")).toEqual({
      dict_list: ["BIGINT[]", [3], [1, 2], null],
      dict_struct: ["STRUCT(a BIGINT)", null, { a: 1 }, null],
      dict_words: ["VARCHAR[]", ["p"], ["p", "q"], null],
      dict_bool: ["BOOLEAN", true, false, null],
      dict_null: ["VARCHAR", "x", null, "x"],
      dict_view: ["VARCHAR", "x", "a text that is not in its view", null],
      list_dict: ["VARCHAR[]", ["p", "q"], [], ["p"]],
      runs: ["BIGINT[]", [1], [1], null],
      list_view: ["BIGINT[]", [3], [1, 2], []],
      large_view: ["VARCHAR[]", ["x"], ["y", "z"], []],
      large_list: ["VARCHAR[]", ["x"], null, []],
      pairs: ["INTEGER[]", [1, 2], null, [3, null]],
      nothings: ["INTEGER[]", [], null, []],
      empty: ["VARCHAR", "{}", null, "{}"],
      empties: ["VARCHAR[]", ["{}", null], null, []],
      nulls: ["VARCHAR[]", [null], null, []],
      null: ["VARCHAR", null, null, null],
      twice: ["MAP(VARCHAR, INTEGER)", twice, null, {}],
      set: ["MAP(VARCHAR, VARCHAR)", { a: null }, null, {}],
    });
  });

  test("texts, bytes and extension types", async () => {
    const five = "00000000-0000-0000-0000-000000000005";
    expect(await columnsOf("texts.arrow")).toEqual({
      view: ["VARCHAR", "short", "a text that is not in its view"],
      bytes: ["BLOB", "AA==", null],
      none: ["BLOB", "", null],
      uuid: ["UUID", five, null],
      uuids: ["UUID[]", [five], []],
      json: ["JSON", '{"a": 1.0}', null],
      opaque: ["BLOB", "eA==", null],
    });
  });

  test("what polars writes", async () => {
    expect(await columnsOf("polars.arrow")).toEqual({
      cat: ["VARCHAR", "a", "b", null],
      enum: ["VARCHAR", "x", "y", "x"],
      cats: ["VARCHAR[]", ["a"], ["b", "a"], null],
      text: ["VARCHAR", "short", "a text that is not in its view", null],
      time: ["TIME_NS", "01:02:03.000004", null, "00:00:00"],
      took: ["BIGINT", 86_400_000_000, null, -1],
      big: ["DECIMAL(38,0)", "1", "1267650600228229401496703205376", null],
      pair: ["BIGINT[]", [1, 2], [3, 4], null],
      struct: ["STRUCT(a BIGINT, b STRUCT(c VARCHAR))", { a: 1, b: { c: "x" } }, null, { a: null, b: null }],
      null: ["VARCHAR", null, null, null],
    });
    expect(Object.values(await columnsOf("polars-no-rows.arrow")).map(([type]) => type)).toEqual(
      Object.values(await columnsOf("polars.arrow")).map(([type]) => type),
    );
  });

  test("dictionaries that grow or come again", async () => {
    expect(await columnsOf("delta.arrow")).toEqual({ a: ["VARCHAR", "x", "y", "z", "x"] });
    expect(await columnsOf("delta-lists.arrow")).toEqual({ a: ["BIGINT[]", [1], [2, 3], [4], null] });
    expect(await columnsOf("replaced.arrow")).toEqual({ a: ["VARCHAR", "x", "y", "p", "q"] });
  });

  test("buffers that LZ4 packed", async () => {
    const { n, s, d } = await columnsOf("lz4.arrow");
    const thrice = (values: Json[]): Json[] => Array.from({ length: 300 }, () => values).flat();
    expect(n).toEqual(["BIGINT", ...thrice([1, null, 3])]);
    expect(s).toEqual(["VARCHAR", ...thrice(["a".repeat(30), null, "b"])]);
    expect(d).toEqual(["VARCHAR", ...thrice(["u", "v", null])]);
  });

  test("names that are empty or differ by case, and metadata that is no text", async () => {
    const { columns, notes } = await load("names.arrow");
    const struct = 'STRUCT(a BIGINT, A_2 BIGINT, field3 BIGINT, a_1 BIGINT, element BIGINT, "é" BIGINT, "É" BIGINT)';
    expect(columns).toEqual([
      { name: "s", type: struct },
      { name: "C1", type: "BIGINT" },
      { name: "S_1", type: "BIGINT" },
    ]);
    expect(notes.renamed_columns).toEqual([
      { from: "", to: "C1" },
      { from: "S", to: "S_1" },
      { from: "s.A", to: "s.A_2" },
      { from: "s.", to: "s.field3" },
    ]);
  });
});

describe("refused by name, with what to do", () => {
  const cases: [file: string, message: string][] = [
    ["dense-union.arrow", ': column "a" has the Arrow type union<int64, string>, which has no Parquet form.'],
    ["sparse-union.arrow", ': column "a" has the Arrow type union<int64, string>, which has no Parquet form.'],
    ["not-json.arrow", ': column "a" holds text that is not JSON.'],
    ["zstd.arrow", " has ZSTD-compressed buffers, which cannot be read."],
  ];
  test.each(cases)("%s", async (file, message) => {
    await expect(load(file)).rejects.toMatchObject({
      kind: "invalid",
      message: `${file}${message}`,
      hint: expect.any(String),
    });
  });
});
