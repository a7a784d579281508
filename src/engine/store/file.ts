import { lstatSync, readFile as readFileWithCallback, realpathSync } from "node:fs";
import { link, lstat, mkdir, open, readdir, realpath, rename, unlink } from "node:fs/promises";
import { dirname, join, resolve as resolvePath } from "node:path";
import { promisify } from "node:util";
import { hasCode, LakeError } from "../kernel/errors.ts";
import { mapAhead } from "../kernel/map-ahead.ts";
import type { Scope } from "../kernel/scope.ts";
import { type Clock, systemClock } from "../settings.ts";
import { explained } from "./file-errors.ts";
import { assertKey, assertPrefix, byCodeUnit, isKeySegment, missingObject, storeClosed } from "./key.ts";
import { makeFolders } from "./make-folders.ts";
import { openSpool } from "./spool.ts";
import type { Body, PutOptions, Store, StoredObject } from "./store.ts";

export interface FileStoreSettings {
  /** Created when absent. Relative to the working directory. */
  folder: string;
  /** The folder as the user wrote it, for messages. */
  label: string;
  clock?: Clock;
}

interface Entry {
  /** A folder's ends with a slash, which also puts it where its contents belong in key order. */
  key: string;
  size: number;
  modified: number;
}

/** In half the time of the one in `fs/promises`, which counts with thousands of manifests. */
const readFile = promisify(readFileWithCallback);

const FILES_AHEAD = 32;
const FOLDERS_AHEAD = 16;
const FEW_FILES = 8;
const MAX_REMEMBERED_FOLDERS = 50_000;

/**
 * A lake in a local folder, which any number of processes may use at once, without a lock. An object appears under its
 * key by `link` or `rename` of a finished, synced file: wholly or not at all. Throws `denied`, `limit`, `unavailable`.
 */
