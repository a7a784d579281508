/**
 * The outer layer of Arrow IPC: messages and the schema, read from their flatbuffers. Pure; throws `RangeError` or
 * `ArrowFormatError` on what is not Arrow. https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc
 */
export class ArrowFormatError extends Error {}

export interface ArrowMessage {
  kind: "schema" | "dictionary" | "batch" | "other";
  bodyLength: number;
  /** Of a record batch. */
  rows: number;
  dictionaryId: string;
  isDelta: boolean;
  compression: "none" | "lz4" | "zstd";
}

export interface ArrowField {
  name: string;
  type: ArrowType;
  children: ArrowField[];
}

/** `kind` is the name in the format's Schema.fbs; `unit` in words; for a dictionary, the type of its values. */
export interface ArrowType {
  kind: string;
  unit: string;
  precision: number;
  zoned: boolean;
}

const MESSAGE_KINDS = ["other", "schema", "dictionary", "batch"] as const;
const TYPES =
  "? Null Int FloatingPoint Binary Utf8 Bool Decimal Date Time Timestamp Interval List Struct Union FixedSizeBinary FixedSizeList Map Duration LargeBinary LargeUtf8 LargeList RunEndEncoded BinaryView Utf8View ListView LargeListView".split(
    " ",
  );
const TIME_UNITS = ["second", "millisecond", "microsecond", "nanosecond"];
const UNITS: Record<string, string[]> = {
  Date: ["day", "millisecond"],
  Time: TIME_UNITS,
  Timestamp: TIME_UNITS,
  Duration: TIME_UNITS,
  Interval: ["year-month", "day-time", "month-day-nano"],
};
/** Schema.fbs defaults of `unit`, which the encoding leaves out. */
const DEFAULT_UNITS: Record<string, number> = { Date: 1, Time: 1, Duration: 1 };
/** Reading lists in lists back from Parquet takes DuckDB twice as long with every level. */
const MAX_DEPTH = 16;
const MAX_FIELDS = 100_000;

/** The header of the message whose flatbuffer `metadata` is. */
export function readMessage(metadata: Uint8Array): ArrowMessage {
  const message = root(metadata);
  const kind = MESSAGE_KINDS[message.byte(1, 0)] ?? "other";
  const header = message.table(2);
  const batch = kind === "dictionary" ? header?.table(1) : kind === "batch" ? header : undefined;
  if ((kind === "batch" || kind === "dictionary") && !batch) throw new ArrowFormatError("a message without its header");
  const codec = batch?.table(3);
  return {
    kind,
    bodyLength: message.long(3),
    rows: batch?.long(0) ?? 0,
    dictionaryId: kind === "dictionary" ? String(header?.long(0) ?? 0) : "",
    isDelta: kind === "dictionary" && header?.byte(2, 0) === 1,
    compression: !codec ? "none" : codec.byte(0, 0) === 0 ? "lz4" : "zstd",
  };
}

/** The footer of an Arrow file: where its messages are, and its schema as a message of its own. */
export function readFooter(footer: Uint8Array): { schema: Uint8Array; dictionaries: number[]; batches: number[] } {
  const table = root(footer);
  const schema = table.table(1);
  if (!schema) throw new ArrowFormatError("a footer without a schema");
  return {
    schema: wrapSchema(footer, schema.at),
    dictionaries: table.blockOffsets(2),
    batches: table.blockOffsets(3),
  };
}

/**
 * A schema message around the schema at `at` in `footer`. Offsets in a flatbuffer are relative, so the footer goes in
 * whole, behind a message table that points into it.
 */
function wrapSchema(footer: Uint8Array, at: number): Uint8Array {
  const prefix = new DataView(new ArrayBuffer(32));
  prefix.setUint32(0, 16, true);
  // The table's layout, at 4: its size and the table's, then where version, header type and header are in the table.
  for (const [index, word] of [10, 12, 4, 6, 8].entries()) prefix.setUint16(4 + 2 * index, word, true);
  prefix.setInt32(16, 16 - 4, true);
  prefix.setInt16(20, 4, true);
  prefix.setUint8(22, MESSAGE_KINDS.indexOf("schema"));
  prefix.setUint32(24, 32 + at - 24, true);
  return Buffer.concat([new Uint8Array(prefix.buffer), footer]);
}

