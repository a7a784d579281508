import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Worker } from "node:worker_threads";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { ShardHits } from "../../../src/engine/ann/graph-search.ts";
import { openShardPool, type ShardedIndex, type ShardPool } from "../../../src/engine/ann/shards.ts";
import { openScope, type Scope } from "../../../src/engine/kernel/scope.ts";
import { distance, whole, workersStarted } from "../../support/vectors.ts";

const DIMENSION = 64;
const COUNT = 3_000;
const CLUSTERS = 40;
let folder: string;
let scope: Scope;
let workers: Worker[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "shards-"));
  scope = openScope();
  workers = workersStarted(scope);
});
afterEach(async () => {
  await scope.close();
  await rm(folder, { recursive: true, force: true });
});

/** The same numbers on every run. */
let state = 11;
const random = (): number => {
  state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32;
  return state / 2 ** 32;
};
const normal = (): number => Math.sqrt(-2 * Math.log(random() + 1e-9)) * Math.cos(2 * Math.PI * random());
const centres = Array.from({ length: CLUSTERS }, () => Array.from({ length: DIMENSION }, normal));
const near = (cluster: number): Float32Array =>
  Float32Array.from(centres[cluster % CLUSTERS] ?? [], (value) => value + 0.6 * normal());
const all = new Float32Array(COUNT * DIMENSION);
for (let slot = 0; slot < COUNT; slot += 1) all.set(near(slot), slot * DIMENSION);
const queries = Array.from({ length: 30 }, (_, at) => near(at));
const query = queries[0] ?? new Float32Array(DIMENSION);
const vectorOf = (slot: number): Float32Array => all.subarray(slot * DIMENSION, (slot + 1) * DIMENSION);
const slots = (from: number, to: number): Uint32Array => Uint32Array.from({ length: to - from }, (_, at) => from + at);

function nearest(of: Float32Array, k: number, test: (slot: number) => boolean = () => true): number[] {
  return [...slots(0, COUNT)]
    .filter(test)
    .map((slot) => ({ slot, distance: distance("cosine", of, vectorOf(slot)) }))
    .sort((a, b) => a.distance - b.distance)
    .slice(0, k)
    .map(({ slot }) => slot);
}

async function recall(index: ShardedIndex, test?: (slot: number) => boolean): Promise<number> {
  let found = 0;
  for (const of of queries) {
    const hits = new Set((await index.search(of, { k: 10, ef: 64 })).slots);
    found += nearest(of, 10, test).filter((slot) => hits.has(slot)).length;
  }
  return found / (queries.length * 10);
}

const open = (settings: { threads?: number; hnsw?: boolean } = {}): ShardPool =>
  openShardPool(scope, { threads: 2, hnsw: true, ...settings });
const empty = (pool: ShardPool, shards = 2): ShardedIndex =>
  pool.openIndex({ dimension: DIMENSION, metric: "cosine", shards });
const found = ({ slots: of }: ShardHits): number[] => [...of];

describe.each([1, 2, 3])("an index of %d shards", (shards) => {
  it("finds the same exactly while it builds, and nearly always after", async () => {
    const index = empty(open(), shards);
    await index.add(slots(0, COUNT), all);
    const early = await index.search(query, { k: 10, ef: 64 });
    expect(found(early)).toEqual(nearest(query, 10));
    await index.settled();
    expect(await index.stats()).toMatchObject({ graph: COUNT, pending: 0, deleted: 0 });
    expect(await recall(index)).toBeGreaterThan(0.98);
    const late = await index.search(query, { k: 10, ef: 64 });
    expect(late.exact).toBe(false);
    late.distances.forEach((value, at) => void expect(value).toBeCloseTo(early.distances[at] ?? NaN, 5));
    expect(distance("cosine", (await index.vector(77)) ?? query, vectorOf(77))).toBeLessThan(1e-6);
    expect(await index.vector(COUNT)).toBeUndefined();
  });

  it("finds all when more are asked for, and those allowed", async () => {
    const index = empty(open(), shards);
    await index.add(slots(0, COUNT), all);
    await index.settled();
    expect(new Set(found(await index.search(query, { k: 10_000, ef: 64 }))).size).toBe(COUNT);
    const allowed = new Uint8Array(Math.ceil(COUNT / 8));
    for (let slot = 0; slot < COUNT; slot += 10) allowed[slot >> 3] = (allowed[slot >> 3] ?? 0) | (1 << (slot & 7));
    const some = found(await index.search(query, { k: 10, ef: 64, allowed }));
    expect(some).toHaveLength(10);
    expect(some.every((slot) => slot % 10 === 0)).toBe(true);
  });

  it("gives the same answers after saving and loading", async () => {
    const pool = open();
    const index = empty(pool, shards);
    await index.add(slots(0, COUNT), all);
    await index.remove(slots(0, 50));
    await index.settled();
    const paths = await index.save(folder);
    expect(paths).toHaveLength(shards);
    const again = empty(pool, shards);
    await again.load(await Promise.all(paths.map(whole)));
    expect(await again.stats()).toMatchObject({ graph: COUNT - 50, pending: 0 });
    for (const of of queries) {
      expect(await again.search(of, { k: 10, ef: 64 })).toEqual(await index.search(of, { k: 10, ef: 64 }));
    }
  });
});

