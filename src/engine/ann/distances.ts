import type { Metric } from "../catalog/types.ts";

/** Nearest first; the two are of the same length. */
export interface Hits {
  slots: Uint32Array;
  distances: Float32Array;
}

/** Grows with likeness: cosine the cosine, ip the inner product, l2 1 / (1 + distance). */
export function scoreOf(metric: Metric, value: number): number {
  if (metric === "cosine") return 1 - value;
  return metric === "ip" ? -value : 1 / (1 + value);
}

/** Makes every vector of `vectors`, which lie back to back, one of length 1, in place. Zeros stay zeros. */
export function normalise(vectors: Float32Array, dimension: number): void {
  for (let start = 0; start < vectors.length; start += dimension) {
    const end = start + dimension;
    let sum = 0;
    for (let at = start; at < end; at += 1) sum += (vectors[at] as number) ** 2;
    if (sum === 0) continue;
    const factor = 1 / Math.sqrt(sum);
    for (let at = start; at < end; at += 1) vectors[at] = (vectors[at] as number) * factor;
  }
}

/** The `k` nearest of several lists of different slots, nearest first. */
export function mergeHits(lists: readonly Hits[], k: number): Hits {
  const [only] = lists;
  if (lists.length === 1 && only && only.slots.length <= k) return only;
  const total = lists.reduce((sum, { slots }) => sum + slots.length, 0);
  const merged = { slots: new Uint32Array(Math.min(k, total)), distances: new Float32Array(Math.min(k, total)) };
  const at = lists.map(() => 0);
  for (let to = 0; to < merged.slots.length; to += 1) {
    let from = -1;
    let nearest = 0;
    let slot = 0;
    for (let list = 0; list < lists.length; list += 1) {
      const next = at[list] as number;
      const candidate = lists[list] as Hits;
      if (next >= candidate.slots.length) continue;
      const value = candidate.distances[next] as number;
      if (from >= 0 && (value > nearest || (value === nearest && (candidate.slots[next] as number) > slot))) continue;
      [from, nearest, slot] = [list, value, candidate.slots[next] as number];
    }
    merged.slots[to] = slot;
    merged.distances[to] = nearest;
    at[from] = (at[from] as number) + 1;
  }
  return merged;
}
