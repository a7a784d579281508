import { randomUUID } from "node:crypto";
import { link, mkdir, rm, stat, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Scope } from "../kernel/scope.ts";
import type { Clock } from "../settings.ts";
import { prepareFolders } from "./cache-folders.ts";
import { type CacheLink, type CacheLinks, IDLE_MS, openCacheLinks } from "./cache-links.ts";
import { FileRefusal, withFileErrors } from "./file-errors.ts";
import { noSpace, openSharedFiles, type SharedFiles } from "./shared-files.ts";
import type { CopyStats } from "./store.ts";
import { syncFile } from "./sync.ts";

/**
 * A cache of files named by the SHA-256 of their bytes, limited in size and shared by all processes that use the folder.
 *
 * `files/` has them under their hash. A process reads them through hard links in a folder of its own: so what it has
 * pinned stays readable when another process removes the file, and the number of links tells whether that is allowed. A
 * file gets its name in `files/` only when it is complete, synced and verified.
 */
export interface FileCache {
  /** The folder of this process, in which every path lies. */
  readonly root: string;
  /**
   * A path to the object, pinned until `scope` is closed; without a scope, for a minute. If it is absent it is fetched,
   * once for all concurrent callers. Throws `limit` when there is no space, `corrupt` when its hash is another.
   */
  open(file: Addressed, fetch: Fetch, scope?: Scope): Promise<string>;
  /** Pins all of them if all are present; else none. */
  pin(keys: readonly string[], scope: Scope): boolean;
  /** Adds a file that this process has written and hashed itself, by a hard link. */
  adopt(file: Addressed, path: string): Promise<void>;
  /** Removes the object from this process's folder. */
  forget(key: string): Promise<void>;
  /** Verifies this process's copies again, and removes changed ones for all processes. See `Store.remote`. */
  recheck(pinned: ReadonlyMap<string, number>): Promise<string[]>;
  stats(): CopyStats;
}

export interface Addressed {
  key: string;
  sha256: string;
}

/** Writes the object to `path`, after it has reserved space for it. */
export type Fetch = (path: string, reserve: (bytes: number) => Promise<void>) => Promise<void>;

export interface CacheSettings {
  /** Created when absent. */
  folder: string;
  maxBytes: number;
  /** Hex digest of a file, computed off the main thread. */
  sha256: (path: string) => Promise<string>;
  clock: Clock;
}

interface Parts extends Pick<CacheSettings, "maxBytes" | "sha256"> {
  root: string;
  /** For files that are not complete yet. */
  incoming: string;
  links: CacheLinks;
  shared: SharedFiles;
  counts: { hits: number; misses: number };
}

/** A copy that was verified again within this time is not read another time. */
const VERIFIED_MS = 10_000;
/** Another process that needs space may remove a fetched file before it is linked. */
const LINK_TRIES = 4;

export async function openFileCache(scope: Scope, settings: CacheSettings): Promise<FileCache> {
  const { folder, maxBytes, sha256, clock } = settings;
  const { files, root } = await prepareFolders(folder, clock);
  const links = openCacheLinks(clock);
  const shared = openSharedFiles(files, links, settings);
  const counts = { hits: 0, misses: 0 };
  const parts = { root, incoming: join(root, ".spool"), links, shared, counts, maxBytes, sha256 };
  const linkOrFetch = openFetcher(parts);
  const isFirstUse = openUses();

  const timer = setInterval(() => void links.releaseIdle().catch(() => undefined), IDLE_MS);
  timer.unref();
  scope.defer(async () => {
    clearInterval(timer);
    await shared.settled();
    await rm(root, { recursive: true, force: true, maxRetries: 3 });
  });

  return {
    root,
    open: async (file, fetch, holder) => {
      // Where no check is due, nothing may await before it is pinned: it could be removed meanwhile.
      const [recent] = links.checkedNow([file.key]) ?? [];
      const present = recent ?? (await links.checked(file.key));
      if (isFirstUse(holder, file.key) && present) counts.hits++;
      const found = present ?? (await linkOrFetch(file, fetch));
      links.pin(found, holder);
      return found.path;
    },
    pin: (keys, holder) => {
      const present = links.checkedNow(keys);
      for (const found of present ?? []) links.pin(found, holder);
      if (present) for (const key of keys) if (isFirstUse(holder, key)) counts.hits++;
      return present !== undefined;
    },
    // A full cache, or one on another file system, must not fail what has just been stored.
    adopt: (file, path) => adopt(parts, file, path).catch(() => undefined),
    forget: links.remove,
    recheck: async (pinned) => {
      const changed: string[] = [];
      for (const [key, pinnedAt] of pinned) if (await hasChanged(parts, key, pinnedAt)) changed.push(key);
      return changed;
    },
    stats: () => ({ ...counts, bytes: shared.bytes(), maxBytes }),
  };
}

