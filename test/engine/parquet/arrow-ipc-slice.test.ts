import {
  Binary,
  Bool,
  type DataType,
  DateDay,
  DateMillisecond,
  Decimal,
  Dictionary,
  Field,
  FixedSizeBinary,
  FixedSizeList,
  Float16,
  Float64,
  Int8,
  Int32,
  Int64,
  LargeBinary,
  LargeUtf8,
  List,
  Map_,
  Null,
  Struct,
  Table,
  TimeMicrosecond,
  TimestampMicrosecond,
  TimestampSecond,
  tableToIPC,
  Uint64,
  Utf8,
  type Vector,
  vectorFromArray,
} from "apache-arrow";
import { afterAll, beforeAll, expect, test } from "vitest";
import { convertArrow } from "../../../src/engine/ingest/arrow.ts";
import { readMessage } from "../../../src/engine/parquet/arrow-ipc-format.ts";
import { sliceBatch } from "../../../src/engine/parquet/arrow-ipc-slice.ts";
import { type Converting, openConverting } from "../../support/converting.ts";

let bench: Converting;
beforeAll(async () => {
  bench = await openConverting();
});
afterAll(() => bench[Symbol.asyncDispose]());

const ROWS = 61;
const item = (type: DataType) => new Field("item", type, true);
const entries = new Struct([new Field("key", new Utf8(), false), new Field("value", new Int32(), true)]);
const few = <T>(count: number, make: (index: number) => T): T[] =>
  Array.from({ length: count % 4 }, (_, at) => make(at));

const COLUMNS: [DataType, (row: number) => unknown][] = [
  [new Bool(), (row) => row % 3 === 0],
  [new Int8(), (row) => row],
  [new Int64(), (row) => BigInt(-row)],
  [new Uint64(), (row) => BigInt(row)],
  [new Float16(), (row) => row / 2],
  [new Float64(), (row) => row / 3],
  [new Decimal(2, 20, 128), (row) => new Uint32Array([row, 0, 0, 0])],
  [new Decimal(2, 20, 256), (row) => new Uint32Array([row, 0, 0, 0, 0, 0, 0, 0])],
  [new DateDay(), (row) => new Date(86_400_000 * row)],
  [new DateMillisecond(), (row) => new Date(86_400_000 * row)],
  [new TimeMicrosecond(), (row) => BigInt(row)],
  [new TimestampSecond(), (row) => 1000 * row],
  [new TimestampMicrosecond("UTC"), (row) => row],
  [new Utf8(), (row) => "é".repeat(row % 5) + row],
  [new LargeUtf8(), (row) => `w${row}`],
  [new Binary(), (row) => new Uint8Array([row, 1])],
  [new LargeBinary(), (row) => new Uint8Array([row])],
  [new FixedSizeBinary(2), (row) => new Uint8Array([row, 2])],
  [new Dictionary(new Utf8(), new Int32()), (row) => `d${row % 4}`],
  [new List(item(new Int32())), (row) => few(row, (at) => (at === 1 ? null : row + at))],
  [new List(item(new Utf8())), (row) => few(row, (at) => `s${row}${at}`)],
  [new List(item(new Struct([item(new Int32())]))), (row) => few(row, (at) => ({ item: row * 10 + at }))],
  [new FixedSizeList(2, item(new Int32())), (row) => [row, row + 1]],
  [
    new Struct([new Field("x", new Int32(), true), new Field("y", new Bool(), true)]),
    (row) => ({ x: row, y: row % 2 > 0 }),
  ],
  [new Map_(new Field("entries", entries, false)), (row) => new Map([[`k${row}`, row]])],
];

test("slices of every type hold what the whole batch holds", async () => {
  const columns = COLUMNS.map(([type, value], index): [string, Vector] => [
    `c${index}`,
    vectorFromArray(
      Array.from({ length: ROWS }, (_, row) => (row % 7 === index % 7 ? null : value(row))),
      type,
    ),
  ]);
  const stream = tableToIPC(new Table(Object.fromEntries(columns)), "stream");
  const whole = await convert(stream);
  const messages = split(stream);
  const batch = messages.pop() ?? expect.fail("no batch");
  const slices: Record<string, unknown>[] = [];
  for (const slice of sliceBatch(messages, batch, 13) ?? []) slices.push(...(await convert(slice)));
  expect(slices).toHaveLength(ROWS);
  expect(slices).toEqual(whole);
});

test("a batch with the type Null is not sliced", () => {
  const inside = new Struct([new Field("n", new Null(), true)]);
  for (const [type, value] of [
    [new Null(), null],
    [inside, { n: null }],
  ] as const) {
    const messages = split(tableToIPC(new Table({ a: vectorFromArray([value, value], type) }), "stream"));
    const batch = messages.pop() ?? expect.fail("no batch");
    expect(sliceBatch(messages, batch, 1)).toBeUndefined();
  }
});

async function convert(stream: Uint8Array): Promise<Record<string, unknown>[]> {
  const { values } = await bench.convert(convertArrow, await bench.source("part.arrow", stream, "arrow"));
  return values;
}

function split(stream: Uint8Array): { metadata: Uint8Array; body: Uint8Array }[] {
  const view = new DataView(stream.buffer, stream.byteOffset, stream.byteLength);
  const messages: { metadata: Uint8Array; body: Uint8Array }[] = [];
  for (let at = 0; view.getUint32(at + 4, true) > 0; ) {
    const body = at + 8 + view.getUint32(at + 4, true);
    const metadata = stream.subarray(at + 8, body);
    const { bodyLength } = readMessage(metadata);
    messages.push({ metadata, body: stream.subarray(body, body + bodyLength) });
    at = body + bodyLength;
  }
  return messages;
}
