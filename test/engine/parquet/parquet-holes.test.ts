import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { convertParquet } from "../../../src/engine/ingest/parquet/parquet.ts";
import { type Converting, openConverting } from "../../support/converting.ts";
import { readCorpus } from "../../support/corpus.ts";
import {
  binary,
  bool,
  element,
  i32,
  i64,
  levels,
  list,
  oneColumn,
  parquetFile,
  plain,
  struct,
  type Thrift,
} from "../../support/parquet-file.ts";

/** Files that must be refused before a native reader opens them: what was found, and what a fuzzer keeps finding. */
let bench: Converting;
beforeAll(async () => {
  bench = await openConverting();
});
afterAll(() => bench[Symbol.asyncDispose]());

async function refused(bytes: Buffer, duck: unknown = unopened): Promise<{ kind: string; message: string }> {
  const source = await bench.source("in.parquet", bytes);
  const outcome: unknown = await bench.convert(convertParquet, source, { duck } as never).catch((error) => error);
  if (outcome instanceof Error && outcome.name === "LakeError") return outcome as never;
  throw outcome instanceof Error ? outcome : new Error("It should have failed.");
}

/** Proves that DuckDB was not asked. */
const unopened = {
  connect: () => {
    throw new Error("DuckDB was opened");
  },
};

const page = (fields: Record<number, Thrift | undefined>) =>
  oneColumn("INT64", {}, [1, 2, 3], { codec: 1, page: fields });
const v2 = (fields: Record<number, Thrift | undefined>) =>
  struct({ 1: i32(3), 2: i32(0), 3: i32(3), 4: i32(0), 5: i32(0), 6: i32(0), ...fields });
const deep = (depth: number) =>
  parquetFile(
    {
      elements: [
        ...Array.from({ length: depth }, () => element("g", { children: 1 })),
        element("c", { type: "INT32" }),
      ],
      chunks: [],
      rows: 0,
    },
    1,
  );
const nested = (depth: number): Thrift => {
  let value = struct({});
  for (let level = 0; level < depth; level++) value = struct({ 1: value });
  return value;
};
const wide = (columns: number, footer: Record<number, Thrift | undefined> = {}) =>
  parquetFile(
    {
      elements: Array.from({ length: columns }, (_, at) => element(`c${at}`, { type: "INT32" })),
      chunks: [],
      rows: 0,
      footer,
    },
    columns,
  );
const footer = (fields: Record<number, Thrift | undefined>) => oneColumnWith({ footer: fields });
const group = (fields: Record<number, Thrift | undefined>) => oneColumnWith({ group: fields });
function oneColumnWith(options: {
  footer?: Record<number, Thrift | undefined>;
  group?: Record<number, Thrift | undefined>;
}) {
  return parquetFile({
    elements: [element("c", { type: "INT64" })],
    chunks: [{ type: "INT64", path: ["c"], values: plain("INT64", [1]), count: 1 }],
    rows: 1,
    ...options,
  });
}
const dictionary = (values: number, bytes: Buffer) => {
  const header = struct({
    1: i32(2),
    2: i32(bytes.length),
    3: i32(bytes.length),
    7: struct({ 1: i32(values), 2: i32(0) }),
  });
  return Buffer.concat([header.bytes, bytes]);
};

