import { writeFile } from "node:fs/promises";
import type { Metric } from "../catalog/types.ts";
import { LakeError } from "../kernel/errors.ts";
import { type Hits, normalise } from "./distances.ts";
import { type Graph, openGraph } from "./graph.ts";
import { nearestIn, type ShardHits } from "./graph-search.ts";
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

/** Where a slot's vector is: from `FIRST` on, an element of the graph. */
const [NEVER, REMOVED, FIRST] = [0, 1, 2];
const NOTHING: Hits = { slots: new Uint32Array(0), distances: new Float32Array(0) };

/** An empty shard. */
export function openShard(options: ShardOptions): Shard {
  const { dimension, metric, hnsw, m = 16, efConstruction = 200, seed = 100 } = options;
  const graph: Graph = openGraph({ dimension, metric, m, efConstruction, seed });
  let places = new Uint32Array(1_024);
  let pending = 0;
  let inGraph = 0;
  let saving = false;
  /** Elements removed while the graph is being saved. */
  let late: number[] = [];
  let closed = false;
  let failed: unknown;

  const isIn = (element: number): boolean => element < graph.linked;
  const live = (): number => inGraph + pending;

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
    if (metric === "cosine") normalise(vectors, dimension);
    slots.forEach((slot, at) => {
      places[slot] = FIRST + graph.append(slot, vectors.subarray(at * dimension, (at + 1) * dimension));
      pending += 1;
    });
  };

  const remove = (slots: Uint32Array): void => {
    for (const slot of slots) {
      const place = places[slot] ?? NEVER;
      if (place < FIRST) continue;
      const element = place - FIRST;
      places[slot] = REMOVED;
      if (isIn(element)) inGraph -= 1;
      else pending -= 1;
      graph.remove(element, saving);
      if (saving) late.push(element);
    }
    release();
  };

  /** Lets go of memory without a vector that is needed. */
  const release = (): void => {
    if (live() === 0 && !saving && graph.count > 0) graph.free();
  };

  const canStep = (): boolean => hnsw && pending > 0 && !saving && failed === undefined;

  const step = (ms: number): boolean => {
    if (!canStep()) return false;
    const end = performance.now() + ms;
    for (let moved = 0; pending > 0 && (moved === 0 || performance.now() < end); ) {
      const removed = graph.isRemoved(graph.linked);
      graph.link();
      if (removed) continue;
      moved += 1;
      pending -= 1;
      inGraph += 1;
    }
    return canStep();
  };

  const vector = (slot: number): Float32Array | undefined => {
    const place = places[slot] ?? NEVER;
    return place < FIRST ? undefined : graph.vector(place - FIRST);
  };

  /** Calls `visit` with every element in the graph that may be a hit. */
  const eachAllowed = (allowed: Uint8Array, visit: (element: number) => void): void => {
    const { linked } = graph;
    const end = Math.min(places.length, allowed.length * 8);
    for (let slot = 0; slot < end; slot += 1) {
      // Most filters let little through: whole bytes at a time.
      if ((slot & 7) === 0 && allowed[slot >>> 3] === 0) slot += 7;
      else {
        const place = places[slot] as number;
        if (place >= FIRST && place - FIRST < linked && isAllowed(allowed, slot)) visit(place - FIRST);
      }
    }
  };

  const search = (given: Float32Array, { k, ef, allowed }: ShardQuery): ShardHits => {
    if (live() === 0) return { ...NOTHING, exact: true };
    const query = metric === "cosine" ? given.slice() : given;
    if (metric === "cosine") normalise(query, dimension);
    graph.begin(query, k, allowed);
    const exact = inGraph === 0 || nearestIn({ graph, inGraph, allowed, eachAllowed }, { k, ef });
    graph.scan(graph.linked, graph.count);
    return { ...graph.finish(), exact };
  };

  const save = async (path: string): Promise<void> => {
    if (!hnsw) throw new LakeError("internal", "There is no graph to save.");
    if (failed !== undefined) throw failed;
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
      for (const element of late) graph.remove(element, false);
      late = [];
      if (closed) graph.free();
      else release();
    }
  };

  const load = async (saved: FilePart): Promise<void> => {
    if (graph.count > 0) throw new LakeError("internal", "Only an empty shard can load.");
    if (saved.bytes === 0) return;
    await graph.load(saved);
    if (closed) {
      graph.free();
      return;
    }
    const labels = graph.labels();
    const highest = labels.reduce<number>((most, label) => Math.max(most, label ?? 0), 0);
    places = new Uint32Array(2 ** Math.ceil(Math.log2(highest + 2)));
    labels.forEach((label, element) => {
      if (label === undefined) return;
      places[label] = FIRST + element;
      inGraph += 1;
    });
  };

  const stats = (): ShardStats => ({
    graph: inGraph,
    pending,
    deleted: graph.count - live(),
    bytes: graph.bytes + places.byteLength,
  });

  return {
    add,
    remove,
    step,
    giveUp: (error) => {
      failed = error;
    },
    search,
    vector,
    stats,
    get settled() {
      return pending === 0 || !hnsw || failed !== undefined;
    },
    get canStep() {
      return canStep();
    },
    save,
    load,
    close: () => {
      closed = true;
      [pending, inGraph] = [0, 0];
      places = new Uint32Array(0);
      if (!saving) graph.free();
    },
  };
}

function isAllowed(allowed: Uint8Array, slot: number): boolean {
  return ((allowed[slot >>> 3] ?? 0) & (1 << (slot & 7))) !== 0;
}
