import { createHash } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import type { Readable } from "node:stream";
import {
  AbortMultipartUploadCommand,
  type CompletedPart,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  type GetObjectCommandOutput,
  PutObjectCommand,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { LakeError } from "../kernel/errors.ts";
import { mapAhead } from "../kernel/map-ahead.ts";
import { type S3Connection, signedAs } from "./s3-client.ts";
import { statusOf } from "./s3-errors.ts";
import { at, destroyOnAbort, incomplete, isMissing } from "./s3-objects.ts";

/** Size of a part: of an upload, in memory while it is sent; of a download, streamed. S3 requires at least 5 MiB. */
export const PART_BYTES = 8 * 2 ** 20;
const PARTS_AHEAD = 4;
const MAX_PARTS = 10_000;
/** Bytes hashed at a time, which blocks the event loop for a few milliseconds. */
const STEP_BYTES = 2 ** 20;
/** Timeout of a part, as a multiple of that of a request without a body. */
const PART_TIMEOUTS = 4;

interface Part {
  bytes: Buffer;
  sha256: string;
}

/** Stores a file under `key`, in parts when it is large. When it throws, nothing is stored, and no part is left. */
export async function uploadFile(s3: S3Connection, key: string, path: string, timeoutMs: number): Promise<void> {
  const handle = await open(path, "r");
  try {
    const { size } = await handle.stat();
    if (size <= PART_BYTES) {
      const part = await readPart(handle, 0, size);
      await s3.attempt(
        `Could not write ${key}`,
        (abortSignal) =>
          s3.client.send(signedAs(new PutObjectCommand({ ...at(s3, key), Body: part.bytes }), part.sha256), {
            abortSignal,
          }),
        timeoutMs * PART_TIMEOUTS,
      );
    } else await uploadParts(s3, key, handle, size, timeoutMs);
  } finally {
    await handle.close();
  }
}

async function uploadParts(s3: S3Connection, key: string, handle: FileHandle, size: number, timeoutMs: number) {
  const task = `Could not write ${key}`;
  const { UploadId } = await s3.attempt(task, (abortSignal) =>
    s3.client.send(new CreateMultipartUploadCommand(at(s3, key)), { abortSignal }),
  );
  const partBytes = Math.max(PART_BYTES, Math.ceil(size / MAX_PARTS / STEP_BYTES) * STEP_BYTES);
  const sending = new Set<Promise<unknown>>();
  try {
    const send = async (index: number): Promise<CompletedPart> => {
      const from = index * partBytes;
      const { bytes, sha256 } = await readPart(handle, from, Math.min(partBytes, size - from));
      const PartNumber = index + 1;
      const { ETag } = await s3.attempt(
        task,
        (abortSignal) => {
          const command = new UploadPartCommand({ ...at(s3, key), UploadId, PartNumber, Body: bytes });
          return s3.client.send(signedAs(command, sha256), { abortSignal });
        },
        timeoutMs * PART_TIMEOUTS,
      );
      return { ETag, PartNumber };
    };
    const Parts: CompletedPart[] = [];
    const indexes = Array.from({ length: Math.ceil(size / partBytes) }, (_, index) => index);
    const parts = mapAhead(indexes, PARTS_AHEAD, (index) => {
      const sent = send(index);
      sending.add(sent);
      return sent;
    });
    for await (const part of parts) Parts.push(part);
    let mayBeComplete = false;
    await s3.attempt(task, async (abortSignal) => {
      const command = new CompleteMultipartUploadCommand({ ...at(s3, key), UploadId, MultipartUpload: { Parts } });
      try {
        await s3.client.send(command, { abortSignal });
      } catch (error) {
        // An earlier attempt, whose answer was lost, has completed it.
        if (mayBeComplete && (error as Error).name === "NoSuchUpload") return;
        mayBeComplete = true;
        throw error;
      }
    });
  } catch (error) {
    // A part that arrives after the upload was aborted would stay, and be paid for.
    await Promise.allSettled(sending);
    await s3
      .attempt(task, (abortSignal) =>
        s3.client.send(new AbortMultipartUploadCommand({ ...at(s3, key), UploadId }), { abortSignal }),
      )
      .catch(() => undefined);
    throw error;
  }
}

async function readPart(handle: FileHandle, from: number, length: number): Promise<Part> {
  const bytes = Buffer.allocUnsafeSlow(length);
  const hash = createHash("sha256");
  for (let end = 0; end < length; ) {
    const { bytesRead } = await handle.read(bytes, end, Math.min(STEP_BYTES, length - end), from + end);
    if (bytesRead === 0) {
      throw new LakeError("unavailable", "A file became shorter while it was stored.", { hint: "Try again." });
    }
    hash.update(bytes.subarray(end, end + bytesRead));
    end += bytesRead;
  }
  return { bytes, sha256: hash.digest("hex") };
}

/**
 * Writes an object to a new file, several ranges at a time, and returns its size; undefined when there is no such object.
 * `reserve` is called with the size before anything is written.
 */
export async function downloadFile(
  s3: S3Connection,
  key: string,
  path: string,
  options: { timeoutMs: number; reserve?: (bytes: number) => Promise<void> },
): Promise<number | undefined> {
  const task = `Could not read ${key}`;
  const handle = await open(path, "wx");
  const reading = new Set<Promise<unknown>>();
  try {
    let reserved = false;
    const range = (from: number, etag?: string): Promise<{ size: number; etag: string | undefined } | undefined> =>
      s3.attempt(
        task,
        async (abortSignal) => {
          const Range = `bytes=${from}-${from + PART_BYTES - 1}`;
          const answer = await s3.client
            .send(new GetObjectCommand({ ...at(s3, key), Range }), { abortSignal })
            .catch((error: unknown) => {
              if (statusOf(error) === 416) return "empty" as const;
              if (isMissing(error)) return undefined;
              throw error;
            });
          if (answer === undefined) return undefined;
          if (answer === "empty") return { size: 0, etag: undefined };
          const size = sizeOf(answer);
          if (etag !== undefined && answer.ETag !== etag) {
            throw new LakeError("unavailable", `${key} was replaced while it was read.`, { hint: "Try again." });
          }
          if (!reserved) await options.reserve?.(size);
          reserved = true;
          await writeBody(handle, answer.Body as Readable, from, Math.min(PART_BYTES, size - from), abortSignal);
          return { size, etag: answer.ETag };
        },
        options.timeoutMs * PART_TIMEOUTS,
      );
    const first = await range(0);
    if (!first) return undefined;
    const starts: number[] = [];
    for (let from = PART_BYTES; from < first.size; from += PART_BYTES) starts.push(from);
    const others = mapAhead(starts, PARTS_AHEAD, (from) => {
      const part = range(from, first.etag);
      reading.add(part);
      return part;
    });
    for await (const part of others) if (!part) return undefined;
    // A file that gets its name before it is durable could be found in part after a power cut.
    await handle.sync();
    return first.size;
  } finally {
    await Promise.allSettled(reading);
    await handle.close();
  }
}

async function writeBody(handle: FileHandle, body: Readable, from: number, length: number, signal: AbortSignal) {
  const stopListening = destroyOnAbort(body, signal);
  try {
    let at = 0;
    for await (const chunk of body as AsyncIterable<Buffer>) {
      if (at + chunk.length > length) throw incomplete();
      await handle.write(chunk, 0, chunk.length, from + at);
      at += chunk.length;
    }
    if (at !== length) throw incomplete();
  } finally {
    stopListening();
    body.destroy();
  }
}

function sizeOf({ ContentRange, ContentLength }: GetObjectCommandOutput): number {
  const [, total] = /\/(\d+)$/.exec(ContentRange ?? "") ?? [];
  return Number(total ?? ContentLength ?? 0);
}
