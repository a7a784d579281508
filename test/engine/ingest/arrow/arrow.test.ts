import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  Binary,
  Bool,
  CompressionType,
  compressionRegistry,
  type DataType,
  DateDay,
  DateMillisecond,
  Decimal,
  Dictionary,
  Field,
  FixedSizeBinary,
  FixedSizeList,
  Float16,
  Int32,
  Int64,
  LargeUtf8,
  List,
  Map_,
  makeVector,
  Null,
  type RecordBatch,
  RecordBatchFileWriter,
  RecordBatchStreamWriter,
  Schema,
  Struct,
  Table,
  TimeNanosecond,
  TimeSecond,
  TimestampMicrosecond,
  TimestampMillisecond,
  TimestampNanosecond,
  TimestampSecond,
  tableToIPC,
  Uint64,
  Utf8,
  vectorFromArray,
} from "apache-arrow";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { convertArrow } from "../../../../src/engine/ingest/arrow/arrow.ts";
import type { ConvertContext } from "../../../../src/engine/ingest/types.ts";
import { type Converting, openConverting } from "../../../support/converting.ts";

let bench: Converting;
beforeAll(async () => {
  bench = await openConverting();
});
afterAll(() => bench[Symbol.asyncDispose]());

async function convert(data: Uint8Array, overrides: Partial<ConvertContext> = {}) {
  return bench.convert(convertArrow, await bench.source("some.arrow", data), overrides);
}

async function failure(data: Uint8Array, overrides: Partial<ConvertContext> = {}) {
  return convert(data, overrides).then(
    () => expect.fail("it was accepted"),
    (error: unknown) => error,
  );
}

function column(type: DataType, values: unknown[], name = "a"): Table {
  return new Table({ [name]: vectorFromArray(values, type) });
}

const FORMS = ["stream", "file"] as const;

describe("types", () => {
  const item = (type: DataType) => new Field("item", type, true);
  const entries = new Struct([new Field("key", new Utf8(), false), new Field("value", new Int32(), true)]);
  const cases: [name: string, type: DataType, given: unknown, kept: string, value: unknown][] = [
    ["null", new Null(), null, "VARCHAR", null],
    ["bool", new Bool(), true, "BOOLEAN", true],
    ["int64", new Int64(), -(2n ** 63n), "BIGINT", "-9223372036854775808"],
    ["uint64", new Uint64(), 2n ** 64n - 1n, "UBIGINT", "18446744073709551615"],
    ["float16", new Float16(), 1.5, "FLOAT", 1.5],
    ["decimal128", new Decimal(2, 20, 128), new Uint32Array([150, 0, 0, 0]), "DECIMAL(20,2)", "1.50"],
    ["decimal256", new Decimal(2, 20, 256), new Uint32Array([150, 0, 0, 0, 0, 0, 0, 0]), "DECIMAL(20,2)", "1.50"],
    ["date32", new DateDay(), new Date(86_400_000), "DATE", "1970-01-02"],
    ["date64", new DateMillisecond(), new Date(86_400_000), "DATE", "1970-01-02"],
    ["time32 in seconds", new TimeSecond(), 5, "TIME", "00:00:05"],
    ["time64 in nanoseconds", new TimeNanosecond(), 5_000_000_001n, "TIME_NS", "00:00:05.000000001"],
    ["timestamp in seconds", new TimestampSecond(), 5000, "TIMESTAMP", "1970-01-01 00:00:05"],
    ["timestamp in milliseconds", new TimestampMillisecond(), 5000, "TIMESTAMP", "1970-01-01 00:00:05"],
    ["timestamp in nanoseconds", new TimestampNanosecond(), 5000, "TIMESTAMP_NS", "1970-01-01 00:00:05"],
    [
      "timestamp in seconds with a zone",
      new TimestampSecond("Asia/Tokyo"),
      5000,
      "TIMESTAMP WITH TIME ZONE",
      "1970-01-01 00:00:05+00",
    ],
    [
      "timestamp in nanoseconds with a zone, of whole microseconds",
      new TimestampNanosecond("Asia/Tokyo"),
      5000,
      "TIMESTAMP WITH TIME ZONE",
      "1970-01-01 00:00:05+00",
    ],
    [
      "timestamp with a zone",
      new TimestampMicrosecond("Asia/Tokyo"),
      5000,
      "TIMESTAMP WITH TIME ZONE",
      "1970-01-01 00:00:05+00",
    ],
    ["utf8", new Utf8(), "é😀", "VARCHAR", "é😀"],
    ["large utf8", new LargeUtf8(), "x", "VARCHAR", "x"],
    ["binary", new Binary(), new Uint8Array([0, 255]), "BLOB", "\\x00\\xFF"],
    ["fixed-size binary", new FixedSizeBinary(2), new Uint8Array([0, 255]), "BLOB", "\\x00\\xFF"],
    ["dictionary", new Dictionary(new Utf8(), new Int32()), "x", "VARCHAR", "x"],
    ["list", new List(item(new Int32())), [1, null], "INTEGER[]", [1, null]],
    ["fixed-size list", new FixedSizeList(2, item(new Int32())), [1, 2], "INTEGER[]", [1, 2]],
    ["struct", new Struct([new Field("x", new Utf8(), true)]), { x: "y" }, "STRUCT(x VARCHAR)", { x: "y" }],
    [
      "map",
      new Map_(new Field("entries", entries, false)),
      new Map([["k", 1]]),
      "MAP(VARCHAR, INTEGER)",
      [{ key: "k", value: 1 }],
    ],
  ];
  test.each(cases)("%s", async (_name, type, given, kept, value) => {
    for (const form of FORMS) {
      const { columns, values } = await convert(tableToIPC(column(type, [given, null]), form));
      expect(columns).toEqual([{ name: "a", type: kept }]);
      expect(values).toEqual([{ a: value }, { a: null }]);
    }
  });
});

