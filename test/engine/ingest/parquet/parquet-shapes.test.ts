import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { convertParquet } from "../../../../src/engine/ingest/parquet/parquet.ts";
import { type Converting, openConverting } from "../../../support/converting.ts";
import {
  binary,
  type ChunkOptions,
  type ElementOptions,
  element,
  i32,
  int96,
  levels,
  list,
  logical,
  oneColumn,
  parquetFile,
  plain,
  struct,
  type Thrift,
} from "../../../support/parquet-file.ts";

let bench: Converting;
beforeAll(async () => {
  bench = await openConverting();
});
afterAll(() => bench[Symbol.asyncDispose]());

async function convert(bytes: Buffer, overrides = {}) {
  const converted = await bench.convert(convertParquet, await bench.source("in.parquet", bytes), overrides);
  return {
    ...converted,
    types: converted.columns.map(({ name, type }) => `${name} ${type}`),
    rows: converted.values.map((row) => Object.values(row)),
  };
}

async function refused(bytes: Buffer): Promise<unknown> {
  const outcome: unknown = await convert(bytes).catch((error: unknown) => error);
  if (outcome instanceof Error) return outcome;
  throw new Error(`It should have failed: ${JSON.stringify(outcome)}`);
}

/** A leaf with one value in each of its rows, with the levels of something that is there. */
function leaf(path: string[], type: ChunkOptions["type"], values: Buffer, definition: number, repetition?: number) {
  const given = repetition === undefined ? [] : [levels(repetition, 1)];
  const defined = definition === 0 ? [] : [levels(definition, 1)];
  return { type, path, values, count: 1, levels: Buffer.concat([...given, ...defined]) };
}

describe("types that only the newer annotation tells", () => {
  const cases: [string, ChunkOptions["type"], ElementOptions, bigint | Buffer | string, string, unknown][] = [
    ["STRING", "BYTE_ARRAY", { logical: logical.string }, "é", "VARCHAR", "é"],
    ["ENUM", "BYTE_ARRAY", { logical: { 4: struct({}) } }, "new", "VARCHAR", "new"],
    ["JSON", "BYTE_ARRAY", { logical: { 12: struct({}) } }, "[1]", "JSON", "[1]"],
    ["BSON", "BYTE_ARRAY", { logical: { 13: struct({}) } }, "\u0005", "BLOB", "\\x05"],
    ["none", "BYTE_ARRAY", {}, "text", "BLOB", "text"],
    [
      "UUID",
      "FIXED",
      { length: 16, logical: logical.uuid },
      Buffer.alloc(16, 1),
      "UUID",
      "01010101-0101-0101-0101-010101010101",
    ],
    ["FLOAT16", "FIXED", { length: 2, logical: logical.float16 }, Buffer.from([0, 0x3e]), "FLOAT", 1.5],
    [
      "INTERVAL",
      "FIXED",
      { length: 12, converted: 21 },
      Buffer.from([1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]),
      "INTERVAL",
      { months: 1, days: 2, micros: "3000" },
    ],
  ];
  test.each(cases)("%s", async (_, type, options, value, kept, shown) => {
    const { types, rows, notes } = await convert(oneColumn(type, options, [value]));
    expect([types, rows]).toEqual([[`c ${kept}`], [[shown]]]);
    expect(notes.converted).toEqual([]);
  });

  const values = Buffer.concat([plain("INT32", [7])]);
  const pair = [leaf(["c", "kv", "k"], "INT32", values, 1, 0), leaf(["c", "kv", "v"], "INT32", values, 1, 0)];
  const groups: [string, Thrift[], typeof pair, string, unknown][] = [
    [
      "LIST",
      [
        element("c", { children: 1, logical: logical.list }),
        element("list", { children: 1, repetition: "repeated" }),
        element("element", { type: "INT32" }),
      ],
      pair.slice(0, 1),
      "INTEGER[]",
      [7],
    ],
    [
      "MAP",
      [
        element("c", { children: 1, logical: logical.map }),
        element("kv", { children: 2, repetition: "repeated" }),
        element("k", { type: "INT32" }),
        element("v", { type: "INT32" }),
      ],
      pair,
      "MAP(INTEGER, INTEGER)",
      [{ key: 7, value: 7 }],
    ],
    [
      "the oldest MAP",
      [
        element("c", { children: 1, converted: 2 }),
        element("kv", { children: 2, repetition: "repeated" }),
        element("k", { type: "INT32" }),
        element("v", { type: "INT32" }),
      ],
      pair,
      "MAP(INTEGER, INTEGER)",
      [{ key: 7, value: 7 }],
    ],
    [
      "a list of two levels",
      [element("c", { children: 1, converted: 3 }), element("array", { type: "INT32", repetition: "repeated" })],
      pair.slice(0, 1),
      "INTEGER[]",
      [7],
    ],
    ["a repeated field", [element("c", { type: "INT32", repetition: "repeated" })], pair.slice(0, 1), "INTEGER[]", [7]],
  ];
  test.each(groups)("%s", async (_, elements, chunks, kept, shown) => {
    const { types, rows } = await convert(parquetFile({ elements, chunks, rows: 1 }, 1));
    expect([types, rows]).toEqual([[`c ${kept}`], [[shown]]]);
  });
});

