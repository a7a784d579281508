import { allocate, type Column, claim, column, int32s, isValid, type Memory, offsetReader } from "./arrow-column.ts";
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
      return sliceViews(whole, from, to, validity, memory);
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

/** Views share buffers with rows that are left out, so the texts that are not in the view itself are copied into one. */
function sliceViews(whole: Column, from: number, to: number, validity: Uint8Array | undefined, memory: Memory): Column {
  const length = to - from;
  const data = allocate(memory, 16 * length);
  data.set(whole.data.subarray(16 * from, 16 * to));
  const words = int32s(data);
  const texts: Uint8Array[] = [];
  let total = 0;
  for (let row = 0; row < length; row++) {
    if (!isValid(whole, from + row)) words.fill(0, 4 * row, 4 * row + 4);
    const size = words[4 * row] ?? 0;
    if (size <= 12) continue;
    const buffer = whole.buffers[words[4 * row + 2] ?? -1];
    const start = words[4 * row + 3] ?? -1;
    if (buffer === undefined || start < 0 || start + size > buffer.length) {
      throw new ArrowFormatError("a view outside its buffers");
    }
    texts.push(buffer.subarray(start, start + size));
    words[4 * row + 2] = 0;
    words[4 * row + 3] = total;
    total += size;
    claim(memory, size);
  }
  return column("view", length, { validity, width: 16, data, buffers: [Buffer.concat(texts, total)] });
}
