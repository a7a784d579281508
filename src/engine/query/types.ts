import type { Json, Params } from "../kernel/json.ts";
import type { Occupancy } from "../kernel/limiter.ts";

// What the rest of the lake knows of an engine that runs SQL: neither its library nor its dialect. The engine in
// `duckdb/` implements it; `test/engine/query/contract.ts` tests any engine.

export interface QueryEngine {
  /**
   * Runs one statement that only reads. `workers` is the newest version of a dataset, `"workers@3"` that version; a
   * statement sees the same version of a dataset wherever it names it. Values are exact: integers beyond 2^53, DECIMAL,
   * NaN and infinities are texts, dates and times ISO 8601. Throws `LakeError`: `denied` for a statement that does more
   * than read, `invalid` for a wrong statement or parameters, `not_found` with the nearest names, `limit` for a budget,
   * `unavailable` when cancelled or when too many are waiting.
   */
  query(sql: string, options?: QueryOptions): Promise<QueryResult>;
  /**
   * The same for any number of rows in bounded memory; without `maxRows`, all of them. A statement that fails may have
   * handed over some rows. Throws as `query` does.
   */
  stream(sql: string, options: StreamOptions): Promise<StreamResult>;
  /**
   * Writes the rows of a statement to Parquet files in a folder, in their order and without loss. It has no deadline
   * but `signal`, and takes the memory of an ingest rather than that of a query: callers bound how many run at once.
   * Throws as `query` does, and `onColumns`' errors.
   */
  writeParquet(sql: string, options: ParquetOptions): Promise<ParquetResult>;
  /**
   * Checks that a condition is one expression that may stand in parentheses of a statement, on lines of its own, and
   * means the same there. Throws as `query` does, naming `where` and the place in it.
   */
  assertCondition(where: string, options?: Asking): Promise<void>;
  /**
   * Hands over the one text column of a statement, a chunk at a time, without NULLs. Chunks before `onRestart` do not
   * count. Returns the versions that were read. Throws as `query` does.
   */
  texts(sql: string, options: Asking, onTexts: (texts: string[]) => void, onRestart?: () => void): Promise<string[]>;
  occupancy(): Occupancy;
  /** Results that are cached. */
  resultCache(): ResultCacheStats;
  /** Opens the engine now rather than with the first statement. */
  warm(): Promise<void>;
}

/** On whose behalf a statement runs. */
export interface Asking {
  signal?: AbortSignal | undefined;
  /** One of several callers: none of them has all places. */
  caller?: string | undefined;
  /** The statement around this one. Absent: there is none. */
  nesting?: Nesting | undefined;
}

/** A statement that is the filter of a vector search counts its searches with those of the statements around it. */
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
  /** Default: `settings.queryTimeoutMs`. Waiting for a place counts. */
  timeoutMs?: number;
}

/** Types are named as in the catalog. */
export interface ResultColumn {
  name: string;
  type: string;
}

/** May be shared with later calls: not to be changed. */
export interface QueryResult {
  columns: ResultColumn[];
  rows: Json[][];
  row_count: number;
  /** There is at least one more row. */
  truncated: boolean;
  truncated_by?: "max_rows" | "max_bytes";
  /** Rows without the limits, when that is known without counting them. */
  total_rows?: number;
  /** The versions that were read, as in `workers@3`. */
  datasets: string[];
  /** What the reader should know about its vector searches. */
  note?: string;
  elapsed_ms: number;
}

export interface StreamOptions extends Omit<QueryOptions, "maxBytes"> {
  /** Called at least once, for the columns. The next rows are read when its promise resolves. */
  onRows(rows: Json[][], columns: ResultColumn[]): Promise<void>;
}

export type StreamResult = Omit<QueryResult, "rows" | "truncated_by" | "total_rows" | "note">;

export interface ParquetOptions extends Asking {
  /** An empty folder, which is garbage when the call throws. */
  folder: string;
  /** Further rows are not written. Default: all are. */
  maxRows?: number | undefined;
  /** Told the columns before any row is computed: an error that it throws ends the call. */
  onColumns?: ((columns: readonly ResultColumn[]) => Promise<unknown>) | undefined;
  onProgress?: ((fraction: number) => void) | undefined;
}

export interface ParquetResult {
  /** The types hold every value of the statement; a file may have a type that only its reader takes for another. */
  columns: ResultColumn[];
  /** Paths, in the order of the rows. */
  files: string[];
  /** The versions that were read, as in `workers@3`. */
  datasets: string[];
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
