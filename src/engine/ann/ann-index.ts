import type { Metric } from "../catalog/types.ts";

// How nearest-neighbour search is reached from the rest of the engine: nothing outside of this folder knows how vectors
// are arranged, in memory or in a saved file. `test/engine/ann/contract.ts` says it in tests, for every implementation.

/** Opens indexes of one implementation. What they use ends with the scope that the engine was opened in. */
export interface AnnEngine {
  /** Whether its indexes can be saved. Where not, `save` throws `internal`. */
  readonly saves: boolean;
  /** An empty index, laid out for about `items` items. Throws `closed`. */
  open(shape: AnnShape, items: number): AnnIndex;
  /**
   * Reads a file that `AnnIndex.save` wrote, which is not needed any more afterwards. Throws `corrupt` when it is damaged, or
   * of another shape or content, `unavailable` when it cannot be read now, and `closed`.
   */
  restore(path: string, shape: AnnShape, content: AnnContent): Promise<AnnIndex>;
  /** When a file was saved, by its first 64 KiB; undefined when they do not say. */
  savedAt(head: Uint8Array): Date | undefined;
  /** Estimated bytes of memory. `itemBytes`: an id with its metadata, on average, where that is known. */
  bytesFor(shape: AnnShape, items: number, itemBytes?: number): number;
}

export interface AnnShape {
  dimension: number;
  metric: Metric;
}

/** What an index holds: saved with it, and compared when it is restored. */
export interface AnnContent {
  /** Name of the index. */
  index: string;
  version: number;
  commitId: string;
  /** Items. */
  count: number;
}

/**
 * Items, each an id, a vector and metadata, to be searched for the nearest. Calls may overlap; changes are applied in the
 * order of the calls. After `close` all of them throw `closed`; once it is `broken`, `internal`.
 */
export interface AnnIndex {
  /** Items that searches find. */
  readonly count: number;
  /** Items that were deleted or replaced, and still take memory. */
  readonly dead: number;
  /** Memory in bytes, as accounted: exact enough to share a budget by. */
  readonly bytes: number;
  /** An id with its metadata in memory, on average, in bytes. */
  readonly itemBytes: number;
  /** Some of it is lost for good, for example with a thread: open another. */
  readonly broken: boolean;
  /**
   * Upserts and deletes items; an id comes once at most. Every search sees all of it, or none: one that was called before
   * `onVisible` is called none, one after it all. Takes the vectors over: they may be empty afterwards. Throws `limit` when
   * there is no memory for it.
   */
  apply(changes: readonly AnnChanges[], onVisible?: () => void): Promise<void>;
  /** The nearest, as of the moment of the call. Under cosine no vector is zero. */
  search(query: Float32Array, options: AnnSearch): Promise<AnnHits>;
  /** A filter that lets nothing through yet. */
  openFilter(): AnnFilter;
  /** Which of the ids are items at the moment of the call, with their metadata. */
  lookup(ids: readonly string[]): Promise<ReadonlyMap<string, string | null>>;
  /** An item's vector; of length 1 under cosine, and then of 24 bits a value. Undefined when there is no such item. */
  vector(id: string): Promise<Float32Array | undefined>;
  /** Resolves when nothing is left to do in the background, such as growing a graph. */
  settled(signal?: AbortSignal): Promise<void>;
  /**
   * Writes one file into `folder`, which is for it alone, and returns its path. `content` is asked at the moment whose items
   * are saved; later changes are not. Throws `conflict` when the index is not settled, and while another save runs.
   */
  save(folder: string, savedAt: Date, content: () => AnnContent): Promise<string>;
  stats(): Promise<AnnStats>;
  /** Frees the memory. Calls in flight fail or finish. Closing twice is harmless. */
  close(): Promise<void>;
}

/** A batch of items. The arrays are of one length. */
export interface AnnChanges {
  ids: readonly string[];
  /** Back to back. Where an item is deleted, anything. */
  vectors: Float32Array;
  /** JSON; null for none. */
  metadata: readonly (string | null)[];
  deleted: readonly boolean[];
}

export interface AnnSearch {
  k: number;
  /** Candidates that an approximate search keeps: more of them find more, and take longer. At least `k` are kept. */
  ef: number;
  /** Of this index. */
  filter?: AnnFilter | undefined;
  signal?: AbortSignal | undefined;
}

/** Items that a search may find: those with the ids that were allowed, at the moment when they were. */
export interface AnnFilter {
  readonly count: number;
  /** Ids that are no items are ignored. */
  allow(ids: readonly string[]): void;
  clear(): void;
}

export interface AnnHits {
  /** At most `k`, nearest first, equally near ones by id. Which of these come before the cut at `k` is not said. */
  hits: AnnHit[];
  /** Every vector that may be a hit was compared. */
  exact: boolean;
}

export interface AnnHit {
  id: string;
  /** As DuckDB's function for the metric: cosine 1 - cos, ip minus the inner product, l2 Euclidean. */
  distance: number;
  /** JSON; null for none. */
  metadata: string | null;
}

export interface AnnStats {
  /** Memory in bytes, measured. */
  bytes: number;
  /** Items that a search finds by the graph, and those that it compares one by one. */
  graph: number;
  pending: number;
  /** See `AnnIndex.dead`. */
  dead: number;
}
