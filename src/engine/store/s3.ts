import { randomUUID } from "node:crypto";
import { mkdir, readFile, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
} from "@aws-sdk/client-s3";
import { LakeError } from "../kernel/errors.ts";
import type { Scope } from "../kernel/scope.ts";
import type { Clock, Log, S3Settings } from "../settings.ts";
import { openFileCache } from "./cache.ts";
import { explained } from "./file-errors.ts";
import { assertKey, assertPrefix, isKeySegment, missingObject, storeClosed } from "./key.ts";
import { openS3Client, type S3Connection } from "./s3-client.ts";
import { mayHaveArrived, statusOf } from "./s3-errors.ts";
import { at, downloadFile, isMissing, PART_BYTES, readBody, uploadFile } from "./s3-transfer.ts";
import type { Body, PutOptions, Store, StoredObject } from "./store.ts";

export interface S3StoreSettings extends S3Settings {
  /** For copies of objects and work in progress. */
  folder: string;
  /** Of a file, in hex; off the main thread. */
  sha256: (path: string) => Promise<string>;
  clock: Clock;
  log: Log;
}

/** Named by the hash of its bytes, so that any two objects of one key are the same. */
const ADDRESSED = /^data\/.*\/([0-9a-f]{64})\.parquet$/;
const FRESH_MS = 3_600_000;
/** Writers of the probe. Servers that look first and write then let several of them win. */
const PROBES = 12;

/**
 * A lake in a bucket, which any number of processes on any number of machines may use at once. Opening it tries the
 * bucket out: it is refused when it does not keep writers apart. Throws what went wrong in words, with the next step.
 */
export async function openS3Store(scope: Scope, settings: S3StoreSettings): Promise<Store> {
  const label = `s3://${[settings.bucket, settings.prefix].filter(Boolean).join("/")}`;
  const cache = await openFileCache(scope, {
    folder: join(settings.folder, ".cache"),
    maxBytes: settings.cacheBytes,
    sha256: settings.sha256,
    clock: settings.clock,
  });
  const s3 = await openS3Client(scope, settings, label);
  await s3.attempt("Could not open the lake", (abortSignal) =>
    s3.client.send(new ListObjectsV2Command({ Bucket: s3.bucket, Prefix: s3.prefix, MaxKeys: 1 }), { abortSignal }),
  );
  const keepsApart = await tellsWinners(s3);
  if (!keepsApart && !settings.singleWriter) throw refused(label);
  if (!keepsApart) settings.log("warn", "the bucket does not keep writers apart: only this process may write to it");
  return openStore(s3, { ...settings, label, cache, keepsApart });
}

interface Opened extends S3StoreSettings {
  label: string;
  cache: Awaited<ReturnType<typeof openFileCache>>;
  keepsApart: boolean;
}

