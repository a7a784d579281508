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
  /** The newest version of one, or 0; `known` is one that exists, from which on to look. */
  newest(name: string, known: number): Promise<number>;
  /** All versions of one, ascending. */
  numbers(name: string): Promise<number[]>;
  /** Undefined when there is no such version. Throws `corrupt`. */
  head(name: string, version: number): Promise<Head | undefined>;
  /** With `removed: "look"` also when it was read before: old versions are removed at some time. */
  manifest(name: string, version: number, options?: { removed: "look" }): Promise<Manifest | undefined>;
  /** The newest readable version before `version`. */
  readableBefore(name: string, version: number): Promise<Manifest | undefined>;
  /** Spares the next reader the reading of what has just been written. */
  remember(manifest: Manifest): void;
}

/** Manifests kept decoded. A dataset in use is looked at with every query. */
const CACHED_MANIFESTS = 128;
const SLICE_MS = 5;

/** The manifests of a store. They never change, so what was read once need not be read again. */
export function openVersions(store: Store): Versions {
  const cache = new LRUCache<string, Manifest>({ max: CACHED_MANIFESTS });
  const inSlices = openTimeSlice(SLICE_MS);

  function remember(manifest: Manifest): void {
    cache.set(manifestKey(manifest.name, manifest.version), manifest);
  }

  async function manifest(name: string, version: number, options?: { removed: "look" }): Promise<Manifest | undefined> {
    const key = manifestKey(name, version);
    const cached = cache.get(key);
    if (cached && options?.removed === "look" && !(await store.has(key))) {
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
      // Versions have no gaps, so one question tells that nothing is new.
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
