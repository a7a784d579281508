import { openShardPool } from "../ann/shards.ts";
import { untilAborted } from "../kernel/abort.ts";
import type { Scope } from "../kernel/scope.ts";
import { untraced } from "../kernel/trace.ts";
import { onWholeCopies } from "../query/duckdb/damaged-copies.ts";
import type { VectorContext } from "./context.ts";
import { type Entry, openEntries } from "./index-entries.ts";
import { bytesOfItem, type LoadedIndex, loadIndex, Stale, sizeOf, TooLarge } from "./loaded-index.ts";
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
    work: (loaded: LoadedIndex) => Promise<Result>,
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

/** Graphs of so few are grown again sooner than read. */
const MIN_SAVED_ITEMS = 256;

/** `onRead` is told of an index that was read from its segments: there is nothing saved of it. */
export function openIndexCache(
  scope: Scope,
  context: VectorContext,
  { closing, onRead }: { closing: AbortSignal; onRead: (name: string) => void },
): IndexCache {
  const { vector, log } = context.settings;
  const entries = openEntries(vector.memoryBytes, log);
  const pool = openShardPool(scope, { threads: vector.threads, hnsw: vector.hnsw });

  const load = (manifest: IndexManifest): Promise<LoadedIndex> =>
    onWholeCopies(context.store, manifest.files, () => loadIndex(context, pool, manifest, closing));

  async function open(manifest: IndexManifest): Promise<LoadedIndex> {
    const { restored, loaded } = await traced(context, manifest, async () => {
      const restored = vector.hnsw ? await restoreSnapshot(context, pool, manifest) : undefined;
      return { restored: restored !== undefined, loaded: restored ?? (await load(manifest)) };
    });
    if (!restored) onRead(manifest.name);
    return loaded;
  }

  async function entryFor(manifest: IndexManifest): Promise<Entry | undefined> {
    const { name, index } = manifest;
    const found = entries.get(name);
    if (found) return found;
    const bytes = entries.estimate(manifest);
    if (!(await entries.makeRoom(bytes))) return undefined;
    // Another caller may have opened it meanwhile.
    return entries.get(name) ?? entries.add(name, index.count === 0 ? 0 : bytes, open(manifest));
  }

  /** The entry at `manifest` or later, read anew when there is no way from what is in memory. */
  async function ready(manifest: IndexManifest, signal: AbortSignal | undefined): Promise<Entry | undefined> {
    for (let attempt = 1; ; attempt++) {
      const entry = await entryFor(manifest);
      if (!entry) return undefined;
      entry.users++;
      try {
        const loaded = entry.loaded ?? (await untilAborted(entry.opening, signal));
        if (loaded.shards.broken) throw new Stale("a worker ended");
        if (loaded.manifest.version < manifest.version) await untilAborted(loaded.advance(manifest), signal);
        entries.touch(entry);
        if (await entries.stillFits(entry, loaded)) return entry;
        entries.leave(entry);
        return undefined;
      } catch (error) {
        entries.leave(entry);
        if (error instanceof TooLarge) {
          entries.remember(manifest, error.bytesOfItem);
          log("info", "a vector index does not fit in memory", { index: manifest.name, items: manifest.index.count });
          return undefined;
        }
        if (!(error instanceof Stale) || attempt > 2) throw error;
        log("info", "a vector index is read anew", { index: manifest.name, reason: error.message });
        if (entries.get(manifest.name) === entry) await entries.forget(manifest.name);
      }
    }
  }

  return {
    use: async (manifest, signal, work) => {
      const entry = await ready(manifest, signal);
      if (!entry?.loaded) return undefined;
      try {
        return await work(entry.loaded);
      } finally {
        entries.leave(entry);
      }
    },
    hasRoom: (manifest) =>
      entries.bytes() - (entries.get(manifest.name)?.bytes ?? 0) + entries.estimate(manifest) <= vector.memoryBytes,
    peek: (name) => entries.get(name)?.loaded,
    forget: entries.forget,
    renew: async (name) => {
      const before = entries.get(name);
      if (!before?.loaded) return;
      // Where there is no room for two of it, the next search reads it anew.
      const { manifest, items } = before.loaded;
      if (!(await entries.makeRoom(sizeOf(manifest, bytesOfItem(items))))) return entries.forget(name);
      const fresh = await load(manifest);
      if (entries.get(name) !== before) {
        await fresh.shards.close();
        return;
      }
      await entries.replace(name, fresh);
    },
    save: async (name) => {
      const entry = entries.get(name);
      const loaded = entry?.loaded;
      if (!entry || !loaded || loaded.manifest.index.count < MIN_SAVED_ITEMS) return;
      if (loaded.manifest.version === entry.saved || !vector.hnsw) return;
      await loaded.shards.settled(closing);
      if (entries.get(name) !== entry) return;
      entry.saved = await saveIndex(context, loaded);
    },
    size: entries.size,
    bytes: entries.bytes,
  };
}

/** Tells trace and log where an index was read from, and how long that took. */
async function traced(
  { settings: { log, trace = untraced } }: VectorContext,
  manifest: IndexManifest,
  open: () => Promise<{ restored: boolean; loaded: LoadedIndex }>,
): Promise<{ restored: boolean; loaded: LoadedIndex }> {
  const started = performance.now();
  return trace("vector.load", {}, async (span) => {
    const opened = await open();
    const from = opened.restored ? "snapshot" : "segments";
    const { name: index } = manifest;
    const { count: items } = manifest.index;
    span.note({ "lakehouse.items": items, "lakehouse.from": from });
    log("info", "vector index in memory", { index, items, from, ms: Math.round(performance.now() - started) });
    return opened;
  });
}