test("nanoseconds with a zone stay such where the dataset has them", async () => {
  const data = tableToIPC(column(new TimestampNanosecond("UTC"), [5000]), "file");
  const types: string[] = [];
  for (const type of ["TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE"]) {
    const known = [{ id: 1, name: "a", type }];
    const { columns, notes } = await convert(data, { target: { columns: known, settle: async () => known } });
    types.push(columns[0]?.type ?? "");
    expect(notes.converted.map(({ to }) => to)).toEqual(type === "TIMESTAMP_NS" ? [type] : []);
  }
  expect(types).toEqual(["TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE"]);
});

describe("batches", () => {
  const rows = 300_000;
  const batch = (from: number): RecordBatch => {
    const ids = Int32Array.from({ length: rows }, (_, index) => from + index);
    const table = new Table({
      id: vectorFromArray(ids),
      text: vectorFromArray(
        Array.from(ids, (id) => `text ${id}`),
        new Utf8(),
      ),
    });
    return table.batches[0] ?? expect.fail("no batch");
  };

  test("many rows stay in order across batches and intermediate files, of which none is left", {
    tags: ["slow"],
  }, async () => {
    const batches = [0, 1, 2, 3].map((index) => batch(index * rows));
    const data = RecordBatchStreamWriter.writeAll(batches).toUint8Array(true);
    expect(data.length).toBeGreaterThan(20 * 1024 ** 2);
    const fractions: number[] = [];
    const { files, rows: written } = await convert(data, {
      maxRows: 4 * rows,
      onProgress: (fraction) => fractions.push(fraction),
    });
    expect(written).toBe(4 * rows);
    const folder = join(files[0]?.path ?? "", "..");
    expect(await readdir(folder)).toEqual(files.map(({ path }) => path.slice(folder.length + 1)));
    await bench.make(
      `COPY (SELECT count(*) FILTER (id <> file_row_number OR text <> 'text ' || id) AS wrong
         FROM read_parquet('${files[0]?.path}', file_row_number = true)) TO '$folder/order.csv'`,
    );
    expect(await readFile(join(bench.folder, "order.csv"), "utf8")).toBe("wrong\n0\n");
    expect(fractions).toEqual(fractions.toSorted((a, b) => a - b));
  });

  test("one very large batch", { tags: ["slow"] }, async () => {
    const values = Float64Array.from({ length: 5_000_000 }, (_, index) => index / 2);
    const data = tableToIPC(new Table({ a: makeVector(values) }), "file");
    const { files } = await convert(data, { maxRows: values.length });
    await bench.make(
      `COPY (SELECT count(*) AS n, count(*) FILTER (a <> file_row_number / 2) AS wrong
         FROM read_parquet('${files[0]?.path}', file_row_number = true)) TO '$folder/large.csv'`,
    );
    expect(await readFile(join(bench.folder, "large.csv"), "utf8")).toBe("n,wrong\n5000000,0\n");
  });

  test("a dictionary that changes between batches", async () => {
    const type = new Dictionary(new Utf8(), new Int32(), 1);
    const [first, second] = [
      ["x", "y"],
      ["z", "x"],
    ].map((values) => column(type, values).batches[0]);
    if (!first || !second) return expect.fail("no batches");
    const data = RecordBatchStreamWriter.writeAll([first, second]).toUint8Array(true);
    const { values } = await convert(data);
    expect(values.map(({ a }) => a)).toEqual(["x", "y", "z", "x"]);
  });

  test("none is a dataset with columns", async () => {
    for (const form of FORMS) {
      const { columns, rows: written } = await convert(
        tableToIPC(new Table(new Schema([new Field("a", new Int32())])), form),
      );
      expect([columns, written]).toEqual([[{ name: "a", type: "INTEGER" }], 0]);
    }
  });

  test("LZ4 buffers", async () => {
    const table = new Table({
      n: vectorFromArray([1, null, 3], new Int32()),
      text: vectorFromArray(["a".repeat(1000), null, "b"], new Utf8()),
      word: vectorFromArray(["x", "y", "x"], new Dictionary(new Utf8(), new Int32())),
    });
    for (const Writer of [RecordBatchStreamWriter, RecordBatchFileWriter]) {
      const { values } = await convert(compressed(table, Writer, CompressionType.LZ4_FRAME, lz4));
      expect(values).toEqual([
        { n: 1, text: "a".repeat(1000), word: "x" },
        { n: null, text: null, word: "y" },
        { n: 3, text: "b", word: "x" },
      ]);
    }
  });

  test("LZ4 buffers that say they unpack to more than memory allows", async () => {
    const table = column(new Utf8(), ["a".repeat(1000)]);
    const data = compressed(table, RecordBatchStreamWriter, CompressionType.LZ4_FRAME, lz4, 2 ** 40);
    expect(await failure(data)).toMatchObject({
      kind: "limit",
      message: "some.arrow has a record batch of more than 256 MiB.",
    });
  });

  test("ZSTD buffers are refused by name", async () => {
    const zstd = Uint8Array.from([0x28, 0xb5, 0x2f, 0xfd, 0, 0, 0, 0]);
    const table = column(new Utf8(), ["a".repeat(1000)]);
    expect(await failure(compressed(table, RecordBatchStreamWriter, CompressionType.ZSTD, () => zstd))).toMatchObject({
      kind: "invalid",
      message: "some.arrow has ZSTD-compressed buffers, which cannot be read.",
      hint: expect.stringContaining("LZ4"),
    });
  });
});

