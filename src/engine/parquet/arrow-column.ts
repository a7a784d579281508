import { ArrowFormatError } from "./arrow-errors.ts";

/**
 * One Arrow array in memory, little-endian, in a layout that the Parquet writer takes. Buffers are those of the file
 * where nothing had to change. https://arrow.apache.org/docs/format/Columnar.html#physical-memory-layout
 */
export interface Column {
  layout: "fixed" | "bits" | "bytes" | "view" | "dictionary" | "list" | "fixedList" | "struct";
  length: number;
  /** Undefined: no NULLs. */
  validity: Uint8Array | undefined;
  /** Bytes of a value or a dictionary index; items of a fixed-size list; otherwise 0. */
  width: number;
  /** Values, bits, texts, views or indices. */
  data: Uint8Array;
  /** Of `bytes` and `list`, in four bytes each, one more than `length`. */
  offsets: Uint8Array;
  /** Of `view`: what the views point into. */
  buffers: Uint8Array[];
  children: Column[];
  /** Of `dictionary`: which of the dictionaries that go with the batch. */
  dictionary: number;
}

/** Bytes that may still be made of a batch: a small file can stand for an endless one. */
export interface Memory {
  left: number;
}

export class NoMemory extends Error {}

export function claim(memory: Memory, bytes: number): void {
  memory.left -= bytes;
  if (memory.left < 0) throw new NoMemory();
}

export function allocate(memory: Memory, bytes: number): Uint8Array<ArrayBuffer> {
  claim(memory, bytes);
  return new Uint8Array(bytes);
}

const EMPTY = new Uint8Array();

export function column(layout: Column["layout"], length: number, parts: Partial<Column>): Column {
  return {
    layout,
    length,
    validity: undefined,
    width: 0,
    data: EMPTY,
    offsets: EMPTY,
    buffers: [],
    children: [],
    dictionary: 0,
    ...parts,
  };
}

export function isValid({ validity }: Column, index: number): boolean {
  return validity === undefined || hasBit(validity, index);
}

export function hasBit(bits: Uint8Array, at: number): boolean {
  return (((bits[at >> 3] ?? 0) >> (at & 7)) & 1) === 1;
}

const BITS = Uint8Array.from({ length: 256 }, (_, byte) => byte.toString(2).replaceAll("0", "").length);

export function nullsOf({ validity, length }: Column): number {
  if (validity === undefined) return 0;
  let valid = 0;
  const whole = length >> 3;
  for (let at = 0; at < whole; at++) valid += BITS[validity[at] ?? 0] ?? 0;
  if (length & 7) valid += BITS[(validity[whole] ?? 0) & ((1 << (length & 7)) - 1)] ?? 0;
  return length - valid;
}

/** A typed view of the bytes, which are copied where they are not aligned. */
export function int32s(bytes: Uint8Array): Int32Array {
  const { buffer, byteOffset } = aligned(bytes, 4);
  return new Int32Array(buffer, byteOffset, bytes.length >> 2);
}

export function int64s(bytes: Uint8Array): BigInt64Array {
  const { buffer, byteOffset } = aligned(bytes, 8);
  return new BigInt64Array(buffer, byteOffset, bytes.length >> 3);
}

function aligned(bytes: Uint8Array, width: number): Uint8Array {
  return bytes.byteOffset % width === 0 ? bytes : bytes.slice();
}

/** Whole numbers of 1, 2, 4 or 8 bytes as numbers; beyond 2^53 not exact, but still far out of every range. */
export function numbers(bytes: Uint8Array, width: number, isSigned: boolean): (index: number) => number {
  const { buffer, byteOffset } = aligned(bytes, width);
  const count = Math.floor(bytes.length / width);
  if (width === 8) {
    const words = new Uint32Array(buffer, byteOffset, count * 2);
    const high = isSigned ? new Int32Array(buffer, byteOffset, count * 2) : words;
    return (index) => (high[2 * index + 1] ?? 0) * 2 ** 32 + (words[2 * index] ?? 0);
  }
  const values = narrow(buffer, byteOffset, count, width, isSigned);
  return (index) => values[index] ?? 0;
}

