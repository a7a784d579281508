import { allocate, type Column, column, int32s, type Memory, offsetReader } from "./arrow-column.ts";
import { ArrowFormatError } from "./arrow-errors.ts";

/** Rows `from` to `to` without the values of the others: what a large batch is cut into. */
export function sliceColumn(whole: Column, from: number, to: number, memory: Memory): Column {
  const { layout, width, dictionary } = whole;
  const length = to - from;
  const validity = whole.validity && sliceBits(whole.validity, from, to, memory);
  const parts = { validity, width, dictionary };
  switch (layout) {
    case "fixed":
    case "dictionary":
      return column(layout, length, { ...parts, data: whole.data.subarray(from * width, to * width) });
    case "bits":
      return column(layout, length, { ...parts, data: sliceBits(whole.data, from, to, memory) });
    case "view":
      return viewsAsBytes(whole, from, to, validity, memory);
    case "struct":
      return column(layout, length, {
        ...parts,
        children: whole.children.map((child) => sliceColumn(child, from, to, memory)),
      });
    case "fixedList":
      return column(layout, length, {
        ...parts,
        children: whole.children.map((child) => sliceColumn(child, from * width, to * width, memory)),
      });
    case "bytes":
    case "list": {
      const [child] = whole.children;
      const range = offsetReader(whole, layout === "list" ? (child?.length ?? 0) : whole.data.length);
      const [start] = length > 0 ? range(from) : [0];
      const [, end] = length > 0 ? range(to - 1) : [0, 0];
      const bytes = allocate(memory, 4 * (length + 1));
      const offsets = int32s(bytes);
      for (let at = 0; at < length; at++) offsets[at + 1] = range(from + at)[1] - start;
      return column(layout, length, {
        ...parts,
        offsets: bytes,
        data: layout === "list" ? whole.data : whole.data.subarray(start, end),
        children: child ? [sliceColumn(child, start, end, memory)] : [],
      });
    }
  }
}

export function sliceBits(bits: Uint8Array, from: number, to: number, memory: Memory): Uint8Array {
  const shift = from & 7;
  const first = from >> 3;
  const bytes = Math.ceil((to - from) / 8);
  if (shift === 0) return bits.subarray(first, first + bytes);
  const sliced = allocate(memory, bytes);
  for (let at = 0; at < bytes; at++) {
    sliced[at] = ((bits[first + at] ?? 0) >> shift) | ((bits[first + at + 1] ?? 0) << (8 - shift));
  }
  return sliced;
}

/** Views share buffers with rows that are left out, so the texts are copied. */
function viewsAsBytes(
  { data, buffers, validity: all }: Column,
  from: number,
  to: number,
  validity: Uint8Array | undefined,
  memory: Memory,
): Column {
  const words = int32s(data);
  const length = to - from;
  const offsets = allocate(memory, 4 * (length + 1));
  const ends = int32s(offsets);
  const texts: Uint8Array[] = [];
  let total = 0;
  for (let row = from; row < to; row++) {
    if (all === undefined || (((all[row >> 3] ?? 0) >> (row & 7)) & 1) === 1) {
      const size = words[4 * row] ?? 0;
      // Up to twelve bytes are in the view itself.
      const start = size <= 12 ? 16 * row + 4 : (words[4 * row + 3] ?? 0);
      const buffer = size <= 12 ? data : buffers[words[4 * row + 2] ?? -1];
      if (size < 0 || start < 0 || buffer === undefined || start + size > buffer.length) {
        throw new ArrowFormatError("a view outside its buffers");
      }
      texts.push(buffer.subarray(start, start + size));
      total += size;
      if (total > memory.left) throw new ArrowFormatError("views that repeat their texts without end");
    }
    ends[row - from + 1] = total;
  }
  const bytes = allocate(memory, total);
  let at = 0;
  for (const text of texts) {
    bytes.set(text, at);
    at += text.length;
  }
  return column("bytes", length, { validity, offsets, data: bytes });
}
