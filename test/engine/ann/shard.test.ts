import { mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { mergeHits, normalise, scoreOf } from "../../../src/engine/ann/distances.ts";
import type { ShardHits } from "../../../src/engine/ann/graph-search.ts";
import { openShard, type Shard } from "../../../src/engine/ann/shard.ts";
import type { Metric } from "../../../src/engine/catalog/types.ts";
import { LakeError } from "../../../src/engine/kernel/errors.ts";
import { distance, whole } from "../../support/vectors.ts";

const DIMENSION = 64;
const COUNT = 5_000;
const CLUSTERS = 50;
const METRICS: Metric[] = ["cosine", "ip", "l2"];
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "shard-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** The same numbers from 0 to 1 on every run. */
function openRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32;
    return state / 2 ** 32;
  };
}

const random = openRandom(7);
const normal = (): number => Math.sqrt(-2 * Math.log(random() + 1e-9)) * Math.cos(2 * Math.PI * random());
const centres = Array.from({ length: CLUSTERS }, () => Float32Array.from({ length: DIMENSION }, normal));
const clusterOf = (slot: number): number => slot % CLUSTERS;
const near = (cluster: number): Float32Array => {
  const vector = Float32Array.from(centres[cluster] ?? [], (value) => value + 0.6 * normal());
  normalise(vector, DIMENSION);
  return vector;
};
const vectors = Array.from({ length: COUNT }, (_, slot) => near(clusterOf(slot)));
const queries = Array.from({ length: 40 }, (_, at) => near(at % CLUSTERS));
const slots = (from: number, to: number): Uint32Array => Uint32Array.from({ length: to - from }, (_, at) => from + at);
const flat = (of: Uint32Array): Float32Array => {
  const all = new Float32Array(of.length * DIMENSION);
  of.forEach((slot, at) => void all.set(vectors[slot] ?? [], at * DIMENSION));
  return all;
};
const bitset = (test: (slot: number) => boolean): Uint8Array => {
  const bits = new Uint8Array(Math.ceil(COUNT / 8));
  for (let slot = 0; slot < COUNT; slot += 1)
    if (test(slot)) bits[slot >> 3] = (bits[slot >> 3] ?? 0) | (1 << (slot & 7));
  return bits;
};

function nearest(query: Float32Array, k: number, metric: Metric, test: (slot: number) => boolean = () => true) {
  return vectors
    .map((vector, slot) => ({ slot, distance: distance(metric, query, vector) }))
    .filter(({ slot }) => test(slot))
    .sort((a, b) => a.distance - b.distance)
    .slice(0, k);
}

function recall(
  search: (query: Float32Array) => ShardHits,
  metric: Metric,
  test?: (slot: number) => boolean,
  asked = queries,
): number {
  let [found, wanted] = [0, 0];
  for (const query of asked) {
    const hits = new Set(search(query).slots);
    for (const { slot } of nearest(query, 10, metric, test)) {
      wanted += 1;
      if (hits.has(slot)) found += 1;
    }
  }
  return found / wanted;
}

function filled(metric: Metric, settle: boolean, accelerated = true): Shard {
  const shard = openShard({ dimension: DIMENSION, metric, hnsw: accelerated });
  for (let from = 0; from < COUNT; from += 1_000) shard.add(slots(from, from + 1_000), flat(slots(from, from + 1_000)));
  while (settle && shard.step(1_000));
  return shard;
}

const query = queries[0] ?? new Float32Array(DIMENSION);

