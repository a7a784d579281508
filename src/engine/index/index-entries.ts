import { LRUCache } from "lru-cache";
import type { Log } from "../settings.ts";
import { bytesOf, bytesOfItem, type LoadedIndex, sizeOf } from "./loaded-index.ts";
import type { IndexManifest } from "./types.ts";

/** An index in memory, or on its way there. */
export interface Entry {
  opening: Promise<LoadedIndex>;
  loaded?: LoadedIndex;
  bytes: number;
  users: number;
  usedAt: number;
  /** The version whose snapshot is stored. */
  saved: number;
  /** No longer offered: closed when its last user has left. */
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
  forget(name: string): Promise<void>;
  /** Frees memory for `bytes` by forgetting the indexes that were not used for longest. False where that is not enough. */
  makeRoom(bytes: number): Promise<boolean>;
  /**
   * Measures an index that may have grown, and makes room for it. False where it is too large: then it is forgotten, and
   * remembered as `remember` does.
   */
  stillFits(entry: Entry, loaded: LoadedIndex): Promise<boolean>;
  /** Bytes that the index would take in memory at this version. */
  estimate(manifest: IndexManifest): number;
  /** Remembers what an item took, of an index that did not fit, so that it is not loaded in vain again soon. */
  remember(manifest: IndexManifest, bytesOfItem: number): void;
  size(): number;
  bytes(): number;
}

const MOST_KNOWN = 1_000;
/** After so many versions its items may be shorter. */
const OLD_VERSIONS = 32;

/** The indexes in memory, of at most `memoryBytes` together. */
export function openEntries(memoryBytes: number, log: Log): Entries {
  const entries = new Map<string, Entry>();
  const itemBytes = new LRUCache<string, { bytesOfItem: number; version: number }>({ max: MOST_KNOWN });
  const keyOf = ({ name, createdAt }: IndexManifest): string => `${name} ${createdAt}`;
  let uses = 0;

  const total = (): number => [...entries.values()].reduce((sum, entry) => sum + entry.bytes, 0);

  async function forget(name: string): Promise<void> {
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
      await forget(oldest[0]);
    }
    return true;
  }

  const remember = (manifest: IndexManifest, bytes: number): void =>
    void itemBytes.set(keyOf(manifest), { bytesOfItem: bytes, version: manifest.version });

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
    forget,
    makeRoom,
    stillFits: async (entry, loaded) => {
      if (entry.retired) return false;
      const { manifest, items } = loaded;
      entry.bytes = bytesOf(loaded);
      const fitsAlone = entry.bytes <= memoryBytes;
      if (total() <= memoryBytes || (fitsAlone && (await makeRoom(0)))) return true;
      if (!fitsAlone) remember(manifest, bytesOfItem(items));
      if (entries.get(manifest.name) === entry) await forget(manifest.name);
      return false;
    },
    estimate: (manifest) => {
      const entry = entries.get(manifest.name);
      if (entry?.loaded) return Math.max(entry.bytes, sizeOf(manifest, bytesOfItem(entry.loaded.items)));
      const found = itemBytes.get(keyOf(manifest));
      return sizeOf(manifest, found && manifest.version < found.version + OLD_VERSIONS ? found.bytesOfItem : undefined);
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
  await loaded?.shards.close();
}