describe("names", () => {
  test("ones that differ by case only are renamed and reported", async () => {
    const values = vectorFromArray([1], new Int32());
    const { columns, notes } = await convert(tableToIPC(new Table({ a: values, A: values }), "stream"));
    expect(columns.map(({ name }) => name)).toEqual(["a", "A_1"]);
    expect(notes.renamed_columns).toEqual([{ from: "A", to: "A_1" }]);
  });
});

describe("files that cannot be read", () => {
  const table = new Table({ a: vectorFromArray([1, 2, 3], new Int32()), b: vectorFromArray(["x", "y", "z"]) });
  const file = tableToIPC(table, "file");
  const stream = tableToIPC(table, "stream");
  const cases: [string, Uint8Array, string][] = [
    ["empty", new Uint8Array(), "some.arrow is not an Arrow IPC file or stream, or is damaged: it has no schema."],
    ["text", Buffer.from("a,b\n1,2\n3,4\n"), "it does not begin like one"],
    ["Feather version 1", Buffer.from("FEA1 and so on"), "some.arrow is a Feather version 1 file."],
    ["a file cut short", file.subarray(0, -20), "it is cut short"],
    ["a stream cut short", stream.subarray(0, -40), "it is cut short"],
    ["no columns", tableToIPC(new Table(new Schema([])), "stream"), "some.arrow has no columns."],
  ];
  test.each(cases)("%s", async (_name, data, message) => {
    const error = await failure(data);
    expect(error).toMatchObject({
      kind: "invalid",
      message: expect.stringContaining(message),
      hint: expect.any(String),
    });
    expect(String(error)).not.toContain(bench.folder);
  });

  test("any damaged byte is converted or refused, never a crash", { tags: ["slow"] }, async () => {
    const kinds = new Set<unknown>();
    for (let at = 5; at < stream.length; at += 23) {
      const damaged = stream.map((byte, index) => (index === at ? byte ^ 0xff : byte));
      const outcome: { kind?: unknown } = await convert(damaged).then(
        () => ({ kind: "converted" }),
        (error: { kind: unknown }) => error,
      );
      kinds.add(outcome.kind);
    }
    expect(["converted", "invalid", "limit"]).toEqual(expect.arrayContaining([...kinds]));
    expect(kinds).toContain("invalid");
  });

  test("compressed as a whole", async () => {
    const source = await bench.source("whole.arrow.gz", stream, "gzip");
    await expect(bench.convert(convertArrow, source)).rejects.toMatchObject({
      kind: "invalid",
      message: expect.stringContaining("whole.arrow.gz"),
    });
  });
});