/** Fields of a schema message. */
export function readSchema(metadata: Uint8Array): ArrowField[] {
  const schema = root(metadata).table(2);
  if (!schema) throw new ArrowFormatError("a schema message without a schema");
  if (schema.short(0, 0) === 1) throw new ArrowFormatError("big-endian data");
  const budget = { fields: MAX_FIELDS };
  return schema.tables(1).map((field) => readField(field, 0, budget));
}

/** The encoding lets fields share children, so a small schema could stand for an endless one: hence the budget. */
function readField(field: FlatTable, depth: number, budget: { fields: number }): ArrowField {
  if (depth > MAX_DEPTH) throw new ArrowFormatError(`types nested deeper than ${MAX_DEPTH}`);
  budget.fields -= 1;
  if (budget.fields < 0) throw new ArrowFormatError(`more than ${MAX_FIELDS} fields`);
  const kind = TYPES[field.byte(2, 0)] ?? "?";
  const type = field.table(3);
  const units = UNITS[kind];
  return {
    name: field.text(0),
    type: {
      kind,
      unit: units?.[type?.short(0, DEFAULT_UNITS[kind] ?? 0) ?? 0] ?? "",
      precision: kind === "Decimal" ? (type?.int(0, 0) ?? 0) : 0,
      zoned: kind === "Timestamp" && (type?.has(1) ?? false),
    },
    children: field.tables(5).map((child) => readField(child, depth + 1, budget)),
  };
}

/**
 * A record batch (or dictionary) message whose buffers are compressed, as one whose buffers are not.
 * `decompress` gets a buffer without its length prefix, and the length it must have. Throws what it throws.
 */
export function decompressMessage(
  metadata: Uint8Array,
  body: Uint8Array,
  decompress: (data: Uint8Array, length: number) => Uint8Array,
): { metadata: Uint8Array; body: Uint8Array } {
  const patched = metadata.slice();
  const message = root(patched);
  const header = message.table(2);
  const batch = message.byte(1, 0) === 2 ? header?.table(1) : header;
  if (!batch) throw new ArrowFormatError("a message without its header");
  const buffers = batch.longPairs(2);
  const parts: Uint8Array[] = [];
  let size = 0;
  for (const [index, [offset, length]] of buffers.entries()) {
    const data = unpackBuffer(slice(body, offset, length), decompress);
    const padding = new Uint8Array((8 - (data.length % 8)) % 8);
    batch.setLongPair(2, index, size, data.length);
    parts.push(data, padding);
    size += data.length + padding.length;
  }
  batch.clear(3);
  message.setLong(3, size);
  return { metadata: patched, body: Buffer.concat(parts, size) };
}

/** Bytes that the buffers of a compressed message say they unpack to. */
export function unpackedLength(metadata: Uint8Array, body: Uint8Array): number {
  const message = root(metadata);
  const header = message.table(2);
  const batch = message.byte(1, 0) === 2 ? header?.table(1) : header;
  let total = 0;
  for (const [offset, length] of batch?.longPairs(2) ?? []) {
    if (length > 0) total += Math.max(length, lengthPrefix(slice(body, offset, length)));
  }
  return total;
}

function unpackBuffer(data: Uint8Array, decompress: (data: Uint8Array, length: number) => Uint8Array): Uint8Array {
  if (data.length === 0) return data;
  const length = lengthPrefix(data);
  const rest = data.subarray(8);
  // -1 marks a buffer that was left alone because compressing it did not pay.
  return length === -1 ? rest : length === 0 ? new Uint8Array() : decompress(rest, length);
}

function lengthPrefix(data: Uint8Array): number {
  return toNumber(new DataView(data.buffer, data.byteOffset, data.byteLength).getBigInt64(0, true));
}