const CASES: [string, Buffer, "invalid" | "limit", RegExp][] = [
  [
    "a page that is not compressed and has two sizes",
    page({ 1: i32(3), 2: i32(16), 3: i32(24), 5: undefined, 8: v2({ 7: bool(false) }) }),
    "invalid",
    /page of 24 bytes that is not compressed and says 16/,
  ],
  [
    "the same without a codec",
    oneColumn("INT64", {}, [1, 2, 3], { page: { 2: i32(16) } }),
    "invalid",
    /not compressed and says 16/,
  ],
  [
    "levels longer than their page",
    page({ 1: i32(3), 5: undefined, 8: v2({ 5: i32(20), 6: i32(20) }) }),
    "invalid",
    /levels are longer/,
  ],
  [
    "levels of a negative length",
    page({ 1: i32(3), 5: undefined, 8: v2({ 5: i32(-5) }) }),
    "invalid",
    /levels are longer/,
  ],
  ["more NULLs than values", page({ 1: i32(3), 5: undefined, 8: v2({ 2: i32(4) }) }), "invalid", /more NULLs/],
  ["a negative size", page({ 2: i32(-1) }), "invalid", /without a size/],
  [
    "a page that unpacks to gigabytes",
    page({ 2: i32(2 ** 31 - 1) }),
    "limit",
    /page of 2147483647 bytes; 1073741824 are the most/,
  ],
  [
    "a page that unpacks to more than its codec can",
    page({ 2: i32(2 ** 30) }),
    "invalid",
    /page of 24 bytes that says it unpacks to 1073741824/,
  ],
  ["a page that is longer than the file", page({ 3: i32(65536) }), "invalid", /longer than the file/],
  [
    "fewer values than the footer says",
    page({ 5: struct({ 1: i32(2), 2: i32(0), 3: i32(3), 4: i32(3) }) }),
    "invalid",
    /column "c" (ends after 2 of 3 values|has a page)/,
  ],
  [
    "more values than the footer says",
    page({ 5: struct({ 1: i32(4), 2: i32(0), 3: i32(3), 4: i32(3) }) }),
    "invalid",
    /more than its 3 values/,
  ],
  ["a page with the header of another", page({ 1: i32(3) }), "invalid", /header of another kind/],
  ["a page without a header", page({ 5: undefined }), "invalid", /header of another kind/],
  [
    "a dictionary of more values than bytes",
    oneColumn("INT64", {}, [1], { before: dictionary(2 ** 30, Buffer.alloc(8)) }),
    "invalid",
    /dictionary of 1073741824 values in 8 bytes/,
  ],
  [
    "two dictionaries",
    oneColumn("INT64", {}, [1], {
      before: Buffer.concat([dictionary(1, Buffer.alloc(8)), dictionary(1, Buffer.alloc(8))]),
    }),
    "invalid",
    /dictionary after its first page/,
  ],
  ["15,000 groups in groups", deep(15_000), "invalid", /deeper than 48 levels/],
  ["a footer of structs in structs", footer({ 30: nested(10_000) }), "invalid", /nested too deep/],
  ["a page header of structs in structs", page({ 30: nested(10_000) }), "invalid", /nested too deep/],
  ["20,000 columns", wide(20_000), "limit", /more than 16384 columns/],
  ["1,000,000 columns", wide(1_000_000), "limit", /1000001 schema elements; 65536 are the most, and 16384 columns/],
  [
    "a list of more elements than bytes",
    footer({ 2: { type: 9, bytes: Buffer.from([0xfc, 0xff, 0xff, 0xff, 0xff, 0x0f]) } }),
    "invalid",
    /list is longer than what is left/,
  ],
  ["rows that the row groups do not have", footer({ 3: i64(7) }), "invalid", /says 7 rows, its row groups have 1/],
  ["a row group without a number of rows", group({ 3: undefined }), "invalid", /no number of rows/],
  ["a row group with negative rows", group({ 3: i64(-1) }), "invalid", /no number of rows/],
  ["a row group without its columns", group({ 1: list([]) }), "invalid", /has 0 columns, its schema 1/],
  ["no row groups", footer({ 4: undefined }), "invalid", /no row groups/],
  ["no schema", footer({ 2: undefined }), "invalid", /row groups come before the schema/],
  [
    "a column that is of two types",
    oneColumn("INT64", {}, [1], { metadata: { 1: i32(1) } }),
    "invalid",
    /column "c" has two types/,
  ],
  [
    "a type that there is not",
    oneColumn("INT64", {}, [1], { metadata: { 1: i32(99) } }),
    "invalid",
    /column "c" has two types/,
  ],
  [
    "pages before the file",
    oneColumn("INT64", {}, [1], { metadata: { 9: i64(-4) } }),
    "invalid",
    /outside of the file/,
  ],
  [
    "pages behind the file",
    oneColumn("INT64", {}, [1], { metadata: { 9: i64(2n ** 62n) } }),
    "invalid",
    /outside of the file/,
  ],
  ["pages in the footer", oneColumn("INT64", {}, [1], { metadata: { 9: i64(60) } }), "invalid", /column "c"/],
  ["a codec that there is not", oneColumn("INT64", {}, [1], { codec: 99 }), "invalid", /codec 99/],
  [
    "a column without metadata",
    oneColumn("INT64", {}, [1], { chunk: { 3: undefined } }),
    "invalid",
    /column "c" has no metadata/,
  ],
  [
    "values of no bytes",
    oneColumn("FIXED", { length: 0 }, [Buffer.alloc(0)]),
    "invalid",
    /column "c" has values of 0 bytes/,
  ],
  ["an encrypted footer's marks", footer({ 8: struct({ 1: struct({}) }) }), "invalid", /is an encrypted Parquet file/],
  [
    "a schema that is no tree",
    parquetFile({ elements: [element("c", { type: "INT64" })], chunks: [], rows: 0 }, 3),
    "invalid",
    /schema is no tree/,
  ],
  ["chunks that share their pages", shared(), "invalid", /shares its pages/],
];

/** 40 columns that all point to the same page. */
function shared(): Buffer {
  const columns = 40;
  const names = Array.from({ length: columns }, (_, at) => `c${at}`);
  return parquetFile({
    elements: names.map((name) => element(name, { type: "BYTE_ARRAY" })),
    chunks: names.map((name, at) => ({
      type: "BYTE_ARRAY" as const,
      path: [name],
      values: at === 0 ? plain("BYTE_ARRAY", ["x".repeat(10_000)]) : Buffer.alloc(0),
      count: 1,
      metadata: { 9: i64(4) },
    })),
    rows: 1,
  });
}