describe("what is kept as something else is told", () => {
  const set = (inner: ElementOptions) =>
    parquetFile(
      {
        elements: [
          element("c", {
            children: 1,
            repetition: "optional",
            ...(inner.converted === 2 ? { converted: 1 } : { logical: logical.map, converted: 1 }),
          }),
          element("key_value", { children: 1, repetition: "repeated", ...inner }),
          element("key", { type: "BYTE_ARRAY", converted: 0 }),
        ],
        chunks: [leaf(["c", "key_value", "key"], "BYTE_ARRAY", plain("BYTE_ARRAY", ["sql"]), 2, 0)],
        rows: 1,
      },
      1,
    );

  test.each([{}, { converted: 2 }])("a map without values is a list of its keys: %j", async (inner) => {
    const { types, rows, notes } = await convert(set(inner));
    expect([types, rows]).toEqual([["c VARCHAR[]"], [[["sql"]]]]);
    expect(notes.converted).toEqual([
      { column: "c", from: "MAP without values", to: "VARCHAR[]", reason: "its keys are kept as a list" },
    ]);
  });

  test("a VARIANT is JSON", async () => {
    const file = parquetFile(
      {
        elements: [
          element("c", { children: 2, logical: { 16: struct({}) } }),
          element("metadata", { type: "BYTE_ARRAY" }),
          element("value", { type: "BYTE_ARRAY" }),
        ],
        chunks: [
          leaf(["c", "metadata"], "BYTE_ARRAY", plain("BYTE_ARRAY", [Buffer.from([1, 0, 0])]), 0),
          leaf(["c", "value"], "BYTE_ARRAY", plain("BYTE_ARRAY", [Buffer.from([12, 7])]), 0),
        ],
        rows: 1,
      },
      1,
    );
    const { types, rows, notes } = await convert(file);
    expect([types, rows]).toEqual([["c JSON"], [["7"]]]);
    expect(notes.converted).toMatchObject([{ column: "c", from: "VARIANT", to: "JSON" }]);
  });

  test("nanoseconds in UTC: with microseconds where that is all there is, else without the zone", async () => {
    const column = (value: bigint) => oneColumn("INT64", { logical: logical.timestamp("ns", true) }, [value, -1000n]);
    const whole = await convert(column(1718000000123456000n));
    expect([whole.types, whole.rows, whole.notes.converted]).toEqual([
      ["c TIMESTAMP WITH TIME ZONE"],
      [["2024-06-10 06:13:20.123456+00"], ["1969-12-31 23:59:59.999999+00"]],
      [],
    ]);
    const fine = await convert(column(1718000000123456789n));
    expect([fine.types, fine.rows]).toEqual([
      ["c TIMESTAMP_NS"],
      [["2024-06-10 06:13:20.123456789"], ["1969-12-31 23:59:59.999999"]],
    ]);
    expect(fine.notes.converted).toEqual([
      {
        column: "c",
        from: "TIMESTAMP(ns, UTC)",
        to: "TIMESTAMP_NS",
        reason: "it has nanoseconds, which a type with a time zone cannot hold; the values are in UTC",
      },
    ]);
  });

  test("an append to a column with nanoseconds has them, whatever its values", async () => {
    const columns = [{ id: 1, name: "c", type: "TIMESTAMP_NS" }];
    const file = oneColumn("INT64", { logical: logical.timestamp("ns", true) }, [1000n]);
    const { types } = await convert(file, { target: { columns, settle: async () => columns } });
    expect(types).toEqual(["c TIMESTAMP_NS"]);
  });

  test("durations and shapes, whose meaning only the writer's notes have", async () => {
    // What pyarrow 26 writes for a table of one column `d` of type duration[us].
    const arrow =
      "/////3AAAAAQAAAAAAAKAAwABgAFAAgACgAAAAABBAAMAAAACAAIAAAABAAIAAAABAAAAAEAAAAUAAAAEAAUAAgABgAHAAwAAAAQABAAAAAAAAESEAAAABgAAAAEAAAAAAAAAAEAAABkAAYACAAGAAYAAAAAAAIA";
    const geo = JSON.stringify({ version: "0.1.0", columns: { g: { encoding: "WKB" } }, primary_column: "g" });
    const note = (key: string, value: string): Thrift => struct({ 1: binary(key), 2: binary(value) });
    const file = parquetFile({
      elements: [element("d", { type: "INT64" }), element("g", { type: "BYTE_ARRAY" })],
      chunks: [
        leaf(["d"], "INT64", plain("INT64", [5n]), 0),
        leaf(["g"], "BYTE_ARRAY", plain("BYTE_ARRAY", ["\u0001"]), 0),
      ],
      rows: 1,
      footer: { 5: list([note("ARROW:schema", arrow), note("geo", geo)]) },
    });
    const { types, notes } = await convert(file);
    expect(types).toEqual(["d BIGINT", "g BLOB"]);
    expect(notes.converted).toEqual([
      { column: "d", from: "duration in microseconds", to: "BIGINT", reason: "the numbers are microseconds" },
      { column: "g", from: "geometry (WKB)", to: "BLOB", reason: "the bytes are Well-Known Binary" },
    ]);
  });

  test("fields of structs that are renamed", async () => {
    const int = (name: string) => element(name, { type: "INT32" });
    const names = ["a", "A", "", "c2", "x\u0000y"];
    const file = parquetFile(
      {
        elements: [element("s", { children: 5 }), ...names.map(int), int("z\u0000")],
        chunks: [
          ...names.map((name, at) => leaf(["s", name], "INT32", plain("INT32", [at]), 0)),
          leaf(["z\u0000"], "INT32", plain("INT32", [9]), 0),
        ],
        rows: 1,
      },
      2,
    );
    const { types, rows, notes } = await convert(file);
    expect(types).toEqual(["s STRUCT(a INTEGER, A_1 INTEGER, C2_1 INTEGER, c2 INTEGER, C4 INTEGER)", "C1 INTEGER"]);
    expect(rows).toEqual([[{ a: 0, A_1: 1, C2_1: 2, c2: 3, C4: 4 }, 9]]);
    expect(notes.renamed_columns).toEqual([
      { from: "z\u0000", to: "C1" },
      { from: "s.A", to: "s.A_1" },
      { from: "s.", to: "s.C2_1" },
      { from: "s.x\u0000y", to: "s.C4" },
    ]);
  });
});