describe("an index", () => {
  it("takes writes in the order they were made, without waiting", async () => {
    const index = empty(open());
    const large = Array.from({ length: 10 }, (_, at) => slots(at * COUNT, (at + 1) * COUNT));
    const writes = large.map((part) => index.add(part, all));
    writes.push(index.remove(slots(10, 10 * COUNT)));
    await Promise.all(writes);
    expect(found(await index.search(query, { k: 100, ef: 64 }))).toEqual(nearest(query, 10, (slot) => slot < 10));
  });

  it("works when it is empty, when everything is removed, and with the last taken back", async () => {
    const index = empty(open());
    expect(found(await index.search(query, { k: 10, ef: 64 }))).toEqual([]);
    await index.settled();
    await index.add(slots(0, 100), all.subarray(0, 100 * DIMENSION));
    await index.settled();
    await index.remove(slots(0, 100));
    expect(found(await index.search(query, { k: 10, ef: 64 }))).toEqual([]);
    await index.add(Uint32Array.of(100), vectorOf(99).slice());
    expect(found(await index.search(query, { k: 10, ef: 64 }))).toEqual([100]);
    const again = empty(open());
    await again.load(await Promise.all((await empty(open()).save(folder)).map(whole)));
    expect(found(await again.search(query, { k: 10, ef: 64 }))).toEqual([]);
  });

  it("searches exactly without graphs", async () => {
    const pool = open({ hnsw: false });
    const index = empty(pool);
    await index.add(slots(0, COUNT), all);
    await index.settled();
    expect(await recall(index)).toBe(1);
    expect((await index.search(query, { k: 10, ef: 64 })).exact).toBe(true);
  });

  it("answers while it builds, saves and changes", async () => {
    const index = empty(open());
    await index.add(slots(0, COUNT), all);
    let settled = false;
    const building = index.settled().then(() => {
      settled = true;
    });
    let during = 0;
    const first = nearest(query, 1);
    while (!settled) {
      expect(found(await index.search(query, { k: 1, ef: 64 }))).toEqual(first);
      during += 1;
    }
    await building;
    expect(during).toBeGreaterThan(10);
    const saving = index.save(folder);
    const adding = index.add(Uint32Array.of(COUNT), query.slice());
    const removing = index.remove(Uint32Array.of(nearest(query, 1)[0] ?? 0));
    await adding;
    await removing;
    const hits = found(await index.search(query, { k: 2, ef: 64 }));
    expect(hits).toEqual([COUNT, nearest(query, 2)[1]]);
    const paths = await saving;
    await index.settled();
    expect(found(await index.search(query, { k: 2, ef: 64 }))).toEqual(hits);
    const again = empty(open());
    await again.load(await Promise.all(paths.map(whole)));
    expect(found(await again.search(query, { k: 2, ef: 64 }))).toEqual(nearest(query, 2));
  });

  it("refuses to save what is not in its graphs yet, and to load what is not its own", async () => {
    const pool = open();
    const index = empty(pool);
    await index.add(slots(0, COUNT), all);
    await expect(index.save(folder)).rejects.toMatchObject({ name: "LakeError", kind: "conflict" });
    await index.settled();
    const paths = await index.save(folder);
    await expect(empty(pool, 3).load(await Promise.all(paths.map(whole)))).rejects.toMatchObject({ kind: "corrupt" });
    const wide = pool.openIndex({ dimension: 65, metric: "cosine", shards: 2 });
    await expect(wide.load(await Promise.all(paths.map(whole)))).rejects.toMatchObject({ kind: "corrupt" });
    expect(await recall(index)).toBeGreaterThan(0.98);
  });

  it("reports a failure in a worker, and goes on", async () => {
    const index = empty(open());
    await index.add(Uint32Array.of(1), vectorOf(1).slice());
    await expect(index.add(Uint32Array.of(1), vectorOf(2).slice())).rejects.toMatchObject({ kind: "internal" });
    expect(found(await index.search(query, { k: 9, ef: 64 }))).toEqual([1]);
    expect(index.broken).toBe(false);
  });

  it("stops waiting when the caller does", async () => {
    const index = empty(open());
    await index.add(slots(0, COUNT), all);
    const caller = new AbortController();
    const waiting = index.settled(caller.signal);
    const searching = index.search(query, { k: 1, ef: 64, signal: caller.signal });
    caller.abort();
    await expect(waiting).rejects.toMatchObject({ name: "LakeError", kind: "unavailable" });
    await expect(searching).rejects.toMatchObject({ name: "LakeError", kind: "unavailable" });
    await expect(index.search(query, { k: 1, ef: 64, signal: caller.signal })).rejects.toThrow("cancelled");
    expect(found(await index.search(query, { k: 1, ef: 64 }))).toEqual(nearest(query, 1));
  });

  it("is closed once, for good, and leaves others alone", async () => {
    const pool = open();
    const [index, other] = [empty(pool), empty(pool)];
    await other.add(Uint32Array.of(3), vectorOf(3).slice());
    await index.add(slots(0, COUNT), all);
    const settling = index.settled();
    settling.catch(() => undefined);
    await index.close();
    await index.close();
    await expect(settling).rejects.toMatchObject({ kind: "closed" });
    await expect(index.search(query, { k: 1, ef: 64 })).rejects.toMatchObject({ kind: "closed" });
    await expect(index.add(Uint32Array.of(9), query)).rejects.toMatchObject({ kind: "closed" });
    expect(found(await other.search(query, { k: 1, ef: 64 }))).toEqual([3]);
  });
});

