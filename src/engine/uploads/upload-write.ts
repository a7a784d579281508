import { createHash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { LakeError, throwIfAborted } from "../kernel/errors.ts";
import { explained } from "../store/file-errors.ts";

export interface PartData {
  /** Where the part begins in the whole. */
  from: number;
  /** Undefined: as long as the body. */
  length: number | undefined;
  /** What the SHA-256 of the part has to be. Hex. */
  partSha256?: string | undefined;
}

export interface WriteOptions {
  /** Throws when the whole may not have so many bytes. */
  admit(bytes: number): void;
  signal: AbortSignal;
}

/**
 * Writes `body` at its place, with no more than two of its chunks in memory. When it throws `LakeError`, the file has
 * been cut back to what it was, unless `signal` stopped it; when `body` throws, what came stays.
 */
export async function writePart(
  handle: FileHandle,
  { from, length, partSha256 }: PartData,
  body: AsyncIterable<Uint8Array>,
  { admit, signal }: WriteOptions,
): Promise<{ end: number; sha256: string }> {
  const hash = createHash("sha256");
  let end = from;
  let writing = Promise.resolve();
  try {
    for await (const chunk of body) {
      throwIfAborted(signal);
      if (length !== undefined && end + chunk.length > from + length) throw wrongLength(length, "more");
      admit(end + chunk.length);
      await writing;
      writing = write(handle, chunk, end);
      // Until it is awaited, at the next chunk, a failure must not count as unhandled.
      writing.catch(() => undefined);
      hash.update(chunk);
      end += chunk.length;
    }
    await writing;
    if (end === 0) throw new LakeError("invalid", "There is nothing in it.", { hint: "Send the bytes of a file." });
    if (length !== undefined && end < from + length) throw wrongLength(length, `${end - from}`);
    const sha256 = hash.digest("hex");
    if (partSha256 !== undefined && partSha256 !== sha256) throw wrongDigest(partSha256, sha256);
    return { end, sha256 };
  } catch (error) {
    await writing.catch(() => undefined);
    if (error instanceof LakeError && !signal.aborted) await handle.truncate(from);
    throw error;
  }
}

async function write(handle: FileHandle, chunk: Uint8Array, position: number): Promise<void> {
  await explained("keep", "the upload", async () => {
    for (let done = 0; done < chunk.length; ) {
      done += (await handle.write(chunk, done, chunk.length - done, position + done)).bytesWritten;
    }
  });
}

function wrongLength(length: number, found: string): LakeError {
  return new LakeError("invalid", `The part was said to have ${length} bytes and has ${found}. It was not kept.`, {
    hint: "Send as many bytes as Content-Range says.",
  });
}

function wrongDigest(expected: string, found: string): LakeError {
  return new LakeError("invalid", `The SHA-256 of what arrived is ${found}, not ${expected}. It was not kept.`, {
    hint: "Send the part again.",
  });
}
