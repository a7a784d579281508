import { Worker } from "node:worker_threads";
import { script } from "./context.ts";

/** Vectors to measure with, and what is true about them, both made in a worker: this thread's event loop is measured. */

export const DIMENSION = 768;
export const K = 10;

export interface VectorData {
  count: number;
  /** `count` × `DIMENSION`, each of length 1. */
  vectors: Float32Array;
  /** As plain arrays, as callers have them. */
  queries: number[][];
  /** Which of the clusters each vector is from. */
  clusters: Uint8Array;
}

export interface Filter {
  name: string;
  /** For the engine. */
  where: string;
  /** The same for the bare library. */
  allows: (n: number, cluster: number) => boolean;
}

const ROLES = 10;

const share = (name: string, perMille: number): Filter => ({
  name,
  where: `CAST(metadata->>'n' AS INT) % 1000 < ${perMille}`,
  allows: (n) => n % 1000 < perMille,
});

/** The last ones let whole clusters through and others not: many queries are far from everything that may be a hit. */
export const FILTERS: readonly Filter[] = [
  share("0.1 %", 1),
  share("1 %", 10),
  share("10 %", 100),
  share("50 %", 500),
  share("90 %", 900),
  {
    name: "10 %, whole clusters",
    where: `(metadata->>'role') = '${roleOf(3)}'`,
    allows: (_, cluster) => cluster % ROLES === 3,
  },
  {
    name: "50 %, whole clusters",
    where: `(metadata->>'role') IN (${[1, 3, 5, 7, 9].map((role) => `'${roleOf(role)}'`).join(", ")})`,
    allows: (_, cluster) => cluster % 2 === 1,
  },
];

export function roleOf(cluster: number): string {
  return `role ${cluster % ROLES}`;
}

/** What the worker is asked. Vectors are shared, not copied. */
export type DataTask =
  | { op: "generate"; count: number; queries: number; dimension: number }
  | {
      op: "nearest";
      vectors: Float32Array;
      queries: Float32Array;
      dimension: number;
      k: number;
      /** A bit of each vector's byte for each list of nearest ones. */
      masks: Uint8Array;
      lists: number;
    };

export interface Generated {
  vectors: Float32Array;
  queries: Float32Array;
  clusters: Uint8Array;
}

/** Clustered vectors, the same in every run, and queries like them. */
export async function generateVectors(count: number, queries: number): Promise<VectorData> {
  const made = await inWorker<Generated>({ op: "generate", count, queries, dimension: DIMENSION });
  const plain = Array.from({ length: queries }, (_, at) => [...rowOf(made.queries, at)]);
  return { count, vectors: made.vectors, clusters: made.clusters, queries: plain };
}

export function rowOf(vectors: Float32Array, at: number): Float32Array {
  return vectors.subarray(at * DIMENSION, (at + 1) * DIMENSION);
}

/** The `K` nearest by comparing with all: of all vectors, and of those each filter lets through. */
export interface Truth {
  all: number[][];
  filtered: Map<Filter, number[][]>;
}

/** For the first `count` queries. */
export async function nearestOf(data: VectorData, count: number): Promise<Truth> {
  const masks = new Uint8Array(data.count).fill(1);
  for (const [bit, { allows }] of FILTERS.entries()) {
    for (let n = 0; n < data.count; n++) {
      if (allows(n, data.clusters[n] ?? 0)) masks[n] = (masks[n] ?? 0) | (2 << bit);
    }
  }
  const queries = Float32Array.from(data.queries.slice(0, count).flat());
  const lists = FILTERS.length + 1;
  const { vectors } = data;
  const found = await inWorker<number[][]>({
    op: "nearest",
    vectors,
    queries,
    dimension: DIMENSION,
    k: K,
    masks,
    lists,
  });
  const list = (at: number): number[][] => Array.from({ length: count }, (_, query) => found[query * lists + at] ?? []);
  return { all: list(0), filtered: new Map(FILTERS.map((filter, at) => [filter, list(at + 1)])) };
}

/** How many of a thousand that should have been found were. */
export function recallOf(truth: number[][], found: number[][]): number {
  let [hits, all] = [0, 0];
  for (const [at, should] of truth.entries()) {
    const is = new Set(found[at]);
    hits += should.filter((n) => is.has(n)).length;
    all += should.length;
  }
  return (1000 * hits) / all;
}

function inWorker<Result>(task: DataTask): Promise<Result> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(script("vector-data-worker"), { workerData: task });
    worker.once("message", resolve);
    worker.once("error", reject);
    worker.once("exit", () => reject(new Error(`The worker that should ${task.op} ended`)));
  });
}