describe("the worker threads", () => {
  it("start with the first index, no more of them than settings say", async () => {
    const pool = open();
    expect(workers).toHaveLength(0);
    const indexes = [1, 4, 2].map((shards) => empty(pool, shards));
    await Promise.all(indexes.map((index) => index.stats()));
    expect(workers).toHaveLength(2);
  });

  it("fail the calls in flight when one dies, and the next index starts another", async () => {
    const pool = open();
    const index = empty(pool);
    await index.add(slots(0, COUNT), all);
    const searching = Promise.allSettled(Array.from({ length: 2_000 }, () => index.search(query, { k: 1, ef: 64 })));
    await sleep(5);
    await workers[0]?.terminate();
    const failed = (await searching).filter((result) => result.status === "rejected");
    expect(failed.length).toBeGreaterThan(0);
    for (const { reason } of failed) expect(reason).toMatchObject({ name: "LakeError", kind: "internal" });
    expect(index.broken).toBe(true);
    await expect(index.search(query, { k: 1, ef: 64 })).rejects.toMatchObject({ kind: "internal" });
    await expect(index.add(Uint32Array.of(COUNT), query)).rejects.toMatchObject({ kind: "internal" });
    await index.close();
    const next = empty(pool);
    await next.add(slots(0, COUNT), all);
    expect(next.broken).toBe(false);
    expect(found(await next.search(query, { k: 1, ef: 64 }))).toEqual(nearest(query, 1));
    expect(workers).toHaveLength(3);
  });

  it.each(["building", "saving", "loading"])("end at once with their scope, also while %s", async (doing) => {
    const pool = open();
    const index = empty(pool);
    await index.add(slots(0, COUNT), all);
    let calls: Promise<unknown>[] = [index.settled()];
    if (doing !== "building") {
      await index.settled();
      calls = [index.save(folder)];
    }
    if (doing === "loading") calls = [empty(pool).load(await Promise.all(((await calls[0]) as string[]).map(whole)))];
    else await sleep(5);
    const failed = Promise.allSettled(calls);
    const exits = workers.map((worker) => new Promise((resolve) => void worker.once("exit", resolve)));
    const begun = performance.now();
    await scope.close();
    await Promise.all(exits);
    expect(performance.now() - begun).toBeLessThan(2_000);
    for (const result of await failed) {
      if (result.status === "rejected") expect(result.reason).toMatchObject({ name: "LakeError", kind: "closed" });
      else expect(doing).toBe("saving");
    }
    expect(() => empty(pool)).toThrow("closed");
    await index.close();
  });
});