describe.each(METRICS)("a shard under %s", (metric) => {
  const graph = filled(metric, true);
  const pending = filled(metric, false);

  it("finds the nearest, exactly while they wait for the graph and nearly always in it", () => {
    expect(pending.stats()).toMatchObject({ graph: 0, pending: COUNT });
    expect(graph.stats()).toMatchObject({ graph: COUNT, pending: 0, deleted: 0 });
    expect(recall((of) => pending.search(of, { k: 10, ef: 64 }), metric)).toBe(1);
    expect(recall((of) => graph.search(of, { k: 10, ef: 64 }), metric)).toBeGreaterThan(0.98);
  });

  it("reports the distance of the metric, the same before and after", () => {
    const expected = nearest(query, 10, metric);
    for (const shard of [pending, graph]) {
      const hits = shard.search(query, { k: 10, ef: 200 });
      expect([...hits.slots]).toEqual(expected.map(({ slot }) => slot));
      hits.distances.forEach((value, at) => void expect(value).toBeCloseTo(expected[at]?.distance ?? NaN, 5));
    }
    expect(graph.search(query, { k: 1, ef: 64 }).exact).toBe(false);
    expect(pending.search(query, { k: 1, ef: 64 }).exact).toBe(true);
  });

  it("gives a vector back as it was before it moved", () => {
    expect(graph.vector(17)).toEqual(pending.vector(17));
    expect(graph.vector(COUNT)).toBeUndefined();
  });

  it.each([0.001, 0.01, 0.1, 0.5, 0.9])("finds what a filter that lets %d through allows", (selectivity) => {
    const chance = openRandom(3);
    const through = Array.from({ length: COUNT }, () => chance() < selectivity);
    const test = (slot: number): boolean => through[slot] === true;
    const allowed = bitset(test);
    const search = (of: Float32Array): ShardHits => graph.search(of, { k: 10, ef: 40, allowed });
    for (const hits of queries.map(search)) expect([...hits.slots].every(test)).toBe(true);
    expect(recall(search, metric, test)).toBeGreaterThan(0.95);
  });

  it.each([1, 2, 10, 25, 45])("finds what a filter on %d clusters allows, also far from them", (clusters) => {
    const test = (slot: number): boolean => clusterOf(slot) >= CLUSTERS - clusters;
    const allowed = bitset(test);
    expect(recall((of) => graph.search(of, { k: 10, ef: 64, allowed }), metric, test)).toBeGreaterThan(0.95);
  });

  it("walks no farther than a filter that has nothing to do with the query makes it, but compares with all", () => {
    const test = (slot: number): boolean => clusterOf(slot) >= 5;
    const allowed = bitset(test);
    const search = (of: Float32Array): ShardHits => graph.search(of, { k: 10, ef: 16, allowed });
    const among = queries.filter((_, at) => at % CLUSTERS >= 5);
    const far = Array.from({ length: 20 }, (_, at) => near(at % 5));
    expect(among.filter((query) => search(query).exact)).toEqual([]);
    expect(far.filter((query) => !search(query).exact)).toEqual([]);
    expect(recall(search, metric, test, far)).toBe(1);
  });

  it("finds all there is when more are asked for", () => {
    for (const shard of [pending, graph]) {
      const { slots: found, distances } = shard.search(query, { k: 10_000, ef: 64 });
      expect(new Set(found).size).toBe(COUNT);
      expect([...distances]).toEqual([...distances].sort((a, b) => a - b));
    }
  });
});