function narrow(buffer: ArrayBufferLike, at: number, count: number, width: number, isSigned: boolean) {
  if (width === 4) return isSigned ? new Int32Array(buffer, at, count) : new Uint32Array(buffer, at, count);
  if (width === 2) return isSigned ? new Int16Array(buffer, at, count) : new Uint16Array(buffer, at, count);
  return isSigned ? new Int8Array(buffer, at, count) : new Uint8Array(buffer, at, count);
}

/** Where the values of `bytes` and `list` begin and end; throws when one lies outside of `limit`. */
export function offsetReader({ offsets }: Column, limit: number): (index: number) => [number, number] {
  const at = int32s(offsets);
  return (index) => {
    const start = at[index] ?? -1;
    const end = at[index + 1] ?? -1;
    if (start < 0 || end < start || end > limit) throw new ArrowFormatError("an offset outside its values");
    return [start, end];
  };
}

/** The rows at `indices`, of which -1 stands for NULL. */
export function take(from: Column, indices: Int32Array, memory: Memory): Column {
  const { layout, width } = from;
  const length = indices.length;
  const rest = { validity: takeValidity(from, indices, memory), width };
  switch (layout) {
    case "bits":
      return column(layout, length, { ...rest, data: takeBits(from.data, indices, memory) });
    case "fixed":
    case "view":
    case "dictionary": {
      const data = takeFixed(from.data, layout === "view" ? 16 : width, indices, memory);
      return column(layout, length, { ...rest, data, buffers: from.buffers, dictionary: from.dictionary });
    }
    case "bytes":
      return takeBytes(from, indices, rest.validity, memory);
    case "struct":
      return column(layout, length, { ...rest, children: from.children.map((child) => take(child, indices, memory)) });
    case "list":
      return takeList(from, indices, rest.validity, memory);
    case "fixedList": {
      const [child] = from.children;
      if (!child) throw new ArrowFormatError("a list without items");
      claim(memory, length * width * 4);
      const items = new Int32Array(length * width);
      for (const [index, row] of indices.entries()) {
        for (let at = 0; at < width; at++) items[index * width + at] = row < 0 ? -1 : row * width + at;
      }
      return column(layout, length, { ...rest, children: [take(child, items, memory)] });
    }
  }
}

function takeValidity(from: Column, indices: Int32Array, memory: Memory): Uint8Array | undefined {
  if (from.validity === undefined && !indices.includes(-1)) return undefined;
  const validity = allocate(memory, Math.ceil(indices.length / 8));
  for (let at = 0; at < indices.length; at++) {
    const row = indices[at] ?? -1;
    if (row >= 0 && isValid(from, row)) setBit(validity, at);
  }
  return validity;
}

export function setBit(bits: Uint8Array, at: number): void {
  bits[at >> 3] = (bits[at >> 3] ?? 0) | (1 << (at & 7));
}

function takeBits(bits: Uint8Array, indices: Int32Array, memory: Memory): Uint8Array {
  const taken = allocate(memory, Math.ceil(indices.length / 8));
  for (let at = 0; at < indices.length; at++) {
    const row = indices[at] ?? -1;
    if (row >= 0 && hasBit(bits, row)) setBit(taken, at);
  }
  return taken;
}

function takeFixed(data: Uint8Array, width: number, indices: Int32Array, memory: Memory): Uint8Array {
  const taken = allocate(memory, indices.length * width);
  for (let at = 0; at < indices.length; at++) {
    const row = indices[at] ?? -1;
    if (row < 0) continue;
    for (let byte = 0; byte < width; byte++) taken[at * width + byte] = data[row * width + byte] ?? 0;
  }
  return taken;
}

function takeBytes(from: Column, indices: Int32Array, validity: Uint8Array | undefined, memory: Memory): Column {
  const range = offsetReader(from, from.data.length);
  const ends = offsetsFor(indices, range, memory);
  const data = allocate(memory, ends.total);
  let to = 0;
  for (const row of indices) {
    if (row < 0) continue;
    const [start, end] = range(row);
    data.set(from.data.subarray(start, end), to);
    to += end - start;
  }
  return column("bytes", indices.length, { validity, offsets: ends.offsets, data });
}

