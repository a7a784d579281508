import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Format } from "../../../../src/engine/ingest/formats.ts";
import { convertJson, convertNdjson } from "../../../../src/engine/ingest/json/json.ts";
import type { ConvertContext } from "../../../../src/engine/ingest/types.ts";
import { type Converting, openConverting } from "../../../support/converting.ts";

let bench: Converting;
beforeAll(async () => {
  bench = await openConverting();
});
afterAll(() => bench[Symbol.asyncDispose]());

async function convert(data: string, format: Format = "json", overrides: Partial<ConvertContext> = {}) {
  const source = await bench.source("some.json", data);
  const { columns, ...rest } = await bench.convert(
    format === "ndjson" ? convertNdjson : convertJson,
    source,
    overrides,
  );
  return { ...rest, types: columns.map(({ type }) => type) };
}

const many = <T>(count: number, value: (index: number) => T): T[] =>
  Array.from({ length: count }, (_, index) => value(index));
const keyed = (count: number, value: (index: number) => unknown): Record<string, unknown> =>
  Object.fromEntries(many(count, (index) => [`q${index}`, value(index)]));

describe("types", () => {
  const cases: [name: string, rows: string[], type: string, values: unknown[]][] = [
    ["integers and decimals", ["[1,2.5]"], "DOUBLE[]", [[1, 2.5]]],
    ["numbers and words", ["[1]", '["x"]'], "JSON[]", [["1"], ['"x"']]],
    ["booleans and numbers", ["[true]", "[1]"], "JSON[]", [["true"], ["1"]]],
    ["objects and lists", ['[{"a":1}]', "[[1]]"], "JSON[]", [['{"a":1}'], ["[1]"]]],
    ["nulls only", ['{"a":null}'], "STRUCT(a VARCHAR)", [{ a: null }]],
    ["not a number", ["[NaN,-Infinity]"], "DOUBLE[]", [["NaN", "-Infinity"]]],
    ["lists of lists, some empty", ["[[],[[]],[[1]]]"], "BIGINT[][][]", [[[], [[]], [["1"]]]]],
    ["empty objects", ["{}", "{}"], "JSON", ["{}", "{}"]],
    [
      "keys in another order, and one that comes late",
      ['{"a":1,"b":2}', '{"b":4,"c":5,"a":3}'],
      "STRUCT(a BIGINT, b BIGINT, c BIGINT)",
      [
        { a: "1", b: "2", c: null },
        { a: "3", b: "4", c: "5" },
      ],
    ],
    ["keys that differ by case in different rows", ['{"a":1}', '{"A":2}'], "JSON", ['{"a":1}', '{"A":2}']],
    ["keys that look like numbers", ['{"10":1,"2":2}'], 'STRUCT("10" BIGINT, "2" BIGINT)', [{ "10": "1", "2": "2" }]],
    ["keys with escapes", ['{"\\u0061":1}', '{"a":2}'], "STRUCT(a BIGINT)", [{ a: "1" }, { a: "2" }]],
  ];
  test.each(cases)("%s", async (_name, rows, type, values) => {
    const found = await convert(rows.map((row) => `{"v":${row}}`).join("\n"));
    expect([found.types, found.values.map(({ v }) => v)]).toEqual([[type], values]);
    expect(found.notes.kept_as_text).toEqual([]);
  });

  test.each([
    ["in a struct", '{"s":{"b":1,"b":"x"}}', "b"],
    ["written with an escape", '{"s":{"b":1,"\\u0062":"x"}}', "b"],
    ["deep inside", '{"s":[{"x":[{"k":1,"j":2,"k":3}]}]}', "k"],
    ["in a map", `{"s":${JSON.stringify(keyed(300, (index) => index)).replace('"q5":5', '"q5":5,"q5":6')}}`, "q5"],
  ])("a key twice, %s, stays JSON with both values, and is reported", async (_name, row, key) => {
    const { types, values, notes } = await convert(row);
    expect(types).toEqual(["JSON"]);
    expect(`{"s":${values[0]?.s}}`).toBe(row.replace("\\u0062", "b"));
    expect(notes.kept_as_text).toMatchObject([
      { column: "s", line: 1, value: key, reason: `the key "${key}" occurs twice in an object inside; kept as JSON` },
    ]);
  });

  test("the same key in different objects is not twice", async () => {
    const { notes } = await convert('{"s":[{"a":1,"b":{"a":2}},{"a":3}]}\n{"s":[{"a":4}]}');
    expect(notes.kept_as_text).toEqual([]);
  });

  test("bad lines leave nothing behind", async () => {
    const data = '{"s":{"a":1}}\n{"s":{"b":"x","a":"y"}} x\n{"s":{"a":[1}}\n{"s":{"a":2}}\n';
    const { types, values } = await convert(data, "ndjson", { onBadRows: "skip" });
    expect(types).toEqual(["STRUCT(a BIGINT)"]);
    expect(values).toEqual([{ s: { a: "1" } }, { s: { a: "2" } }]);
  });

  test("objects that lie across the parts a file is read in", async () => {
    const data = many(40, (index) =>
      JSON.stringify({ s: { text: "é".repeat(40_000), [`k${index % 3}`]: index } }),
    ).join("\n");
    const { types, rows } = await convert(data);
    expect([types, rows]).toEqual([['STRUCT("text" VARCHAR, k0 BIGINT, k1 BIGINT, k2 BIGINT)'], 40]);
  });
});

