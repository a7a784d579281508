export type DatasetKind = "table" | "vectors";

/** `id` is the Parquet field id: it stays with the column for the life of the dataset and is never used again. */
export interface Column {
  id: number;
  name: string;
  /** DuckDB type name, for example `DECIMAL(18,3)` or `STRUCT(a INTEGER)`. */
  type: string;
}

export interface ColumnStats {
  /** As text, in DuckDB's own rendering; null when the column has no value or no order. */
  min: string | null;
  max: string | null;
  nulls: number;
}

export interface DataFile {
  /** `data/<name>/<schema_fp_hex>/<sha256>.parquet` */
  key: string;
  bytes: number;
  rows: number;
  /** `<algorithm>:<hex>` of the source this file was made from, with the options that matter: finds repeated ingests. */
  sourceHash: string;
  stats: Record<string, ColumnStats>;
}

export type Metric = "cosine" | "ip" | "l2";

/** What a vector index is, besides a dataset. */
export interface VectorIndex {
  /** Length of every vector. */
  dimension: number;
  metric: Metric;
  /** What makes vectors of texts; null for an index that takes vectors only. */
  model: {
    provider: "ollama" | "openai" | "builtin";
    name: string;
    lexical: boolean;
    prefixes: { query: string; document: string };
  } | null;
  /** Items there are; the rows of the files are more, because changed and deleted ones are in them too. */
  count: number;
  /**
   * So many of the first files hold each id once, and none that is deleted: the base. Every later file holds changes,
   * which are about an id of any file before it.
   */
  baseFiles: number;
  /** What it was built from, and mirrors; null when it is filled by upserts only. */
  source: VectorSource | null;
}

export interface VectorSource {
  dataset: string;
  /** The version of it that was read last. */
  version: number;
  /** A column, or a template over columns: `{role} in {city}`. */
  text: string;
  /** The column with the ids. */
  id: string;
  where: string | null;
  /** Columns kept as metadata of the items. */
  metadata: string[];
  /** False while it is being built, and when that was broken off. */
  complete: boolean;
  /** Rows that are not in the index, because there was no vector for their text; absent for none. */
  leftOut?: number | undefined;
}

export const OPERATIONS = ["create", "replace", "append", "drop", "upsert", "delete", "compact", "restore"] as const;
export type Operation = (typeof OPERATIONS)[number];

/** Who made a version, from what. */
export interface Provenance {
  operation: Operation;
  /** What the caller named: a path, `inline text`, the SQL. Never a secret. */
  source: string;
  sourceHash: string;
  options: Record<string, unknown>;
  engine: string;
}

/** Dataset-level fields of one version. */
export interface Head {
  formatVersion: 1;
  commitId: string;
  version: number;
  parent: number | null;
  datasetId: string;
  name: string;
  kind: DatasetKind;
  /** A tombstone: the dataset does not exist at this version. */
  dropped: boolean;
  columns: Column[];
  /** The highest field id that any version has used: a new column gets one above it. */
  lastColumnId: number;
  schemaFingerprint: string;
  rows: number;
  bytes: number;
  fileCount: number;
  /** ISO 8601. */
  createdAt: string;
  updatedAt: string;
  /** Present exactly when the kind is `vectors`. */
  index?: VectorIndex | undefined;
  provenance: Provenance;
}

export interface Manifest extends Head {
  files: DataFile[];
}

/** What a writer decides; the catalog adds identity, version, totals and time. */
export interface Draft {
  kind: DatasetKind;
  dropped: boolean;
  columns: Column[];
  files: DataFile[];
  index?: VectorIndex | undefined;
  provenance: Omit<Provenance, "engine">;
}

export interface Unreadable {
  name: string;
  version: number;
  reason: string;
}

/** Names of datasets by what happened to them. */
export interface Changes {
  added: string[];
  updated: string[];
  removed: string[];
}

export interface Catalog {
  /** Live datasets in name order, as of the last refresh. */
  list(): Head[];
  /** Versions that could not be read, by name; the dataset's last readable version is served meanwhile. */
  unreadable(): Unreadable[];
  /**
   * The newest manifest, or the one of `version`, including commits of other processes up to this moment where the
   * store can tell cheaply. With `recent`, where it takes a round trip, the newest as of the last refresh and of this
   * process's commits is enough. Throws `not_found` with the nearest names, or how to reach a dropped dataset's versions.
   */
  load(name: string, version?: number, options?: { recent?: boolean }): Promise<Manifest>;
  /** Retained versions, newest first, tombstones included; only the newest `limit` are read. Throws `not_found`. */
  versions(name: string, limit?: number): Promise<{ heads: Head[]; total: number }>;
  /**
   * The commit protocol. `decide` gets the newest manifest (a tombstone after a drop, undefined when there never was
   * one) and returns the next, or undefined for "nothing to change"; it runs again on the new parent when another
   * writer wins. Everything a draft refers to must be durable before `decide` returns.
   */
  commit(
    name: string,
    decide: (current: Manifest | undefined) => Draft | undefined | Promise<Draft | undefined>,
    options?: { signal?: AbortSignal | undefined },
  ): Promise<{ manifest: Manifest | undefined; committed: boolean }>;
  /** Reads what other processes committed since. Reports changes to listeners, its own included. */
  refresh(): Promise<void>;
  onChange(listener: (changes: Changes) => void): () => void;
}
