import { BLOCK_BYTES, decodeBlock, type Frame } from "./zstd-block.ts";
import { damaged, ZstdFault, ZstdLimit } from "./zstd-tables.ts";

const FRAME_MAGIC = 0xfd2fb528;
const SKIPPABLE_MAGIC = 0x184d2a50;
/** The limit of the zstd command, which includes the windows of its highest levels. */
const MAX_WINDOW_BYTES = 128 * 1024 ** 2;

/** Reads `length` bytes from `at` on; they are valid until the next call. Throws `ZstdFault` beyond the end. */
export type ReadBytes = (at: number, length: number) => Buffer;

/** XXH64, whose lowest 32 bits follow a frame. */
export interface Checksum {
  init(): unknown;
  update(bytes: Uint8Array): unknown;
  digest(encoding: "hex"): string;
}

/** Offset of the first frame that is not skippable; undefined when the bytes do not begin a zstd file. */
export function zstdStart(head: Buffer): number | undefined {
  for (let at = 0; at + 4 <= head.length; ) {
    const magic = head.readUInt32LE(at);
    if (magic === FRAME_MAGIC) return at;
    if ((magic & 0xfffffff0) >>> 0 !== SKIPPABLE_MAGIC || at + 8 > head.length) return undefined;
    at += 8 + head.readUInt32LE(at + 4);
  }
  return undefined;
}

/** Decompresses the head of a file, which may end anywhere, to at most `limit` bytes. Throws `ZstdFault` without output. */
export function startOfZstd(head: Buffer, limit: number): Buffer {
  const parts: Buffer[] = [];
  let length = 0;
  try {
    for (const part of decodeZstd(readFrom(head), head.length, { window: limit })) {
      parts.push(Buffer.from(part));
      length += part.length;
      if (length >= limit) break;
    }
  } catch (error) {
    if (!(error instanceof ZstdFault) || length === 0) throw error;
  }
  return Buffer.concat(parts).subarray(0, limit);
}

/**
 * Decompresses all frames of a zstd file of `size` bytes, by RFC 8878, since Node 20 has no zstd. Yields the content block
 * by block, each valid until the next. Takes memory for one and a half windows; `window` limits these for a caller that
 * reads no more than that of a frame. Throws `ZstdFault`.
 */
export function* decodeZstd(
  read: ReadBytes,
  size: number,
  options: { checksum?: Checksum; window?: number } = {},
): Generator<Uint8Array> {
  for (let at = 0; at < size; ) {
    const magic = read(at, 4).readUInt32LE(0);
    if (magic === FRAME_MAGIC) at = yield* decodeFrame(read, at + 4, options);
    else if ((magic & 0xfffffff0) >>> 0 === SKIPPABLE_MAGIC) {
      at += 8 + read(at + 4, 4).readUInt32LE(0);
      if (at > size) throw cutShort();
    } else throw new ZstdFault(`what follows its first ${at} bytes is not zstd`);
  }
}

/** Reads from memory. */
export function readFrom(bytes: Buffer): ReadBytes {
  return (at, length) => {
    if (at + length > bytes.length) throw cutShort();
    return bytes.subarray(at, at + length);
  };
}

export function cutShort(): ZstdFault {
  return new ZstdFault("it ends in the middle of a frame");
}

interface FrameHeader {
  /** Offset of the first block. */
  blocks: number;
  windowBytes: number;
  contentBytes: number | undefined;
  hasChecksum: boolean;
}

