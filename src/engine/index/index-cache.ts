import { LRUCache } from "lru-cache";
import { openShardPool } from "../ann/shards.ts";
import { untilAborted } from "../kernel/abort.ts";
import type { Scope } from "../kernel/scope.ts";
import { untraced } from "../kernel/trace.ts";
import { onWholeCopies } from "../query/duckdb/damaged-copies.ts";
import type { VectorContext } from "./context.ts";
import { bytesOf, bytesOfItem, type LoadedIndex, loadIndex, Stale, sizeOf, TooLarge } from "./loaded-index.ts";
import { restoreSnapshot, saveIndex } from "./snapshots.ts";
import type { IndexManifest } from "./types.ts";

export interface IndexCache {
  /**
   * The index in memory at this version or a later one; undefined when it is too large for that. Loading goes on for
   * others when the caller leaves.
   */
  use<Result>(
    manifest: IndexManifest,
    signal: AbortSignal | undefined,
    work: (resident: LoadedIndex) => Promise<Result>,
  ): Promise<Result | undefined>;
  /** Whether it can be in memory at this version, and all that is there with it. */
  hasRoom(manifest: IndexManifest): boolean;
  /** What is in memory already, at whatever version. */
  peek(name: string): LoadedIndex | undefined;
  forget(name: string): Promise<void>;
  /** Puts a new one, read from the segments, in the place of one that has gathered many dead places. */
  renew(name: string): Promise<void>;
  /** Saves the graphs once they are complete. */
  save(name: string): Promise<void>;
  size(): number;
  bytes(): number;
}

interface Entry {
  opening: Promise<LoadedIndex>;
  resident?: LoadedIndex;
  bytes: number;
  users: number;
  usedAt: number;
  /** The version that is saved. */
  saved: number;
  /** No longer offered: closed when its last user has left. */
  retired: boolean;
}

const MOST_KNOWN = 1_000;
/** After so many versions its items may be shorter. */
const OLD_VERSIONS = 32;
/** Graphs of so few are grown again sooner than read. */
const MIN_SAVED_ITEMS = 256;

