import { randomUUID } from "node:crypto";
import { mkdir, readFile, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { ListObjectsV2Command } from "@aws-sdk/client-s3";
import type { Scope } from "../kernel/scope.ts";
import { openSequence } from "../kernel/sequence.ts";
import type { Clock, Log, S3Settings } from "../settings.ts";
import { type FileCache, openFileCache } from "./cache.ts";
import { FileRefusal, withFileErrors } from "./file-errors.ts";
import { assertKey, assertPrefix, missingObject, storeClosed } from "./key.ts";
import { openS3Client, type S3Connection } from "./s3-client.ts";
import { createObject, deleteObject, getObject, headObject, listObjects, putObject } from "./s3-objects.ts";
import { doesNotKeepWritersApart, keepsWritersApart } from "./s3-probe.ts";
import { downloadFile, PART_BYTES, uploadFile } from "./s3-transfer.ts";
import type { Body, PutOptions, Store } from "./store.ts";

export interface S3StoreSettings extends S3Settings {
  /** For copies of objects and work in progress. */
  folder: string;
  /** Hex digest of a file, computed off the main thread. */
  sha256: (path: string) => Promise<string>;
  clock: Clock;
  log: Log;
}

/** A key that contains the hash of its object, so that it never has other bytes. */
const ADDRESSED = /^data\/.*\/([0-9a-f]{64})\.parquet$/;
const FRESH_MS = 3_600_000;

/**
 * A lake in a bucket, which any number of processes on any number of machines may use at once. Opening it writes to the
 * bucket, to find out whether it keeps writers apart, and refuses one that does not. Throws as `s3Error` says.
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
  const isSafe = await keepsWritersApart(s3);
  if (!isSafe && !settings.singleWriter) throw doesNotKeepWritersApart(label);
  if (!isSafe) settings.log("warn", "the bucket does not keep writers apart: only this process may write to it");
  const opened = { s3, cache, label, clock: settings.clock, timeoutMs: settings.timeoutMs };
  return openStore(opened, isSafe ? (key, bytes) => createObject(s3, key, bytes) : openCreateAlone(s3));
}

interface Opened {
  s3: S3Connection;
  cache: FileCache;
  label: string;
  clock: Clock;
  timeoutMs: number;
}

/** Stores an object unless its key exists; whether it did. */
type Create = (key: string, bytes: Uint8Array) => Promise<boolean>;

function openStore(opened: Opened, create: Create): Store {
  const { s3, label, cache } = opened;
  const copies = openCopies(opened);
  let closed = false;

  const assertOpen = (): void => {
    if (closed) throw storeClosed(label);
    s3.assertOpen();
  };
  const check = (key: string): void => {
    assertOpen();
    assertKey(key);
  };

  return {
    label,
    localRoot: cache.root,
    remote: { pin: cache.pin, recheck: cache.recheck, stats: cache.stats },
    put: async (key, body, options) => {
      check(key);
      return put(opened, create, { key, body, options });
    },
    async *list(prefix, { startAfter } = {}) {
      assertOpen();
      assertPrefix(prefix);
      yield* listObjects(s3, prefix, startAfter);
    },
    localPath: async (key, holder) => {
      check(key);
      const sha256 = addressOf(key);
      if (sha256 === undefined) return copies.current(key);
      return cache.open({ key, sha256 }, (path, reserve) => download(opened, key, path, reserve), holder);
    },
    delete: async (key) => {
      check(key);
      await deleteObject(s3, key);
      await cache.forget(key);
      await copies.forget(key);
    },
    get: async (key) => {
      check(key);
      return getObject(s3, key);
    },
    getRange: async (key, offset, length) => {
      check(key);
      if (length <= 0) return (await headObject(s3, key)) && new Uint8Array();
      return getObject(s3, key, `bytes=${offset}-${offset + length - 1}`);
    },
    has: async (key) => {
      check(key);
      return (await headObject(s3, key)) !== undefined;
    },
    close: async () => {
      closed = true;
    },
  };
}

function addressOf(key: string): string | undefined {
  return ADDRESSED.exec(key)?.[1];
}

/** For a server that has no atomic creation. Only this process writes, so one attempt a key at a time is enough. */
function openCreateAlone(s3: S3Connection): Create {
  const inOrder = openSequence();
  return (key, bytes) =>
    inOrder(async () => {
      if (await headObject(s3, key)) return false;
      await putObject(s3, key, bytes);
      return true;
    }, key);
}

async function put(
  opened: Opened,
  create: Create,
  { key, body, options }: { key: string; body: Body; options: PutOptions | undefined },
): Promise<boolean> {
  const { s3, timeoutMs } = opened;
  const sha256 = addressOf(key);
  const isFile = !(body instanceof Uint8Array);
  if (isFile && sha256 !== undefined) return putAddressed(opened, key, sha256, body.path);
  if (options?.ifAbsent) return create(key, isFile ? await readSmall(key, body.path) : body);
  if (isFile) await withFileErrors("write", key, () => uploadFile(s3, key, body.path, timeoutMs));
  else await putObject(s3, key, body);
  return true;
}

/** Needs no atomic creation: all writers of the key store the same bytes. */
async function putAddressed(opened: Opened, key: string, sha256: string, path: string): Promise<boolean> {
  const { s3, cache, clock, timeoutMs } = opened;
  const there = await headObject(s3, key);
  const { size } = await withFileErrors("write", key, () => stat(path));
  const isThere = there?.bytes === size;
  // gc may delete an old object that no manifest refers to yet, so an old one is stored again.
  const isFresh = isThere && clock.now().getTime() - there.changed < FRESH_MS;
  if (!isFresh) await withFileErrors("write", key, () => uploadFile(s3, key, path, timeoutMs));
  await cache.adopt({ key, sha256 }, path);
  return !isThere;
}

async function readSmall(key: string, path: string): Promise<Uint8Array> {
  return withFileErrors("write", key, async () => {
    const { size } = await stat(path);
    if (size > PART_BYTES) {
      const message = `an object that is created only once may have ${PART_BYTES} bytes in a bucket`;
      throw new FileRefusal("limit", message, "Store it without ifAbsent.");
    }
    return readFile(path);
  });
}

async function download(
  { s3, label, timeoutMs }: Opened,
  key: string,
  path: string,
  reserve?: (bytes: number) => Promise<void>,
): Promise<void> {
  const size = await downloadFile(s3, key, path, { timeoutMs, ...(reserve && { reserve }) });
  if (size === undefined) throw missingObject(key, label);
}

/** Local copies of objects that can be replaced: this process's own, and current when they are opened. */
interface Copies {
  current(key: string): Promise<string>;
  forget(key: string): Promise<void>;
}

function openCopies(opened: Opened): Copies {
  const { s3, cache, label } = opened;
  const etags = new Map<string, string>();
  const inOrder = openSequence();
  const pathOf = (key: string): string => join(cache.root, ...key.split("/"));

  async function current(key: string): Promise<string> {
    const found = await headObject(s3, key);
    if (!found) throw missingObject(key, label);
    const path = pathOf(key);
    if (etags.get(key) === found.etag && (await stat(path).catch(() => undefined))?.size === found.bytes) return path;
    const fetched = join(cache.root, ".spool", `copy-${randomUUID()}`);
    await withFileErrors("keep a copy of", key, async () => {
      await mkdir(dirname(path), { recursive: true });
      try {
        await download(opened, key, fetched);
        await rename(fetched, path);
      } finally {
        await rm(fetched, { force: true });
      }
    });
    etags.set(key, found.etag);
    return path;
  }

  return {
    current: (key) => inOrder(() => current(key), key),
    forget: async (key) => {
      if (etags.delete(key)) await rm(pathOf(key), { force: true });
    },
  };
}
