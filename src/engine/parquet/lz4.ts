/**
 * Unpacks an LZ4 frame whose content is `length` bytes long. Checksums are not verified. Throws `RangeError` on damage.
 * https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md
 */
export function unpackLz4Frame(frame: Uint8Array, length: number): Uint8Array {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  if (view.getUint32(0, true) !== 0x184d2204) throw new RangeError("not an LZ4 frame");
  const flags = view.getUint8(4);
  const hasBlockChecksum = (flags & 0x10) !== 0;
  const hasContentSize = (flags & 0x08) !== 0;
  const hasDictionary = (flags & 0x01) !== 0;
  let at = 6 + (hasContentSize ? 8 : 0) + (hasDictionary ? 4 : 0) + 1;
  const output = new Uint8Array(length);
  let written = 0;
  for (;;) {
    const word = view.getUint32(at, true);
    at += 4;
    if (word === 0) break;
    const size = word & 0x7fffffff;
    if (at + size > frame.length) throw new RangeError("an LZ4 block is cut short");
    const block = frame.subarray(at, at + size);
    if (word >>> 31 === 1) {
      output.set(block, written);
      written += size;
    } else {
      written = unpackBlock(block, output, written);
    }
    at += size + (hasBlockChecksum ? 4 : 0);
  }
  if (written !== length) throw new RangeError("an LZ4 frame is shorter than it says");
  return output;
}

/** Appends a block to `output`; matches may reach back into earlier blocks. Returns the new end. */
function unpackBlock(block: Uint8Array, output: Uint8Array, start: number): number {
  let from = 0;
  let to = start;
  const next = (): number => {
    const byte = block[from++];
    if (byte === undefined) throw new RangeError("an LZ4 block is cut short");
    return byte;
  };
  const extended = (base: number): number => {
    let total = base;
    if (base !== 15) return total;
    for (let byte = 255; byte === 255; total += byte) byte = next();
    return total;
  };
  while (from < block.length) {
    const token = next();
    const literals = extended(token >> 4);
    if (from + literals > block.length) throw new RangeError("an LZ4 block is cut short");
    output.set(block.subarray(from, from + literals), to);
    from += literals;
    to += literals;
    // The last sequence of a block has literals only.
    if (from === block.length) break;
    const distance = next() | (next() << 8);
    const count = extended(token & 15) + 4;
    if (distance === 0 || distance > to || to + count > output.length) throw new RangeError("an LZ4 match is outside");
    // Source and target may overlap, which repeats the bytes between them.
    if (distance >= count) output.copyWithin(to, to - distance, to - distance + count);
    else for (let index = 0; index < count; index += 1) output[to + index] = output[to + index - distance] ?? 0;
    to += count;
  }
  return to;
}