function readHeader(read: ReadBytes, start: number): FrameHeader {
  const descriptor = read(start, 1).readUInt8(0);
  if ((descriptor & 8) !== 0) throw damaged();
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const sizeFlag = descriptor >> 6;
  const sizeBytes = sizeFlag === 0 ? Number(isSingleSegment) : 2 ** sizeFlag;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3] as number;
  const dictionaryAt = start + 1 + Number(!isSingleSegment);
  const sizeAt = dictionaryAt + dictionaryBytes;
  if (dictionaryBytes > 0 && read(dictionaryAt, dictionaryBytes).readUIntLE(0, dictionaryBytes) !== 0) {
    throw new ZstdLimit("it was compressed with a dictionary, which is not part of it");
  }
  const contentBytes = sizeBytes === 0 ? undefined : sizeOf(read(sizeAt, sizeBytes));
  let windowBytes = contentBytes ?? 0;
  if (!isSingleSegment) {
    const window = read(start + 1, 1).readUInt8(0);
    windowBytes = 2 ** (10 + (window >> 3)) * (1 + (window & 7) / 8);
  }
  if (windowBytes > MAX_WINDOW_BYTES) {
    throw new ZstdLimit(`it needs a window of ${windowBytes} bytes to decompress, more than 128 MiB`);
  }
  return { blocks: sizeAt + sizeBytes, windowBytes, contentBytes, hasChecksum: (descriptor & 4) !== 0 };
}

function sizeOf(field: Buffer): number {
  if (field.length === 8) return Number(field.readBigUInt64LE(0));
  return field.readUIntLE(0, field.length) + (field.length === 2 ? 256 : 0);
}

/** Yields the content of the blocks; returns the offset of the next frame. */
function* decodeFrame(
  read: ReadBytes,
  start: number,
  { checksum, window = MAX_WINDOW_BYTES }: { checksum?: Checksum; window?: number },
): Generator<Uint8Array, number> {
  const { blocks, contentBytes, hasChecksum, ...header } = readHeader(read, start);
  const windowBytes = Math.min(header.windowBytes, window);
  const frame = openFrame(windowBytes);
  let length = 0;
  let at = blocks;
  checksum?.init();
  for (let isLast = false; !isLast; ) {
    const blockHeader = read(at, 3).readUIntLE(0, 3);
    const [type, size] = [(blockHeader >> 1) & 3, blockHeader >> 3];
    if (size > BLOCK_BYTES || type === 3) throw damaged();
    const stored = type === 1 ? 1 : size;
    makeRoom(frame, windowBytes);
    const before = frame.at;
    fillBlock(frame, type, size, read(at + 3, stored));
    at += 3 + stored;
    isLast = (blockHeader & 1) === 1;
    const content = frame.output.subarray(before, frame.at);
    if (content.length > BLOCK_BYTES) throw damaged();
    length += content.length;
    if (hasChecksum) checksum?.update(content);
    yield content;
  }
  if (contentBytes !== undefined && contentBytes !== length) throw damaged();
  if (!hasChecksum) return at;
  const stored = read(at, 4).readUInt32LE(0);
  if (checksum && Number.parseInt(checksum.digest("hex").slice(-8), 16) !== stored) {
    throw new ZstdFault("its checksum does not fit its content");
  }
  return at + 4;
}

function openFrame(windowBytes: number): Frame {
  const spare = Math.max(2 * BLOCK_BYTES, Math.ceil(windowBytes / 2));
  return {
    output: new Uint8Array(windowBytes + spare),
    from: 0,
    at: 0,
    huffman: undefined,
    tables: [undefined, undefined, undefined],
    repeated: [1, 4, 8],
  };
}

/** Moves the window to the start of the buffer when the next block may not fit behind it. */
function makeRoom(frame: Frame, windowBytes: number): void {
  if (frame.at + BLOCK_BYTES <= frame.output.length) return;
  frame.output.copyWithin(0, frame.at - windowBytes, frame.at);
  frame.at = windowBytes;
}

function fillBlock(frame: Frame, type: number, size: number, stored: Buffer): void {
  if (type === 2) {
    decodeBlock(stored, frame);
    return;
  }
  if (type === 0) frame.output.set(stored, frame.at);
  else frame.output.fill(stored[0] as number, frame.at, frame.at + size);
  frame.at += size;
}