function slice(body: Uint8Array, offset: number, length: number): Uint8Array {
  if (offset < 0 || length < 0 || offset + length > body.length) {
    throw new ArrowFormatError("a buffer outside its message");
  }
  return body.subarray(offset, offset + length);
}

function toNumber(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER) || value < -1n) throw new ArrowFormatError("an impossible length");
  return Number(value);
}

/** A flatbuffers table: `slot` is the index of a field in its definition. https://flatbuffers.dev/internals/ */
interface FlatTable {
  /** Where it is in its buffer. */
  readonly at: number;
  has(slot: number): boolean;
  byte(slot: number, absent: number): number;
  short(slot: number, absent: number): number;
  int(slot: number, absent: number): number;
  long(slot: number): number;
  text(slot: number): string;
  table(slot: number): FlatTable | undefined;
  tables(slot: number): FlatTable[];
  /** A vector of structs of two longs. */
  longPairs(slot: number): [number, number][];
  /** The first member of a vector of `Block` structs. */
  blockOffsets(slot: number): number[];
  setLong(slot: number, value: number): void;
  setLongPair(slot: number, index: number, first: number, second: number): void;
  /** Makes the field absent. */
  clear(slot: number): void;
}

function root(bytes: Uint8Array): FlatTable {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return flatTable(view, view.getUint32(0, true));
}

function flatTable(view: DataView, at: number): FlatTable {
  const vtable = at - view.getInt32(at, true);
  const slots = (view.getUint16(vtable, true) - 4) / 2;
  const entry = (slot: number): number => vtable + 4 + 2 * slot;
  const field = (slot: number): number => {
    const offset = slot < slots ? view.getUint16(entry(slot), true) : 0;
    return offset === 0 ? 0 : at + offset;
  };
  const follow = (position: number): number => position + view.getUint32(position, true);
  const vector = (slot: number, size: number): { start: number; count: number } => {
    const position = field(slot);
    if (position === 0) return { start: 0, count: 0 };
    const start = follow(position);
    const count = view.getUint32(start, true);
    if (start + 4 + count * size > view.byteLength) throw new ArrowFormatError("a list longer than its message");
    return { start: start + 4, count };
  };
  return {
    at,
    has: (slot) => field(slot) !== 0,
    byte: (slot, absent) => (field(slot) === 0 ? absent : view.getUint8(field(slot))),
    short: (slot, absent) => (field(slot) === 0 ? absent : view.getInt16(field(slot), true)),
    int: (slot, absent) => (field(slot) === 0 ? absent : view.getInt32(field(slot), true)),
    long: (slot) => (field(slot) === 0 ? 0 : toNumber(view.getBigInt64(field(slot), true))),
    text: (slot) => {
      const { start, count } = vector(slot, 1);
      return Buffer.from(view.buffer, view.byteOffset + start, count).toString("utf8");
    },
    table: (slot) => (field(slot) === 0 ? undefined : flatTable(view, follow(field(slot)))),
    tables: (slot) => {
      const { start, count } = vector(slot, 4);
      return Array.from({ length: count }, (_, index) => flatTable(view, follow(start + 4 * index)));
    },
    longPairs: (slot) => {
      const { start, count } = vector(slot, 16);
      return Array.from({ length: count }, (_, index) => [
        toNumber(view.getBigInt64(start + 16 * index, true)),
        toNumber(view.getBigInt64(start + 16 * index + 8, true)),
      ]);
    },
    blockOffsets: (slot) => {
      const { start, count } = vector(slot, 24);
      return Array.from({ length: count }, (_, index) => toNumber(view.getBigInt64(start + 24 * index, true)));
    },
    setLong: (slot, value) => {
      if (field(slot) === 0 && value !== 0) throw new ArrowFormatError("a message without a length");
      if (field(slot) !== 0) view.setBigInt64(field(slot), BigInt(value), true);
    },
    setLongPair: (slot, index, first, second) => {
      const { start } = vector(slot, 16);
      view.setBigInt64(start + 16 * index, BigInt(first), true);
      view.setBigInt64(start + 16 * index + 8, BigInt(second), true);
    },
    clear: (slot) => view.setUint16(entry(slot), 0, true),
  };
}
