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

/** The fields of a vector index, besides those of a dataset. */
export interface VectorIndex {
  /** Length of every vector. */
  dimension: number;
  metric: Metric;
  /** The model that embeds texts; null for an index of vectors without texts. */
  model: {
    provider: "ollama" | "openai" | "builtin";
    name: string;
    lexical: boolean;
    prefixes: { query: string; document: string };
  } | null;
  /** Items in the index. The files have more rows: replaced and deleted items are in them, too. */
  count: number;
  /**
   * Number of the first files that make up the base: they have each id once, and no deletions. Every later file has
   * changes to ids of the files before it.
   */
  baseFiles: number;
  /** The dataset that it was built from, and follows; null for an index that only upserts fill. */
  source: VectorSource | null;
}

export interface VectorSource {
  dataset: string;
  /** The version of that dataset that was read last. */
  version: number;
  /** A column, or a template over columns: `{role} in {city}`. */
  text: string;
  /** The column with the ids. */
  id: string;
  where: string | null;
  /** Columns kept as metadata of the items. */
  metadata: string[];
  /** False while it is being built, and after a build that was interrupted. */
  complete: boolean;
  /** Rows that are not in the index, because their text has no vector. Absent: none. */
  leftOut?: number | undefined;
}

export const OPERATIONS = ["create", "replace", "append", "drop", "upsert", "delete", "compact", "restore"] as const;
export type Operation = (typeof OPERATIONS)[number];

/** Who made a version, from what. */
export interface Provenance {
  operation: Operation;
  /** As the caller named it: a path, `inline text`, the SQL. Never a secret. */
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

/** The part of a manifest that a writer decides. The catalog adds identity, version, totals and time. */
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

/** Names of changed datasets. */
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
   * The newest manifest, or that of `version`, including commits of other processes up to this moment. With `recent`, a
   * remote store is not asked: then the newest as of the last refresh and this process's commits is enough. Throws
   * `not_found` with the nearest names, or with how to restore a dropped dataset.
   */
  load(name: string, version?: number, options?: { recent?: boolean }): Promise<Manifest>;
  /** Retained versions, newest first, tombstones included; only the newest `limit` are read. Throws `not_found`. */
  versions(name: string, limit?: number): Promise<{ heads: Head[]; total: number }>;
  /**
   * Commits the next version. `decide` gets the newest manifest (a tombstone after a drop, undefined for a new name) and
   * returns the next, or undefined for no change. It runs again on the new parent when another writer was first. All that
   * a draft refers to must be durable before `decide` returns. Throws `conflict`, `corrupt`, `unavailable`.
   */
  commit(
    name: string,
    decide: (current: Manifest | undefined) => Draft | undefined | Promise<Draft | undefined>,
    options?: { signal?: AbortSignal | undefined },
  ): Promise<{ manifest: Manifest | undefined; committed: boolean }>;
  /** Reads the commits of other processes up to this call, and reports them to listeners. */
  refresh(): Promise<void>;
  onChange(listener: (changes: Changes) => void): () => void;
}