export async function openFileStore(scope: Scope, settings: FileStoreSettings): Promise<Store> {
  const { label } = settings;
  const root = await explained("open the folder", label, async () => {
    const folder = resolvePath(settings.folder);
    const created = await makeFolders(folder);
    if (created !== undefined) await syncParents(folder, created);
    return realpath(folder);
  });
  if (/[*?]/.test(root)) {
    throw new LakeError("invalid", `${label} has a * or ? in its path, which DuckDB takes for a pattern.`, {
      hint: "Point --data to a folder without them.",
    });
  }
  const spool = await explained("open the folder", label, () => openSpool(root, settings.clock ?? systemClock));
  /** Folders whose own entries are known to be on disk, up to the root. */
  const syncedFolders = new Set<string>();
  const looks = new Map<string, Promise<boolean>>();
  let closed = false;

  function resolve(key: string): string {
    if (closed) throw storeClosed(label);
    assertKey(key);
    return join(root, ...key.split("/"));
  }

  /**
   * False when nothing is there. A symlink on the way would make a key mean something outside of the lake. Asked in place:
   * it takes 10 µs, by way of a thread 250 µs (measured).
   */
  async function exists(path: string): Promise<boolean> {
    const real = await unlessMissing(Promise.resolve().then(() => realpathSync.native(path)));
    if (real === undefined) return false;
    if (real === path) return true;
    throw new LakeError("denied", "there is a symlink on the way, and links may not lead out of the lake", {
      hint: "Remove the symlink from the lake's folder, or point --data to where the data is.",
    });
  }

  async function put(key: string, body: Body, options: PutOptions = {}): Promise<boolean> {
    const path = resolve(key);
    const folder = dirname(path);
    return explained("write", key, async () => {
      const temporary = await spool.write(body);
      try {
        for (let known = folder; known !== root && !(await exists(known)); ) known = dirname(known);
        const isNew = (await mkdir(folder, { recursive: true })) !== undefined;
        let created = true;
        if (options.ifAbsent) created = await linkOnce(temporary, path);
        else await rename(temporary, path);
        // Also when another was first: the caller builds on that file, so its name has to be on disk as well.
        await syncUpwards(folder, isNew);
        return created;
      } finally {
        await spool.remove(temporary);
      }
    });
  }

  /** Syncs `folder` and, once, its parents: whoever created them may not have done so yet. */
  async function syncUpwards(folder: string, isNew: boolean): Promise<void> {
    await syncFolder(folder);
    if (!isNew && syncedFolders.has(folder)) return;
    for (let parent = folder; parent !== root; ) {
      parent = dirname(parent);
      await syncFolder(parent);
    }
    if (syncedFolders.size >= MAX_REMEMBERED_FOLDERS) syncedFolders.clear();
    syncedFolders.add(folder);
  }

  async function* list(
    prefix: string,
    { startAfter = "" }: { startAfter?: string } = {},
  ): AsyncGenerator<StoredObject> {
    if (closed) throw storeClosed(label);
    assertPrefix(prefix);

    const isWanted = (key: string): boolean =>
      (key.startsWith(prefix) && key > startAfter) ||
      // A folder may hold what itself is not.
      (key.endsWith("/") &&
        (key.startsWith(prefix) || prefix.startsWith(key)) &&
        (key > startAfter || startAfter.startsWith(key)));

    const entriesOf = (folder: string): Promise<Entry[]> =>
      explained("list", prefix, async () => {
        const keys: string[] = [];
        for (const entry of await readFolder(join(root, folder))) {
          const key = `${folder}${entry.name}${entry.isDirectory() ? "/" : ""}`;
          if (isKeySegment(entry.name) && (entry.isDirectory() || entry.isFile()) && isWanted(key)) keys.push(key);
        }
        keys.sort(byCodeUnit);
        const entries: Entry[] = [];
        const measured = mapAhead(keys, FILES_AHEAD, (key) => measure(key, keys.length <= FEW_FILES));
        for await (const entry of measured) if (entry) entries.push(entry);
        return entries;
      });

    /** In place where there are few, as in the thousand folders of a thousand datasets: see `exists`. */
    async function measure(key: string, areFew: boolean): Promise<Entry | undefined> {
      if (key.endsWith("/")) return { key, size: 0, modified: 0 };
      const path = join(root, key);
      const found = areFew ? lstatSync(path, { throwIfNoEntry: false }) : await unlessMissing(lstat(path));
      return found && { key, size: found.size, modified: found.mtimeMs };
    }

    async function* walk(entries: Entry[]): AsyncGenerator<StoredObject> {
      const opened = mapAhead(entries, FOLDERS_AHEAD, async (entry) => ({
        entry,
        inside: entry.key.endsWith("/") ? await entriesOf(entry.key) : undefined,
      }));
      for await (const { entry, inside } of opened) {
        if (inside) yield* walk(inside);
        else yield entry;
      }
    }

    // All of it lies in one folder; the folders above may have thousands of others.
    const folder = prefix.slice(0, prefix.lastIndexOf("/") + 1);
    const isThere = await explained("list", prefix, () => isReal(join(root, folder)));
    if (isThere) yield* walk(await entriesOf(folder));
  }

  async function close(): Promise<void> {
    closed = true;
  }
  scope.defer(close);

  return {
    label,
    localRoot: root,
    put,
    list,
    close,
    get: async (key) => {
      const path = resolve(key);
      return explained("read", key, async () => ((await exists(path)) ? unlessMissing(readFile(path)) : undefined));
    },
    getRange: async (key, offset, length) => {
      const path = resolve(key);
      return explained("read", key, async () =>
        (await exists(path)) ? unlessMissing(readPart(path, offset, length)) : undefined,
      );
    },
    has: async (key) => {
      const path = resolve(key);
      const asked = looks.get(path);
      if (asked !== undefined) return asked;
      // Asked for every dataset of every statement: in place it takes 10 to 20 µs, by way of a thread 250 µs (measured).
      const look = explained("read", key, async () => {
        const stats = await unlessMissing(Promise.resolve().then(() => lstatSync(path, { throwIfNoEntry: false })));
        return stats?.isFile() ?? false;
      });
      looks.set(path, look);
      // Of those who ask before this process can have learned of anything else, one looks.
      queueMicrotask(() => looks.delete(path));
      return look;
    },
    delete: async (key) => {
      const path = resolve(key);
      await explained("delete", key, async () => {
        if (await exists(dirname(path))) await unlessMissing(unlink(path));
      });
    },
    localPath: async (key) => {
      const path = resolve(key);
      if (!(await explained("read", key, () => exists(path)))) throw missingObject(key, label);
      return path;
    },
  };
}

/** Create-only: `rename` would replace a commit of another writer. */
async function linkOnce(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if (hasCode(error, "EEXIST")) return false;
    if (!hasCode(error, "EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS")) throw error;
    throw new LakeError("denied", "the file system has no hard links, which commits need", {
      hint: "Point --data to a folder on a local disk.",
      cause: error,
    });
  }
}

/** Whether it is there, and not by way of a symlink. */
async function isReal(folder: string): Promise<boolean> {
  return (await unlessMissing(realpath(folder))) === resolvePath(folder);
}

/** A lake that was created a moment ago must be found again after a power cut, so its name has to be on disk too. */
async function syncParents(folder: string, firstCreated: string): Promise<void> {
  const last = dirname(firstCreated);
  for (let parent = folder; parent !== last; ) {
    parent = dirname(parent);
    await syncFolder(parent);
  }
}

export async function syncFolder(path: string): Promise<void> {
  // Windows cannot open a folder for this, and journals its entries itself.
  if (process.platform === "win32") return;
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function readFolder(path: string) {
  return (await unlessMissing(readdir(path, { withFileTypes: true }))) ?? [];
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

/** Folders are not objects either, so a key that names one has nothing. */
async function unlessMissing<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR", "EISDIR")) return undefined;
    throw error;
  }
}