/** `onRead` is told of an index that was read from its segments: there is nothing saved of it. */
export function openIndexCache(
  scope: Scope,
  context: VectorContext,
  { closing, onRead }: { closing: AbortSignal; onRead: (name: string) => void },
): IndexCache {
  const { vector, log, trace = untraced } = context.settings;
  const entries = new Map<string, Entry>();
  const pool = openShardPool(scope, { threads: vector.threads, hnsw: vector.hnsw });
  let uses = 0;

  /** What an item takes besides its vector, of indexes that did not fit: they are not read in vain again soon. */
  const known = new LRUCache<string, { bytesOfItem: number; version: number }>({ max: MOST_KNOWN });
  const keyOf = ({ name, createdAt }: IndexManifest): string => `${name} ${createdAt}`;
  const remember = (manifest: IndexManifest, bytesOfItem: number): void =>
    void known.set(keyOf(manifest), { bytesOfItem, version: manifest.version });

  function estimateOf(manifest: IndexManifest): number {
    const entry = entries.get(manifest.name);
    if (entry?.resident) return Math.max(entry.bytes, sizeOf(manifest, bytesOfItem(entry.resident.items)));
    const found = known.get(keyOf(manifest));
    return sizeOf(manifest, found && manifest.version < found.version + OLD_VERSIONS ? found.bytesOfItem : undefined);
  }

  const total = (): number => [...entries.values()].reduce((sum, entry) => sum + entry.bytes, 0);

  /** Makes room by letting go of what was not used for longest. False when there is none to be made. */
  async function makeRoom(bytes: number): Promise<boolean> {
    if (bytes > vector.memoryBytes) return false;
    while (total() + bytes > vector.memoryBytes) {
      const idle = [...entries].filter(([, entry]) => entry.users === 0 && entry.resident);
      const [oldest] = idle.sort(([, a], [, b]) => a.usedAt - b.usedAt);
      if (!oldest) return false;
      await forget(oldest[0]);
    }
    return true;
  }

  const load = (manifest: IndexManifest): Promise<LoadedIndex> =>
    onWholeCopies(context.store, manifest.files, () => loadIndex(context, pool, manifest, closing));

  async function open(manifest: IndexManifest): Promise<LoadedIndex> {
    const started = performance.now();
    const { restored, resident } = await trace("vector.load", {}, async (span) => {
      const saved = vector.hnsw ? await restoreSnapshot(context, pool, manifest) : undefined;
      span.note({ "lakehouse.items": manifest.index.count, "lakehouse.from": saved ? "snapshot" : "segments" });
      return { restored: saved, resident: saved ?? (await load(manifest)) };
    });
    log("info", "vector index in memory", {
      index: manifest.name,
      items: manifest.index.count,
      from: restored ? "snapshot" : "segments",
      ms: Math.round(performance.now() - started),
    });
    if (!restored) onRead(manifest.name);
    return resident;
  }

  function enter(name: string, bytes: number, opening: Promise<LoadedIndex>): Entry {
    const entry: Entry = { opening, bytes, users: 0, usedAt: ++uses, saved: 0, retired: false };
    entries.set(name, entry);
    opening.then(
      (resident) => {
        entry.resident = resident;
      },
      () => {
        if (entries.get(name) === entry) entries.delete(name);
      },
    );
    return entry;
  }

  async function forget(name: string): Promise<void> {
    const entry = entries.get(name);
    if (!entry) return;
    entries.delete(name);
    await retire(entry);
  }

  async function retire(entry: Entry): Promise<void> {
    entry.retired = true;
    if (entry.users > 0) return;
    const resident = await entry.opening.catch(() => undefined);
    await resident?.shards.close();
  }

  function leave(entry: Entry): void {
    entry.users--;
    if (entry.retired)
      retire(entry).catch((error: unknown) => log("warn", "an index was not closed", { error: String(error) }));
  }

  async function entryFor(manifest: IndexManifest): Promise<Entry | undefined> {
    const { name, index } = manifest;
    const found = entries.get(name);
    if (found) return found;
    const bytes = estimateOf(manifest);
    if (!(await makeRoom(bytes))) return undefined;
    // Another caller may have opened it meanwhile.
    return entries.get(name) ?? enter(name, index.count === 0 ? 0 : bytes, open(manifest));
  }

  /** An index grows while it is in memory, by dead places too: others make room for it, or it has to go itself. */
  async function stillFits(entry: Entry, resident: LoadedIndex): Promise<boolean> {
    if (entry.retired) return false;
    entry.bytes = bytesOf(resident);
    const fitsAlone = entry.bytes <= vector.memoryBytes;
    if (total() <= vector.memoryBytes || (fitsAlone && (await makeRoom(0)))) return true;
    const { manifest, items } = resident;
    const { name } = manifest;
    if (!fitsAlone) remember(manifest, bytesOfItem(items));
    if (entries.get(name) === entry) await forget(name);
    return false;
  }

  /** The entry at `manifest` or later, read anew when there is no way from what is in memory. */
  async function ready(manifest: IndexManifest, signal: AbortSignal | undefined): Promise<Entry | undefined> {
    for (let attempt = 1; ; attempt++) {
      const entry = await entryFor(manifest);
      if (!entry) return undefined;
      entry.users++;
      try {
        const resident = entry.resident ?? (await untilAborted(entry.opening, signal));
        if (resident.shards.broken) throw new Stale("a worker ended");
        if (resident.manifest.version < manifest.version) await untilAborted(resident.advance(manifest), signal);
        entry.usedAt = ++uses;
        if (await stillFits(entry, resident)) return entry;
        leave(entry);
        return undefined;
      } catch (error) {
        leave(entry);
        if (error instanceof TooLarge) {
          remember(manifest, error.bytesOfItem);
          log("info", "a vector index does not fit in memory", { index: manifest.name, items: manifest.index.count });
          return undefined;
        }
        if (!(error instanceof Stale) || attempt > 2) throw error;
        log("info", "a vector index is read anew", { index: manifest.name, reason: error.message });
        if (entries.get(manifest.name) === entry) await forget(manifest.name);
      }
    }
  }

  return {
    use: async (manifest, signal, work) => {
      const entry = await ready(manifest, signal);
      if (!entry?.resident) return undefined;
      try {
        return await work(entry.resident);
      } finally {
        leave(entry);
      }
    },
    hasRoom: (manifest) =>
      total() - (entries.get(manifest.name)?.bytes ?? 0) + estimateOf(manifest) <= vector.memoryBytes,
    peek: (name) => entries.get(name)?.resident,
    forget,
    renew: async (name) => {
      const before = entries.get(name);
      if (!before?.resident) return;
      // Where there is no room for two of it, the next search reads it anew.
      const { manifest, items } = before.resident;
      if (!(await makeRoom(sizeOf(manifest, bytesOfItem(items))))) return forget(name);
      const fresh = await load(manifest);
      if (entries.get(name) !== before) {
        await fresh.shards.close();
        return;
      }
      entries.delete(name);
      enter(name, before.bytes, Promise.resolve(fresh)).resident = fresh;
      await retire(before);
    },
    save: async (name) => {
      const entry = entries.get(name);
      const resident = entry?.resident;
      if (!entry || !resident || resident.manifest.index.count < MIN_SAVED_ITEMS) return;
      if (resident.manifest.version === entry.saved || !vector.hnsw) return;
      await resident.shards.settled(closing);
      if (entries.get(name) !== entry) return;
      entry.saved = await saveIndex(context, resident);
    },
    size: () => entries.size,
    bytes: total,
  };
}
