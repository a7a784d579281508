import { untilAborted } from "../kernel/abort.ts";
import { untraced } from "../kernel/trace.ts";
import { onWholeCopies } from "../query/duckdb/damaged-copies.ts";
import type { VectorContext } from "./context.ts";
import { type Entry, openEntries } from "./index-entries.ts";
import { type LoadedIndex, loadSegments, Stale, TooLarge } from "./loaded-index.ts";
import { restoreSnapshot, saveSnapshot } from "./snapshots.ts";
import type { IndexManifest } from "./types.ts";

export interface IndexCache {
  /**
   * Runs `work` with the index at this version or a later one; undefined when it does not fit in memory. Loading goes on
   * for others when the caller leaves.
   */
  use<Result>(
    manifest: IndexManifest,
    signal: AbortSignal | undefined,
    work: (loaded: LoadedIndex) => Promise<Result>,
  ): Promise<Result | undefined>;
  /** Whether this version fits in memory beside the other indexes. */
  hasRoom(manifest: IndexManifest): boolean;
  /** The index in memory, at whatever version. */
  peek(name: string): LoadedIndex | undefined;
  remove(name: string): Promise<void>;
  /** Replaces an index in memory by one loaded from the segments, which has no dead items. */
  reload(name: string): Promise<void>;
  /** Saves an index in memory once it is settled. */
  save(name: string): Promise<void>;
  size(): number;
  bytes(): number;
}

/** An index of fewer items is loaded from its segments sooner than from a snapshot. */
const MIN_SAVED_ITEMS = 256;

/** `onRead` is called with an index that was loaded from its segments: it has no snapshot. */
export function openIndexCache(
  context: VectorContext,
  { closing, onRead }: { closing: AbortSignal; onRead: (name: string) => void },
): IndexCache {
  const { vector, log } = context.settings;
  const entries = openEntries(context.ann, vector.memoryBytes, log);

  const load = (manifest: IndexManifest): Promise<LoadedIndex> =>
    onWholeCopies(context.store, manifest.files, () => loadSegments(context, manifest, closing));

  async function open(manifest: IndexManifest): Promise<LoadedIndex> {
    const { restored, loaded } = await traced(context, manifest, async () => {
      const restored = context.ann.saves ? await restoreSnapshot(context, manifest) : undefined;
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

  /** The entry at `manifest` or later, loaded again when there is no way from the version in memory. */
  async function ready(manifest: IndexManifest, signal: AbortSignal | undefined): Promise<Entry | undefined> {
    for (let attempt = 1; ; attempt++) {
      const entry = await entryFor(manifest);
      if (!entry) return undefined;
      entry.users++;
      try {
        const loaded = entry.loaded ?? (await untilAborted(entry.opening, signal));
        if (loaded.ann.broken) throw new Stale("a worker ended");
        if (loaded.manifest.version < manifest.version) await untilAborted(loaded.advance(manifest), signal);
        entries.touch(entry);
        if (await entries.stillFits(entry, loaded)) return entry;
        entries.leave(entry);
        return undefined;
      } catch (error) {
        entries.leave(entry);
        if (error instanceof TooLarge) {
          entries.remember(manifest, error.itemBytes);
          log("info", "a vector index does not fit in memory", { index: manifest.name, items: manifest.index.count });
          return undefined;
        }
        if (!(error instanceof Stale) || attempt > 2) throw error;
        log("info", "a vector index is read anew", { index: manifest.name, reason: error.message });
        if (entries.get(manifest.name) === entry) await entries.remove(manifest.name);
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
    remove: entries.remove,
    reload: async (name) => {
      const before = entries.get(name);
      if (!before?.loaded) return;
      // Where there is no room for both, the next search loads it again.
      const { manifest, ann } = before.loaded;
      const bytes = context.ann.bytesFor(manifest.index, manifest.index.count, ann.itemBytes);
      if (!(await entries.makeRoom(bytes))) return entries.remove(name);
      const fresh = await load(manifest);
      if (entries.get(name) !== before) {
        await fresh.ann.close();
        return;
      }
      await entries.replace(name, fresh);
    },
    save: async (name) => {
      const entry = entries.get(name);
      const loaded = entry?.loaded;
      if (!entry || !loaded || loaded.manifest.index.count < MIN_SAVED_ITEMS) return;
      if (loaded.manifest.version === entry.saved || !context.ann.saves) return;
      await loaded.ann.settled(closing);
      if (entries.get(name) !== entry) return;
      entry.saved = await saveSnapshot(context, loaded);
    },
    size: entries.size,
    bytes: entries.bytes,
  };
}

/** Records in trace and log where an index was loaded from, and how long that took. */
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
