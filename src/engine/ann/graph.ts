import type { Metric } from "../catalog/types.ts";
import { hasCode, LakeError } from "../kernel/errors.ts";
import type { Hits } from "./distances.ts";
import { loadImage, saveImage } from "./graph-image.ts";
import { type Exports, type GraphOptions, instantiate, KINDS, letGo, newMemory, noMemory } from "./graph-wasm.ts";
import type { FilePart } from "./snapshot.ts";

/**
 * Vectors, and an HNSW graph of those that were linked (https://arxiv.org/abs/1603.09320), in WebAssembly: `assembly/`
 * has its source. Labels are unsigned 32-bit integers. An element's number counts from 0 in the order of `append`.
 * Distances are as hits report them; under cosine all vectors have to be of length 1. Throws `limit` when the 4 GiB of
 * its memory are full.
 */
export interface Graph {
  /** Elements, removed ones included; those before `linked` are in the graph. */
  readonly count: number;
  readonly linked: number;
  /** Of the vectors and links. */
  readonly bytes: number;
  /** Adds a vector, which searches compare with. Returns its number. */
  append(label: number, vector: Float32Array): number;
  /** Puts the next element into the graph. */
  link(): void;
  /** Hides an element; it stays. `late`: what is being saved still has it. */
  remove(element: number, late: boolean): void;
  isRemoved(element: number): boolean;
  /** Under cosine rounded to 2^-24 of its largest coordinate. */
  vector(element: number): Float32Array;
  /** Begins a search, which `finish` ends. */
  begin(query: Float32Array, k: number, allowed?: Uint8Array): void;
  /** Walks the graph with `ef` candidates, until it has looked at, or gone on from, so many elements and one more. */
  walk(ef: number, looked: number, expanded?: number): Walked;
  /** Compares with the elements of a range that are allowed. From 0 on, what a walk has found is forgotten. */
  scan(from: number, to: number): void;
  /** Compares with these elements alone; what a walk has found is forgotten. */
  compare(elements: Uint32Array): void;
  /** The nearest, nearest first. */
  finish(): Hits;
  /** Labels by element; undefined for removed ones. */
  labels(): (number | undefined)[];
  /** Writes everything but what is appended and removed late meanwhile. Not while linking. */
  save(path: string): Promise<void>;
  /**
   * Fills an empty graph. Throws `corrupt` for what is no graph of this kind, is not all of it, or was changed since, and
   * `unavailable` when it cannot be read.
   */
  load(saved: FilePart): Promise<void>;
  /** Gives the memory back. */
  free(): void;
}

export interface Walked {
  /** Candidates it came back with, at most `ef`; -1 when distances are too alike for what it goes by: nothing is found. */
  found: number;
  /** Elements it looked at, and those from which it went on to their neighbours. */
  looked: number;
  expanded: number;
}

const walked = (wasm: Exports, found: number): Walked => ({
  found,
  looked: wasm.lookedAt(),
  expanded: wasm.expandedBy(),
});
const NO_LIMIT = 2 ** 31 - 1;
const atMost = (elements: number): number => Math.min(Math.ceil(elements), NO_LIMIT);

/** An empty graph. Its memory is taken when it is first used. */
export function openGraph(options: GraphOptions): Graph {
  const { dimension, metric, m, efConstruction, seed } = options;
  let opened: Exports | undefined;
  const use = (): Exports => {
    if (opened) return opened;
    const wasm = instantiate(newMemory());
    if (!wasm.open(dimension, KINDS.indexOf(metric), m, efConstruction, seed)) throw noMemory();
    opened = wasm;
    return wasm;
  };
  const floats = (wasm: Exports): Float32Array =>
    new Float32Array(wasm.memory.buffer, wasm.vectorAt() >>> 0, dimension);
  /** Room behind the image that lasts until the search ends: for a mask, then for numbers. */
  const room = (wasm: Exports, bytes: number): number => {
    const at = wasm.scratch(bytes) >>> 0;
    if (at === 0) throw noMemory();
    return at;
  };
  let mask: Uint8Array | undefined;
  let maskAt = 0;
  let bits = 0;

  return {
    get count() {
      return (opened?.count() ?? 0) >>> 0;
    },
    get linked() {
      return (opened?.linked() ?? 0) >>> 0;
    },
    get bytes() {
      return (opened?.imageBytes() ?? 0) >>> 0;
    },
    append: (label, vector) => {
      const wasm = use();
      floats(wasm).set(vector);
      const element = wasm.append(label);
      if (element < 0) throw noMemory();
      return element;
    },
    link: () => {
      if (!use().linkNext()) throw noMemory();
    },
    remove: (element, late) => use().remove(element, late ? 1 : 0),
    isRemoved: (element) => use().isRemoved(element) !== 0,
    vector: (element) => {
      const wasm = use();
      wasm.read(element);
      return floats(wasm).slice();
    },
    begin: (query, k, allowed) => {
      const wasm = use();
      mask = allowed;
      bits = (allowed?.length ?? 0) * 8;
      // An empty mask allows nothing, and needs an address.
      maskAt = allowed ? room(wasm, allowed.length + 1) : 0;
      if (allowed) new Uint8Array(wasm.memory.buffer, maskAt, allowed.length).set(allowed);
      floats(wasm).set(query);
      wasm.begin(k);
    },
    walk: (ef, looked, expanded = NO_LIMIT) => {
      const wasm = use();
      return walked(wasm, wasm.walkGraph(ef, maskAt, bits, atMost(looked), atMost(expanded)));
    },
    scan: (from, to) => use().scan(from, to, maskAt, bits),
    compare: (elements) => {
      const wasm = use();
      // Behind the mask, which is needed for what comes after.
      const offset = Math.ceil(((mask?.length ?? 0) + 1) / 4) * 4;
      const at = room(wasm, offset + elements.byteLength) + offset;
      new Uint32Array(wasm.memory.buffer, at, elements.length).set(elements);
      wasm.scanIds(at, elements.length);
    },
    finish: () => hitsOf(use(), metric),
    labels: () => {
      const wasm = use();
      const labelOf = (element: number) => (wasm.isRemoved(element) ? undefined : wasm.labelOf(element) >>> 0);
      return Array.from({ length: wasm.count() >>> 0 }, (_, element) => labelOf(element));
    },
    save: (path) => saveImage(use(), options, path),
    load: async (saved) => {
      try {
        await loadImage(use(), options, saved);
      } catch (error) {
        if (opened) letGo(opened.memory);
        opened = undefined;
        if (error instanceof LakeError) throw error;
        const kind = hasCode(error, "ENOENT") ? "corrupt" : "unavailable";
        throw new LakeError(kind, "A saved graph cannot be read.", { cause: error });
      }
    },
    free: () => {
      if (opened) letGo(opened.memory);
      opened = undefined;
    },
  };
}

function hitsOf(wasm: Exports, metric: Metric): Hits {
  const count = wasm.finish();
  const at = wasm.hitsAt() >>> 0;
  const pairs = new DataView(wasm.memory.buffer, at, count * 8);
  const slots = new Uint32Array(count);
  const distances = new Float32Array(count);
  for (let hit = 0; hit < count; hit++) {
    const value = pairs.getFloat32(hit * 8, true);
    slots[hit] = pairs.getUint32(hit * 8 + 4, true);
    // As DuckDB does: rounding must not make a distance negative.
    distances[hit] =
      metric === "ip" ? value : metric === "l2" ? Math.sqrt(value) : 1 + Math.min(1, Math.max(-1, value));
  }
  return { slots, distances };
}
