import { lstatSync, readFile as readFileWithCallback, realpathSync } from "node:fs";
import { mkdir, open, rename, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { next, setting } from "../kernel/next-step.ts";
import type { Scope } from "../kernel/scope.ts";
import { type Clock, systemClock } from "../settings.ts";
import { FileRefusal, unlessMissing, withFileErrors } from "./file-errors.ts";
import { listFiles } from "./file-list.ts";
import { assertKey, assertPrefix, missingObject, storeClosed } from "./key.ts";
import { linkNew } from "./link.ts";
import { openFolder } from "./make-folders.ts";
import { openSpool } from "./spool.ts";
import type { Body, PutOptions, Store } from "./store.ts";
import { openFolderSync } from "./sync.ts";

export interface FileStoreSettings {
  /** Created when absent. Relative to the working directory. */
  folder: string;
  /** The folder as the user wrote it, for messages. */
  label: string;
  clock?: Clock;
}

/** Takes half the time of the one in `fs/promises`, which matters for thousands of manifests. */
const readFile = promisify(readFileWithCallback);

/**
 * A lake in a local folder, which any number of processes may use at once, without a lock. An object appears under its
 * key by `link` or `rename` of a finished, synced file: wholly or not at all. Throws `denied`, `limit`, `unavailable`.
 */
export async function openFileStore(scope: Scope, settings: FileStoreSettings): Promise<Store> {
  const { label } = settings;
  const root = await openFolder(settings.folder, label);
  const spool = await withFileErrors("open the folder", label, () => openSpool(root, settings.clock ?? systemClock));
  const syncUpwards = openFolderSync(root);
  const lookups = new Map<string, Promise<boolean>>();
  let closed = false;

  const assertOpen = (): void => {
    if (closed) throw storeClosed(label);
  };

  function resolve(key: string): string {
    assertOpen();
    assertKey(key);
    return join(root, ...key.split("/"));
  }

  async function put(key: string, body: Body, options: PutOptions = {}): Promise<boolean> {
    const path = resolve(key);
    const folder = dirname(path);
    return withFileErrors("write", key, async () => {
      const temporary = await spool.write(body);
      try {
        for (let known = folder; known !== root && !(await exists(known)); ) known = dirname(known);
        const isNew = (await mkdir(folder, { recursive: true })) !== undefined;
        let created = true;
        if (options.ifAbsent) created = await linkNew(temporary, path, "commits need");
        else await rename(temporary, path);
        // Also when another writer was first: the caller builds on that object, so its name has to be durable as well.
        await syncUpwards(folder, isNew);
        return created;
      } finally {
        await spool.remove(temporary);
      }
    });
  }

  function has(key: string): Promise<boolean> {
    const path = resolve(key);
    const pending = lookups.get(path);
    if (pending !== undefined) return pending;
    // Runs for every dataset of every statement: synchronously it takes 10 to 20 µs, by way of a thread 250 µs (measured).
    const lookup = withFileErrors("read", key, async () => {
      const stats = await unlessMissing(Promise.resolve().then(() => lstatSync(path, { throwIfNoEntry: false })));
      return stats?.isFile() ?? false;
    });
    lookups.set(path, lookup);
    // Callers share a lookup only within one turn of the event loop, in which they cannot have learned of a change.
    queueMicrotask(() => lookups.delete(path));
    return lookup;
  }

  async function read<T>(key: string, work: (path: string) => Promise<T>): Promise<T | undefined> {
    const path = resolve(key);
    return withFileErrors("read", key, async () => ((await exists(path)) ? unlessMissing(work(path)) : undefined));
  }

  async function close(): Promise<void> {
    closed = true;
  }
  scope.defer(close);

  return {
    label,
    localRoot: root,
    put,
    has: async (key) => has(key),
    close,
    get: (key) => read(key, (path) => readFile(path)),
    getRange: (key, offset, length) => read(key, (path) => readPart(path, offset, length)),
    async *list(prefix, { startAfter = "" } = {}) {
      assertOpen();
      assertPrefix(prefix);
      yield* listFiles({ root, prefix, startAfter });
    },
    delete: async (key) => {
      const path = resolve(key);
      await withFileErrors("delete", key, async () => {
        if (await exists(dirname(path))) await unlessMissing(unlink(path));
      });
    },
    localPath: async (key) => {
      const path = resolve(key);
      if (!(await withFileErrors("read", key, () => exists(path)))) throw missingObject(key, label);
      return path;
    },
  };
}

/**
 * Throws a `FileRefusal` when a symlink is on the way: through it, a key would reach outside the lake. Synchronous, since that
 * takes 10 µs, and by way of a thread 250 µs (measured).
 */
async function exists(path: string): Promise<boolean> {
  const real = await unlessMissing(Promise.resolve().then(() => realpathSync.native(path)));
  if (real === undefined) return false;
  if (real === path) return true;
  const hint = next`Remove the symlink from the lake's folder, or point ${setting("data")} to where the data is.`;
  throw new FileRefusal("denied", "there is a symlink on the way, and links may not lead out of the lake", hint);
}

async function readPart(path: string, offset: number, length: number): Promise<Uint8Array> {
  const handle = await open(path, "r");
  try {
    const { size } = await handle.stat();
    const buffer = Buffer.alloc(Math.max(0, Math.min(length, size - offset)));
    let end = 0;
    while (end < buffer.length) {
      const { bytesRead } = await handle.read(buffer, end, buffer.length - end, offset + end);
      if (bytesRead === 0) break;
      end += bytesRead;
    }
    return buffer.subarray(0, end);
  } finally {
    await handle.close();
  }
}
