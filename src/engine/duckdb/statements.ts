import type { DuckDBPreparedStatement } from "@duckdb/node-api";
import { LRUCache } from "lru-cache";

/** The last used prepared statements of a connection: planning a small statement costs as much as running it. */
export interface Statements {
  /** Removes it from the cache, so that a run that fails leaves nothing behind. */
  take(key: string): DuckDBPreparedStatement | undefined;
  /** Puts it (back) into the cache, and destroys the one that is unused for longest. */
  keep(key: string, prepared: DuckDBPreparedStatement): void;
  close(): void;
}

const CACHED = 32;
/** Longer statements are hardly ever sent again, and take memory to keep. */
const CACHED_CHARS = 10_000;

export function openStatements(): Statements {
  const cache = new LRUCache<string, DuckDBPreparedStatement>({
    max: CACHED,
    dispose: (prepared, _key, reason) => {
      if (reason === "evict") prepared.destroySync();
    },
  });
  return {
    take: (key) => {
      const prepared = cache.get(key);
      cache.delete(key);
      return prepared;
    },
    keep: (key, prepared) => {
      if (key.length > CACHED_CHARS) prepared.destroySync();
      else cache.set(key, prepared);
    },
    close: () => {
      for (const prepared of cache.values()) prepared.destroySync();
      cache.clear();
    },
  };
}
