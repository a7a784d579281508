import { readFile } from "node:fs/promises";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { openShardPool, type ShardedIndex } from "../../../src/engine/ann/shards.ts";
import { openScope, type Scope } from "../../../src/engine/kernel/scope.ts";
import { distance, openRandom } from "../../support/vectors.ts";

const DIMENSION = 16;
const COUNT = 4_000;
const ASK = { k: 10, ef: 64 };
let scope: Scope;

beforeEach(() => {
  scope = openScope();
});
afterEach(() => scope.close());

const random = openRandom(7);
const vector = (): Float32Array => Float32Array.from({ length: DIMENSION }, () => random() - 0.5);
const flat = (vectors: readonly Float32Array[]): Float32Array => {
  const all = new Float32Array(vectors.length * DIMENSION);
  for (const [at, each] of vectors.entries()) all.set(each, at * DIMENSION);
  return all;
};
/** An index with its vectors in the graphs. */
async function filled(vectors: readonly Float32Array[]): Promise<ShardedIndex> {
  const index = openShardPool(scope, { threads: 2, hnsw: true }).openIndex({
    dimension: DIMENSION,
    metric: "cosine",
    shards: 2,
  });
  await index.add(
    Uint32Array.from(vectors, (_, slot) => slot),
    flat(vectors),
  );
  await index.settled();
  return index;
}

const vectors = Array.from({ length: COUNT }, () => vector());

test("a search sees no change that is asked for after it, and every change asked for before", async () => {
  const index = await filled(vectors);
  const query = vector();
  const before = index.search(query, { ...ASK, k: 1 });
  const added = index.add(Uint32Array.of(COUNT), query.slice());
  const [then, now] = await Promise.all([before, added.then(() => index.search(query, { ...ASK, k: 1 }))]);
  expect(then.slots[0]).not.toBe(COUNT);
  expect(now.slots[0]).toBe(COUNT);
  const still = index.search(query, { ...ASK, k: 1 });
  const removed = index.remove(Uint32Array.of(COUNT));
  expect((await still).slots[0]).toBe(COUNT);
  await removed;
  expect((await index.search(query, { ...ASK, k: 1 })).slots).toEqual(then.slots);
});

test.each([1, 2, 3, 4])("among any changes, searches find what was there when they were asked (%d)", async (seed) => {
  const index = await filled(vectors.slice(0, 300));
  const dice = openRandom(seed);
  const live = new Map(vectors.slice(0, 300).map((each, slot) => [slot, each]));
  let next = 300;
  const checks: Promise<void>[] = [];
  for (let step = 0; step < 400; step++) {
    const choice = dice();
    if (choice < 0.15) {
      const made = Array.from({ length: 1 + Math.floor(dice() * 5) }, () => vector());
      const slots = Uint32Array.from(made, (_, at) => next + at);
      const removed = Uint32Array.from([...live.keys()].filter(() => dice() < 0.01));
      await new Promise<void>((published) => {
        index.change([{ slots, vectors: flat(made) }], removed, published).catch(published);
      });
      for (const slot of removed) live.delete(slot);
      for (const [at, each] of made.entries()) live.set(next + at, each);
      next += made.length;
    } else if (choice < 0.9) {
      const query = vector();
      const best = [...live].map(([slot, each]) => ({ slot, distance: distance("cosine", query, each) }));
      const expected = best.sort((a, b) => a.distance - b.distance).slice(0, 5);
      checks.push(
        index.search(query, { k: 5, ef: 64 }).then(({ slots }) => {
          expect([...slots]).toEqual(expected.map(({ slot }) => slot));
        }),
      );
    } else await new Promise(setImmediate);
    if (dice() < 0.05) await Promise.all(checks);
  }
  await Promise.all(checks);
});

test("what is closed is given back, also many small ones", { tags: ["slow"] }, async () => {
  const pool = openShardPool(scope, { threads: 2, hnsw: true });
  const all = flat(vectors.slice(0, 200));
  const addresses = async (): Promise<number> =>
    Number(/VmSize:\s+(\d+)/.exec(await readFile("/proc/self/status", "utf8"))?.[1]);
  const before = await addresses();
  let most = 0;
  for (let round = 0; round < 300; round++) {
    const index = pool.openIndex({ dimension: DIMENSION, metric: "cosine", shards: 2 });
    await index.add(
      Uint32Array.from({ length: 200 }, (_, slot) => slot),
      all.slice(),
    );
    await index.settled();
    for (let turn = 0; turn < 3; turn++) await index.search(vector(), ASK);
    await index.close();
    most = Math.max(most, await addresses());
  }
  // Kept, each would have 20 GB. How many are at a time depends on who else wants the processor.
  expect(most - before).toBeLessThan(3_000e6);
  // All go, some time after the last.
  await vi.waitFor(async () => expect((await addresses()) - before).toBeLessThan(200e6), { timeout: 30_000 });
});

test("an index that was emptied finds nothing, and then what comes", async () => {
  const index = await filled(vectors.slice(0, 50));
  await index.remove(Uint32Array.from({ length: 50 }, (_, slot) => slot));
  await vi.waitFor(async () => expect(await index.stats()).toMatchObject({ deleted: 0 }));
  expect(await index.search(vector(), ASK)).toMatchObject({ slots: new Uint32Array(0), exact: true });
  await index.add(Uint32Array.of(50), vectors[50]?.slice() ?? new Float32Array(0));
  await index.settled();
  for (let round = 0; round < 5; round++) {
    expect((await index.search(vector(), ASK)).slots).toEqual(Uint32Array.of(50));
    await new Promise(setImmediate);
  }
});
