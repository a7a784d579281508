import { createHash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { throwIfAborted } from "../kernel/abort.ts";
import { LakeError } from "../kernel/errors.ts";
import { withFileErrors } from "../store/file-errors.ts";

export interface WriteOptions {
  /** Announced size of the body; undefined if none was. */
  length: number | undefined;
  /** Throws when the file may not grow to this size. */
  admit(bytes: number): void;
  signal: AbortSignal;
}

/**
 * Writes `body` to an empty file, with at most two of its chunks in memory. When it throws, the file may have part of it:
 * `invalid` for an empty body or another size, and the errors of `admit`, `signal`, `body` and the disk.
 */
export async function writeBody(
  handle: FileHandle,
  body: AsyncIterable<Uint8Array>,
  { length, admit, signal }: WriteOptions,
): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash("sha256");
  let bytes = 0;
  let writing = Promise.resolve();
  try {
    for await (const chunk of body) {
      throwIfAborted(signal);
      if (length !== undefined && bytes + chunk.length > length) throw wrongLength(length, "more");
      admit(bytes + chunk.length);
      await writing;
      writing = write(handle, chunk, bytes);
      // It is awaited at the next chunk; until then, a failure must not count as unhandled.
      writing.catch(() => undefined);
      hash.update(chunk);
      bytes += chunk.length;
    }
    await writing;
    // After an abort nothing is kept, not even a file that is complete.
    throwIfAborted(signal);
  } catch (error) {
    // The caller closes the file, which must not happen during a write.
    await writing.catch(() => undefined);
    throw error;
  }
  if (bytes === 0) throw emptyUpload();
  if (length !== undefined && bytes < length) throw wrongLength(length, `${bytes}`);
  return { bytes, sha256: hash.digest("hex") };
}

async function write(handle: FileHandle, chunk: Uint8Array, position: number): Promise<void> {
  await withFileErrors("keep", "the upload", async () => {
    for (let done = 0; done < chunk.length; ) {
      done += (await handle.write(chunk, done, chunk.length - done, position + done)).bytesWritten;
    }
  });
}

export function emptyUpload(): LakeError {
  return new LakeError("invalid", "There is nothing in it.", { hint: "Send the bytes of a file." });
}

function wrongLength(length: number, found: string): LakeError {
  return new LakeError("invalid", `The file was said to have ${length} bytes and has ${found}. Nothing was kept.`, {
    hint: "Send the file again with the length that it has.",
  });
}
