/** Plain settings of the engine; `config.ts` fills them from files, environment and flags. Sizes are bytes, times ms. */
export interface EngineSettings {
  /** Folder of the lake, or `memory` for one that is gone when the process ends. */
  data: string;
  /** Folders that `ingest {path}` may read from. Absolute. */
  allow: string[];
  /** Largest source that `ingest` reads. */
  maxIngestBytes: number;
  /** Most rows one ingest may write. */
  maxIngestRows: number;
  ingestTimeoutMs: number;
  ingestMemoryBytes: number;
  queryMemoryBytes: number;
  /** Disk that DuckDB may spill to, for queries and for each ingest. */
  maxTempBytes: number;
  threads: number;
  queryTimeoutMs: number;
  maxConcurrentIngests: number;
  maxConcurrentQueries: number;
  maxQueuedQueries: number;
  /** Text one result may take. */
  maxResultBytes: number;
  refreshMs: number;
  clock: Clock;
  log: Log;
}

export interface Clock {
  now(): Date;
}

/** One JSON line on stderr. Never arguments, never data. */
export type Log = (
  level: "debug" | "info" | "warn" | "error",
  message: string,
  fields?: Record<string, unknown>,
) => void;

export const systemClock: Clock = { now: () => new Date() };
