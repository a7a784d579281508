import type { Json, Params } from "../kernel/json.ts";

import type { Occupancy } from "../kernel/limiter.ts";
import type { Scope } from "../kernel/scope.ts";

export interface Asking {
  signal?: AbortSignal | undefined;
  /** Who asks, where there are several: nobody has all places. */
  caller?: string | undefined;
  /** Absent: of nothing. */
  nesting?: Nesting | undefined;
}

/** What a statement is the filter of: its searches count with those around it. */
export interface Nesting {
  depth: number;
  count: { searches: number };
}

export interface QueryOptions extends Asking {
  /** Bound to `$1`, `$2`, … or `?` (array), or to `$name` (object). */
  params?: Params;
  /** Default 100, at most 10 000. */
  maxRows?: number;
  /** Bytes of the rows as JSON text. Default: `settings.maxResultBytes`. */
  maxBytes?: number;
  /** Default: `settings.queryTimeoutMs`. Waiting for a turn counts. */
  timeoutMs?: number;
}

/** May be shared with later calls: not to be changed. */
export interface QueryResult {
  columns: { name: string; type: string }[];
  rows: Json[][];
  row_count: number;
  /** There is at least one more row. */
  truncated: boolean;
  truncated_by?: "max_rows" | "max_bytes";
  /** Rows without the limits, when that is known without counting them. */
  total_rows?: number;
  /** The versions that were read, as in `workers@3`. */
  datasets: string[];
  /** What the reader should know of the vector searches in it. */
  note?: string;
  elapsed_ms: number;
}

export interface StreamOptions extends Omit<QueryOptions, "maxBytes"> {
  /** Called at least once, for the columns; the next rows are read when it is done with these. */
  onRows(rows: Json[][], columns: QueryResult["columns"]): Promise<void>;
}

export type StreamResult = Omit<QueryResult, "rows" | "truncated_by" | "total_rows" | "note">;

export interface QueryEngine {
  /**
   * Runs one statement that only reads. Throws `LakeError`: `denied` when the guard refuses, `invalid` for a wrong
   * statement or parameters, `not_found` with the nearest names, `limit` for a budget, `unavailable` when cancelled or
   * when too many are waiting.
   */
  query(sql: string, options?: QueryOptions): Promise<QueryResult>;
  /**
   * The same, for any number of rows in bounded memory: all of them, unless told. A statement that fails may have handed
   * over some. Throws as `query` does.
   */
  stream(sql: string, options: StreamOptions): Promise<StreamResult>;
  /**
   * Judges a statement, and returns it, fit to stand in parentheses, with what another locked instance has to run
   * first to see the same data; with `files`, it can until that is closed. `keys` are those of the files that it reads as
   * local copies. Throws as `query` does.
   */
  plan(
    sql: string,
    options?: Asking & { files?: Scope },
  ): Promise<{ sql: string; views: string[]; datasets: string[]; keys: string[] }>;
  /**
   * Checks that a condition is one expression that may stand in parentheses of a statement, on lines of its own, and
   * means the same there. Throws as `query` does, naming `where` and the place in it.
   */
  assertCondition(where: string, options?: Asking): Promise<void>;
  /**
   * Hands over the one text column of a statement, a chunk at a time; NULL is left out. What came before `onRestart` does
   * not count. Returns the versions that were read. Throws as `query` does.
   */
  texts(sql: string, options: Asking, onTexts: (texts: string[]) => void, onRestart?: () => void): Promise<string[]>;
  occupancy(): Occupancy;
  /** Results in memory. */
  kept(): ResultCacheStats;
  /** Opens DuckDB now rather than with the first statement. */
  warm(): Promise<void>;
}

export interface ResultCacheStats {
  entries: number;
  bytes: number;
  maxBytes: number;
  /** Statements answered from memory. */
  hits: number;
  /** Statements that ran, and can be answered from memory the next time. */
  misses: number;
}