function openStore(s3: S3Connection, opened: Opened): Store {
  const { label, cache, clock, timeoutMs } = opened;
  /** What the local file of a key that can be replaced holds. */
  const copied = new Map<string, string>();
  const working = new Map<string, Promise<unknown>>();
  let closed = false;

  const assertOpen = (): void => {
    if (closed) throw storeClosed(label);
    s3.assertOpen();
  };

  const check = (key: string): void => {
    assertOpen();
    assertKey(key);
  };

  /** Work on one key, one after the other. */
  function inTurn<T>(key: string, work: () => Promise<T>): Promise<T> {
    const result = (working.get(key) ?? Promise.resolve()).then(work);
    const settled = result
      .catch(() => undefined)
      .finally(() => {
        if (working.get(key) === settled) working.delete(key);
      });
    working.set(key, settled);
    return result;
  }

  function head(key: string): Promise<{ bytes: number; etag: string; changed: number } | undefined> {
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

  async function put(key: string, body: Body, { ifAbsent = false }: PutOptions = {}): Promise<boolean> {
    check(key);
    const [, sha256] = ADDRESSED.exec(key) ?? [];
    if (!(body instanceof Uint8Array) && sha256 !== undefined) return storeAddressed(key, sha256, body.path);
    if (!ifAbsent) {
      if (body instanceof Uint8Array) await replace(s3, key, body);
      else await explained("write", key, () => uploadFile(s3, key, body.path, timeoutMs));
      return true;
    }
    const bytes = body instanceof Uint8Array ? body : await readSmall(key, body.path);
    if (opened.keepsApart) return create(s3, key, bytes);
    return inTurn(key, async () => {
      if (await head(key)) return false;
      await replace(s3, key, bytes);
      return true;
    });
  }

  /** There is nothing to win or lose: whoever stores it stores the same bytes. */
  async function storeAddressed(key: string, sha256: string, path: string): Promise<boolean> {
    const there = await head(key);
    const { size } = await explained("write", key, () => stat(path));
    const isThere = there?.bytes === size;
    // One that nobody names yet is taken for left over when it is old, so an old one is made new.
    const isFresh = isThere && clock.now().getTime() - there.changed < FRESH_MS;
    if (!isFresh) await explained("write", key, () => uploadFile(s3, key, path, timeoutMs));
    await cache.adopt({ key, sha256 }, path);
    return !isThere;
  }

  async function* list(prefix: string, { startAfter }: { startAfter?: string } = {}): AsyncGenerator<StoredObject> {
    assertOpen();
    assertPrefix(prefix);
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
        // Some servers take StartAfter for more than it is, some for less.
        if (key.split("/").every(isKeySegment) && (!startAfter || key > startAfter)) {
          yield { key, size: Size, modified: LastModified?.getTime() ?? 0 };
        }
      }
      ContinuationToken = page.IsTruncated ? page.NextContinuationToken : undefined;
    } while (ContinuationToken !== undefined);
  }

  async function localPath(key: string, holder?: Scope): Promise<string> {
    check(key);
    const [, sha256] = ADDRESSED.exec(key) ?? [];
    if (sha256 === undefined) return inTurn(key, () => copyOf(key));
    return cache.open({ key, sha256 }, (path, reserve) => download(key, path, reserve), holder);
  }

  async function download(key: string, path: string, reserve?: (bytes: number) => Promise<void>): Promise<void> {
    const size = await downloadFile(s3, key, path, { timeoutMs, ...(reserve && { reserve }) });
    if (size === undefined) throw missingObject(key, label);
  }

  /** For what can be replaced: current as of this moment, and this process's own. */
  async function copyOf(key: string): Promise<string> {
    const found = await head(key);
    if (!found) throw missingObject(key, label);
    const path = join(cache.root, ...key.split("/"));
    if (copied.get(key) === found.etag && (await stat(path).catch(() => undefined))?.size === found.bytes) return path;
    const fetched = join(cache.root, ".spool", `copy-${randomUUID()}`);
    await explained("keep a copy of", key, async () => {
      await mkdir(dirname(path), { recursive: true });
      try {
        await download(key, fetched);
        await rename(fetched, path);
      } finally {
        await rm(fetched, { force: true });
      }
    });
    copied.set(key, found.etag);
    return path;
  }

  async function remove(key: string): Promise<void> {
    check(key);
    await s3.attempt(`Could not delete ${key}`, (abortSignal) =>
      s3.client.send(new DeleteObjectCommand(at(s3, key)), { abortSignal }),
    );
    await cache.forget(key);
    if (copied.delete(key)) await rm(join(cache.root, ...key.split("/")), { force: true });
  }

  const read = (key: string, Range?: string): Promise<Uint8Array | undefined> =>
    s3.attempt(`Could not read ${key}`, async (abortSignal) => {
      try {
        const command = new GetObjectCommand({ ...at(s3, key), ...(Range !== undefined && { Range }) });
        return await readBody(await s3.client.send(command, { abortSignal }), abortSignal);
      } catch (error) {
        if (isMissing(error)) return undefined;
        if (Range !== undefined && statusOf(error) === 416) return new Uint8Array();
        throw error;
      }
    });

  return {
    label,
    localRoot: cache.root,
    remote: { pin: cache.pin, recheck: cache.recheck, stats: cache.stats },
    put,
    list,
    localPath,
    delete: remove,
    get: async (key) => {
      check(key);
      return read(key);
    },
    getRange: async (key, offset, length) => {
      check(key);
      if (length <= 0) return (await head(key)) && new Uint8Array();
      return read(key, `bytes=${offset}-${offset + length - 1}`);
    },
    has: async (key) => {
      check(key);
      return (await head(key)) !== undefined;
    },
    close: async () => {
      closed = true;
    },
  };
}

