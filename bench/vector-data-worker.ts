import { parentPort, workerData } from "node:worker_threads";
import type { DataTask, Generated } from "./vector-data.ts";

const CENTRES = 200;
const SIGMA = 0.8;
/** Rows compared with all queries while they are in the cache. */
const TILE = 128;

const task = workerData as DataTask;
parentPort?.postMessage(task.op === "generate" ? generate(task) : nearest(task));

/** Points around centres whose coordinates have a variance of 1, brought to length 1. */
function generate({ count, queries, dimension }: Extract<DataTask, { op: "generate" }>): Generated {
  const { uniform, gaussian } = openRandom(7);
  const centres = Float32Array.from({ length: CENTRES * dimension }, gaussian);
  const clusters = new Uint8Array(count);
  const vectors = new Float32Array(new SharedArrayBuffer(count * dimension * 4));
  const points = new Float32Array(queries * dimension);
  const fill = (into: Float32Array, at: number): number => {
    const cluster = Math.floor(uniform() * CENTRES);
    const start = at * dimension;
    let square = 0;
    for (let i = 0; i < dimension; i++) {
      const value = (centres[cluster * dimension + i] ?? 0) + SIGMA * gaussian();
      into[start + i] = value;
      square += value * value;
    }
    const scale = 1 / Math.sqrt(square);
    for (let i = 0; i < dimension; i++) into[start + i] = (into[start + i] ?? 0) * scale;
    return cluster;
  };
  for (let at = 0; at < queries; at++) fill(points, at);
  for (let at = 0; at < count; at++) clusters[at] = fill(vectors, at);
  return { vectors, queries: points, clusters };
}

/** xorshift32, and Box and Muller's pairs. */
function openRandom(seed: number): { uniform: () => number; gaussian: () => number } {
  let state = seed;
  let spare = Number.NaN;
  const uniform = (): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
  const gaussian = (): number => {
    if (!Number.isNaN(spare)) {
      const value = spare;
      spare = Number.NaN;
      return value;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
    const angle = 2 * Math.PI * uniform();
    spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  };
  return { uniform, gaussian };
}

/** By the inner product, nearest first: `lists` lists of indexes for each query. */
function nearest({ vectors, queries, dimension, k, masks, lists }: Extract<DataTask, { op: "nearest" }>): number[][] {
  const count = masks.length;
  const asked = queries.length / dimension;
  const found = Array.from({ length: asked * lists }, () => ({ at: [] as number[], products: [] as number[] }));
  for (let from = 0; from < count; from += TILE) {
    const to = Math.min(count, from + TILE);
    for (let query = 0; query < asked; query++) {
      for (let row = from; row < to; row++) {
        const product = dot(queries, query * dimension, vectors, row * dimension, dimension);
        for (let list = 0; list < lists; list++) {
          const best = found[query * lists + list];
          if (best && (((masks[row] ?? 0) >> list) & 1) === 1) offer(best, row, product, k);
        }
      }
    }
  }
  return found.map(({ at }) => at);
}

function offer(best: { at: number[]; products: number[] }, row: number, product: number, k: number): void {
  const { at, products } = best;
  if (at.length === k && product <= (products[k - 1] ?? 0)) return;
  let place = at.length;
  while (place > 0 && (products[place - 1] ?? 0) < product) place--;
  at.splice(place, 0, row);
  products.splice(place, 0, product);
  if (at.length > k) {
    at.pop();
    products.pop();
  }
}

function dot(a: Float32Array, aAt: number, b: Float32Array, bAt: number, length: number): number {
  let [w, x, y, z] = [0, 0, 0, 0];
  for (let i = 0; i < length; i += 4) {
    w += (a[aAt + i] as number) * (b[bAt + i] as number);
    x += (a[aAt + i + 1] as number) * (b[bAt + i + 1] as number);
    y += (a[aAt + i + 2] as number) * (b[bAt + i + 2] as number);
    z += (a[aAt + i + 3] as number) * (b[bAt + i + 3] as number);
  }
  return w + x + y + z;
}
