import { hash } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { LakeError } from "../kernel/errors.ts";
import { openTimeSlice } from "../kernel/time-slice.ts";
import { type FetchRequest, type Found, type Miss, openFetches } from "./fetches.ts";

export interface EmbedCache {
  /** What is known, each vector the caller's own. `space` is model and kind, under which a text has one vector. */
  look(texts: readonly string[], space: string): Promise<Lookup>;
  /**
   * Fetches what was not known, in batches, no text twice, also when several callers ask at the same time. One caller's
   * cancellation or failed batch does not fail another. Throws what `fetch` throws; `invalid` says between which texts
   * to look.
   */
  fill(lookup: Lookup, request: FetchRequest): Promise<void>;
  stats(): CacheStats;
  /** Ends every fetch, and whoever waits for one, with this error. */
  close(reason: LakeError): void;
}

export interface CacheStats {
  entries: number;
  bytes: number;
  maxBytes: number;
  /** Texts answered from memory. */
  hits: number;
  /** Texts that were not, the same one twice in a call included. */
  misses: number;
}

export interface Lookup {
  /** In the order of the texts; the missing ones have none until they are filled in. */
  readonly answers: Found[];
  /** By their place; a text that stands in several places is one miss. */
  readonly missing: ReadonlyMap<number, Miss>;
}

/** What an entry costs besides its vector, so that short vectors are not counted as nothing. */
const LEAST_BYTES = 512;
const CHUNK = 32;
const SLICE_MS = 5;

/** Vectors by text, at most `maxBytes` of them; 0 keeps none, and only what is under way is shared. */
export function openEmbedCache(maxBytes: number): EmbedCache {
  const cached =
    maxBytes > 0
      ? new LRUCache<string, Float32Array>({
          maxSize: maxBytes,
          sizeCalculation: (vector) => Math.max(vector.byteLength, LEAST_BYTES),
        })
      : undefined;
  const inSlices = openTimeSlice(SLICE_MS);
  const fetches = openFetches({ get: (key) => cached?.get(key), set: (key, vector) => void cached?.set(key, vector) });
  let hits = 0;
  let misses = 0;

  /** A few texts at once, many without keeping the event loop. */
  async function eachChunk<Item>(items: readonly Item[], work: (item: Item, index: number) => void): Promise<void> {
    const run = (from: number): void => {
      for (const [offset, item] of items.slice(from, from + CHUNK).entries()) work(item, from + offset);
    };
    run(0);
    for (let from = CHUNK; from < items.length; from += CHUNK) await inSlices(() => run(from));
  }

  return {
    look: async (texts, space) => {
      const answers = new Array<Found>(texts.length);
      const missing = new Map<number, Miss>();
      const byKey = new Map<string, Miss>();
      await eachChunk(texts, (text, index) => {
        const key = `${space}:${hash("sha256", text, "base64")}`;
        const known = cached?.get(key);
        if (known) {
          hits++;
          answers[index] = known.slice();
          return;
        }
        misses++;
        const miss = byKey.get(key) ?? { key, text, at: index };
        byKey.set(key, miss);
        missing.set(index, miss);
      });
      return { answers, missing };
    },
    fill: async ({ answers, missing }, request) => {
      await fetches.run([...new Set(missing.values())], request);
      // A copy each: the caller may do with it what it likes, hand its memory to a worker for example.
      await eachChunk([...missing], ([index, { found }]) => {
        if (found) answers[index] = found instanceof Float32Array ? found.slice() : found;
      });
    },
    stats: () => ({ entries: cached?.size ?? 0, bytes: cached?.calculatedSize ?? 0, maxBytes, hits, misses }),
    close: fetches.close,
  };
}
