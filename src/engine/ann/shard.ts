import { writeFile } from "node:fs/promises";
import type { Metric } from "../catalog/types.ts";
import { LakeError } from "../kernel/errors.ts";
import { type Hits, normalise } from "./distances.ts";
import { type Graph, openGraph } from "./graph.ts";
import { nearestIn, type ShardHits } from "./graph-search.ts";
import { openPlaces, type Places } from "./places.ts";
import type { FilePart } from "./snapshot.ts";

export interface ShardOptions {
  dimension: number;
  metric: Metric;
  /** False: nothing is put into the graph, and every search is exact. */
  hnsw: boolean;
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
}

export interface ShardStats {
  /** Vectors in the graph, removed ones not counted. */
  graph: number;
  /** Vectors that are compared one by one: not in the graph yet, or there is none. */
  pending: number;
  /** Removed vectors that still take memory. */
  deleted: number;
  bytes: number;
}

/**
 * Vectors by slot, an unsigned 32-bit integer that is never used twice. Synchronous but for `save` and `load`. Under
 * cosine, vectors are kept with length 1. Vectors are searchable once added, and move into the graph in `step`.
 */
export interface Shard {
  /** May change `vectors`, which lie back to back. Slots that are or were here are refused as `internal`. */
  add(slots: Uint32Array, vectors: Float32Array): void;
  /** Ignores slots that are not here. */
  remove(slots: Uint32Array): void;
  /** Moves vectors into the graph, oldest first, for `ms`, at least one. Returns `canStep`. */
  step(ms: number): boolean;
  /** After a failed `step`: what waits for the graph stays out of it, and is compared with. `save` throws the error. */
  giveUp(error: unknown): void;
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
  load(graph: FilePart): Promise<void>;
  /** Frees the memory. */
  close(): void;
}

const NOTHING: Hits = { slots: new Uint32Array(0), distances: new Float32Array(0) };

/** An empty shard. */
export function openShard(options: ShardOptions): Shard {
  const { dimension, metric, hnsw, m = 16, efConstruction = 200, seed = 100 } = options;
  const graph: Graph = openGraph({ dimension, metric, m, efConstruction, seed });
  const places = openPlaces();
  const saving = openSaving(graph, () => (closed ? graph.free() : release()));
  let pending = 0;
  let inGraph = 0;
  let closed = false;
  let failed: unknown;

  const isIn = (element: number): boolean => element < graph.linked;
  const live = (): number => inGraph + pending;

  const add = (slots: Uint32Array, vectors: Float32Array): void => {
    places.reserve(slots);
    if (vectors.length !== slots.length * dimension) throw new LakeError("internal", "Vectors of the wrong length.");
    if (metric === "cosine") normalise(vectors, dimension);
    slots.forEach((slot, at) => {
      places.put(slot, graph.append(slot, vectors.subarray(at * dimension, (at + 1) * dimension)));
      pending += 1;
    });
  };

  const remove = (slots: Uint32Array): void => {
    for (const slot of slots) {
      const element = places.elementOf(slot);
      if (element === undefined) continue;
      places.remove(slot);
      if (isIn(element)) inGraph -= 1;
      else pending -= 1;
      saving.remove(element);
    }
    release();
  };

  /** Frees the memory of vectors that are all removed. */
  const release = (): void => {
    if (live() === 0 && !saving.isRunning() && graph.count > 0) graph.free();
  };

  const canStep = (): boolean => hnsw && pending > 0 && !saving.isRunning() && failed === undefined;

  const step = (ms: number): boolean => {
    if (!canStep()) return false;
    const moved = linkFor(graph, pending, ms);
    pending -= moved;
    inGraph += moved;
    return canStep();
  };

  return {
    add,
    remove,
    step,
    giveUp: (error) => {
      failed = error;
    },
    search: (query, options) =>
      live() === 0 ? { ...NOTHING, exact: true } : searchIn(graph, places, { metric, inGraph }, query, options),
    vector: (slot) => {
      const element = places.elementOf(slot);
      return element === undefined ? undefined : graph.vector(element);
    },
    stats: () => ({
      graph: inGraph,
      pending,
      deleted: graph.count - live(),
      bytes: graph.bytes + places.bytes,
    }),
    get settled() {
      return pending === 0 || !hnsw || failed !== undefined;
    },
    get canStep() {
      return canStep();
    },
    save: async (path) => {
      if (!hnsw) throw new LakeError("internal", "There is no graph to save.");
      if (failed !== undefined) throw failed;
      if (pending > 0 && !saving.isRunning()) throw notInGraph(pending);
      await saving.run(path, inGraph === 0);
    },
    load: async (saved) => {
      if (graph.count > 0) throw new LakeError("internal", "Only an empty shard can load.");
      if (saved.bytes === 0) return;
      await graph.load(saved);
      if (closed) graph.free();
      else inGraph = places.load(graph.labels());
    },
    close: () => {
      closed = true;
      [pending, inGraph] = [0, 0];
      places.clear();
      if (!saving.isRunning()) graph.free();
    },
  };
}

/** Links elements that wait, for `ms`, one at least; returns how many were not removed since. */
function linkFor(graph: Graph, pending: number, ms: number): number {
  const end = performance.now() + ms;
  let moved = 0;
  while (moved < pending && (moved === 0 || performance.now() < end)) {
    const removed = graph.isRemoved(graph.linked);
    graph.link();
    if (!removed) moved += 1;
  }
  return moved;
}

/** The nearest in the graph, and of what waits for it. */
function searchIn(
  graph: Graph,
  places: Places,
  { metric, inGraph }: { metric: Metric; inGraph: number },
  given: Float32Array,
  { k, ef, allowed }: ShardQuery,
): ShardHits {
  const query = metric === "cosine" ? given.slice() : given;
  if (metric === "cosine") normalise(query, query.length);
  graph.begin(query, k, allowed);
  const exact =
    inGraph === 0 || nearestIn({ graph, inGraph, allowed, eachAllowed: places.eachAllowed(graph) }, { k, ef });
  graph.scan(graph.linked, graph.count);
  return { ...graph.finish(), exact };
}

/** Saves of a graph, one at a time. Elements that are removed meanwhile stay in it until the file is written. */
function openSaving(graph: Graph, onEnd: () => void) {
  let running = false;
  let late: number[] = [];
  return {
    isRunning: () => running,
    remove: (element: number): void => {
      graph.remove(element, running);
      if (running) late.push(element);
    },
    /** Throws `conflict` during another save. */
    run: async (path: string, isEmpty: boolean): Promise<void> => {
      if (running) throw busySaving();
      running = true;
      try {
        if (isEmpty) await writeFile(path, "");
        else await graph.save(path);
      } finally {
        running = false;
        for (const element of late) graph.remove(element, false);
        late = [];
        onEnd();
      }
    },
  };
}

function busySaving(): LakeError {
  return new LakeError("conflict", "The graph is being saved.", { hint: "Save again when that is done." });
}

function notInGraph(pending: number): LakeError {
  return new LakeError("conflict", `${pending} vectors are not in the graph yet.`, { hint: "Wait, then save again." });
}
