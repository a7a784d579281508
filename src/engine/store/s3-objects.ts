import type { Readable } from "node:stream";
import {
  DeleteObjectCommand,
  GetObjectCommand,
  type GetObjectCommandOutput,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
} from "@aws-sdk/client-s3";
import { isKeySegment } from "./key.ts";
import type { S3Connection } from "./s3-client.ts";
import { mayHaveArrived, statusOf } from "./s3-errors.ts";
import type { StoredObject } from "./store.ts";

// Single requests about an object, each retried as `S3Connection.attempt` says.

export function at({ bucket, prefix }: S3Connection, key: string): { Bucket: string; Key: string } {
  return { Bucket: bucket, Key: `${prefix}${key}` };
}

/** Undefined when there is no such object. `changed` is in ms since 1970. */
export function headObject(
  s3: S3Connection,
  key: string,
): Promise<{ bytes: number; etag: string; changed: number } | undefined> {
  return s3.attempt(`Could not read ${key}`, async (abortSignal) => {
    try {
      const found = await s3.client.send(new HeadObjectCommand(at(s3, key)), { abortSignal });
      const { ContentLength = 0, ETag = "", LastModified } = found;
      return { bytes: ContentLength, etag: ETag, changed: LastModified?.getTime() ?? 0 };
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  });
}

/** A small object, or the range of one that an HTTP `Range` header names; undefined when there is no such object. */
export function getObject(s3: S3Connection, key: string, Range?: string): Promise<Uint8Array | undefined> {
  return s3.attempt(`Could not read ${key}`, async (abortSignal) => {
    try {
      const command = new GetObjectCommand({ ...at(s3, key), ...(Range !== undefined && { Range }) });
      return await readBody(await s3.client.send(command, { abortSignal }), abortSignal);
    } catch (error) {
      if (isMissing(error)) return undefined;
      if (Range !== undefined && statusOf(error) === 416) return new Uint8Array();
      throw error;
    }
  });
}

export function putObject(s3: S3Connection, key: string, bytes: Uint8Array): Promise<unknown> {
  return s3.attempt(`Could not write ${key}`, (abortSignal) =>
    s3.client.send(new PutObjectCommand({ ...at(s3, key), Body: bytes }), { abortSignal }),
  );
}

/**
 * A PUT that only the first of all writers wins; whether this one did. An attempt whose answer was lost may have won, or
 * may still arrive: so a later attempt that loses compares the stored bytes. Commits contain an id of their own, so
 * equal bytes are this writer's.
 */
export function createObject(s3: S3Connection, key: string, bytes: Uint8Array): Promise<boolean> {
  let isUncertain = false;
  return s3.attempt(`Could not write ${key}`, async (abortSignal) => {
    try {
      const command = new PutObjectCommand({ ...at(s3, key), Body: bytes, IfNoneMatch: "*" });
      await s3.client.send(command, { abortSignal });
      return true;
    } catch (error) {
      if (statusOf(error) !== 412) {
        isUncertain ||= mayHaveArrived(error);
        throw error;
      }
      if (!isUncertain) return false;
      const stored = await s3.client.send(new GetObjectCommand(at(s3, key)), { abortSignal });
      return Buffer.compare(await readBody(stored, abortSignal), bytes) === 0;
    }
  });
}

export async function deleteObject(s3: S3Connection, key: string): Promise<void> {
  await s3.attempt(`Could not delete ${key}`, (abortSignal) =>
    s3.client.send(new DeleteObjectCommand(at(s3, key)), { abortSignal }),
  );
}

/** Foreign objects are left out. */
export async function* listObjects(s3: S3Connection, prefix: string, startAfter = ""): AsyncGenerator<StoredObject> {
  let ContinuationToken: string | undefined;
  do {
    const page = await s3.attempt(`Could not list ${prefix || "the lake"}`, (abortSignal) =>
      s3.client.send(
        new ListObjectsV2Command({
          Bucket: s3.bucket,
          Prefix: `${s3.prefix}${prefix}`,
          ...(ContinuationToken !== undefined && { ContinuationToken }),
          ...(startAfter && ContinuationToken === undefined && { StartAfter: `${s3.prefix}${startAfter}` }),
        }),
        { abortSignal },
      ),
    );
    for (const { Key = "", Size = 0, LastModified } of page.Contents ?? []) {
      const key = Key.slice(s3.prefix.length);
      // Servers do not agree on StartAfter: some return earlier keys.
      if (key.split("/").every(isKeySegment) && key > startAfter) {
        yield { key, size: Size, modified: LastModified?.getTime() ?? 0 };
      }
    }
    ContinuationToken = page.IsTruncated ? page.NextContinuationToken : undefined;
  } while (ContinuationToken !== undefined);
}

/** Whether the object does not exist, though the bucket does. */
export function isMissing(error: unknown): boolean {
  return statusOf(error) === 404 && (error as Error).name !== "NoSuchBucket";
}

async function readBody(answer: GetObjectCommandOutput, signal: AbortSignal): Promise<Uint8Array> {
  const body = answer.Body as Readable;
  const stopListening = destroyOnAbort(body, signal);
  try {
    const chunks: Buffer[] = [];
    for await (const chunk of body as AsyncIterable<Buffer>) chunks.push(chunk);
    const bytes = Buffer.concat(chunks);
    if (answer.ContentLength !== undefined && bytes.length !== answer.ContentLength) throw incomplete();
    return bytes;
  } finally {
    stopListening();
  }
}

/** The SDK stops listening to a request's signal when its headers have arrived; the body may be still to come. */
export function destroyOnAbort(body: Readable, signal: AbortSignal): () => void {
  const stop = (): void => void body.destroy(Object.assign(new Error("timed out"), { name: "TimeoutError" }));
  if (signal.aborted) stop();
  signal.addEventListener("abort", stop, { once: true });
  return () => signal.removeEventListener("abort", stop);
}

export function incomplete(): Error {
  return Object.assign(new Error("the body ended early"), { name: "IncompleteBody" });
}
