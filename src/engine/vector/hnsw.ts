import { open, stat } from "node:fs/promises";
import { createRequire } from "node:module";
import type { HierarchicalNSW } from "hnswlib-node";
import { LakeError } from "../errors.ts";

/** What we use of hnswlib-node; this file is its only owner. */
export interface Hnsw {
  openGraph(options: GraphOptions): Graph;
}

export interface GraphOptions {
  /** `ip` is 1 - dot, `l2` the squared distance. */
  space: "ip" | "l2";
  dimension: number;
  m: number;
  efConstruction: number;
  seed: number;
}

/** One HNSW graph. Labels are unsigned 32-bit integers; distances are hnswlib's own. */
export interface Graph {
  /** Elements, removed ones included. */
  readonly count: number;
  /** Adds a label that was never used. Makes room by doubling. */
  add(label: number, vector: Float32Array): void;
  /** Hides a label that is there from searches; its element stays. */
  remove(label: number): void;
  /** Nearest first. `k` is at most `count`. */
  search(query: Float32Array, k: number, ef: number, filter?: (label: number) => boolean): GraphHits;
  /** A copy, at 60 ns an element: much slower than a distance inside the graph. The label is there. */
  vector(label: number): Float32Array;
  /** Labels that are not removed. */
  labels(): number[];
  /** Writes the graph from another thread; searches may go on, but nothing else. */
  save(path: string): Promise<void>;
  /**
   * Replaces the graph, reading in another thread. Throws `corrupt` for a file that is not one of a graph like this; its
   * links are trusted, so check its checksum first.
   */
  load(path: string): Promise<void>;
  /** Gives the memory back at once: garbage collection cannot see it. Not while saving. */
  free(): void;
}

export interface GraphHits {
  labels: number[];
  distances: number[];
}

interface Loaded {
  hnsw?: Hnsw;
  /** Why there is none. */
  reason?: string;
}

const FIRST_CAPACITY = 1_024;
/** Of hnswlib's file: thirteen fields, then the elements. Little-endian on every machine Node runs on but IBM's. */
const HEADER_BYTES = 96;
let loaded: Loaded | undefined;

/** hnswlib-node when it is installed and its binary loads, else the reason why not. */
export function loadHnsw(): Loaded {
  loaded ??= requireHnsw();
  return loaded;
}

function requireHnsw(): Loaded {
  try {
    const library = createRequire(import.meta.url)("hnswlib-node") as typeof import("hnswlib-node");
    return { hnsw: { openGraph: (options) => openGraph(library.HierarchicalNSW, options) } };
  } catch (error) {
    const missing = error instanceof Error && (error as NodeJS.ErrnoException).code === "MODULE_NOT_FOUND";
    return {
      reason: missing ? "hnswlib-node is not installed." : `hnswlib-node cannot be loaded: ${firstLine(error)}`,
    };
  }
}

function firstLine(error: unknown): string {
  return String(error instanceof Error ? error.message : error).split("\n", 1)[0] ?? "";
}

function openGraph(Library: typeof HierarchicalNSW, options: GraphOptions): Graph {
  const { space, dimension, m, efConstruction, seed } = options;
  let index = new Library(space, dimension);
  // Memory is touched when it is used, so room for more costs next to nothing.
  const init = (capacity: number): void => index.initIndex(capacity, m, efConstruction, seed);
  init(FIRST_CAPACITY);
  // The library takes plain arrays. Filling one that is there is ten times as fast as making one.
  const scratch = new Array<number>(dimension).fill(0.5);
  const plain = (vector: Float32Array): number[] => {
    for (let at = 0; at < dimension; at += 1) scratch[at] = vector[at] as number;
    return scratch;
  };

  return {
    get count() {
      return index.getCurrentCount();
    },
    add: (label, vector) => {
      const capacity = index.getMaxElements();
      if (index.getCurrentCount() >= capacity) index.resizeIndex(capacity * 2);
      index.addPoint(plain(vector), label);
    },
    remove: (label) => index.markDelete(label),
    search: (query, k, ef, filter) => {
      index.setEf(ef);
      const { neighbors, distances } = index.searchKnn(plain(query), k, filter);
      return { labels: neighbors, distances };
    },
    vector: (label) => Float32Array.from(index.getPoint(label)),
    labels: () => index.getIdsList().filter((label) => isThere(index, label)),
    save: async (path) => {
      await index.writeIndex(path);
      // The library does not notice when a disk is full.
      const least = HEADER_BYTES + index.getCurrentCount() * (dimension * 4 + 8 * m + 16);
      const { size } = await stat(path);
      if (size < least) throw new LakeError("unavailable", `A graph of ${least} bytes was not saved: ${size} were.`);
    },
    load: async (path) => {
      await checkFile(path, options);
      // A failed read into an index that has memory frees that memory twice.
      const fresh = new Library(space, dimension);
      try {
        await fresh.readIndex(path);
      } catch (cause) {
        throw new LakeError("corrupt", `A saved graph cannot be read: ${firstLine(cause)}.`, { cause });
      }
      init(1);
      index = fresh;
    },
    free: () => init(1),
  };
}

/** The library reads whatever the file says, past the end of its own memory. */
async function checkFile(path: string, { dimension, m }: GraphOptions): Promise<void> {
  const file = await open(path);
  try {
    const { size } = await file.stat();
    const header = Buffer.alloc(HEADER_BYTES);
    const { bytesRead } = await file.read(header, 0, HEADER_BYTES, 0);
    const field = (at: number): number => Number(header.readBigUInt64LE(at));
    const links = (2 * m + 1) * 4;
    const [capacity, count] = [field(8), field(16)];
    const sound =
      bytesRead === HEADER_BYTES &&
      field(0) === 0 &&
      field(24) === links + dimension * 4 + 8 &&
      field(32) === links + dimension * 4 &&
      field(40) === links &&
      header.readUInt32LE(52) < count &&
      field(56) === m &&
      field(64) === 2 * m &&
      field(72) === m &&
      count <= capacity &&
      capacity <= Math.max(FIRST_CAPACITY, 2 * count) &&
      size >= HEADER_BYTES + count * (field(24) + 4);
    if (!sound) {
      throw new LakeError("corrupt", `A saved graph is not one of ${dimension} dimensions, or is damaged.`, {
        hint: "Build it again.",
      });
    }
  } finally {
    await file.close();
  }
}

/** The library has no question for it; marking what is marked already is what it refuses. */
function isThere(index: HierarchicalNSW, label: number): boolean {
  try {
    index.markDelete(label);
  } catch {
    return false;
  }
  index.unmarkDelete(label);
  return true;
}
