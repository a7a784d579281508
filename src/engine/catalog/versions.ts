import { LRUCache } from "lru-cache";
import { LakeError } from "../kernel/errors.ts";
import { openTimeSlice } from "../kernel/time-slice.ts";
import type { Store } from "../store/store.ts";
import { manifestKey, manifestPrefix, parseManifestKey } from "./identity.ts";
import { decodeHead, decodeManifest } from "./manifest.ts";
import type { Head, Manifest } from "./types.ts";

export interface Versions {
  /** The newest version of every dataset. */
  newestOfAll(): Promise<Map<string, number>>;
  /** The newest version of one dataset, or 0. The search begins at `known`, a version that exists. */
  newest(name: string, known: number): Promise<number>;
  /** All versions of one dataset, ascending. */
  numbers(name: string): Promise<number[]>;
  /** Undefined when there is no such version. Throws `corrupt`. */
  head(name: string, version: number): Promise<Head | undefined>;
  /** Undefined when there is no such version; with `mayBeRemoved`, a cached one is looked up again. Throws `corrupt`. */
  manifest(name: string, version: number, options?: { mayBeRemoved: boolean }): Promise<Manifest | undefined>;
  /** The newest readable version before `version`. */
  readableBefore(name: string, version: number): Promise<Manifest | undefined>;
  /** Caches a manifest that was just written. */
  remember(manifest: Manifest): void;
}

/** Decoded manifests in the cache. Every query needs those of its datasets. */
const CACHED_MANIFESTS = 128;
const SLICE_MS = 5;

/** The manifests of a store, with a cache: a manifest never changes. */
export function openVersions(store: Store): Versions {
  const cache = new LRUCache<string, Manifest>({ max: CACHED_MANIFESTS });
  const inSlices = openTimeSlice(SLICE_MS);

  function remember(manifest: Manifest): void {
    cache.set(manifestKey(manifest.name, manifest.version), manifest);
  }

  async function manifest(
    name: string,
    version: number,
    { mayBeRemoved } = { mayBeRemoved: false },
  ): Promise<Manifest | undefined> {
    const key = manifestKey(name, version);
    const cached = cache.get(key);
    if (cached && mayBeRemoved && !(await store.has(key))) {
      cache.delete(key);
      return undefined;
    }
    if (cached) return cached;
    const bytes = await store.get(key);
    if (!bytes) return undefined;
    const read = await decodeManifest(bytes, key);
    remember(read);
    return read;
  }

  async function numbers(name: string, after = 0): Promise<number[]> {
    const versions: number[] = [];
    for await (const { key } of store.list(manifestPrefix(name), { startAfter: manifestKey(name, after) })) {
      const parsed = parseManifestKey(key);
      if (parsed) versions.push(parsed.version);
    }
    return versions;
  }

  return {
    manifest,
    numbers,
    remember,
    newestOfAll: async () => {
      const newest = new Map<string, number>();
      for await (const { key } of store.list(manifestPrefix())) {
        const parsed = parseManifestKey(key);
        // Keys come in ascending order.
        if (parsed) newest.set(parsed.name, parsed.version);
      }
      return newest;
    },
    newest: async (name, known) => {
      // Versions have no gaps, so one lookup tells that nothing is new.
      if (known > 0 && !(await store.has(manifestKey(name, known + 1)))) return known;
      return (await numbers(name, known)).at(-1) ?? known;
    },
    head: async (name, version) => {
      const key = manifestKey(name, version);
      const bytes = await store.get(key);
      return bytes && inSlices(() => decodeHead(bytes, key));
    },
    readableBefore: async (name, version) => {
      for (const older of (await numbers(name)).reverse()) {
        if (older >= version) continue;
        try {
          const found = await manifest(name, older);
          if (found) return found;
        } catch (error) {
          if (!isCorrupt(error)) throw error;
        }
      }
      return undefined;
    },
  };
}

export function isCorrupt(error: unknown): error is LakeError {
  return error instanceof LakeError && error.kind === "corrupt";
}
