import type { DuckDBPreparedStatement } from "@duckdb/node-api";
import { LRUCache } from "lru-cache";

/** Prepared statements of one connection, the last used ones: planning a small statement costs as much as running it. */
export interface Statements {
  /** Takes it out, so that a run that fails leaves nothing behind. */
  take(key: string): DuckDBPreparedStatement | undefined;
  /** Puts it (back) in; what is long unused is destroyed. */
  keep(key: string, prepared: DuckDBPreparedStatement): void;
  close(): void;
}

const KEPT = 32;
/** A long statement takes memory to keep, and is hardly ever sent again. */
const KEPT_CHARS = 10_000;

export function openStatements(): Statements {
  const kept = new LRUCache<string, DuckDBPreparedStatement>({
    max: KEPT,
    dispose: (prepared, _key, reason) => {
      if (reason === "evict") prepared.destroySync();
    },
  });
  return {
    take: (key) => {
      const prepared = kept.get(key);
      kept.delete(key);
      return prepared;
    },
    keep: (key, prepared) => {
      if (key.length > KEPT_CHARS) prepared.destroySync();
      else kept.set(key, prepared);
    },
    close: () => {
      for (const prepared of kept.values()) prepared.destroySync();
      kept.clear();
    },
  };
}
