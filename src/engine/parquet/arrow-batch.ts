import { allocate, type Column, claim, column, int32s, type Memory, numbers } from "./arrow-column.ts";
import { ArrowFormatError } from "./arrow-errors.ts";
import type { BatchHeader } from "./arrow-ipc-format.ts";
import { sliceColumn } from "./arrow-slice.ts";
import { unpackLz4Frame } from "./lz4.ts";

/** Hands out the nodes and buffers of a record batch in the order of its fields. Every length is checked before use. */
export interface BatchReader {
  readonly rows: number;
  readonly memory: Memory;
  node(): { length: number; nulls: number };
  buffer(): Uint8Array;
  /** How many buffers the next views point into. */
  variadicCount(): number;
}

/** No array has more entries: what counts them is 32 bits wide. */
const MAX_LENGTH = 2 ** 31 - 1;

/** `body` is that of the message that `header` is of. */
export function openBatch(header: BatchHeader, body: Uint8Array, memory: Memory): BatchReader {
  const layout = header.layout();
  let node = 0;
  let buffer = 0;
  let variadic = 0;
  return {
    rows: header.rows,
    memory,
    node() {
      const [length, nulls] = layout.nodes[node++] ?? [-1, 0];
      if (length < 0 || length > MAX_LENGTH) throw new ArrowFormatError("an array with an impossible length");
      return { length, nulls };
    },
    buffer() {
      const place = layout.buffers[buffer++];
      if (!place) throw new ArrowFormatError("a buffer that is missing");
      const [offset, length] = place;
      if (offset < 0 || length < 0 || offset + length > body.length) {
        throw new ArrowFormatError("a buffer outside its message");
      }
      const bytes = body.subarray(offset, offset + length);
      return header.compression === "none" ? bytes : unpack(bytes, memory);
    },
    variadicCount() {
      const count = layout.variadicCounts[variadic++];
      if (count === undefined || count < 0 || count > layout.buffers.length) {
        throw new ArrowFormatError("views without their buffers");
      }
      return count;
    },
  };
}

function unpack(bytes: Uint8Array, memory: Memory): Uint8Array {
  if (bytes.length === 0) return bytes;
  if (bytes.length < 8) throw new ArrowFormatError("a compressed buffer without its length");
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset, 8).getBigInt64(0, true));
  const rest = bytes.subarray(8);
  // -1 marks a buffer that was left alone because compressing it did not pay.
  if (length === -1) return rest;
  if (length < 0) throw new ArrowFormatError("a compressed buffer with an impossible length");
  if (length === 0) return new Uint8Array();
  claim(memory, length);
  return unpackLz4Frame(rest, length);
}

function readValidity(batch: BatchReader, length: number, nulls: number): Uint8Array | undefined {
  const bits = batch.buffer();
  if (nulls === 0 || (nulls < 0 && bits.length === 0)) return undefined;
  return atLeast(bits, Math.ceil(length / 8));
}

function atLeast(bytes: Uint8Array, length: number): Uint8Array {
  if (bytes.length < length) throw new ArrowFormatError(`a buffer of ${bytes.length} bytes in place of ${length}`);
  return bytes.subarray(0, length);
}

export function readFixed(batch: BatchReader, width: number): Column {
  const { length, nulls } = batch.node();
  const validity = readValidity(batch, length, nulls);
  return column("fixed", length, { validity, width, data: atLeast(batch.buffer(), length * width) });
}

export function readBits(batch: BatchReader): Column {
  const { length, nulls } = batch.node();
  const validity = readValidity(batch, length, nulls);
  return column("bits", length, { validity, data: atLeast(batch.buffer(), Math.ceil(length / 8)) });
}

export function readBytes(batch: BatchReader, isLarge: boolean): Column {
  const { length, nulls } = batch.node();
  const validity = readValidity(batch, length, nulls);
  const offsets = readOffsets(batch, length, isLarge);
  return column("bytes", length, { validity, offsets, data: batch.buffer() });
}

export function readViews(batch: BatchReader): Column {
  const { length, nulls } = batch.node();
  const validity = readValidity(batch, length, nulls);
  const data = atLeast(batch.buffer(), length * 16);
  const buffers = Array.from({ length: batch.variadicCount() }, () => batch.buffer());
  return column("view", length, { validity, width: 16, data, buffers });
}

export function readList(batch: BatchReader, isLarge: boolean, readItems: () => Column): Column {
  const { length, nulls } = batch.node();
  const validity = readValidity(batch, length, nulls);
  const offsets = readOffsets(batch, length, isLarge);
  return column("list", length, { validity, offsets, children: [readItems()] });
}

export function readFixedList(batch: BatchReader, size: number, readItems: () => Column): Column {
  const { length, nulls } = batch.node();
  const validity = readValidity(batch, length, nulls);
  const items = readItems();
  if (items.length < length * size) throw new ArrowFormatError("a list with fewer items than it says");
  return column("fixedList", length, { validity, width: size, children: [firstRows(items, length * size, batch)] });
}

export function readStruct(batch: BatchReader, readFields: (() => Column)[]): Column {
  const { length, nulls } = batch.node();
  const validity = readValidity(batch, length, nulls);
  const children = readFields.map((read) => {
    const child = read();
    if (child.length < length) throw new ArrowFormatError("a struct with fewer values than it says");
    return firstRows(child, length, batch);
  });
  return column("struct", length, { validity, children });
}

/** Children may be longer than what refers to them. */
function firstRows(whole: Column, length: number, batch: BatchReader): Column {
  return whole.length === length ? whole : sliceColumn(whole, 0, length, batch.memory);
}

/** The rows that the runs stand for, as indices into the values after the run ends. */
export function readRuns(batch: BatchReader, bits: number): Int32Array {
  const { length } = batch.node();
  const ends = readFixed(batch, bits / 8);
  const end = numbers(ends.data, ends.width, true);
  claim(batch.memory, length * 4);
  const indices = new Int32Array(length);
  let from = 0;
  for (let run = 0; run < ends.length && from < length; run++) {
    const to = end(run);
    if (to <= from) throw new ArrowFormatError("runs that do not grow");
    indices.fill(run, from, Math.min(to, length));
    from = to;
  }
  if (from < length) throw new ArrowFormatError("runs that end too early");
  return indices;
}

/** The validity of a list view, and for each row where its items are. */
export function readListView(batch: BatchReader, isLarge: boolean): ListView {
  const { length, nulls } = batch.node();
  const validity = readValidity(batch, length, nulls);
  const width = isLarge ? 8 : 4;
  const offset = numbers(atLeast(batch.buffer(), length * width), width, true);
  const size = numbers(atLeast(batch.buffer(), length * width), width, true);
  return { length, validity, offset, size };
}

export interface ListView {
  length: number;
  validity: Uint8Array | undefined;
  offset: (index: number) => number;
  size: (index: number) => number;
}

/** In four bytes each: a batch has fewer bytes than they can count. An array without entries may leave them out. */
function readOffsets(batch: BatchReader, length: number, isLarge: boolean): Uint8Array {
  const bytes = batch.buffer();
  if (length === 0) return new Uint8Array(4);
  if (!isLarge) return atLeast(bytes, 4 * (length + 1));
  const at = numbers(atLeast(bytes, 8 * (length + 1)), 8, true);
  const offsets = allocate(batch.memory, 4 * (length + 1));
  const narrow = int32s(offsets);
  for (let index = 0; index <= length; index++) {
    const value = at(index);
    if (value < 0 || value > MAX_LENGTH) throw new ArrowFormatError("an offset outside its values");
    narrow[index] = value;
  }
  return offsets;
}