describe("a shard", () => {
  it("finds nothing when it is empty, or when the filter lets nothing through", () => {
    const shard = openShard({ dimension: DIMENSION, metric: "cosine", hnsw: true });
    expect(shard.search(query, { k: 10, ef: 64 }).slots).toHaveLength(0);
    shard.add(slots(0, 100), flat(slots(0, 100)));
    for (const settled of [false, true]) {
      if (settled) shard.step(10_000);
      expect(shard.search(query, { k: 10, ef: 64, allowed: new Uint8Array(0) }).slots).toHaveLength(0);
    }
  });

  it.each([true, false])("does not find what was removed, and takes the last one back (settled: %s)", (settle) => {
    const shard = openShard({ dimension: DIMENSION, metric: "cosine", hnsw: true });
    shard.add(slots(0, 300), flat(slots(0, 300)));
    while (settle && shard.step(1_000));
    shard.remove(Uint32Array.of(5, 5, 400, 1_000_000));
    expect([...shard.search(query, { k: 300, ef: 64 }).slots]).not.toContain(5);
    expect(shard.vector(5)).toBeUndefined();
    shard.remove(slots(0, 299));
    expect([...shard.search(query, { k: 10, ef: 64 }).slots]).toEqual([299]);
    shard.remove(slots(0, 300));
    expect(shard.search(query, { k: 10, ef: 64 }).slots).toHaveLength(0);
    expect(shard.stats()).toMatchObject({ graph: 0, pending: 0, deleted: 0 });
    shard.add(Uint32Array.of(300), flat(Uint32Array.of(299)));
    expect([...shard.search(query, { k: 10, ef: 64 }).slots]).toEqual([300]);
    while (settle && shard.step(1_000));
    expect([...shard.search(query, { k: 10, ef: 64 }).slots]).toEqual([300]);
  });

  it("refuses a slot that is or was here, and changes nothing", () => {
    const shard = openShard({ dimension: DIMENSION, metric: "l2", hnsw: true });
    shard.add(slots(0, 3), flat(slots(0, 3)));
    shard.remove(Uint32Array.of(1));
    expect(() => shard.add(Uint32Array.of(9, 1), flat(slots(0, 2)))).toThrow("Slot 1 was used before.");
    expect(shard.stats().pending).toBe(2);
  });

  it("moves at least one vector a step, and works on half-moved batches", () => {
    const shard = openShard({ dimension: DIMENSION, metric: "cosine", hnsw: true });
    shard.add(slots(0, 200), flat(slots(0, 200)));
    for (let moved = 1; moved <= 60; moved += 1) shard.step(0);
    expect(shard.stats()).toMatchObject({ graph: 60, pending: 140 });
    shard.remove(Uint32Array.from({ length: 90 }, (_, at) => 40 + at));
    expect(shard.stats()).toMatchObject({ graph: 40, pending: 70 });
    const left = (slot: number): boolean => slot < 200 && (slot < 40 || slot >= 130);
    const check = (): void => {
      const expected = nearest(query, 200, "cosine", left).map(({ slot }) => slot);
      expect([...shard.search(query, { k: 200, ef: 200 }).slots]).toEqual(expected);
      expect(distance("l2", shard.vector(150) ?? query, vectors[150] ?? query)).toBeLessThan(1e-6);
    };
    check();
    expect(shard.settled).toBe(false);
    shard.step(10_000);
    expect(shard.settled).toBe(true);
    check();
  });

  it("searches exactly without a graph", () => {
    const shard = filled("cosine", true, false);
    expect(shard.stats()).toMatchObject({ graph: 0, pending: COUNT });
    expect(shard.settled).toBe(true);
    expect(recall((of) => shard.search(of, { k: 10, ef: 64 }), "cosine")).toBe(1);
    shard.remove(slots(0, COUNT).filter((slot) => slot % 4 !== 0));
    const test = (slot: number): boolean => slot % 4 === 0;
    expect(recall((of) => shard.search(of, { k: 10, ef: 64 }), "cosine", test)).toBe(1);
  });

  it("finds what is like nothing else among a thousand that are alike", () => {
    for (const place of [0, 300, 999]) {
      const shard = openShard({ dimension: DIMENSION, metric: "cosine", hnsw: true });
      const other = vectors[5] ?? query;
      for (let slot = 0; slot < 1_000; slot += 1) {
        const alike = query.map((value) => value + 1e-3 * normal());
        shard.add(Uint32Array.of(slot), slot === place ? other.slice() : alike);
      }
      while (shard.step(1_000));
      expect(shard.search(other, { k: 2, ef: 64 }).slots[0]).toBe(place);
    }
  });

  it("takes less memory than the vectors did", () => {
    const shard = openShard({ dimension: 768, metric: "cosine", hnsw: true });
    shard.add(slots(0, 2_000), Float32Array.from({ length: 2_000 * 768 }, normal));
    while (shard.step(1_000));
    expect(shard.stats().bytes / (2_000 * 768 * 4)).toBeLessThan(0.9);
  });

  it("keeps vectors as they are, and under cosine to 24 bits", () => {
    const given = [1, 1e-20, 1e20, 0].map((scale, slot) => vectors[slot]?.map((value) => value * scale) ?? query);
    for (const metric of METRICS) {
      const shard = openShard({ dimension: DIMENSION, metric, hnsw: true });
      shard.add(slots(0, 4), Float32Array.from(given.flatMap((vector) => [...vector])));
      given.forEach((vector, slot) => {
        if (metric !== "cosine") expect(shard.vector(slot)).toEqual(vector);
        else
          expect(
            distance("l2", shard.vector(slot) ?? query, slot === 3 ? vector : (vectors[slot] ?? query)),
          ).toBeLessThan(1e-6);
      });
    }
  });

  it("tells small coordinates apart beside large ones", () => {
    for (const [metric, rows, asked] of [
      [
        "l2",
        [
          [1.7e9, 1],
          [1.7e9, 3],
          [1.7e9, 2],
        ],
        [1.7e9, 0],
      ],
      [
        "ip",
        [
          [1e8, 5],
          [1e8, 1],
          [1e8, 3],
        ],
        [0, 1],
      ],
      [
        "ip",
        [
          [1e-33, 5e-34],
          [-1e-33, 0],
          [1e-33, -1e-34],
        ],
        [0, 1],
      ],
    ] as const) {
      const shard = openShard({ dimension: 2, metric, hnsw: true });
      shard.add(slots(0, 3), Float32Array.from(rows.flat()));
      for (const settle of [false, true]) {
        while (settle && shard.step(100));
        const expected = rows
          .map((row, slot) => ({ slot, value: distance(metric, Float32Array.from(asked), Float32Array.from(row)) }))
          .sort((a, b) => a.value - b.value);
        const hits = shard.search(Float32Array.from(asked), { k: 3, ef: 64 });
        expect([...hits.slots]).toEqual(expected.map(({ slot }) => slot));
      }
    }
  });

  it.each(METRICS)("under %s filters what is in the graph and what is not, together", { tags: ["slow"] }, (metric) => {
    const shard = openShard({ dimension: DIMENSION, metric, hnsw: true });
    shard.add(slots(0, 2_500), flat(slots(0, 2_500)));
    while (shard.step(1_000));
    shard.add(slots(2_500, COUNT), flat(slots(2_500, COUNT)));
    for (const every of [2, 20, 400]) {
      const test = (slot: number): boolean => slot % every === 0;
      for (const of of queries.slice(0, 10)) {
        const hits = shard.search(of, { k: 30, ef: 64, allowed: bitset(test) });
        expect([...hits.slots].filter((slot) => !test(slot))).toEqual([]);
        if (hits.exact) expect([...hits.slots]).toEqual(nearest(of, 30, metric, test).map(({ slot }) => slot));
      }
      expect(recall((of) => shard.search(of, { k: 10, ef: 64, allowed: bitset(test) }), metric, test)).toBeGreaterThan(
        0.95,
      );
    }
  });

  it.each([0.05, 0.01])("finds near-duplicates that differ by %d", { tags: ["slow"] }, (spread) => {
    const shard = openShard({ dimension: DIMENSION, metric: "cosine", hnsw: true });
    const alike = Array.from({ length: COUNT }, (_, slot) => {
      const vector = (centres[slot % CLUSTERS] ?? query).map((value) => value + spread * normal());
      normalise(vector, DIMENSION);
      return vector;
    });
    shard.add(slots(0, COUNT), Float32Array.from(alike.flatMap((vector) => [...vector])));
    while (shard.step(1_000));
    let [found, wanted] = [0, 0];
    for (let slot = 0; slot < COUNT; slot += 50) {
      const hits = new Set(shard.search(alike[slot] ?? query, { k: 10, ef: 64 }).slots);
      expect(hits).toContain(slot);
      const distances = alike.map((vector) => distance("ip", vector, alike[slot] ?? query));
      const tenth = [...distances].sort((a, b) => a - b)[9] ?? 0;
      wanted += 10;
      found += [...hits].filter((hit) => (distances[hit] ?? 0) <= tenth + 1e-7).length;
    }
    expect(found / wanted).toBeGreaterThan(0.97);
  });

  it("goes on without a graph when there is no memory for its links", () => {
    const shard = filled("cosine", false);
    shard.step(0);
    shard.giveUp(new LakeError("limit", "full"));
    expect([shard.settled, shard.canStep, shard.step(1_000)]).toEqual([true, false, false]);
    expect(shard.stats()).toMatchObject({ graph: 1, pending: COUNT - 1 });
    expect(recall((of) => shard.search(of, { k: 10, ef: 64 }), "cosine")).toBe(1);
    return expect(shard.save(join(folder, "full"))).rejects.toMatchObject({ kind: "limit" });
  });

  it.each(METRICS)(
    "under %s compares with all where the vectors are too alike to be told apart roughly",
    { tags: ["slow"] },
    (metric) => {
      const shard = openShard({ dimension: DIMENSION, metric, hnsw: true });
      // One coordinate is so large that nothing is left of the others in 8 bits.
      const alike = vectors.map((vector) => Float32Array.from(vector, (value, at) => (at === 0 ? 300 : value)));
      shard.add(slots(0, COUNT), Float32Array.from(alike.flatMap((vector) => [...vector])));
      while (shard.step(1_000));
      const asked = alike[4_321] ?? query;
      const expected = alike
        .map((vector, slot) => ({ slot, distance: distance(metric, asked, vector) }))
        .sort((a, b) => a.distance - b.distance);
      const hits = shard.search(asked, { k: 10, ef: 64 });
      if (metric === "cosine") expect(hits.exact).toBe(true);
      const worst = expected[9]?.distance ?? NaN;
      for (const slot of hits.slots) {
        const value = distance(metric, asked, alike[slot] ?? query);
        expect(value).toBeLessThanOrEqual(worst + Math.abs(worst) * 1e-6 + 1e-7);
      }
    },
  );
});