describe("limits", () => {
  const many = tableToIPC(
    column(
      new Int32(),
      Array.from({ length: 100 }, (_, index) => index),
    ),
    "stream",
  );

  test("too many rows are refused from the headers", async () => {
    expect(await failure(many, { maxRows: 99 })).toMatchObject({
      kind: "limit",
      hint: expect.arrayContaining([{ setting: "max_ingest_rows" }]),
    });
    expect((await convert(many, { maxRows: 100 })).rows).toBe(100);
  });

  test("cancelling stops the worker", async () => {
    const stop = new AbortController();
    const running = failure(many, { signal: stop.signal });
    stop.abort();
    expect(await running).toMatchObject({ kind: "unavailable" });
  });
});

/**
 * A table with compressed buffers. apache-arrow puts the compressed length where the format wants the uncompressed one
 * (21.2), so that is put right afterwards.
 */
function compressed(
  table: Table,
  Writer: typeof RecordBatchStreamWriter | typeof RecordBatchFileWriter,
  type: CompressionType,
  encode: (data: Uint8Array) => Uint8Array,
  claimedLength?: number,
): Uint8Array {
  const frames: { frame: Uint8Array; length: number }[] = [];
  compressionRegistry.set(type, {
    encode(data) {
      const frame = encode(data);
      frames.push({ frame, length: claimedLength ?? data.length });
      return frame;
    },
  });
  const writer = new Writer({ compressionType: type });
  writer.writeAll(table.batches);
  const bytes = Buffer.from(writer.toUint8Array(true));
  for (const { frame, length } of frames) {
    for (let at = bytes.indexOf(frame); at !== -1; at = bytes.indexOf(frame, at + 1)) {
      bytes.writeBigInt64LE(BigInt(length), at - 8);
    }
  }
  return bytes;
}

/** An LZ4 frame of one block, in which the byte that repeats at the end is a match. */
function lz4(data: Uint8Array): Uint8Array {
  const start = data.findLastIndex((byte) => byte !== data.at(-1)) + 2;
  const match = data.length - start - 5;
  const sequences =
    match < 19
      ? [...lengths(data.length, 0), ...data]
      : [...lengths(start, 15), ...data.subarray(0, start), 1, 0, ...rest(match - 4), 0x50, ...data.subarray(-5)];
  const size = Buffer.alloc(4);
  size.writeUInt32LE(sequences.length);
  return Uint8Array.from([0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82, ...size, ...sequences, 0, 0, 0, 0]);
}

function lengths(literals: number, match: number): number[] {
  return literals < 15 ? [(literals << 4) | match] : [0xf0 | match, ...rest(literals)];
}

function rest(length: number): number[] {
  const over = length - 15;
  return [...Array<number>(Math.floor(over / 255)).fill(255), over % 255];
}
