import type { Manifest, Metric, VectorIndex } from "../catalog/types.ts";
import type { EmbedModel } from "../embed/types.ts";
import type { Json } from "../kernel/json.ts";

export interface VectorOptions {
  /** Who asks, where there are several. */
  caller?: string | undefined;
  signal?: AbortSignal | undefined;
  /** `fraction` is 0 to 1. */
  onProgress?: ((fraction: number, message: string) => void) | undefined;
}

/** Either empty, for upserts, or of a dataset. */
export interface CreateRequest {
  name: string;
  /** Of an index without a model; with one it has to be the model's. */
  dimension?: number | undefined;
  /** Default: cosine. */
  metric?: Metric | undefined;
  /** Default: the server's model, unless a dimension alone is given. */
  model?: string | undefined;
  source?: SourceRequest | undefined;
}

export interface SourceRequest {
  /** Name of a dataset; its newest version is read. */
  dataset: string;
  /** A column, or a template over columns: `{role} in {city}. {resume_text}`. */
  text: string;
  /** The column with the ids: no NULL, none twice. */
  id: string;
  /** A condition over the dataset's columns. */
  where?: string | undefined;
  /** Columns to keep as metadata of the items. */
  metadata?: readonly string[] | undefined;
}

/** What every answer about an index says. */
export interface IndexSummary {
  index: string;
  version: number;
  /** Items there are. */
  count: number;
  dimension: number;
  metric: Metric;
  /** Null for an index that takes vectors only. */
  model: string | null;
  provider: EmbedModel["provider"] | null;
  lexical: boolean;
}

export interface CreateResult extends IndexSummary {
  created: boolean;
  /** There was nothing to do. */
  unchanged: boolean;
  /** Of a build from a dataset: rows whose text was embedded now, rows that were there already, items removed. */
  embedded: number;
  kept: number;
  removed: number;
  /** Rows without a text. */
  skipped: number;
  /** Rows whose text the embedding service has no vector for: they are not in the index, and the next build tries again. */
  leftOut?: LeftOut | undefined;
}

export interface LeftOut {
  count: number;
  /** The first of them. */
  items: { id: string; reason: string }[];
}

/** One item of an upsert: a vector, or a text to make one of, or both. */
export interface Item {
  id: string;
  vector?: readonly number[] | undefined;
  text?: string | undefined;
  /** Left out: what is there stays; `{}`: none. */
  metadata?: Readonly<Record<string, unknown>> | undefined;
}

export interface UpsertResult extends IndexSummary {
  inserted: number;
  updated: number;
}

export interface DeleteRequest {
  index: string;
  ids?: readonly string[] | undefined;
  /** Drops the index as a whole. */
  all?: boolean | undefined;
}

export interface DeleteResult {
  index: string;
  version: number;
  deleted: number;
  /** Ids that were not there. */
  missing: string[];
  /** Items left. */
  count: number;
  dropped: boolean;
}

export interface SearchRequest {
  index: string;
  /** One of the three. */
  text?: string | undefined;
  vector?: readonly number[] | undefined;
  /** Items like this one, itself left out. */
  likeId?: string | undefined;
  /** Default 10, at most 10,000. */
  k?: number | undefined;
  /** A condition over metadata, id and text, and over the columns of the dataset the index was built from. */
  where?: string | undefined;
  ef?: number | undefined;
  include?: readonly ("row" | "text" | "vector")[] | undefined;
}

/**
 * `distance` is what DuckDB's function for the metric gives, smaller is nearer: cosine 1 - cos (`array_cosine_distance`),
 * ip minus the inner product (`array_negative_inner_product`), l2 Euclidean (`array_distance`). `score` grows with
 * likeness: cosine the cosine, ip the inner product, l2 1 / (1 + distance).
 */
export interface Hit {
  id: string;
  distance: number;
  score: number;
  /** Null for none. */
  metadata: Json;
  text?: string | null;
  vector?: number[];
  /** The row of the dataset the index was built from; null when it has gone there. */
  row?: Record<string, Json> | null;
}

export interface SearchResult extends IndexSummary {
  /** Nearest first. */
  hits: Hit[];
  /** How it was found: exact compares with every vector that may be a hit. */
  method: "hnsw" | "exact";
  /** Items that `where` lets through. */
  matched?: number;
  /** What the reader should know: lexical model, broken-off build, too large for memory. */
  note?: string;
  elapsed_ms: number;
}

/** For `lakehouse://vectors/{name}`. */
export interface IndexStatus extends IndexSummary {
  index_details: VectorIndex;
  updated_at: string;
  /** Files of vectors, and how many of them hold changes that are not merged yet. */
  segments: number;
  changes: number;
  bytes: number;
  /** Undefined while it is not in memory. */
  memory?: { bytes: number; graph: number; pending: number; deleted: number; method: "hnsw" | "exact" };
  /** Of the saved graph; null when there is none. */
  snapshot: { version: number; age_ms: number | null; bytes: number } | null;
}

export type IndexManifest = Manifest & { index: VectorIndex };

/** Columns of an index as a table, in order; its files have `deleted` and `from_dataset` besides. */
export const ITEM_COLUMNS = ["id", "vector", "text", "metadata"] as const;
