import { type FileHandle, open } from "node:fs/promises";
import { crc32 } from "node:zlib";
import * as z from "zod";
import { LakeError } from "../kernel/errors.ts";

/*
 * "LHV1", length of the envelope (uint32, big-endian), envelope, sections back to back, nothing else. The envelope is
 * JSON: its checksum, then what the checksum covers; spaces fill it up, since it is written last.
 */
const MAGIC = "LHV1";
const PREFIX_BYTES = 8;
const MAX_ENVELOPE_BYTES = 1024 ** 2;
const PIECE_BYTES = 1024 ** 2;
/** `{"crc32":"89abcdef",`: the checksum covers the length before it, and all of the envelope after it. */
const CHECKSUM_BYTES = 20;

const envelopeSchema = z.object({
  fields: z.unknown(),
  sections: z.array(z.object({ bytes: z.int().nonnegative(), crc32: z.int().nonnegative() })),
});

type Section = z.infer<typeof envelopeSchema>["sections"][number];

/**
 * Writes a snapshot: `fields`, which go to JSON and back, and one section for each file or sequence of bytes. Not synced:
 * a torn one is refused when it is read.
 */
export async function writeSnapshot(
  path: string,
  fields: Record<string, unknown>,
  sections: ({ path: string } | AsyncIterable<Uint8Array>)[],
): Promise<{ bytes: number }> {
  const widest = sections.map(() => ({ bytes: Number.MAX_SAFE_INTEGER, crc32: 2 ** 32 - 1 }));
  const room = envelopeOf(fields, widest, 0).length;
  if (room > MAX_ENVELOPE_BYTES) throw new LakeError("internal", "The fields of a snapshot are too long.");
  const file = await open(path, "w");
  try {
    let bytes = PREFIX_BYTES + room;
    const written: Section[] = [];
    for (const section of sections) {
      const pieces = "path" in section ? readPieces(section.path) : section;
      const one = await copy(pieces, file, bytes);
      written.push(one);
      bytes += one.bytes;
    }
    await writeAll(file, envelopeOf(fields, written, room), PREFIX_BYTES);
    await writeAll(file, prefixOf(room), 0);
    return { bytes };
  } finally {
    await file.close();
  }
}

/** Bytes in a file that somebody else reads, and what their checksum has to be. */
export interface FilePart {
  path: string;
  start: number;
  bytes: number;
  crc32: number;
}

/**
 * A snapshot's fields, and where its sections are: whoever reads one compares its checksum. Throws `corrupt`, and nothing
 * else, for whatever is wrong with the rest.
 */
export async function readSnapshot<Fields extends z.ZodType>(
  path: string,
  schema: Fields,
): Promise<{ fields: z.infer<Fields>; sections: FilePart[] }> {
  try {
    const file = await open(path);
    try {
      const { start, fields, sections } = await readEnvelope(file, (await file.stat()).size, schema);
      let end = start;
      const parts = sections.map(({ bytes, crc32 }): FilePart => {
        end += bytes;
        return { path, start: end - bytes, bytes, crc32 };
      });
      return { fields, sections: parts };
    } finally {
      await file.close();
    }
  } catch (error) {
    throw asCorrupt(error);
  }
}

/** Reads a whole snapshot and compares its checksums. Throws `corrupt`, and nothing else. */
export async function checkSnapshot(path: string): Promise<void> {
  const { sections } = await readSnapshot(path, z.unknown());
  // Every piece is looked at where it is read.
  for (const section of sections) for await (const _ of partPieces(section));
}

/** Reads a part in pieces, each good until the next but one. Throws `corrupt`, and nothing else, at the end at the latest. */
export async function* partPieces({ path, start, bytes, crc32: expected }: FilePart): AsyncIterable<Uint8Array> {
  let found = 0;
  try {
    const file = await open(path);
    try {
      for await (const piece of filePieces(file, start, start + bytes)) {
        found = crc32(piece, found);
        yield piece;
      }
    } finally {
      await file.close();
    }
  } catch (error) {
    throw asCorrupt(error);
  }
  if (found !== expected) throw corruptSnapshot("the checksum of a section is wrong");
}

function asCorrupt(error: unknown): LakeError {
  if (error instanceof LakeError) return error;
  return corruptSnapshot(`it cannot be read (${error instanceof Error ? error.message : error})`, error);
}

function prefixOf(length: number): Buffer {
  const prefix = Buffer.from(`${MAGIC}0000`, "latin1");
  prefix.writeUInt32BE(length, MAGIC.length);
  return prefix;
}

/** At least `room` bytes. */
function envelopeOf(fields: Record<string, unknown>, sections: Section[], room: number): Buffer {
  const body = Buffer.from(`"body":${JSON.stringify({ fields, sections })}}`);
  const rest = Buffer.alloc(Math.max(body.length, room - CHECKSUM_BYTES), " ");
  body.copy(rest);
  return Buffer.concat([checksumOf(rest), rest]);
}

