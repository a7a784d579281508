import { randomUUID } from "node:crypto";
import { link, mkdir, open as openFile, readdir, rm, stat, unlink, utimes } from "node:fs/promises";
import { dirname, join } from "node:path";
import { hasCode, LakeError } from "../kernel/errors.ts";
import { mapAhead } from "../kernel/map-ahead.ts";
import type { Scope } from "../kernel/scope.ts";
import type { Clock } from "../settings.ts";
import { prepareFolders } from "./cache-folders.ts";
import { explained } from "./file-errors.ts";
import type { CopyStats } from "./store.ts";

/**
 * Files named by the SHA-256 of their bytes, shared by all processes that have the folder, and within a number of bytes.
 *
 * `files/` holds them under their hash. A process reads them through hard links of its own, in its own folder: what it
 * holds stays there whoever takes the name in `files/` away, and the number of links tells who may. A file gets its name
 * only when it is whole, synced and verified.
 */
export interface FileCache {
  /** The folder of this process, in which every path lies. */
  readonly root: string;
  /**
   * A path that holds the object until `scope` is closed; without one, for a minute. What is not there is got by
   * `fetch`, once for all who ask. Throws `limit` when it does not fit, `corrupt` when it is not what its name says.
   */
  open(file: Addressed, fetch: Fetch, scope?: Scope): Promise<string>;
  /** Holds all of them, if all are there already. */
  hold(keys: readonly string[], scope: Scope): boolean;
  /** Keeps a file that this process has written and hashed itself; it is linked, not moved. */
  adopt(file: Addressed, path: string): Promise<void>;
  /** Takes the object out, for this process. */
  forget(key: string): Promise<void>;
  /** Reads what this process has of these again; what has changed is taken out, for all processes. See `Store.remote`. */
  recheck(held: ReadonlyMap<string, number>): Promise<string[]>;
  stats(): CopyStats;
}

export interface Addressed {
  key: string;
  sha256: string;
}

/** Writes the object to `path`; says how large it is before it does. */
export type Fetch = (path: string, reserve: (bytes: number) => Promise<void>) => Promise<void>;

export interface CacheSettings {
  /** Of the lake's local side; created when absent. */
  folder: string;
  maxBytes: number;
  /** Of a file, in hex; off the main thread. */
  sha256: (path: string) => Promise<string>;
  clock: Clock;
}

/** What this process has linked. */
interface Entry {
  path: string;
  sha256: string;
  bytes: number;
  holders: number;
  /** For who has no scope to hold it by. */
  keptUntil: number;
  /** Milliseconds of `performance.now()`. */
  usedAt: number;
  checkedAt: number;
  touchedAt: number;
  linkedAt: number;
  /** When its bytes were last found to be those that it is named by, after they came. */
  wholeAt: number;
}

/** Unused links of this process go after so long, so that other processes may remove the file. */
const IDLE_MS = 60_000;
const TOUCH_MS = 60_000;
/** A file that somebody removed by hand is noticed within this time. */
const CHECK_MS = 5_000;
/** So long a file that was read again, and was whole, is not read for that again. */
const WHOLE_MS = 10_000;
const STATS_AHEAD = 32;

