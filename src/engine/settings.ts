import type { Trace } from "./kernel/trace.ts";

/** Plain settings of the engine; `config.ts` fills them from files, environment and flags. Sizes are bytes, times ms. */
export interface EngineSettings {
  /** Folder of the lake, or `memory` for one that is gone when the process ends. */
  data: string;
  /** The bucket the lake is in; `data` then holds copies of what is used, and work in progress. */
  s3?: S3Settings | undefined;
  /** Folders that `ingest {path}` may read from. Absolute. */
  allow: string[];
  /** Largest source that `ingest` reads. */
  maxIngestBytes: number;
  /** Bytes that all uploads together may have. */
  uploadQuotaBytes: number;
  /** How long an upload is kept. */
  uploadExpiryMs: number;
  /** Most rows one ingest may write. */
  maxIngestRows: number;
  ingestTimeoutMs: number;
  ingestMemoryBytes: number;
  /** Shared equally by the queries that may run at the same time. */
  queryMemoryBytes: number;
  /** Results kept in memory; 0 for none. Default: 32 MiB. */
  queryCacheBytes?: number | undefined;
  /** Disk that DuckDB may spill to, for queries and for each ingest. */
  maxTempBytes: number;
  threads: number;
  queryTimeoutMs: number;
  /** Longest time that a caller may ask for. Default: any. */
  maxQueryTimeoutMs?: number | undefined;
  /** IANA name: in which statements take and show moments. Default: UTC. Files are read in UTC whatever it is. */
  timeZone?: string | undefined;
  maxConcurrentIngests: number;
  maxConcurrentQueries: number;
  maxQueuedQueries: number;
  /** Text one result may take. */
  maxResultBytes: number;
  refreshMs: number;
  /** Calls that take longer become jobs. Default: 20 s. */
  jobAfterMs?: number | undefined;
  /** What gc keeps. Default: ten versions, and those of a week; nothing is deleted within a day. */
  retention?: Retention | undefined;
  embed: EmbedSettings;
  vector: VectorSettings;
  clock: Clock;
  log: Log;
  /** Told of every step. Default: nobody is. */
  trace?: Trace | undefined;
}

/** Where a lake in a bucket is, and how to get there. Credentials are not settings: see `s3-client.ts`. */
export interface S3Settings {
  bucket: string;
  /** Without slashes at its ends; empty for none. */
  prefix: string;
  /** Undefined: Amazon's own. */
  endpoint: string | undefined;
  region: string;
  /** The bucket in the path rather than in the host name, as servers other than Amazon's mostly want it. */
  pathStyle: boolean;
  /** In the format of `~/.aws/credentials`. Undefined: what the SDK finds. */
  credentialsFile: string | undefined;
  profile: string | undefined;
  /** For a request with its retries; a part of a large file may take four times as long. */
  timeoutMs: number;
  /** Takes a bucket that cannot keep two writers apart. */
  singleWriter: boolean;
  /** Disk that copies of data files may take. */
  cacheBytes: number;
}

/** Where embeddings come from. Addresses are settings only, never arguments of a call. */
export interface EmbedSettings {
  /** `auto`: Ollama when it runs and has the model, else builtin until it does. */
  provider: "auto" | "ollama" | "openai" | "builtin";
  /** How long Ollama has for its first answer. Default: 1.5 s. */
  probeMs?: number | undefined;
  /** How often `auto` looks for an Ollama that was not there; and the least pause between two looks that calls cause. */
  lookAgainMs?: number | undefined;
  lookPauseMs?: number | undefined;
  /** Undefined: the provider's default. */
  model?: string | undefined;
  /** Undefined: the model's own. */
  dimension?: number | undefined;
  ollamaUrl: string;
  openaiUrl: string;
  /** Secret. */
  openaiApiKey?: string | undefined;
  /** Undefined: what the model's family asks for. */
  queryPrefix?: string | undefined;
  documentPrefix?: string | undefined;
  /** Whether Ollama cuts a text longer than the model reads, rather than refuses it. */
  truncate: boolean;
  /** For all texts of one call together. */
  timeoutMs: number;
  /** Requests at the same time. */
  concurrency: number;
  /** Vectors kept in memory; 0 for none. */
  cacheBytes: number;
}

export interface VectorSettings {
  /** What the indexes in memory may take together; one that would be too much is searched on disk. */
  memoryBytes: number;
  /** Worker threads that graphs are spread over. */
  threads: number;
  /** Candidates a search of up to 100,000 items keeps, when it does not say: more is better and slower. */
  ef: number;
  /** False: search exactly, without graphs. */
  hnsw: boolean;
  /** How long an index has to be quiet before its graphs are saved, and its small files merged. */
  quietMs: number;
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

/** What is kept. */
export interface Retention {
  /** Newest versions of every dataset that is not dropped, however old they are. */
  versions: number;
  /** Versions that were the newest so many ms ago, however many they are; of dropped datasets too. */
  ageMs: number;
  /** Nothing is deleted before it has been of no use for so long; longer than any ingest and any statement takes. */
  graceMs: number;
}