describe("saving a shard", () => {
  it("keeps what it finds", async () => {
    const shard = filled("l2", true);
    shard.remove(slots(100, 200));
    const path = join(folder, "kept");
    await shard.save(path);
    const again = openShard({ dimension: DIMENSION, metric: "l2", hnsw: true });
    await again.load(await whole(path));
    expect(again.stats()).toMatchObject({ graph: COUNT - 100, pending: 0, deleted: 100 });
    for (const of of queries) {
      expect(again.search(of, { k: 10, ef: 64 })).toEqual(shard.search(of, { k: 10, ef: 64 }));
    }
    expect(again.vector(150)).toBeUndefined();
    again.add(Uint32Array.of(COUNT), flat(Uint32Array.of(0)));
    while (again.step(100));
    expect([...again.search(vectors[0] ?? query, { k: 2, ef: 64 }).slots]).toEqual([0, COUNT]);
  });

  it("goes on searching, adding and removing meanwhile, and writes none of it", async () => {
    const shard = filled("cosine", true);
    const path = join(folder, "busy");
    const saving = shard.save(path);
    const [first = 0] = shard.search(query, { k: 1, ef: 64 }).slots;
    shard.remove(Uint32Array.of(first));
    shard.add(Uint32Array.of(COUNT), query.slice());
    expect(shard.canStep).toBe(false);
    expect(shard.step(10)).toBe(false);
    const meanwhile = [...shard.search(query, { k: 10, ef: 64 }).slots];
    expect(meanwhile[0]).toBe(COUNT);
    expect(meanwhile).not.toContain(first);
    await expect(shard.save(join(folder, "second"))).rejects.toMatchObject({ kind: "conflict" });
    await saving;
    expect(shard.step(1_000)).toBe(false);
    expect(shard.stats()).toMatchObject({ graph: COUNT, pending: 0, deleted: 1 });
    expect([...shard.search(query, { k: 10, ef: 64 }).slots]).toEqual(meanwhile);
    const again = openShard({ dimension: DIMENSION, metric: "cosine", hnsw: true });
    await again.load(await whole(path));
    expect([...again.search(query, { k: 1, ef: 64 }).slots]).toEqual([first]);
  });

  it("waits for the graph to have everything", async () => {
    const shard = filled("cosine", false);
    await expect(shard.save(join(folder, "early"))).rejects.toMatchObject({ kind: "conflict" });
  });

  it("keeps an empty shard empty", async () => {
    const path = join(folder, "empty");
    await openShard({ dimension: DIMENSION, metric: "cosine", hnsw: true }).save(path);
    const again = openShard({ dimension: DIMENSION, metric: "cosine", hnsw: true });
    await again.load(await whole(path));
    expect(again.search(query, { k: 1, ef: 64 }).slots).toHaveLength(0);
    again.add(slots(0, 10), flat(slots(0, 10)));
    again.step(1_000);
    expect(again.search(query, { k: 10, ef: 64 }).slots).toHaveLength(10);
  });

  it("refuses a file of another dimension, a truncated one and one that is none", async () => {
    const path = join(folder, "other");
    const shard = openShard({ dimension: DIMENSION, metric: "cosine", hnsw: true });
    shard.add(slots(0, 100), flat(slots(0, 100)));
    shard.step(10_000);
    await shard.save(path);
    const wide = openShard({ dimension: DIMENSION * 2, metric: "cosine", hnsw: true });
    await expect(wide.load(await whole(path))).rejects.toMatchObject({ kind: "corrupt" });
    const size = (await readFile(path)).length;
    for (const length of [size - 1, size / 2, 95, 1]) {
      await truncate(path, length);
      const again = openShard({ dimension: DIMENSION, metric: "cosine", hnsw: true });
      await expect(again.load(await whole(path)), `${length} bytes`).rejects.toMatchObject({ kind: "corrupt" });
    }
    await writeFile(path, Buffer.alloc(10_000, 255));
    await expect(
      openShard({ dimension: DIMENSION, metric: "l2", hnsw: true }).load(await whole(path)),
    ).rejects.toMatchObject({
      kind: "corrupt",
    });
  });

  it("may be closed meanwhile", async () => {
    const shard = filled("cosine", true);
    const saving = shard.save(join(folder, "closed"));
    shard.close();
    await saving;
    expect(shard.search(query, { k: 10, ef: 64 }).slots).toHaveLength(0);
  });
});

