import {
  bitsAt,
  constantTable,
  damaged,
  type FseTable,
  fseTable,
  type HuffmanTable,
  readFse,
  readHuffman,
  streamBits,
} from "./zstd-tables.ts";

/** Largest content of a block, whatever the window: RFC 8878, section 3.1.1.2.4. */
export const BLOCK_BYTES = 128 * 1024;

/** The state that a frame's blocks share. */
export interface Frame {
  /** The window, and the content that is being decoded behind it. */
  output: Uint8Array;
  /** Index of the first byte of this frame, which no match begins before. */
  from: number;
  /** Index of the next byte to write. */
  at: number;
  /** Of the last block that had one; the same goes for the other tables. */
  huffman: HuffmanTable | undefined;
  tables: (FseTable | undefined)[];
  repeated: [number, number, number];
}

interface Code {
  maxLog: number;
  /** Number of symbols. */
  symbols: number;
  predefined: FseTable;
}

const ones = (count: number, value = 1): number[] => Array.from({ length: count }, () => value);
// RFC 8878, sections 3.1.1.3.2.1.1 and 3.1.1.3.2.2.
const LITERAL_BITS = [...ones(16, 0), 1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
const MATCH_BITS = [...ones(32, 0), 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
const LITERAL_COUNTS = [4, 3, ...ones(11, 2), 1, 1, 1, ...ones(9, 2), 3, 2, ...ones(5), ...ones(4, -1)];
const MATCH_COUNTS = [1, 4, 3, ...ones(6, 2), ...ones(37), ...ones(7, -1)];
const OFFSET_COUNTS = [...ones(6), 2, 2, 2, ...ones(15), ...ones(5, -1)];
/** Offsets beyond the largest window that is read are damage. */
const MAX_OFFSET_CODE = 28;
/** Numbers that the extra bits are added to. */
const LITERAL_BASES = basesOf(LITERAL_BITS, 0);
const MATCH_BASES = basesOf(MATCH_BITS, 3);

const LITERALS: Code = {
  maxLog: 9,
  symbols: LITERAL_BITS.length,
  predefined: fseTable(6, LITERAL_COUNTS),
};
const OFFSETS: Code = {
  maxLog: 8,
  symbols: MAX_OFFSET_CODE + 1,
  predefined: fseTable(5, OFFSET_COUNTS),
};
const MATCHES: Code = {
  maxLog: 9,
  symbols: MATCH_BITS.length,
  predefined: fseTable(6, MATCH_COUNTS),
};
const CODES = [LITERALS, OFFSETS, MATCHES] as const;

/** Decodes a compressed block to `frame.output`, which must have room for a whole block. Throws `ZstdFault`. */
export function decodeBlock(block: Uint8Array, frame: Frame): void {
  const { literals, length } = readLiterals(block, frame);
  runSequences(block.subarray(length), literals, frame);
}

function readLiterals(block: Uint8Array, frame: Frame): { literals: Uint8Array; length: number } {
  const [first = 0] = block;
  const type = first & 3;
  const format = (first >> 2) & 3;
  if (type < 2) {
    const header = format === 1 ? 2 : format === 3 ? 3 : 1;
    const size = bitsAt(block, header === 1 ? 3 : 4, header === 1 ? 5 : header * 8 - 4);
    const stored = type === 0 ? size : 1;
    if (size > BLOCK_BYTES || header + stored > block.length) throw damaged();
    const data = block.subarray(header, header + stored);
    return { literals: type === 0 ? data : new Uint8Array(size).fill(data[0] as number), length: header + stored };
  }
  const [header, width] = format === 3 ? [5, 18] : format === 2 ? [4, 14] : [3, 10];
  const size = bitsAt(block, 4, width);
  const stored = bitsAt(block, 4 + width, width);
  if (size > BLOCK_BYTES || header + stored > block.length) throw damaged();
  let data = block.subarray(header, header + stored);
  if (type === 2) {
    const { table, length } = readHuffman(data);
    frame.huffman = table;
    data = data.subarray(length);
  }
  if (!frame.huffman) throw damaged();
  const literals = new Uint8Array(size);
  if (format === 0) decodeHuffman(data, literals, frame.huffman);
  else decodeStreams(data, literals, frame.huffman);
  return { literals, length: header + stored };
}

/** Decodes four streams, which the sizes of the first three precede. */
function decodeStreams(data: Uint8Array, literals: Uint8Array, table: HuffmanTable): void {
  const part = (literals.length + 3) >> 2;
  if (data.length < 10 || part * 3 > literals.length) throw damaged();
  let at = 6;
  for (let stream = 0; stream < 4; stream += 1) {
    const end = stream === 3 ? data.length : at + bitsAt(data, stream * 16, 16);
    if (end > data.length) throw damaged();
    const target = literals.subarray(stream * part, stream === 3 ? literals.length : (stream + 1) * part);
    decodeHuffman(data.subarray(at, end), target, table);
    at = end;
  }
}

function decodeHuffman(stream: Uint8Array, target: Uint8Array, { log, symbols, bits }: HuffmanTable): void {
  let at = streamBits(stream);
  let index = 0;
  const mask = (1 << log) - 1;
  // Two symbols take 22 bits at most, which lie in one word with up to 7 bits before them.
  for (const last = target.length - 1; index < last && at >= 32; index += 2) {
    const from = (at - 2 * log) >> 3;
    const word =
      (stream[from] as number) |
      ((stream[from + 1] as number) << 8) |
      ((stream[from + 2] as number) << 16) |
      ((stream[from + 3] as number) << 24);
    const start = from << 3;
    const code = (word >>> (at - log - start)) & mask;
    target[index] = symbols[code] as number;
    at -= bits[code] as number;
    const other = (word >>> (at - log - start)) & mask;
    target[index + 1] = symbols[other] as number;
    at -= bits[other] as number;
  }
  for (; index < target.length; index += 1) {
    const code = bitsAt(stream, at - log, log);
    target[index] = symbols[code] as number;
    at -= bits[code] as number;
  }
  if (at !== 0) throw damaged();
}

function runSequences(block: Uint8Array, literals: Uint8Array, frame: Frame): void {
  const { count, length } = sequenceCount(block);
  const taken = count === 0 ? 0 : runEach(block, length, count, literals, frame);
  copyLiterals(frame, literals, taken, literals.length);
}

/** Runs `count` sequences and returns how many literals they used. The hot loop, so it moves `at` itself. */
function runEach(block: Uint8Array, tablesAt: number, count: number, literals: Uint8Array, frame: Frame): number {
  const [literal, offset, match, start] = readTables(block, tablesAt, frame);
  const stream = block.subarray(start);
  let taken = 0;
  let at = streamBits(stream) - literal.log;
  let literalState = bitsAt(stream, at, literal.log);
  at -= offset.log;
  let offsetState = bitsAt(stream, at, offset.log);
  at -= match.log;
  let matchState = bitsAt(stream, at, match.log);
  for (let left = count; left > 0; left -= 1) {
    const offsetCode = offset.symbols[offsetState] as number;
    const matchCode = match.symbols[matchState] as number;
    const literalCode = literal.symbols[literalState] as number;
    if (offsetCode > MAX_OFFSET_CODE) throw damaged();
    at -= offsetCode;
    const value = (1 << offsetCode) + longBitsAt(stream, at, offsetCode);
    const matchBits = MATCH_BITS[matchCode] as number;
    at -= matchBits;
    const matched = (MATCH_BASES[matchCode] as number) + bitsAt(stream, at, matchBits);
    const literalBits = LITERAL_BITS[literalCode] as number;
    at -= literalBits;
    const plain = (LITERAL_BASES[literalCode] as number) + bitsAt(stream, at, literalBits);
    if (left > 1) {
      at -= literal.bits[literalState] as number;
      literalState = (literal.bases[literalState] as number) + bitsAt(stream, at, literal.bits[literalState] as number);
      at -= match.bits[matchState] as number;
      matchState = (match.bases[matchState] as number) + bitsAt(stream, at, match.bits[matchState] as number);
      at -= offset.bits[offsetState] as number;
      offsetState = (offset.bases[offsetState] as number) + bitsAt(stream, at, offset.bits[offsetState] as number);
    }
    if (at < 0 || taken + plain > literals.length) throw damaged();
    copyLiterals(frame, literals, taken, taken + plain);
    taken += plain;
    copyMatch(frame, offsetOf(value, plain, frame.repeated), matched);
  }
  if (at !== 0) throw damaged();
  return taken;
}

/** `bitsAt` for more than 25 bits. */
function longBitsAt(stream: Uint8Array, at: number, count: number): number {
  if (count <= 25) return bitsAt(stream, at, count);
  return bitsAt(stream, at + 16, count - 16) * 65_536 + bitsAt(stream, at, 16);
}

function sequenceCount(block: Uint8Array): { count: number; length: number } {
  const [first, second = 0, third = 0] = block;
  if (first === undefined) throw damaged();
  if (first < 128) return { count: first, length: 1 };
  if (first < 255) return { count: (first - 128) * 256 + second, length: 2 };
  return { count: second + third * 256 + 0x7f00, length: 3 };
}

function readTables(block: Uint8Array, at: number, frame: Frame): [FseTable, FseTable, FseTable, number] {
  const modes = block[at];
  if (modes === undefined || (modes & 3) !== 0) throw damaged();
  let next = at + 1;
  const [literals, offsets, matches] = CODES.map((code, index) => {
    const mode = (modes >> (6 - 2 * index)) & 3;
    if (mode === 0) frame.tables[index] = code.predefined;
    if (mode === 1) {
      const symbol = block[next];
      if (symbol === undefined || symbol >= code.symbols) throw damaged();
      frame.tables[index] = constantTable(symbol);
      next += 1;
    }
    if (mode === 2) {
      const { table, length } = readFse(block.subarray(next), code.maxLog, index === 1 ? 31 : code.symbols - 1);
      frame.tables[index] = table;
      next += length;
    }
    const table = frame.tables[index];
    if (!table) throw damaged();
    return table;
  });
  return [literals as FseTable, offsets as FseTable, matches as FseTable, next];
}

/** Values up to 3 stand for offsets used before: RFC 8878, section 3.1.1.5. */
function offsetOf(value: number, plain: number, repeated: [number, number, number]): number {
  const [first, second, third] = repeated;
  if (value > 3) {
    repeated[0] = value - 3;
    repeated[1] = first;
    repeated[2] = second;
    return value - 3;
  }
  const which = plain === 0 ? value : value - 1;
  if (which === 0) return first;
  const offset = which === 1 ? second : which === 2 ? third : first - 1;
  if (which > 1) repeated[2] = second;
  repeated[1] = first;
  repeated[0] = offset;
  return offset;
}

function copyLiterals(frame: Frame, literals: Uint8Array, from: number, to: number): void {
  if (frame.at + to - from > frame.output.length) throw damaged();
  if (to - from > 32) frame.output.set(literals.subarray(from, to), frame.at);
  else for (let index = from; index < to; index += 1) frame.output[frame.at + index - from] = literals[index] as number;
  frame.at += to - from;
}

/** Copies byte by byte where source and target overlap, so that the source repeats. */
function copyMatch(frame: Frame, offset: number, length: number): void {
  const { output, at } = frame;
  const from = at - offset;
  if (offset <= 0 || from < frame.from || at + length > output.length) throw damaged();
  if (offset >= length && length > 32) output.copyWithin(at, from, from + length);
  else for (let index = 0; index < length; index += 1) output[at + index] = output[from + index] as number;
  frame.at = at + length;
}

function basesOf(bits: readonly number[], first: number): number[] {
  let base = first;
  return bits.map((count) => {
    const own = base;
    base += 2 ** count;
    return own;
  });
}