/** Whether a scope uses a key for the first time: a statement that opens a file several times has used it once. */
function openUses(): (scope: Scope | undefined, key: string) => boolean {
  const usedBy = new WeakMap<Scope, Set<string>>();
  return (scope, key) => {
    if (!scope) return true;
    const keys = usedBy.get(scope) ?? new Set();
    usedBy.set(scope, keys);
    const before = keys.size;
    return keys.add(key).size > before;
  };
}

/** Links files that this process has no link to; fetches those that no process has. Once for all concurrent callers. */
function openFetcher(parts: Parts): (file: Addressed, fetch: Fetch) => Promise<CacheLink> {
  const { root, links, shared, counts, maxBytes } = parts;
  const linking = new Map<string, Promise<CacheLink>>();
  const fetching = new Map<string, Promise<void>>();

  async function linkOrFetch(file: Addressed, fetch: Fetch): Promise<CacheLink> {
    const { key, sha256 } = file;
    const path = join(root, ...key.split("/"));
    await withFileErrors("keep a copy of", key, () => mkdir(dirname(path), { recursive: true }));
    for (let tries = 0; tries < LINK_TRIES; tries++) {
      if (tries > 0) await joined(fetching, sha256, () => fetchInto(parts, file, fetch));
      await rm(path, { force: true });
      if (!(await shared.linkTo(path, sha256))) continue;
      if (tries === 0) counts.hits++;
      return links.add(key, path, sha256);
    }
    throw noSpace(key, maxBytes);
  }

  return (file, fetch) => joined(linking, file.key, () => linkOrFetch(file, fetch));
}

/** The work under way for `key`, or `work`, which others join until it ends. */
function joined<T>(running: Map<string, Promise<T>>, key: string, work: () => Promise<T>): Promise<T> {
  const joining = running.get(key);
  if (joining !== undefined) return joining;
  const started = work().finally(() => running.delete(key));
  running.set(key, started);
  return started;
}

function fetchInto({ incoming, shared, counts, sha256 }: Parts, file: Addressed, fetch: Fetch): Promise<void> {
  const path = join(incoming, `fetch-${randomUUID()}`);
  return withFileErrors("keep a copy of", file.key, async () => {
    let release: (() => void) | undefined;
    try {
      await fetch(path, async (bytes) => {
        release = await shared.reserve(file.key, bytes);
      });
      if ((await sha256(path)) !== file.sha256) throw damaged(file.key);
      await shared.publish(path, file.sha256);
      counts.misses++;
    } finally {
      release?.();
      await rm(path, { force: true });
    }
  });
}

async function adopt({ incoming, shared }: Parts, { key, sha256 }: Addressed, path: string): Promise<void> {
  const { size } = await stat(path);
  const release = await shared.reserve(key, size);
  const copy = join(incoming, `adopt-${randomUUID()}`);
  try {
    await syncFile(path);
    await link(path, copy);
    await shared.publish(copy, sha256);
  } finally {
    release();
    await unlink(copy);
  }
}

/** Whether a copy changed since it was pinned, by a bad disk or by hand. A changed one is removed. */
async function hasChanged({ links, shared, sha256 }: Parts, key: string, pinnedAt: number): Promise<boolean> {
  const copy = links.get(key);
  // Another caller has noticed it before.
  if (!copy || copy.linkedAt > pinnedAt) return true;
  if (performance.now() - copy.verifiedAt < VERIFIED_MS) return false;
  const found = await stat(copy.path).catch(() => undefined);
  const hash = found && (await sha256(copy.path).catch(() => undefined));
  if (links.get(key) !== copy) return true;
  if (hash === copy.sha256) copy.verifiedAt = performance.now();
  // One that could not be read may be sound, unless it is gone.
  if (found && (hash === undefined || hash === copy.sha256)) return false;
  // Another process may have noticed it before, and have fetched the file again.
  if (found) await shared.remove(copy.sha256, found.ino);
  if (links.get(key) === copy) await links.remove(key);
  return true;
}

function damaged(key: string): FileRefusal {
  const hint = `Restore ${key} from a backup or an older version of the object, or ingest the dataset again.`;
  return new FileRefusal("corrupt", "its bytes are not those that it was stored with", hint);
}