describe("refused before DuckDB opens it", () => {
  test.each(CASES)("%s", async (_, bytes, kind, message) => {
    const error = await refused(bytes);
    expect(error).toMatchObject({ kind, hint: expect.stringMatching(/./) });
    expect(error.message).toMatch(message);
    expect(error.message).toContain("in.parquet");
  });
});

test("what is at the limits is read", async () => {
  const source = await bench.source("wide.parquet", wide(2000, { 4: list([]) }));
  const { columns } = await bench.convert(convertParquet, source);
  expect(columns.length).toBe(2000);
  const empty = parquetFile(
    { elements: [element("c", { type: "INT64" })], chunks: [], rows: 0, footer: { 4: list([]) } },
    1,
  );
  const none = await bench.convert(convertParquet, await bench.source("none.parquet", empty));
  expect([none.rows, none.columns]).toEqual([0, [{ name: "c", type: "BIGINT" }]]);
});

test("9,000 columns of texts are read in 256 MiB", { tags: ["slow"] }, async () => {
  const names = Array.from({ length: 9000 }, (_, at) => `c${at}`);
  const file = parquetFile({
    elements: names.map((name) => element(name, { type: "BYTE_ARRAY", converted: 0 })),
    chunks: names.map((name) => ({
      type: "BYTE_ARRAY" as const,
      path: [name],
      values: plain("BYTE_ARRAY", [name, "", "é"]),
      count: 3,
    })),
    rows: 3,
  });
  // Reading all of them back takes more room than there is.
  const read = "SELECT c0, c4500, c8999";
  const source = await bench.source("survey.parquet", file);
  const { columns, rows, values } = await bench.convert(convertParquet, source, {}, read);
  expect([columns.length, rows]).toEqual([9000, 3]);
  expect(values).toEqual([
    { c0: "c0", c4500: "c4500", c8999: "c8999" },
    { c0: "", c4500: "", c8999: "" },
    { c0: "é", c4500: "é", c8999: "é" },
  ]);
});

test("a dictionary whose place old writers give as that of the data, or as 0, is read", async () => {
  const values = Buffer.concat([plain("INT64", [7])]);
  const index = Buffer.from([1, 2, 0]);
  const file = (metadata: Record<number, Thrift | undefined>) =>
    parquetFile({
      elements: [element("c", { type: "INT64" })],
      chunks: [
        {
          type: "INT64",
          path: ["c"],
          values: index,
          count: 1,
          before: dictionary(1, values),
          pageBody: { 2: i32(8) },
          metadata,
        },
      ],
      rows: 1,
    });
  for (const metadata of [{}, { 9: i64(4), 11: undefined }, { 9: i64(4), 11: i64(0) }]) {
    const source = await bench.source("old.parquet", file(metadata));
    expect((await bench.convert(convertParquet, source)).values).toEqual([{ c: "7" }]);
  }
});

test("a page header with long statistics is read", async () => {
  const long = "x".repeat(100_000);
  const statistics = struct({ 5: binary(long), 6: binary(long) });
  const body = struct({ 1: i32(1), 2: i32(0), 3: i32(3), 4: i32(3), 5: statistics });
  const source = await bench.source("long.parquet", oneColumn("INT64", {}, [7], { page: { 5: body } }));
  expect((await bench.convert(convertParquet, source)).values).toEqual([{ c: "7" }]);
});

test("a column of NULLs without a dictionary is read", async () => {
  const file = parquetFile({
    elements: [element("c", { type: "INT64", repetition: "optional" })],
    chunks: [
      { type: "INT64", path: ["c"], values: Buffer.alloc(0), count: 2, levels: levels(0, 2), pageBody: { 2: i32(0) } },
    ],
    rows: 2,
  });
  const source = await bench.source("nulls.parquet", file);
  expect((await bench.convert(convertParquet, source)).values).toEqual([{ c: null }, { c: null }]);
});

test.each([
  ["hostile-page-sizes.parquet.gz", "invalid", /page of 65536 bytes that is not compressed and says 16/],
  ["hostile-nested-groups.parquet.gz", "invalid", /deeper than \d+ levels/],
  ["hostile-encrypted.parquet", "invalid", /is an encrypted Parquet file/],
  ["hostile-encrypted-column.parquet", "invalid", /encrypted/],
])("%s of the corpus is refused for what it is", async (name, kind, message) => {
  const corpus = await readCorpus(new URL("../ingest/parquet/files/", import.meta.url), ".parquet");
  const bytes = corpus.find((kept) => kept.name === name)?.bytes ?? expect.fail(`no ${name}`);
  expect(await refused(bytes)).toMatchObject({ kind, message: expect.stringMatching(message) });
});
