import { hash } from "node:crypto";
import { serialize } from "node:v8";
import { LRUCache } from "lru-cache";
import type { Params } from "../../kernel/json.ts";

import { openScope } from "../../kernel/scope.ts";
import type { Verdict } from "../guard/tree.ts";
import { openPins, type Snapshot, type Snapshots } from "../snapshot.ts";
import type { QueryResult, ResultCacheStats } from "../types.ts";
import { CACHED_CHARS } from "./session.ts";

/** What determines a result, apart from the data. */
export interface ResultRequest {
  sql: string;
  params: Params | undefined;
  maxRows: number;
  maxBytes: number;
}

export type CachedResult = Omit<QueryResult, "elapsed_ms">;

/** The last used results that the same statement would return again: see `isRepeatable`. They must not be changed. */
export interface ResultCache {
  /**
   * The result, if every dataset that it was read from is still at that version; newer versions are looked for as a
   * statement does. An outdated result is removed. Throws as `Snapshots.resolve` does.
   */
  find(request: ResultRequest, snapshots: Snapshots): Promise<CachedResult | undefined>;
  keep(request: ResultRequest, verdict: Verdict, snapshot: Snapshot, result: CachedResult, textBytes: number): void;
  stats(): ResultCacheStats;
}

interface Entry {
  result: CachedResult;
  verdict: Verdict;
  /** The versions that were read. */
  stamps: string;
  bytes: number;
}

/** Longer statements and parameters are hardly ever sent again, and take time to look up. */
const MAX_REQUEST_BYTES = 64 * 1024;
const ENTRY_BYTES = 2048;
/** Longest statement that is its own key. */
const SHORT_CHARS = 512;
const CELL_BYTES = 32;

/** Holds at most `maxBytes` of results; 0 for none. */
export function openResultCache(maxBytes: number): ResultCache {
  const cache =
    maxBytes > 0
      ? new LRUCache<string, Entry>({ maxSize: maxBytes, sizeCalculation: ({ bytes }) => bytes })
      : undefined;
  let hits = 0;
  let misses = 0;
  return {
    find: async (request, snapshots) => {
      if (!cache || cache.size === 0) return undefined;
      const key = keyOf(request);
      const entry = key && cache.get(key);
      if (!entry) return undefined;
      if (stampsOf(await snapshots.resolve(entry.verdict, openPins(openScope()))) === entry.stamps) {
        hits++;
        return entry.result;
      }
      // Unless another call has replaced it meanwhile.
      if (cache.peek(key) === entry) cache.delete(key);
      return undefined;
    },
    keep: (request, verdict, snapshot, result, textBytes) => {
      const key = cache && keyOf(request);
      if (!key) return;
      misses++;
      // A character of text may take two bytes.
      const bytes = ENTRY_BYTES + 2 * textBytes + CELL_BYTES * result.columns.length * (1 + result.rows.length);
      cache.set(key, { result, verdict, stamps: stampsOf(snapshot), bytes });
    },
    stats: () => ({ entries: cache?.size ?? 0, bytes: cache?.calculatedSize ?? 0, maxBytes, hits, misses }),
  };
}

function stampsOf({ relations, manifests }: Snapshot): string {
  // Not the stamp of a narrowed relation: which files a statement needs follows from the statement.
  return relations.map(({ name, stamp }) => `${name} ${manifests.get(name)?.commitId ?? stamp}`).join();
}

function keyOf({ sql, params, maxRows, maxBytes }: ResultRequest): string | undefined {
  if (sql.length > CACHED_CHARS) return undefined;
  // Cannot be mistaken for a hash, which has no space in it.
  if (params === undefined && sql.length <= SHORT_CHARS) return `${maxRows} ${maxBytes} ${sql}`;
  // Unlike JSON, it tells apart all values that a parameter can have.
  const bytes = serialize([sql, params, maxRows, maxBytes]);
  return bytes.length > MAX_REQUEST_BYTES ? undefined : hash("sha256", bytes, "base64");
}