export async function openFileCache(scope: Scope, settings: CacheSettings): Promise<FileCache> {
  const { folder, maxBytes, clock } = settings;
  const { files, root } = await prepareFolders(folder, clock);
  const incoming = join(root, ".spool");
  const entries = new Map<string, Entry>();
  const opening = new Map<string, Promise<Entry>>();
  const fetching = new Map<string, Promise<void>>();
  /** Bytes in `files/` as of the last look, and what was added since. */
  let total: number | undefined;
  let reserved = 0;
  let [hits, misses] = [0, 0];
  const askedBy = new WeakMap<Scope, Set<string>>();
  let sweeping: Promise<unknown> = Promise.resolve();

  const timer = setInterval(() => void release().catch(() => undefined), IDLE_MS);
  timer.unref();
  scope.defer(async () => {
    clearInterval(timer);
    await sweeping.catch(() => undefined);
    await rm(root, { recursive: true, force: true, maxRetries: 3 });
  });

  const nameOf = (sha256: string): string => join(files, sha256);

  async function openCopy(file: Addressed, fetch: Fetch, holder?: Scope): Promise<string> {
    let entry = entries.get(file.key);
    if (entry && performance.now() - entry.checkedAt > CHECK_MS && !(await isWhole(entry))) {
      await forget(file.key);
      entry = undefined;
    }
    const isFirst = isFirstOf(holder, file.key);
    if (entry) hits += isFirst ? 1 : 0;
    else {
      let pending = opening.get(file.key);
      if (!pending) {
        pending = linkOrFetch(file, fetch).finally(() => opening.delete(file.key));
        opening.set(file.key, pending);
      }
      entry = await pending;
    }
    take(entry, holder);
    return entry.path;
  }

  /** A statement asks for a file several times, which is one use of it. */
  function isFirstOf(holder: Scope | undefined, key: string): boolean {
    if (!holder) return true;
    const keys = askedBy.get(holder) ?? new Set();
    askedBy.set(holder, keys);
    const before = keys.size;
    return keys.add(key).size > before;
  }

  function take(entry: Entry, holder: Scope | undefined): void {
    const now = performance.now();
    entry.usedAt = now;
    if (now - entry.touchedAt > TOUCH_MS) {
      entry.touchedAt = now;
      void touch(entry).catch(() => undefined);
    }
    if (!holder) {
      entry.keptUntil = now + IDLE_MS;
      return;
    }
    entry.holders++;
    holder.defer(() => {
      entry.holders--;
      entry.usedAt = performance.now();
    });
  }

  async function isWhole(entry: Entry): Promise<boolean> {
    const found = await stat(entry.path).catch(() => undefined);
    entry.checkedAt = performance.now();
    return found?.size === entry.bytes;
  }

  /** The time of last use, for all processes to see. That of the last change stays: DuckDB keeps what it read by it. */
  async function touch(entry: Entry): Promise<void> {
    const { mtimeMs } = await stat(entry.path);
    await utimes(entry.path, clock.now().getTime() / 1000, Math.floor(mtimeMs / 1000));
  }

  async function linkOrFetch({ key, sha256 }: Addressed, fetch: Fetch): Promise<Entry> {
    const path = join(root, ...key.split("/"));
    await explained("keep a copy of", key, () => mkdir(dirname(path), { recursive: true }));
    // What is fetched may be removed again before it is linked, by another process that needs the space.
    for (let tries = 0; ; tries++) {
      await rm(path, { force: true });
      if (await linked(nameOf(sha256), path)) {
        if (tries === 0) hits++;
        break;
      }
      if (tries === 3) throw noSpace(key, maxBytes);
      let pending = fetching.get(sha256);
      if (!pending) {
        pending = explained("keep a copy of", key, () => fill(key, sha256, fetch)).finally(() =>
          fetching.delete(sha256),
        );
        fetching.set(sha256, pending);
      }
      await pending;
    }
    const { size } = await stat(path);
    const now = performance.now();
    const times = {
      keptUntil: 0,
      usedAt: now,
      checkedAt: now,
      touchedAt: 0,
      linkedAt: now,
      wholeAt: Number.NEGATIVE_INFINITY,
    };
    const entry = { path, sha256, bytes: size, holders: 0, ...times };
    entries.set(key, entry);
    return entry;
  }

  async function fill(key: string, sha256: string, fetch: Fetch): Promise<void> {
    const path = join(incoming, `fetch-${randomUUID()}`);
    let mine = 0;
    try {
      await fetch(path, async (bytes) => {
        await reserve(key, bytes);
        mine = bytes;
      });
      if ((await settings.sha256(path)) !== sha256) throw damaged(key);
      await publish(path, sha256);
      misses++;
    } finally {
      reserved -= mine;
      await rm(path, { force: true });
    }
  }

  /** `path` is whole, synced and what its hash says: only such a file gets a name that others read. */
  async function publish(path: string, sha256: string): Promise<void> {
    const now = Math.floor(clock.now().getTime() / 1000);
    await utimes(path, now, now);
    if (await linked(path, nameOf(sha256))) total = total === undefined ? undefined : total + (await stat(path)).size;
  }

  async function reserve(key: string, bytes: number): Promise<void> {
    reserved += bytes;
    try {
      if (total === undefined || total + reserved > maxBytes) await sweep();
      if ((total ?? 0) + reserved > maxBytes) throw noSpace(key, maxBytes);
    } catch (error) {
      reserved -= bytes;
      throw error;
    }
  }

  /** One after the other, each seeing what the one before left. */
  function sweep(): Promise<void> {
    const swept = sweeping.then(makeRoom);
    sweeping = swept.catch(() => undefined);
    return swept;
  }

  async function makeRoom(): Promise<void> {
    const found: { name: string; size: number; used: number }[] = [];
    const measured = mapAhead(await readdir(files), STATS_AHEAD, async (name) => ({
      name,
      stats: await stat(join(files, name)).catch(() => undefined),
    }));
    for await (const { name, stats } of measured) {
      if (stats?.isFile()) found.push({ name, size: stats.size, used: stats.atimeMs });
    }
    total = found.reduce((sum, { size }) => sum + size, 0);
    if (total + reserved <= maxBytes) return;
    const mine = new Map<string, Entry[]>();
    for (const entry of entries.values()) mine.set(entry.sha256, [...(mine.get(entry.sha256) ?? []), entry]);
    const nowMs = clock.now().getTime();
    const used = ({ name, used: at }: { name: string; used: number }): number => {
      const last = Math.max(...(mine.get(name) ?? []).map(({ usedAt }) => usedAt));
      return Number.isFinite(last) ? Math.max(at, nowMs - (performance.now() - last)) : at;
    };
    for (const file of found.toSorted((a, b) => used(a) - used(b))) {
      if (total + reserved <= maxBytes) return;
      // Whether somebody holds it is asked at the last moment, and again by the kernel, which counts the links.
      const own = [...entries].filter(([, { sha256 }]) => sha256 === file.name);
      if (own.some(([, entry]) => isHeld(entry))) continue;
      for (const [key] of own) await forget(key);
      const stats = await stat(join(files, file.name)).catch(() => undefined);
      if (!stats || stats.nlink > 1) continue;
      await unlink(join(files, file.name)).catch(() => undefined);
      total -= file.size;
    }
  }

  async function release(): Promise<void> {
    const idle = [...entries].filter(([, entry]) => !isHeld(entry) && performance.now() - entry.usedAt >= IDLE_MS);
    for (const [key, entry] of idle) if (!isHeld(entry)) await forget(key);
  }

  async function forget(key: string): Promise<void> {
    const entry = entries.get(key);
    if (!entry) return;
    entries.delete(key);
    await unlink(entry.path).catch(() => undefined);
  }

  async function recheck(held: ReadonlyMap<string, number>): Promise<string[]> {
    const changed: string[] = [];
    for (const [key, heldAt] of held) if (await hasChanged(key, heldAt)) changed.push(key);
    return changed;
  }

  /** After it was verified: by a bad disk, or a hand. */
  async function hasChanged(key: string, heldAt: number): Promise<boolean> {
    const entry = entries.get(key);
    // Somebody was here before.
    if (!entry || entry.linkedAt > heldAt) return true;
    if (performance.now() - entry.wholeAt < WHOLE_MS) return false;
    const own = await stat(entry.path).catch(() => undefined);
    const hash = own && (await settings.sha256(entry.path).catch(() => undefined));
    if (entries.get(key) !== entry) return true;
    if (hash === entry.sha256) entry.wholeAt = performance.now();
    // One that could not be read proves nothing, unless it is not there.
    if (own && (hash === undefined || hash === entry.sha256)) return false;
    const shared = await stat(nameOf(entry.sha256)).catch(() => undefined);
    // Another process may have found it before, and fetched it anew.
    if (own && shared?.ino === own.ino) {
      const isOurs = await unlink(nameOf(entry.sha256)).then(
        () => true,
        () => false,
      );
      if (isOurs && total !== undefined) total -= own.size;
    }
    if (entries.get(key) === entry) await forget(key);
    return true;
  }

  return {
    root,
    open: openCopy,
    forget,
    recheck,
    stats: () => ({ hits, misses, bytes: total, maxBytes }),
    hold: (keys, holder) => {
      const held: Entry[] = [];
      for (const key of keys) {
        const entry = entries.get(key);
        if (!entry || performance.now() - entry.checkedAt > CHECK_MS) return false;
        held.push(entry);
      }
      for (const entry of held) take(entry, holder);
      for (const key of keys) if (isFirstOf(holder, key)) hits++;
      return true;
    },
    adopt: async ({ key, sha256 }, path) => {
      // A cache that is full, or on another file system, is no reason to fail what has just been stored.
      try {
        const { size } = await stat(path);
        await reserve(key, size);
        try {
          await syncFile(path);
          const copy = join(incoming, `adopt-${randomUUID()}`);
          await link(path, copy);
          try {
            await publish(copy, sha256);
          } finally {
            await unlink(copy);
          }
        } finally {
          reserved -= size;
        }
      } catch {}
    },
  };
}

function isHeld({ holders, keptUntil }: Entry): boolean {
  return holders > 0 || performance.now() < keptUntil;
}

/** False when there is nothing to link. */
async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    // Another process was first, with the same bytes.
    if (hasCode(error, "EEXIST", "ENOENT")) return false;
    if (!hasCode(error, "EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS")) throw error;
    throw new LakeError("denied", "the file system has no hard links, which the cache needs", {
      hint: "Point --data to a folder on a local disk.",
      cause: error,
    });
  }
}

async function syncFile(path: string): Promise<void> {
  const handle = await openFile(path, process.platform === "win32" ? "r+" : "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function noSpace(key: string, maxBytes: number): LakeError {
  const name = key.split("/")[1] ?? key;
  return new LakeError(
    "limit",
    `The files of ${name} do not fit into the cache of ${maxBytes} bytes with what is in use`,
    {
      hint: "Name fewer datasets in one statement, try again when less is running, or raise cache_bytes.",
    },
  );
}

function damaged(key: string): LakeError {
  return new LakeError("corrupt", "its bytes are not those that it was stored with", {
    hint: `Restore ${key} from a backup or an older version of the object, or ingest the dataset again.`,
  });
}