function replace(s3: S3Connection, key: string, bytes: Uint8Array): Promise<unknown> {
  return s3.attempt(`Could not write ${key}`, (abortSignal) =>
    s3.client.send(new PutObjectCommand({ ...at(s3, key), Body: bytes }), { abortSignal }),
  );
}

/**
 * One PUT that only the first of all writers wins. An attempt whose answer was lost may have won all the same, or may
 * yet arrive: then whoever loses looks whose bytes are there. Commits have an id of their own, so equal bytes are ours.
 */
function create(s3: S3Connection, key: string, bytes: Uint8Array): Promise<boolean> {
  let uncertain = false;
  return s3.attempt(`Could not write ${key}`, async (abortSignal) => {
    try {
      const command = new PutObjectCommand({ ...at(s3, key), Body: bytes, IfNoneMatch: "*" });
      await s3.client.send(command, { abortSignal });
      return true;
    } catch (error) {
      if (statusOf(error) !== 412) {
        uncertain ||= mayHaveArrived(error);
        throw error;
      }
      if (!uncertain) return false;
      const stored = await s3.client.send(new GetObjectCommand(at(s3, key)), { abortSignal });
      return sameBytes(await readBody(stored, abortSignal), bytes);
    }
  });
}

/** Of several that create one key at the same time, one wins on a server that can tell; on others, all do. */
async function tellsWinners(s3: S3Connection): Promise<boolean> {
  // No key of the lake starts with a dot.
  const key = `.probe/${randomUUID()}`;
  const bodies = Array.from({ length: PROBES }, () => new TextEncoder().encode(randomUUID()));
  try {
    const won = await Promise.all(bodies.map((bytes) => create(s3, key, bytes)));
    const after = await create(s3, key, new TextEncoder().encode(randomUUID()));
    return won.filter(Boolean).length === 1 && !after;
  } catch (error) {
    // Some servers answer what they do not know with 501, some with 400.
    if (error instanceof LakeError && /HTTP (501|400)\b|NotImplemented/.test(String(error.cause))) return false;
    throw error;
  } finally {
    await s3
      .attempt(`Could not delete ${key}`, (abortSignal) =>
        s3.client.send(new DeleteObjectCommand(at(s3, key)), { abortSignal }),
      )
      .catch(() => undefined);
  }
}

async function readSmall(key: string, path: string): Promise<Uint8Array> {
  return explained("write", key, async () => {
    const { size } = await stat(path);
    if (size > PART_BYTES) {
      throw new LakeError("limit", `what is created only once may have ${PART_BYTES} bytes in a bucket`, {
        hint: "Store it without ifAbsent.",
      });
    }
    return readFile(path);
  });
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

function refused(label: string): LakeError {
  return new LakeError(
    "denied",
    `${label} does not keep two writers apart: several created the same object, and each was told that it was first.`,
    {
      hint:
        "Commits could get lost. Use a server that knows If-None-Match (Amazon, Ceph RGW 19, MinIO, R2); or, when only " +
        "one server process will ever write to this bucket, set s3_single_writer = true.",
    },
  );
}
