import { stat, writeFile } from "node:fs/promises";
import type { Metric } from "../catalog/types.ts";
import { LakeError } from "../errors.ts";
import { distanceFor, type Hits, mergeHits, normalise, openNearest } from "./distances.ts";
import { nearestInGraph, type ShardHits } from "./graph-search.ts";
import type { Graph, Hnsw } from "./hnsw.ts";

export interface ShardOptions {
  dimension: number;
  metric: Metric;
  /** Undefined: every search is exact. */
  hnsw: Hnsw | undefined;
  m?: number;
  efConstruction?: number;
  seed?: number;
}

export interface ShardQuery {
  k: number;
  /** Candidates the graph's search keeps; at least `k` are. */
  ef: number;
  /** Slot `s` may be a hit iff `allowed[s >> 3] & (1 << (s & 7))`. */
  allowed?: Uint8Array | undefined;
  /** Exactly these slots, as far as they are here. */
  only?: Uint32Array | undefined;
}

export interface ShardStats {
  /** Vectors in the graph, removed ones not counted. */
  graph: number;
  /** Vectors that are compared one by one: not in the graph yet, or there is none. */
  pending: number;
  /** Removed vectors that still take memory. */
  deleted: number;
  /** Estimate of memory. */
  bytes: number;
}

/**
 * Vectors by slot, an unsigned 32-bit integer that is never used twice. Synchronous but for `save` and `load`. Under
 * cosine, vectors are kept with length 1. Vectors are searchable once added, and move into the graph in `step`.
 */
export interface Shard {
  /** Takes `vectors` over, which lie back to back. Slots that are or were here are refused as `internal`. */
  add(slots: Uint32Array, vectors: Float32Array): void;
  /** Ignores slots that are not here. */
  remove(slots: Uint32Array): void;
  /** Moves vectors into the graph, oldest first, for `ms`, at least one. Returns `canStep`. */
  step(ms: number): boolean;
  search(query: Float32Array, options: ShardQuery): ShardHits;
  vector(slot: number): Float32Array | undefined;
  stats(): ShardStats;
  /** Nothing waits for the graph. */
  readonly settled: boolean;
  /** Something waits for the graph, and may move into it: not during a save. */
  readonly canStep: boolean;
  /**
   * Writes what is in the shard now. Additions and removals meanwhile are seen by searches, but not in the file. Throws
   * `conflict` when vectors wait for the graph, and while another save runs.
   */
  save(path: string): Promise<void>;
  /** Reads a saved graph of the same dimension and metric into an empty shard, which is not used meanwhile. */
  load(path: string): Promise<void>;
  /** Frees the memory. */
  close(): void;
}

interface Batch {
  firstRow: number;
  slots: Uint32Array;
  vectors: Float32Array;
  /** Those before are in the graph. */
  next: number;
  /** Those from `next` on that are not removed. */
  live: number;
}

/** Where a slot's vector is: from `FIRST_ROW` on, a row of a batch. */
const [NEVER, REMOVED, GRAPH, FIRST_ROW] = [0, 1, 2, 3];
/** Of an element besides its vector and links: label and its lookup, lock, level. */
const ELEMENT_BYTES = 128;
const EMPTY: Hits = { slots: new Uint32Array(0), distances: new Float32Array(0) };

