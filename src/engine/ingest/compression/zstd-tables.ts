/** Damage of a zstd file. The message is a clause about the file: "it ends in the middle of a frame". */
export class ZstdFault extends Error {}

/** An intact file that needs a dictionary, or a larger window, to be read. */
export class ZstdLimit extends ZstdFault {}

/** The state machine of Finite State Entropy: RFC 8878, section 4.1. */
export interface FseTable {
  log: number;
  symbols: Uint8Array;
  /** Number of bits to read for the next state. */
  bits: Uint8Array;
  /** Numbers to add these bits to. */
  bases: Uint16Array;
}

/** Symbols by their next `log` bits: RFC 8878, section 4.2. */
export interface HuffmanTable {
  log: number;
  symbols: Uint8Array;
  bits: Uint8Array;
}

/** Longest code of literals, and the largest accuracy of the weights they are described by. */
const MAX_HUFFMAN_BITS = 11;
const MAX_WEIGHT_LOG = 6;

/** Reads `count` bits, 25 at most, from bit `at` of `bytes` on. Bits outside are zero. */
export function bitsAt(bytes: Uint8Array, at: number, count: number): number {
  if (at < 0) return count + at <= 0 ? 0 : bitsAt(bytes, 0, count + at) << -at;
  const index = at >> 3;
  const word =
    index + 3 < bytes.length
      ? (bytes[index] as number) |
        ((bytes[index + 1] as number) << 8) |
        ((bytes[index + 2] as number) << 16) |
        ((bytes[index + 3] as number) << 24)
      : (bytes[index] ?? 0) | ((bytes[index + 1] ?? 0) << 8) | ((bytes[index + 2] ?? 0) << 16);
  return (word >>> (at & 7)) & ((1 << count) - 1);
}

/** Number of bits of a stream. It is read from its end, which the highest bit set in the last byte marks. */
export function streamBits(bytes: Uint8Array): number {
  const last = bytes.at(-1);
  if (!last) throw damaged();
  return bytes.length * 8 - 8 + highestBit(last);
}

export function highestBit(value: number): number {
  return 31 - Math.clz32(value);
}

export function damaged(): ZstdFault {
  return new ZstdFault("a block makes no sense");
}

/** Reads a table's description at the start of `bytes`, and returns its length too. */
export function readFse(bytes: Uint8Array, maxLog: number, maxSymbol: number): { table: FseTable; length: number } {
  const log = bitsAt(bytes, 0, 4) + 5;
  if (log > maxLog) throw damaged();
  const counts: number[] = [];
  let at = 4;
  let left = 1 << log;
  while (left > 0) {
    if (counts.length > maxSymbol || at > bytes.length * 8) throw damaged();
    const width = highestBit(left + 1) + 1;
    const low = (1 << (width - 1)) - 1;
    const threshold = (1 << width) - 2 - left;
    let value = bitsAt(bytes, at, width);
    if ((value & low) < threshold) {
      value &= low;
      at += width - 1;
    } else {
      if (value > low) value -= threshold;
      at += width;
    }
    const count = value - 1;
    left -= Math.abs(count);
    counts.push(count);
    if (count !== 0) continue;
    for (let zeros = 3; zeros === 3; ) {
      zeros = bitsAt(bytes, at, 2);
      at += 2;
      for (let index = 0; index < zeros; index += 1) counts.push(0);
    }
  }
  const length = (at + 7) >> 3;
  if (left !== 0 || counts.length > maxSymbol + 1 || length > bytes.length) throw damaged();
  return { table: fseTable(log, counts), length };
}

/** A count of -1 is a probability of less than one: one state, at the end. */
export function fseTable(log: number, counts: readonly number[]): FseTable {
  const size = 1 << log;
  const symbols = new Uint8Array(size);
  const next = counts.map((count) => Math.abs(count));
  let high = size;
  for (const [symbol, count] of counts.entries()) {
    if (count !== -1) continue;
    high -= 1;
    symbols[high] = symbol;
  }
  const step = (size >> 1) + (size >> 3) + 3;
  let at = 0;
  for (const [symbol, count] of counts.entries()) {
    for (let index = 0; index < count; index += 1) {
      symbols[at] = symbol;
      do at = (at + step) & (size - 1);
      while (at >= high);
    }
  }
  const bits = new Uint8Array(size);
  const bases = new Uint16Array(size);
  for (let state = 0; state < size; state += 1) {
    const symbol = symbols[state] as number;
    const count = next[symbol] as number;
    next[symbol] = count + 1;
    bits[state] = log - highestBit(count);
    bases[state] = (count << (bits[state] as number)) - size;
  }
  return { log, symbols, bits, bases };
}

/** A table with one symbol, which takes no bits. */
export function constantTable(symbol: number): FseTable {
  return { log: 0, symbols: Uint8Array.of(symbol), bits: new Uint8Array(1), bases: new Uint16Array(1) };
}

/** Reads a table's description at the start of `bytes`, and returns its length too. */
export function readHuffman(bytes: Uint8Array): { table: HuffmanTable; length: number } {
  const [header = 0] = bytes;
  if (header >= 128) {
    const count = header - 127;
    const length = 1 + ((count + 1) >> 1);
    if (length > bytes.length) throw damaged();
    const weights = Array.from({ length: count }, (_, index) => {
      const pair = bytes[1 + (index >> 1)] as number;
      return index % 2 === 0 ? pair >> 4 : pair & 15;
    });
    return { table: huffmanTable(weights), length };
  }
  if (header === 0 || 1 + header > bytes.length) throw damaged();
  return { table: huffmanTable(readWeights(bytes.subarray(1, 1 + header))), length: 1 + header };
}

/** Two states alternate until the bits are used up. */
function readWeights(bytes: Uint8Array): number[] {
  const { table, length } = readFse(bytes, MAX_WEIGHT_LOG, 255);
  const stream = bytes.subarray(length);
  let at = streamBits(stream);
  const read = (count: number): number => {
    at -= count;
    return bitsAt(stream, at, count);
  };
  const weights: number[] = [];
  let state = read(table.log);
  let other = read(table.log);
  if (at < 0) throw damaged();
  while (weights.length < 255) {
    weights.push(table.symbols[state] as number);
    const following = (table.bases[state] as number) + read(table.bits[state] as number);
    if (at < 0) {
      weights.push(table.symbols[other] as number);
      return weights;
    }
    state = other;
    other = following;
  }
  throw damaged();
}

/** The last weight is not written: it fills the sum up to a power of two. */
function huffmanTable(given: readonly number[]): HuffmanTable {
  const sum = given.reduce((total, weight) => total + (weight === 0 ? 0 : 2 ** (weight - 1)), 0);
  if (sum === 0 || sum >= 2 ** MAX_HUFFMAN_BITS || given.length > 255) throw damaged();
  const log = highestBit(sum) + 1;
  const rest = 2 ** log - sum;
  if ((rest & (rest - 1)) !== 0) throw damaged();
  const weights = [...given, highestBit(rest) + 1];
  const symbols = new Uint8Array(2 ** log);
  const bits = new Uint8Array(2 ** log);
  let at = 0;
  for (let weight = 1; weight <= log; weight += 1) {
    for (const [symbol, own] of weights.entries()) {
      if (own !== weight) continue;
      const end = at + 2 ** (weight - 1);
      symbols.fill(symbol, at, end);
      bits.fill(log + 1 - weight, at, end);
      at = end;
    }
  }
  return { log, symbols, bits };
}