describe("distances", () => {
  it("have scores that grow with likeness", () => {
    expect([scoreOf("cosine", 0.25), scoreOf("ip", -20), scoreOf("l2", 3)]).toEqual([0.75, 20, 0.25]);
  });

  it("are never negative for what is the same, and of equals the smaller slots come first", () => {
    for (const metric of ["cosine", "l2"] as const) {
      const shard = openShard({ dimension: DIMENSION, metric, hnsw: true });
      const same = Float32Array.from({ length: 40 * DIMENSION }, (_, at) => query[at % DIMENSION] ?? 0);
      shard.add(slots(0, 40), same);
      for (const settle of [false, true]) {
        while (settle && shard.step(100));
        const hits = shard.search(query, { k: 5, ef: 64 });
        expect([...hits.slots]).toEqual([0, 1, 2, 3, 4]);
        for (const value of hits.distances) {
          expect(value).toBeGreaterThanOrEqual(0);
          expect(value).toBeLessThan(1e-6);
        }
      }
    }
  });

  it("merge sorted lists into one", () => {
    const list = (...pairs: [number, number][]) => ({
      slots: Uint32Array.from(pairs, ([slot]) => slot),
      distances: Float32Array.from(pairs, ([, value]) => value),
    });
    const lists = [list([1, 0.5], [2, 1.5]), list(), list([7, 0.25], [3, 1.5], [9, 4])];
    expect([...mergeHits(lists, 4).slots]).toEqual([7, 1, 2, 3]);
    expect([...mergeHits(lists, 99).slots]).toEqual([7, 1, 2, 3, 9]);
    expect(mergeHits([], 5).slots).toHaveLength(0);
    expect([...mergeHits([list([1, 1], [2, 2])], 1).slots]).toEqual([1]);
  });
});
