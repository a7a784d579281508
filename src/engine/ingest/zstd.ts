import type { FileHandle } from "node:fs/promises";
import { LakeError } from "../errors.ts";

const FRAME_MAGIC = 0xfd2fb528;
const SKIPPABLE_MAGIC = 0x184d2a50;
const WINDOW_BYTES = 64 * 1024;

/**
 * Throws `invalid` when a zstd file ends before its last block, which DuckDB's reader takes for its end. Follows frame and
 * block headers without decompressing: RFC 8878, sections 3.1.1 and 3.1.2.
 */
export async function assertWholeZstd(file: FileHandle, label: string, size: number): Promise<void> {
  const read = openWindow(file, size);
  let at = 0;
  while (at < size) {
    const magic = (await read(at, 4)).readUInt32LE(0);
    if ((magic & 0xfffffff0) >>> 0 === SKIPPABLE_MAGIC) at += 8 + (await read(at + 4, 4)).readUInt32LE(0);
    else if (magic === FRAME_MAGIC) at = await endOfFrame(read, at + 4);
    else at = Number.POSITIVE_INFINITY;
  }
  if (at === size) return;
  throw new LakeError("invalid", `${label} is a damaged zstd file: it ends in the middle of a frame.`, {
    hint: "Copy or compress it again.",
  });
}

type Read = (at: number, length: number) => Promise<Buffer>;

async function endOfFrame(read: Read, start: number): Promise<number> {
  const descriptor = (await read(start, 1)).readUInt8(0);
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const sizeFlag = descriptor >> 6;
  const contentSizeBytes = sizeFlag === 0 ? Number(isSingleSegment) : 2 ** sizeFlag;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3] ?? 0;
  const checksumBytes = (descriptor & 0x04) !== 0 ? 4 : 0;
  let at = start + 1 + Number(!isSingleSegment) + dictionaryBytes + contentSizeBytes;
  for (;;) {
    const header = (await read(at, 3)).readUIntLE(0, 3);
    const isRunLength = ((header >> 1) & 3) === 1;
    at += 3 + (isRunLength ? 1 : header >> 3);
    if ((header & 1) === 1) return at + checksumBytes;
  }
}

/** Reads beyond the end are zeros of an endless last block, so that the walk leaves the file and stops. */
function openWindow(file: FileHandle, size: number): Read {
  let from = 0;
  let window = Buffer.alloc(0);
  return async (at, length) => {
    if (at + length > size) return Buffer.alloc(length, 0xff);
    if (at < from || at + length > from + window.length) {
      from = at;
      const { bytesRead, buffer } = await file.read(Buffer.alloc(WINDOW_BYTES), 0, WINDOW_BYTES, at);
      window = buffer.subarray(0, bytesRead);
    }
    return window.subarray(at - from, at - from + length);
  };
}
