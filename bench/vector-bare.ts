import { createRequire } from "node:module";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { ROOT } from "../demo/server.ts";
import { DIMENSION, K, rowOf, type VectorData } from "./vector-data.ts";

/** hnswlib-node as its manual has it, in this process and thread: what the engine's index is measured against. */
export interface BareIndex {
  /** Time in the library alone. */
  buildMs: number;
  search(query: number[], filter?: (label: number) => boolean): number[];
}

interface Library {
  HierarchicalNSW: new (
    space: "ip",
    dimension: number,
  ) => {
    initIndex(maxElements: number, m: number, efConstruction: number): void;
    addPoint(vector: number[], label: number): void;
    setEf(ef: number): void;
    searchKnn(query: number[], k: number, filter?: (label: number) => boolean): { neighbors: number[] };
  };
}

/** As the engine's defaults are. */
const M = 16;
const EF_CONSTRUCTION = 200;
const EF = 64;
const AT_ONCE = 500;

/** It compiles when it is installed, so it has a package of its own, and may be missing. */
function loadLibrary(): Library {
  try {
    return createRequire(join(ROOT, "bench", "package.json"))("hnswlib-node") as Library;
  } catch (cause) {
    const message =
      "hnswlib-node is not installed: it needs a C++ compiler and Python. Without them use --only with others.";
    throw new Error(message, { cause });
  }
}

export async function buildBare({ vectors, count }: VectorData): Promise<BareIndex> {
  const { HierarchicalNSW } = loadLibrary();
  // Of vectors of length 1 the inner product is the cosine, and cheaper.
  const index = new HierarchicalNSW("ip", DIMENSION);
  index.initIndex(count, M, EF_CONSTRUCTION);
  let buildMs = 0;
  for (let from = 0; from < count; from += AT_ONCE) {
    const rows: number[][] = [];
    for (let at = from; at < Math.min(count, from + AT_ONCE); at++) rows.push([...rowOf(vectors, at)]);
    const started = performance.now();
    for (const [at, row] of rows.entries()) index.addPoint(row, from + at);
    buildMs += performance.now() - started;
    await setImmediate();
  }
  const { efFor } = await import(pathToFileURL(join(ROOT, ".build", "src", "engine", "index", "search.js")).href);
  index.setEf(efFor(count, EF));
  return { buildMs, search: (query, filter) => index.searchKnn(query, K, filter).neighbors };
}
