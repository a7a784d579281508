import { hash } from "node:crypto";
import { serialize } from "node:v8";
import { LRUCache } from "lru-cache";
import type { Params } from "../../duckdb/duckdb.ts";
import { openScope } from "../../kernel/scope.ts";
import type { Verdict } from "../guard/tree.ts";
import { openPins, type Snapshot, type Snapshots } from "../snapshot.ts";
import type { QueryResult, ResultCacheStats } from "../types.ts";
import { KEPT_VERDICT_CHARS } from "./session.ts";

/** What a result follows from, apart from the data. */
export interface Asked {
  sql: string;
  params: Params | undefined;
  maxRows: number;
  maxBytes: number;
}

export type Content = Omit<QueryResult, "elapsed_ms">;

/** Results that the same statement would give again: see `isRepeatable`. The last used ones; not to be changed. */
export interface ResultCache {
  /**
   * The result, if every dataset it was read from is still at that version, by the same look for newer ones as a
   * statement's own; one that is outdated is forgotten. Throws what `Snapshots.resolve` throws.
   */
  find(asked: Asked, snapshots: Snapshots): Promise<Content | undefined>;
  keep(asked: Asked, verdict: Verdict, snapshot: Snapshot, content: Content, textBytes: number): void;
  stats(): ResultCacheStats;
}

interface Entry {
  content: Content;
  verdict: Verdict;
  /** The versions. */
  stamps: string;
  bytes: number;
}

/** Longer statements and parameters are hardly ever sent again, and take time to look up. */
const MAX_ASKED_BYTES = 64 * 1024;
const ENTRY_BYTES = 2048;
/** Of a statement that is its own key. */
const SHORT_CHARS = 512;
const CELL_BYTES = 32;

/** At most `maxBytes` of them; 0 keeps none. */
export function openResultCache(maxBytes: number): ResultCache {
  const kept =
    maxBytes > 0
      ? new LRUCache<string, Entry>({ maxSize: maxBytes, sizeCalculation: ({ bytes }) => bytes })
      : undefined;
  let hits = 0;
  let misses = 0;
  return {
    find: async (asked, snapshots) => {
      if (!kept || kept.size === 0) return undefined;
      const key = keyOf(asked);
      const entry = key && kept.get(key);
      if (!entry) return undefined;
      if (stampsOf(await snapshots.resolve(entry.verdict, openPins(openScope()))) === entry.stamps) {
        hits++;
        return entry.content;
      }
      // Unless another call has seen to that meanwhile.
      if (kept.peek(key) === entry) kept.delete(key);
      return undefined;
    },
    keep: (asked, verdict, snapshot, content, textBytes) => {
      const key = kept && keyOf(asked);
      if (!key) return;
      misses++;
      // A character of text may take two bytes.
      const bytes = ENTRY_BYTES + 2 * textBytes + CELL_BYTES * content.columns.length * (1 + content.rows.length);
      kept.set(key, { content, verdict, stamps: stampsOf(snapshot), bytes });
    },
    stats: () => ({ entries: kept?.size ?? 0, bytes: kept?.calculatedSize ?? 0, maxBytes, hits, misses }),
  };
}

/** A commit has an identity of its own, which no other version of any dataset has. */
function stampsOf({ relations, manifests }: Snapshot): string {
  // Which of its files a statement needs follows from the statement.
  return relations.map(({ name, stamp }) => `${name} ${manifests.get(name)?.commitId ?? stamp}`).join();
}

function keyOf({ sql, params, maxRows, maxBytes }: Asked): string | undefined {
  if (sql.length > KEPT_VERDICT_CHARS) return undefined;
  // A key of the other kind has no space in it.
  if (params === undefined && sql.length <= SHORT_CHARS) return `${maxRows} ${maxBytes} ${sql}`;
  // Unlike JSON it tells all values apart that a parameter can have.
  const bytes = serialize([sql, params, maxRows, maxBytes]);
  return bytes.length > MAX_ASKED_BYTES ? undefined : hash("sha256", bytes, "base64");
}