/** An empty shard. */
export function openShard(options: ShardOptions): Shard {
  const { dimension, metric, hnsw, m = 16, efConstruction = 200, seed = 100 } = options;
  const distance = distanceFor(metric);
  const openGraph = (library: Hnsw): Graph =>
    library.openGraph({ space: metric === "l2" ? "l2" : "ip", dimension, m, efConstruction, seed });
  let graph = hnsw ? openGraph(hnsw) : undefined;
  let places = new Uint32Array(1_024);
  let batches: Batch[] = [];
  let nextRow = FIRST_ROW;
  let pending = 0;
  let inGraph = 0;
  let saving = false;
  /** Removed while the graph is being written: it must not change, so hits are filtered. */
  let late: number[] = [];
  let closed = false;

  const add = (slots: Uint32Array, vectors: Float32Array): void => {
    const highest = slots.reduce((most, slot) => Math.max(most, slot), 0);
    if (highest >= places.length) {
      const grown = new Uint32Array(2 ** Math.ceil(Math.log2(highest + 1)));
      grown.set(places);
      places = grown;
    }
    const used = slots.find((slot) => places[slot] !== NEVER);
    if (used !== undefined) throw new LakeError("internal", `Slot ${used} was used before.`);
    if (vectors.length !== slots.length * dimension) throw new LakeError("internal", "Vectors of the wrong length.");
    if (slots.length === 0) return;
    if (metric === "cosine") normalise(vectors, dimension);
    slots.forEach((slot, at) => {
      places[slot] = nextRow + at;
    });
    batches.push({ firstRow: nextRow, slots, vectors, next: 0, live: slots.length });
    nextRow += slots.length;
    pending += slots.length;
  };

  const remove = (slots: Uint32Array): void => {
    for (const slot of slots) {
      const place = places[slot] ?? NEVER;
      if (place < GRAPH) continue;
      places[slot] = REMOVED;
      if (place !== GRAPH) {
        pending -= 1;
        shrink(batchOf(place));
      } else {
        inGraph -= 1;
        if (saving) late.push(slot);
        else graph?.remove(slot);
      }
    }
    release();
  };

  /** One of the batch's vectors was removed. Without a graph they would stay for good. */
  const shrink = (batch: Batch): void => {
    batch.live -= 1;
    if (batch.live === 0) {
      batches.splice(batches.indexOf(batch), 1);
      return;
    }
    if (batch.live * 2 > batch.slots.length - batch.next) return;
    const { firstRow, vectors, next } = batch;
    const kept = [...batch.slots.keys()].filter((at) => at >= next && places[batch.slots[at] ?? 0] === firstRow + at);
    const rows = new Float32Array(kept.length * dimension);
    kept.forEach((from, at) => {
      rows.set(vectors.subarray(from * dimension, (from + 1) * dimension), at * dimension);
      places[batch.slots[from] as number] = firstRow + at;
    });
    Object.assign(batch, { slots: Uint32Array.from(kept, (at) => batch.slots[at] as number), vectors: rows, next: 0 });
  };

  /** Lets go of a graph without a vector that is needed. */
  const release = (): void => {
    if (inGraph === 0 && !saving && graph && hnsw && graph.count > 0) {
      graph.free();
      graph = openGraph(hnsw);
    }
  };

  const canStep = (): boolean => pending > 0 && graph !== undefined && !saving;

  const step = (ms: number): boolean => {
    if (!graph || !canStep()) return false;
    const end = performance.now() + ms;
    let moved = 0;
    for (let batch = batches[0]; batch; batch = batches[0]) {
      const { slots, vectors, firstRow } = batch;
      for (; batch.next < slots.length; batch.next += 1) {
        const slot = slots[batch.next] as number;
        if (places[slot] !== firstRow + batch.next) continue;
        if (moved > 0 && performance.now() >= end) return true;
        moved += 1;
        graph.add(slot, vectors.subarray(batch.next * dimension, (batch.next + 1) * dimension));
        places[slot] = GRAPH;
        batch.live -= 1;
        pending -= 1;
        inGraph += 1;
      }
      batches.shift();
    }
    return canStep();
  };

  const batchOf = (row: number): Batch => {
    let [low, high] = [0, batches.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((batches[middle] as Batch).firstRow <= row) low = middle;
      else high = middle - 1;
    }
    return batches[low] as Batch;
  };

  const vector = (slot: number): Float32Array | undefined => {
    const place = places[slot] ?? NEVER;
    if (place < GRAPH) return undefined;
    if (place === GRAPH) return graph?.vector(slot);
    const { vectors, firstRow } = batchOf(place);
    return vectors.slice((place - firstRow) * dimension, (place - firstRow + 1) * dimension);
  };

  const distanceTo = (query: Float32Array, slot: number): number | undefined => {
    const place = places[slot] ?? NEVER;
    if (place < GRAPH) return undefined;
    if (place === GRAPH) return graph && distance(query, graph.vector(slot), 0);
    const { vectors, firstRow } = batchOf(place);
    return distance(query, vectors, (place - firstRow) * dimension);
  };

  const compare = (query: Float32Array, slots: Iterable<number>, k: number): Hits => {
    const nearest = openNearest(k);
    for (const slot of slots) {
      const value = distanceTo(query, slot);
      if (value !== undefined) nearest.offer(slot, value);
    }
    return nearest.hits();
  };

  const comparePending = (query: Float32Array, k: number, allowed: Uint8Array | undefined): Hits => {
    if (pending === 0) return EMPTY;
    const nearest = openNearest(k);
    for (const { slots, vectors, firstRow, next } of batches) {
      for (let at = next; at < slots.length; at += 1) {
        const slot = slots[at] as number;
        if (places[slot] !== firstRow + at || (allowed && !isAllowed(allowed, slot))) continue;
        nearest.offer(slot, distance(query, vectors, at * dimension));
      }
    }
    return nearest.hits();
  };

  /** Calls `visit` with every slot of the graph that may be a hit. */
  const eachInGraph = (allowed: Uint8Array | undefined, visit: (slot: number) => void): void => {
    const end = Math.min(places.length, allowed ? allowed.length * 8 : places.length);
    for (let slot = 0; slot < end; slot += 1) {
      // Most filters let little through: whole bytes at a time.
      if (allowed && (slot & 7) === 0 && allowed[slot >>> 3] === 0) slot += 7;
      else if (places[slot] === GRAPH && (!allowed || isAllowed(allowed, slot))) visit(slot);
    }
  };

  const searchGraph = (query: Float32Array, { k, ef, allowed }: ShardQuery): ShardHits => {
    if (!graph || inGraph === 0) return { ...EMPTY, exact: true };
    let matching = inGraph;
    if (allowed) {
      matching = 0;
      eachInGraph(allowed, () => {
        matching += 1;
      });
    }
    const compareAll = (except: ReadonlySet<number>): Hits => {
      const slots: number[] = [];
      eachInGraph(allowed, (slot) => {
        if (!except.has(slot)) slots.push(slot);
      });
      return compare(query, slots, k);
    };
    const from = { graph, metric, dimension, matching, filtered: allowed !== undefined, compareAll };
    return nearestInGraph(from, query, { k, ef, filter: filterFor(allowed) });
  };

  /** Undefined for none: without one the library is faster. */
  const filterFor = (allowed: Uint8Array | undefined): ((slot: number) => boolean) | undefined => {
    if (allowed) return (slot) => places[slot] === GRAPH && isAllowed(allowed, slot);
    return late.length > 0 ? (slot) => places[slot] === GRAPH : undefined;
  };

  const search = (given: Float32Array, options: ShardQuery): ShardHits => {
    const { k, allowed, only } = options;
    const query = metric === "cosine" ? given.slice() : given;
    if (metric === "cosine") normalise(query, dimension);
    if (only) {
      const slots = allowed ? only.filter((slot) => isAllowed(allowed, slot)) : only;
      return { ...compare(query, new Set(slots), k), exact: true };
    }
    const found = searchGraph(query, options);
    const lists = [found, comparePending(query, k, allowed)].filter(({ slots }) => slots.length > 0);
    return { ...mergeHits(lists, k), exact: found.exact };
  };

  const save = async (path: string): Promise<void> => {
    if (!graph) throw new LakeError("internal", "Without hnswlib-node there is no graph to save.");
    if (saving) throw new LakeError("conflict", "The graph is being saved.", { hint: "Save again when that is done." });
    if (pending > 0) {
      throw new LakeError("conflict", `${pending} vectors are not in the graph yet.`, {
        hint: "Wait, then save again.",
      });
    }
    saving = true;
    try {
      if (inGraph === 0) await writeFile(path, "");
      else await graph.save(path);
    } finally {
      saving = false;
      for (const slot of late) graph.remove(slot);
      late = [];
      if (closed) graph.free();
      else release();
    }
  };

  const load = async (path: string): Promise<void> => {
    if (!graph || nextRow > FIRST_ROW || inGraph > 0) throw new LakeError("internal", "Only an empty shard can load.");
    if ((await stat(path)).size === 0) return;
    await graph.load(path);
    if (closed) {
      graph.free();
      return;
    }
    const slots = graph.labels();
    const highest = slots.reduce((most, slot) => Math.max(most, slot), 0);
    places = new Uint32Array(2 ** Math.ceil(Math.log2(highest + 2)));
    for (const slot of slots) places[slot] = GRAPH;
    inGraph = slots.length;
  };

  const stats = (): ShardStats => {
    const count = graph?.count ?? 0;
    const held = batches.reduce((sum, { slots, next }) => sum + slots.length - next, 0);
    const arrays = batches.reduce((sum, { slots, vectors }) => sum + slots.byteLength + vectors.byteLength, 0);
    const bytes = count * (dimension * 4 + m * 8 + ELEMENT_BYTES) + arrays + places.byteLength;
    return { graph: inGraph, pending, deleted: count - inGraph + held - pending, bytes };
  };

  return {
    add,
    remove,
    step,
    search,
    vector,
    stats,
    get settled() {
      return pending === 0 || !graph;
    },
    get canStep() {
      return canStep();
    },
    save,
    load,
    close: () => {
      closed = true;
      [batches, pending, inGraph] = [[], 0, 0];
      places = new Uint32Array(0);
      if (!saving) graph?.free();
    },
  };
}

function isAllowed(allowed: Uint8Array, slot: number): boolean {
  return ((allowed[slot >>> 3] ?? 0) & (1 << (slot & 7))) !== 0;
}
