/** Flatbuffers, as far as reading Arrow's metadata needs them. Pure. https://flatbuffers.dev/internals/ */

import { ArrowFormatError } from "./arrow-errors.ts";

/** A flatbuffers table: `slot` is the index of a field in its definition. Reads outside throw `RangeError`. */
export interface FlatTable {
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
