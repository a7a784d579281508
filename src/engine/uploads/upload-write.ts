import { createHash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { throwIfAborted } from "../kernel/abort.ts";
import { LakeError } from "../kernel/errors.ts";
import { explained } from "../store/file-errors.ts";

export interface WriteOptions {
  /** Undefined: as long as the body. */
  length: number | undefined;
  /** Throws when there may not be so many bytes. */
  admit(bytes: number): void;
  signal: AbortSignal;
}

/** Writes `body` into an empty file, with no more than two of its chunks in memory. What it leaves after an error is of no use. */
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
      // Until it is awaited, at the next chunk, a failure must not count as unhandled.
      writing.catch(() => undefined);
      hash.update(chunk);
      bytes += chunk.length;
    }
    await writing;
    // What was closed meanwhile is removed, whether its last chunk had come or not.
    throwIfAborted(signal);
  } catch (error) {
    // The caller closes the file.
    await writing.catch(() => undefined);
    throw error;
  }
  if (bytes === 0) throw new LakeError("invalid", "There is nothing in it.", { hint: "Send the bytes of a file." });
  if (length !== undefined && bytes < length) throw wrongLength(length, `${bytes}`);
  return { bytes, sha256: hash.digest("hex") };
}

async function write(handle: FileHandle, chunk: Uint8Array, position: number): Promise<void> {
  await explained("keep", "the upload", async () => {
    for (let done = 0; done < chunk.length; ) {
      done += (await handle.write(chunk, done, chunk.length - done, position + done)).bytesWritten;
    }
  });
}

function wrongLength(length: number, found: string): LakeError {
  return new LakeError("invalid", `The file was said to have ${length} bytes and has ${found}. Nothing was kept.`, {
    hint: "Send as many bytes as Content-Length says.",
  });
}
