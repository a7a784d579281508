import { LRUCache } from "lru-cache";
import type { AnnEngine } from "../ann/ann-index.ts";
import type { Log } from "../settings.ts";
import type { LoadedIndex } from "./loaded-index.ts";
import type { IndexManifest } from "./types.ts";

/** An index in memory, or on its way there. */
export interface Entry {
  opening: Promise<LoadedIndex>;
  loaded?: LoadedIndex;
  /** Of the budget. */
  bytes: number;
  users: number;
  /** Counts uses of all entries, for the least recently used. */
  usedAt: number;
  /** The version whose snapshot is stored. */
  saved: number;
  /** No longer among the entries: closed when its last user has left. */
  retired: boolean;
}

export interface Entries {
  get(name: string): Entry | undefined;
  add(name: string, bytes: number, opening: Promise<LoadedIndex>): Entry;
  /** Replaces an entry by an index that is loaded; the old one is closed when its last user has left. */
  replace(name: string, fresh: LoadedIndex): Promise<void>;
  touch(entry: Entry): void;
  /** A user of an entry is done. */
  leave(entry: Entry): void;
  remove(name: string): Promise<void>;
  /** Frees memory for `bytes` by removing the least recently used indexes. False where that is not enough. */
  makeRoom(bytes: number): Promise<boolean>;
  /**
   * Measures an index that may have grown, and makes room for it. False where it is too large: then it is removed, and
   * remembered as `remember` does.
   */
  stillFits(entry: Entry, loaded: LoadedIndex): Promise<boolean>;
  /** Bytes that the index would take in memory at this version. */
  estimate(manifest: IndexManifest): number;
  /** Remembers how long the items are of an index that did not fit, so that it is not loaded in vain again soon. */
  remember(manifest: IndexManifest, itemBytes: number): void;
  size(): number;
  bytes(): number;
}

const MAX_REMEMBERED = 1_000;
/** After so many versions its items may be shorter. */
const OLD_VERSIONS = 32;

/** The indexes in memory, of at most `memoryBytes` together. */
export function openEntries(ann: AnnEngine, memoryBytes: number, log: Log): Entries {
  const entries = new Map<string, Entry>();
  const known = new LRUCache<string, { itemBytes: number; version: number }>({ max: MAX_REMEMBERED });
  const keyOf = ({ name, createdAt }: IndexManifest): string => `${name} ${createdAt}`;
  let uses = 0;

  const total = (): number => [...entries.values()].reduce((sum, entry) => sum + entry.bytes, 0);

  async function remove(name: string): Promise<void> {
    const entry = entries.get(name);
    if (!entry) return;
    entries.delete(name);
    await retire(entry);
  }

  function add(name: string, bytes: number, opening: Promise<LoadedIndex>): Entry {
    const entry: Entry = { opening, bytes, users: 0, usedAt: ++uses, saved: 0, retired: false };
    entries.set(name, entry);
    opening.then(
      (loaded) => {
        entry.loaded = loaded;
      },
      () => {
        if (entries.get(name) === entry) entries.delete(name);
      },
    );
    return entry;
  }

  async function makeRoom(bytes: number): Promise<boolean> {
    if (bytes > memoryBytes) return false;
    while (total() + bytes > memoryBytes) {
      const idle = [...entries].filter(([, entry]) => entry.users === 0 && entry.loaded);
      const [oldest] = idle.sort(([, a], [, b]) => a.usedAt - b.usedAt);
      if (!oldest) return false;
      await remove(oldest[0]);
    }
    return true;
  }

  const remember = (manifest: IndexManifest, itemBytes: number): void =>
    void known.set(keyOf(manifest), { itemBytes, version: manifest.version });

  const sizeOf = ({ index }: IndexManifest, itemBytes?: number): number => ann.bytesFor(index, index.count, itemBytes);

  return {
    get: (name) => entries.get(name),
    add,
    replace: async (name, fresh) => {
      const before = entries.get(name);
      entries.delete(name);
      add(name, before?.bytes ?? 0, Promise.resolve(fresh)).loaded = fresh;
      if (before) await retire(before);
    },
    touch: (entry) => {
      entry.usedAt = ++uses;
    },
    leave: (entry) => {
      entry.users--;
      if (!entry.retired) return;
      retire(entry).catch((error: unknown) => log("warn", "an index was not closed", { error: String(error) }));
    },
    remove,
    makeRoom,
    stillFits: async (entry, loaded) => {
      if (entry.retired) return false;
      const { manifest } = loaded;
      entry.bytes = loaded.ann.bytes;
      const fitsAlone = entry.bytes <= memoryBytes;
      if (total() <= memoryBytes || (fitsAlone && (await makeRoom(0)))) return true;
      if (!fitsAlone) remember(manifest, loaded.ann.itemBytes);
      if (entries.get(manifest.name) === entry) await remove(manifest.name);
      return false;
    },
    estimate: (manifest) => {
      const entry = entries.get(manifest.name);
      if (entry?.loaded) return Math.max(entry.bytes, sizeOf(manifest, entry.loaded.ann.itemBytes));
      const found = known.get(keyOf(manifest));
      return sizeOf(manifest, found && manifest.version < found.version + OLD_VERSIONS ? found.itemBytes : undefined);
    },
    remember,
    size: () => entries.size,
    bytes: total,
  };
}

async function retire(entry: Entry): Promise<void> {
  entry.retired = true;
  if (entry.users > 0) return;
  const loaded = await entry.opening.catch(() => undefined);
  await loaded?.ann.close();
}