function takeList(from: Column, indices: Int32Array, validity: Uint8Array | undefined, memory: Memory): Column {
  const [child] = from.children;
  if (!child) throw new ArrowFormatError("a list without items");
  const range = offsetReader(from, child.length);
  const ends = offsetsFor(indices, range, memory);
  claim(memory, ends.total * 4);
  const items = new Int32Array(ends.total);
  let to = 0;
  for (const row of indices) {
    if (row < 0) continue;
    const [start, end] = range(row);
    for (let item = start; item < end; item++) items[to++] = item;
  }
  return column("list", indices.length, {
    validity,
    offsets: ends.offsets,
    children: [take(child, items, memory)],
  });
}

/** Offsets of what `indices` take. */
function offsetsFor(
  indices: Int32Array,
  range: (index: number) => [number, number],
  memory: Memory,
): { offsets: Uint8Array; total: number } {
  const bytes = allocate(memory, 4 * (indices.length + 1));
  const offsets = int32s(bytes);
  let total = 0;
  for (let at = 0; at < indices.length; at++) {
    const row = indices[at] ?? -1;
    if (row >= 0) {
      const [start, end] = range(row);
      total += end - start;
    }
    if (total > memory.left) throw new NoMemory();
    offsets[at + 1] = total;
  }
  return { offsets: bytes, total };
}

/** Rows of both, first those of `a`. Not for `view` and `dictionary`. */
export function concat(a: Column, b: Column, memory: Memory): Column {
  if (a.layout !== b.layout || a.children.length !== b.children.length) throw new ArrowFormatError("two layouts");
  const length = a.length + b.length;
  const count = (rows: Column): number => (rows.layout === "list" ? (rows.children[0]?.length ?? 0) : rows.data.length);
  const validity =
    a.validity || b.validity ? joinBits([validBits(a), validBits(b)], [a.length, b.length], memory) : undefined;
  const children = a.children.map((child, at) => concat(child, b.children[at] ?? child, memory));
  const parts = { validity, width: a.width, children };
  switch (a.layout) {
    case "bits":
      return column("bits", length, { ...parts, data: joinBits([a.data, b.data], [a.length, b.length], memory) });
    case "fixed":
      return column("fixed", length, {
        ...parts,
        data: join(a.data.subarray(0, a.length * a.width), b.data.subarray(0, b.length * b.width), memory),
      });
    case "bytes":
    case "list": {
      const bytes = allocate(memory, 4 * (length + 1));
      const offsets = int32s(bytes);
      const [before, after] = [offsetReader(a, count(a)), offsetReader(b, count(b))];
      for (let at = 0; at < a.length; at++) [offsets[at], offsets[at + 1]] = before(at);
      const base = count(a);
      for (let at = 0; at < b.length; at++) {
        const [start, end] = after(at);
        offsets[a.length + at] = base + start;
        offsets[a.length + at + 1] = base + end;
      }
      const data = a.layout === "bytes" ? join(a.data, b.data, memory) : EMPTY;
      return column(a.layout, length, { ...parts, offsets: bytes, data });
    }
    case "struct":
    case "fixedList":
      return column(a.layout, length, parts);
    case "view":
    case "dictionary":
      throw new ArrowFormatError(`a ${a.layout} that grows`);
  }
}

function validBits({ validity, length }: Column): Uint8Array {
  return validity ?? new Uint8Array(Math.ceil(length / 8)).fill(0xff);
}

function join(a: Uint8Array, b: Uint8Array, memory: Memory): Uint8Array {
  const joined = allocate(memory, a.length + b.length);
  joined.set(a);
  joined.set(b, a.length);
  return joined;
}

function joinBits(parts: Uint8Array[], lengths: number[], memory: Memory): Uint8Array {
  const joined = allocate(memory, Math.ceil(lengths.reduce((sum, length) => sum + length, 0) / 8));
  let to = 0;
  for (const [index, bits] of parts.entries()) {
    for (let at = 0; at < (lengths[index] ?? 0); at++, to++) {
      if (hasBit(bits, at)) setBit(joined, to);
    }
  }
  return joined;
}
