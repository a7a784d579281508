import { type FileHandle, open } from "node:fs/promises";
import { crc32 } from "node:zlib";
import { LakeError } from "../kernel/errors.ts";
import { type Exports, type GraphOptions, KINDS, noMemory } from "./graph-wasm.ts";
import type { FilePart } from "./snapshot.ts";

/** What a saved graph begins with; the image follows. */
const MAGIC = 0x3147484c;
const HEADER_BYTES = 32;
/** Copied and written at a time: searches go on in between. */
const PIECE_BYTES = 4 * 1024 ** 2;
function headerOf({ dimension, metric, m }: GraphOptions, imageAt: number, imageBytes: number): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  const fields = [MAGIC, dimension, KINDS.indexOf(metric), m, imageAt, imageBytes];
  for (const [at, field] of fields.entries()) header.writeUInt32LE(field, at * 4);
  return header;
}

/** See `Graph.save`. */
export async function saveImage(wasm: Exports, options: GraphOptions, path: string): Promise<void> {
  const start = wasm.imageAt() >>> 0;
  const end = start + (wasm.imageBytes() >>> 0);
  // The first piece has what tells how much there is: taken before anything else can happen.
  const copy = (from: number): Buffer =>
    Buffer.from(new Uint8Array(wasm.memory.buffer, from, Math.min(PIECE_BYTES, end - from)));
  let piece = copy(start);
  const file = await open(path, "w");
  try {
    await file.writeFile(headerOf(options, start, end - start));
    for (let from = start; from < end; from += PIECE_BYTES) {
      if (from > start) piece = copy(from);
      await file.writeFile(piece);
    }
  } finally {
    await file.close();
  }
}

/** See `Graph.load`. What it leaves after an error is of no use. */
export async function loadImage(wasm: Exports, options: GraphOptions, saved: FilePart): Promise<void> {
  const start = wasm.imageAt() >>> 0;
  const bytes = saved.bytes - HEADER_BYTES;
  const file = await open(saved.path);
  try {
    const header = await readAt(file, Buffer.alloc(HEADER_BYTES), saved.start);
    if (bytes <= 0 || bytes >= 2 ** 32 - start || !header?.equals(headerOf(options, start, bytes)))
      throw notSaved(options);
    if (!wasm.expectImage(bytes)) throw noMemory();
    let checksum = crc32(header);
    for (let at = 0; at < bytes; at += PIECE_BYTES) {
      const piece = new Uint8Array(wasm.memory.buffer, start + at, Math.min(PIECE_BYTES, bytes - at));
      if (!(await readAt(file, piece, saved.start + HEADER_BYTES + at))) throw notSaved(options);
      checksum = crc32(piece, checksum);
    }
    if (checksum !== saved.crc32) throw notSaved(options);
  } finally {
    await file.close();
  }
  wasm.imageRead();
}

function notSaved({ dimension }: GraphOptions): LakeError {
  return new LakeError("corrupt", `A saved graph is not one of ${dimension} dimensions, or is damaged.`, {
    hint: "Build it again.",
  });
}

/** Undefined when the file ends before. */
async function readAt<Bytes extends Uint8Array>(
  file: FileHandle,
  into: Bytes,
  position: number,
): Promise<Bytes | undefined> {
  let done = 0;
  while (done < into.length) {
    const { bytesRead } = await file.read(into, done, Math.min(into.length - done, 2 ** 30), position + done);
    if (bytesRead === 0) return undefined;
    done += bytesRead;
  }
  return into;
}