describe("INT96", () => {
  const file = (...values: Buffer[]) => oneColumn("INT96", {}, values);
  test("whole microseconds are a TIMESTAMP, in the years before too", async () => {
    const { types, rows } = await convert(file(int96(2460472, 22400123456000n), int96(0, 0n), int96(2440588, -1000n)));
    expect(types).toEqual(["c TIMESTAMP"]);
    expect(rows).toEqual([
      ["2024-06-10 06:13:20.123456"],
      ["4714-11-24 (BC) 00:00:00"],
      ["1969-12-31 23:59:59.999999"],
    ]);
  });
  test("nanoseconds are kept", async () => {
    const { types, rows, notes } = await convert(file(int96(2460472, 22400123456789n), int96(2440588, -1n)));
    expect([types, notes.converted]).toEqual([["c TIMESTAMP_NS"], []]);
    expect(rows).toEqual([["2024-06-10 06:13:20.123456789"], ["1969-12-31 23:59:59.999999999"]]);
  });
  test.each([
    ["a day beyond all", int96(0xffffffff, 0n)],
    ["nanoseconds too early for them", int96(0, 1n)],
    ["noise", int96(2440588, -(2n ** 63n))],
  ])("%s is refused", async (_, value) => {
    expect(await refused(file(int96(2440588, 0n), value))).toMatchObject({
      kind: "invalid",
      message: expect.stringMatching(/^in\.parquet: column "c" has a value that no INT96 has: "day /),
    });
  });
});

test("values inside of structs, lists and maps are kept and refused like others", async () => {
  const file = (time: bigint) =>
    parquetFile(
      {
        elements: [
          element("t", { type: "INT64", logical: logical.timestamp("ns", true) }),
          element("m", { children: 1, converted: 1, repetition: "optional" }),
          element("kv", { children: 2, repetition: "repeated" }),
          element("key", { type: "INT32", converted: 7 }),
          element("value", { children: 2, repetition: "optional" }),
          element("at", { type: "INT96" }),
          element("AT", { type: "INT64", logical: logical.time("us") }),
        ],
        chunks: [
          leaf(["t"], "INT64", plain("INT64", [1n]), 0),
          leaf(["m", "kv", "key"], "INT32", plain("INT32", [7]), 2, 0),
          leaf(["m", "kv", "value", "at"], "INT96", int96(2440588, 1n), 3, 0),
          leaf(["m", "kv", "value", "AT"], "INT64", plain("INT64", [time]), 3, 0),
        ],
        rows: 1,
      },
      2,
    );
  const { types, rows } = await convert(file(1n));
  expect(types).toEqual(["t TIMESTAMP_NS", 'm MAP(TIME, STRUCT("at" TIMESTAMP_NS, AT_1 TIME))']);
  expect(rows).toEqual([
    [
      "1970-01-01 00:00:00.000000001",
      [{ key: "00:00:00.007", value: { at: "1970-01-01 00:00:00.000000001", AT_1: "00:00:00.000001" } }],
    ],
  ]);
  expect(await refused(file(-1n))).toMatchObject({
    kind: "invalid",
    message: expect.stringContaining('column "m.AT" has a value that no TIME(us) has: "-1 microseconds'),
  });
});

describe("what cannot be read is refused by file, column and type", () => {
  const one = (options: ElementOptions, type: ChunkOptions["type"] = "INT32", value: number | Buffer | string = 1) =>
    oneColumn(type, options, [value]);
  const cases: [string, Buffer, string][] = [
    [
      "DECIMAL of 40 digits",
      one({ length: 17, logical: logical.decimal(40, 2) }, "FIXED", Buffer.alloc(17)),
      'column "c" is a DECIMAL(40); 38 digits fit.',
    ],
    [
      "DECIMAL with more places than digits",
      one({ logical: logical.decimal(4, 5) }),
      'column "c" is a DECIMAL(4, 5), which there is not.',
    ],
    [
      "DECIMAL beyond its digits",
      one({ length: 4, logical: logical.decimal(5, 2) }, "FIXED", Buffer.from([0x7f, 0, 0, 0])),
      'column "c" has a value that no DECIMAL(5,2) has: "21307064.32"',
    ],
    [
      "DECIMAL beyond 38 digits",
      one({ length: 16, logical: logical.decimal(38, 0) }, "FIXED", Buffer.alloc(16, 0x7f)),
      'column "c" has a value that no DECIMAL(38,0) has: "169',
    ],
    [
      "DECIMAL of too many bytes",
      one({ logical: logical.decimal(4, 2) }, "BYTE_ARRAY", Buffer.from([1, 0, 0, 0, 0])),
      ' is damaged in column "c"',
    ],
    [
      "UUID of 15 bytes",
      one({ length: 15, logical: logical.uuid }, "FIXED", Buffer.alloc(15)),
      'column "c" is a UUID in FIXED_LEN_BYTE_ARRAY(15), which Parquet does not have.',
    ],
    ["DATE in INT64", one({ converted: 6 }, "INT64"), 'column "c" is a DATE in INT64'],
    ["text that is not UTF-8", one({ converted: 0 }, "BYTE_ARRAY", Buffer.from([0xff])), ' is damaged in column "c"'],
    ["JSON that is none", one({ converted: 19 }, "BYTE_ARRAY", "{"), ' is damaged in column "c"'],
    [
      "INTERVAL of too many months",
      one({ length: 12, converted: 21 }, "FIXED", Buffer.from([0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0])),
      'column "c" has a value that no INTERVAL has',
    ],
    ["LZO", oneColumn("INT32", {}, [1], { codec: 3 }), 'column "c" is compressed with LZO, which cannot be read.'],
    ["LZ4 as Hadoop has it", oneColumn("INT32", {}, [1], { codec: 5 }), 'column "c" is compressed with LZ4 of Hadoop'],
    [
      "BYTE_STREAM_SPLIT of whole numbers",
      oneColumn("INT32", {}, [1], { pageBody: { 2: i32(9) } }),
      'column "c" (INT32) is encoded as BYTE_STREAM_SPLIT, which cannot be read.',
    ],
    [
      "an encoding that there is not",
      oneColumn("INT32", {}, [1], { pageBody: { 2: i32(77) } }),
      'column "c" (INT32) is encoded as encoding 77',
    ],
    [
      "levels of the first version",
      oneColumn("INT32", { repetition: "optional" }, [1], { levels: levels(1, 1), pageBody: { 3: i32(4) } }),
      'column "c" (INT32) is encoded as BIT_PACKED levels',
    ],
    [
      "a struct without fields",
      parquetFile(
        {
          elements: [element("c", { type: "INT32" }), element("e", { children: 0 })],
          chunks: [leaf(["c"], "INT32", plain("INT32", [1]), 0)],
          rows: 1,
        },
        2,
      ),
      'column "e" is a STRUCT without fields.',
    ],
    [
      "an encrypted column",
      oneColumn("INT32", {}, [1], { chunk: { 8: struct({ 1: struct({}) }) } }),
      'column "c" is encrypted.',
    ],
    [
      "a column in another file",
      oneColumn("INT32", {}, [1], { chunk: { 1: binary("other.parquet") } }),
      'column "c" is kept in another file.',
    ],
  ];
  test.each(cases)("%s", async (_, bytes, message) => {
    const error = await refused(bytes);
    expect(error).toMatchObject({ kind: "invalid", hint: expect.stringMatching(/./) });
    expect((error as Error).message).toContain(message);
    expect((error as Error).message).toContain("in.parquet");
    expect((error as Error).message).not.toContain(bench.folder);
  });
});