function checksumOf(rest: Buffer): Buffer {
  const length = prefixOf(CHECKSUM_BYTES + rest.length);
  return Buffer.from(`{"crc32":"${crc32(rest, crc32(length)).toString(16).padStart(8, "0")}",`, "latin1");
}

async function readEnvelope<Fields extends z.ZodType>(
  file: FileHandle,
  size: number,
  schema: Fields,
): Promise<{ start: number; fields: z.infer<Fields>; sections: Section[] }> {
  if (size < PREFIX_BYTES) throw corruptSnapshot(`it is truncated: ${size} bytes`);
  const prefix = await read(file, 0, PREFIX_BYTES);
  if (prefix.toString("latin1", 0, MAGIC.length) !== MAGIC) throw corruptSnapshot(`it does not begin with ${MAGIC}`);
  const length = prefix.readUInt32BE(MAGIC.length);
  if (length <= CHECKSUM_BYTES || length > MAX_ENVELOPE_BYTES)
    throw corruptSnapshot(`its envelope has ${length} bytes`);
  const start = PREFIX_BYTES + length;
  if (size < start) throw corruptSnapshot(`it is truncated: ${size} bytes, and the envelope ends at ${start}`);
  const envelope = await read(file, PREFIX_BYTES, length);
  const rest = envelope.subarray(CHECKSUM_BYTES);
  if (!checksumOf(rest).equals(envelope.subarray(0, CHECKSUM_BYTES)))
    throw corruptSnapshot("its envelope's checksum is wrong");

  const body = parse(envelope.toString("utf8"));
  const sections = body.sections;
  const end = sections.reduce((sum, { bytes }) => sum + bytes, start);
  if (size < end) throw corruptSnapshot(`it is truncated: ${size} bytes of ${end}`);
  if (size > end) throw corruptSnapshot(`${size - end} bytes follow its end`);
  const fields = schema.safeParse(body.fields);
  if (!fields.success)
    throw corruptSnapshot(`its fields are not as expected: ${z.prettifyError(fields.error).slice(0, 200)}`);
  return { start, fields: fields.data, sections };
}

function parse(text: string): z.infer<typeof envelopeSchema> {
  try {
    return envelopeSchema.parse((JSON.parse(text) as { body: unknown }).body);
  } catch (error) {
    throw corruptSnapshot("its envelope is not as expected", error);
  }
}

/** Reads the next piece while one is written. */
async function copy(pieces: AsyncIterable<Uint8Array>, to: FileHandle, start: number): Promise<Section> {
  let [bytes, checksum] = [0, 0];
  let writing: Promise<unknown> = Promise.resolve();
  try {
    for await (const piece of pieces) {
      await writing;
      writing = writeAll(to, piece, start + bytes);
      // A failure is thrown where it is waited for.
      writing.catch(() => {});
      checksum = crc32(piece, checksum);
      bytes += piece.length;
    }
  } finally {
    await writing;
  }
  return { bytes, crc32: checksum };
}

async function* readPieces(path: string): AsyncIterable<Uint8Array> {
  const file = await open(path);
  try {
    yield* filePieces(file, 0, (await file.stat()).size);
  } finally {
    await file.close();
  }
}

/** Two buffers take turns: a piece is good until the next but one is asked for. */
async function* filePieces(file: FileHandle, start: number, end: number): AsyncIterable<Uint8Array> {
  const size = Math.min(PIECE_BYTES, end - start);
  const buffers = [Buffer.allocUnsafe(size), Buffer.allocUnsafe(size)];
  for (let at = start; at < end; at += size) {
    buffers.reverse();
    yield await readInto(file, at, (buffers[0] as Buffer).subarray(0, Math.min(size, end - at)));
  }
}

function read(file: FileHandle, start: number, length: number): Promise<Buffer> {
  return readInto(file, start, Buffer.alloc(length));
}

async function readInto(file: FileHandle, start: number, buffer: Buffer): Promise<Buffer> {
  for (let at = 0; at < buffer.length; ) {
    const { bytesRead } = await file.read(buffer, at, buffer.length - at, start + at);
    if (bytesRead === 0) throw corruptSnapshot(`it is truncated at ${start + at} bytes`);
    at += bytesRead;
  }
  return buffer;
}

async function writeAll(file: FileHandle, bytes: Uint8Array, start: number): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    at += (await file.write(bytes, at, bytes.length - at, start + at)).bytesWritten;
  }
}

export function corruptSnapshot(what: string, cause?: unknown): LakeError {
  return new LakeError("corrupt", `The saved index is of no use: ${what}.`, {
    hint: "It is built again from its segments.",
    cause,
  });
}
