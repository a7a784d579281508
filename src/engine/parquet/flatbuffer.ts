/** Flatbuffers, as far as Arrow's metadata needs them, read and written. Pure. https://flatbuffers.dev/internals/ */

import { ArrowFormatError } from "./arrow-errors.ts";

/** A flatbuffers table: `slot` is the index of a field in its definition. Reads outside throw `RangeError`. */
export interface FlatTable {
  /** Where it is in its buffer. */
  readonly at: number;
  has(slot: number): boolean;
  byte(slot: number, absent: number): number;
  short(slot: number, absent: number): number;
  int(slot: number, absent: number): number;
  long(slot: number): number;
  /** Throws `ArrowFormatError` unless it is UTF-8. */
  text(slot: number): string;
  bytes(slot: number): Uint8Array;
  table(slot: number): FlatTable | undefined;
  tables(slot: number): FlatTable[];
  longs(slot: number): number[];
  /** A vector of structs of two longs. */
  longPairs(slot: number): [number, number][];
  /** The first member of a vector of `Block` structs. */
  blockOffsets(slot: number): number[];
}

export function readFlat(bytes: Uint8Array): FlatTable {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return flatTable(view, view.getUint32(0, true));
}

function flatTable(view: DataView, at: number): FlatTable {
  const vtable = at - view.getInt32(at, true);
  const slots = (view.getUint16(vtable, true) - 4) / 2;
  const field = (slot: number): number => {
    const offset = slot < slots ? view.getUint16(vtable + 4 + 2 * slot, true) : 0;
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
  const longAt = (position: number): number => toNumber(view.getBigInt64(position, true));
  const each = <Item>(slot: number, size: number, read: (position: number) => Item): Item[] => {
    const { start, count } = vector(slot, size);
    return Array.from({ length: count }, (_, index) => read(start + size * index));
  };
  const bytes = (slot: number): Uint8Array => {
    const { start, count } = vector(slot, 1);
    return new Uint8Array(view.buffer, view.byteOffset + start, count);
  };
  return {
    at,
    bytes,
    has: (slot) => field(slot) !== 0,
    byte: (slot, absent) => (field(slot) === 0 ? absent : view.getUint8(field(slot))),
    short: (slot, absent) => (field(slot) === 0 ? absent : view.getInt16(field(slot), true)),
    int: (slot, absent) => (field(slot) === 0 ? absent : view.getInt32(field(slot), true)),
    long: (slot) => (field(slot) === 0 ? 0 : longAt(field(slot))),
    text: (slot) => utf8(bytes(slot)),
    table: (slot) => (field(slot) === 0 ? undefined : flatTable(view, follow(field(slot)))),
    tables: (slot) => each(slot, 4, (position) => flatTable(view, follow(position))),
    longs: (slot) => each(slot, 8, longAt),
    longPairs: (slot) => each(slot, 16, (position) => [longAt(position), longAt(position + 8)]),
    blockOffsets: (slot) => each(slot, 24, longAt),
  };
}

const STRICT = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function utf8(bytes: Uint8Array): string {
  try {
    return STRICT.decode(bytes);
  } catch {
    throw new ArrowFormatError("a name that is not UTF-8");
  }
}

function toNumber(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER) || value < BigInt(Number.MIN_SAFE_INTEGER)) {
    throw new ArrowFormatError("an impossible length");
  }
  return Number(value);
}

/** A field of a table to write. */
export type FlatValue =
  | { byte: number }
  | { short: number }
  | { int: number }
  | { long: number }
  | { text: string }
  | { table: FlatFields }
  | { tables: FlatFields[] }
  /** A vector of structs of so many longs each. */
  | { longs: number[]; each: number };

/** Slots of a table; one that is undefined is left out. */
export type FlatFields = readonly (FlatValue | undefined)[];

export function writeFlat(root: FlatFields): Uint8Array {
  const out = openOutput();
  out.u32(out.reserve(4, 8), 0);
  out.u32(0, writeTable(out, root));
  return out.bytes();
}

type Output = ReturnType<typeof openOutput>;

function openOutput() {
  let view = new DataView(new ArrayBuffer(1024));
  let end = 0;
  return {
    /** Where `size` bytes begin from now on so that `at + lead` is a multiple of `align`. */
    reserve(size: number, align: number, lead = 0): number {
      const at = end + ((align - ((end + lead) % align)) % align);
      end = at + size;
      if (end > view.byteLength) {
        const grown = new Uint8Array(Math.max(end, view.byteLength * 2));
        grown.set(new Uint8Array(view.buffer));
        view = new DataView(grown.buffer);
      }
      return at;
    },
    u8: (at: number, value: number) => view.setUint8(at, value),
    i16: (at: number, value: number) => view.setInt16(at, value, true),
    u32: (at: number, value: number) => view.setUint32(at, value, true),
    i32: (at: number, value: number) => view.setInt32(at, value, true),
    i64: (at: number, value: number) => view.setBigInt64(at, BigInt(value), true),
    put: (at: number, data: Uint8Array) => new Uint8Array(view.buffer).set(data, at),
    bytes: () => new Uint8Array(view.buffer, 0, end),
  };
}

/** References point forward, so what a table refers to is written after it. Returns where the table is. */
function writeTable(out: Output, fields: FlatFields): number {
  const offsets: number[] = [];
  let size = 4;
  for (const field of fields) {
    const width = field === undefined ? 0 : inlineSize(field);
    if (width > 0) size = Math.ceil(size / width) * width;
    offsets.push(width > 0 ? size : 0);
    size += width;
  }
  const tableOffset = 4 + 2 * fields.length;
  const vtable = out.reserve(tableOffset + size, 8, tableOffset);
  const at = vtable + tableOffset;
  out.i16(vtable, tableOffset);
  out.i16(vtable + 2, size);
  for (const [slot, offset] of offsets.entries()) out.i16(vtable + 4 + 2 * slot, offset);
  out.i32(at, at - vtable);
  for (const [slot, field] of fields.entries()) if (field) writeValue(out, at + (offsets[slot] ?? 0), field);
  return at;
}

function inlineSize(field: FlatValue): number {
  if ("byte" in field) return 1;
  if ("short" in field) return 2;
  return "long" in field ? 8 : 4;
}

function writeValue(out: Output, at: number, field: FlatValue): void {
  if ("byte" in field) out.u8(at, field.byte);
  else if ("short" in field) out.i16(at, field.short);
  else if ("int" in field) out.i32(at, field.int);
  else if ("long" in field) out.i64(at, field.long);
  else if ("table" in field) out.u32(at, writeTable(out, field.table) - at);
  else if ("text" in field) {
    const text = Buffer.from(field.text);
    // Texts end with a zero that their length does not count.
    const start = out.reserve(4 + text.length + 1, 4);
    out.u32(start, text.length);
    out.put(start + 4, text);
    out.u32(at, start - at);
  } else if ("longs" in field) {
    const start = out.reserve(4 + 8 * field.longs.length, 8, 4);
    out.u32(start, field.longs.length / field.each);
    for (const [index, long] of field.longs.entries()) out.i64(start + 4 + 8 * index, long);
    out.u32(at, start - at);
  } else {
    const start = out.reserve(4 + 4 * field.tables.length, 4);
    out.u32(start, field.tables.length);
    out.u32(at, start - at);
    for (const [index, table] of field.tables.entries()) {
      const position = start + 4 + 4 * index;
      out.u32(position, writeTable(out, table) - position);
    }
  }
}