/** A field that is missing is null in a STRUCT, and large integers are strings. */
const plain = (value: unknown): unknown =>
  JSON.parse(
    JSON.stringify(value, (_, inside) => (typeof inside === "number" ? String(inside) : (inside ?? undefined))),
  );

/** In 256 MiB, the default. */
describe("memory", { tags: ["slow"] }, () => {
  const question = (index: number) => ({
    text: `Question ${index}`,
    options: many(6, (code) => ({ code, label: `Label ${code}` })),
    answer: { value: index % 3, comment: null },
  });
  const survey = keyed(40, () => keyed(25, question));

  test("9,000 keys in three records are one JSON column", async () => {
    const records = many(3, (row) => keyed(9000, (index) => index * row + 0.5));
    const { types, values, notes } = await convert(JSON.stringify(records));
    expect(types).toEqual(["JSON"]);
    expect(values.map(({ json }) => JSON.parse(String(json)))).toEqual(records);
    expect(notes.kept_as_text).toMatchObject([{ reason: "the records have too many different keys for columns" }]);
  });

  test.each([
    ["one survey of 240 kB, a column a section", [survey]],
    ["one survey of 240 kB in one column", [{ survey }]],
    [
      "a thousand answers, each an object",
      [keyed(1000, () => ({ a: [{ x: 1, y: "s", z: [1, 2] }], b: { c: "x", d: 1 } }))],
    ],
    ["1,400 lists of objects", [keyed(1400, () => [{ x: 1, y: "s", z: [1, 2] }, { w: true }])]],
  ])("%s", async (_name, records) => {
    const { values } = await convert(JSON.stringify(records));
    const [row = {}] = values;
    const parsed = Object.entries(row).map(([key, value]) => [
      key,
      typeof value === "string" ? JSON.parse(value) : value,
    ]);
    expect(plain(Object.fromEntries(parsed))).toEqual(plain(records[0]));
  });

  test("fields beyond the room for columns are JSON, the widest first, and reported", async () => {
    const { types, notes } = await convert(
      JSON.stringify([{ small: { a: 1 }, ...keyed(400, () => ({ a: [{ x: 1 }], b: 1 })) }]),
    );
    expect(types[0]).toBe("STRUCT(a BIGINT)");
    expect(types.at(1)).toBe("JSON");
    expect(notes.kept_as_text[0]).toMatchObject({
      column: "q0",
      inferred: "STRUCT",
      line: 1,
      reason: "all columns together have too many fields; kept as JSON",
    });
  });

  test("40 MB of nested records have the types of their fields", { tags: ["slow"] }, async () => {
    const record = JSON.stringify({
      id: 1,
      s: keyed(40, (index) => ({ a: [{ x: index, y: `s${index}` }], b: `text ${index}` })),
    });
    const { rows, types, notes } = await convert(`${record}\n`.repeat(Math.ceil(40e6 / record.length)), "ndjson");
    expect(rows).toBeGreaterThan(10_000);
    expect(types[1]).toMatch(/^STRUCT\(q0 STRUCT\(a STRUCT\(x BIGINT, y VARCHAR\)\[\], b VARCHAR\)/);
    expect(notes.kept_as_text).toEqual([]);
  });
});
