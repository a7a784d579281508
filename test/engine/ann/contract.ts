import { mkdtemp, rm, stat, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { AnnChanges, AnnContent, AnnEngine, AnnHit, AnnIndex } from "../../../src/engine/ann/ann-index.ts";
import type { Metric } from "../../../src/engine/catalog/types.ts";
import { openScope, type Scope } from "../../../src/engine/kernel/scope.ts";
import { distance, openRandom, sorted } from "../../support/vectors.ts";

const DIMENSION = 12;
const SAVED_AT = new Date("2026-03-01T12:34:56.789Z");
const EF = 64;

interface Item {
  id: string;
  vector: Float32Array;
  metadata?: string | null;
}

/** What every implementation of `AnnEngine` does. `open` opens one, which ends with the scope. */
export function annContract(name: string, open: (scope: Scope) => AnnEngine | Promise<AnnEngine>): void {
  describe(`${name} as an AnnEngine`, () => {
    let folder: string;
    let scope: Scope;
    let engine: AnnEngine;

    beforeEach(async () => {
      folder = await mkdtemp(join(tmpdir(), "ann-"));
      scope = openScope();
      engine = await open(scope);
    });
    afterEach(async () => {
      await scope.close();
      await rm(folder, { recursive: true, force: true });
    });

    const filled = async (items: readonly Item[], metric: Metric = "cosine"): Promise<AnnIndex> => {
      const index = engine.open({ dimension: DIMENSION, metric }, items.length);
      await index.apply([upserts(items)]);
      return index;
    };
    /** Before and after the work in the background. */
    const inBothStates = async (index: AnnIndex, check: () => Promise<void>): Promise<void> => {
      await check();
      await index.settled();
      await check();
    };

    it.each<Metric>(["cosine", "ip", "l2"])("finds what comparing one by one finds, under %s", async (metric) => {
      const items = randomItems(200, 1);
      const index = await filled(items, metric);
      expect(index.count).toBe(200);
      await inBothStates(index, async () => {
        for (const { vector } of randomItems(10, 2)) {
          const { hits } = await index.search(vector, { k: 10, ef: 200 });
          expectHits(hits, nearest(items, vector, metric, 10));
        }
      });
    });

    it("finds only what a filter allows", async () => {
      const items = randomItems(200, 3);
      const index = await filled(items);
      const filter = index.openFilter();
      expect(filter.count).toBe(0);
      const [{ vector: query }] = randomItems(1, 4) as [Item];
      expect((await index.search(query, { k: 5, ef: EF, filter })).hits).toEqual([]);
      filter.allow(["none of them"]);
      filter.allow(items.slice(0, 50).map(({ id }) => id));
      filter.allow([items[0]?.id ?? "", "none of them"]);
      expect(filter.count).toBe(50);
      await inBothStates(index, async () => {
        const { hits } = await index.search(query, { k: 5, ef: 200, filter });
        expectHits(hits, nearest(items.slice(0, 50), query, "cosine", 5));
      });
      filter.clear();
      expect(filter.count).toBe(0);
      filter.allow([items[7]?.id ?? ""]);
      expect(idsOf((await index.search(query, { k: 5, ef: EF, filter })).hits)).toEqual([items[7]?.id]);
    });

    it("does not allow an item that comes after the filter was made", async () => {
      const items = randomItems(20, 5);
      const index = await filled(items);
      const filter = index.openFilter();
      filter.allow([...items.map(({ id }) => id), "late"]);
      const [{ vector: query }] = randomItems(1, 6) as [Item];
      await index.apply([upserts([{ id: "late", vector: query }])]);
      expect(idsOf((await index.search(query, { k: 30, ef: EF, filter })).hits)).not.toContain("late");
      expect(idsOf((await index.search(query, { k: 1, ef: EF })).hits)).toEqual(["late"]);
    });

    it("orders what is equally near by id, as bytes of UTF-8", async () => {
      const [{ vector }] = randomItems(1, 7) as [Item];
      const ids = ["b", "\u{1F600}", "a", "ﬀ", "B", "aa", "é"];
      const index = await filled(ids.map((id) => ({ id, vector: vector.slice() })));
      await inBothStates(index, async () => {
        const { hits } = await index.search(vector, { k: 10, ef: EF });
        expect(idsOf(hits)).toEqual(["B", "a", "aa", "b", "é", "ﬀ", "\u{1F600}"]);
      });
    });

    it("replaces an item by another with its id, with its metadata", async () => {
      const items = randomItems(50, 8);
      const index = await filled(items);
      await index.settled();
      const [{ vector }] = randomItems(1, 9) as [Item];
      await index.apply([upserts([{ id: "i3", vector: vector.slice(), metadata: '{"new":true}' }])]);
      expect([index.count, index.dead]).toEqual([50, 1]);
      const { hits } = await index.search(vector, { k: 100, ef: EF });
      expect(hits).toHaveLength(50);
      expect(hits[0]).toMatchObject({ id: "i3", metadata: '{"new":true}' });
      expect(distance("cosine", (await index.vector("i3")) ?? new Float32Array(DIMENSION), vector)).toBeLessThan(1e-6);
    });

    it("deletes items, and takes their ids again", async () => {
      const items = randomItems(50, 10);
      const index = await filled(items);
      const gone = items.slice(0, 20);
      await index.apply([deletes([...gone.map(({ id }) => id), "was never there"])]);
      expect(index.count).toBe(30);
      const [{ vector: query }] = randomItems(1, 11) as [Item];
      await inBothStates(index, async () => {
        expectHits((await index.search(query, { k: 50, ef: EF })).hits, nearest(items.slice(20), query, "cosine", 50));
      });
      expect(await index.vector("i0")).toBeUndefined();
      await index.apply([upserts([{ id: "i0", vector: query.slice() }])]);
      expect(idsOf((await index.search(query, { k: 1, ef: EF })).hits)).toEqual(["i0"]);
      await index.apply([deletes([...items.slice(20).map(({ id }) => id), "i0"])]);
      expect(index.count).toBe(0);
      expect((await index.search(query, { k: 1, ef: EF })).hits).toEqual([]);
    });

    it("applies several batches of both kinds as one change", async () => {
      const items = randomItems(30, 12);
      const index = await filled(items.slice(0, 10));
      await index.apply([upserts(items.slice(10, 20)), mixed(items.slice(20), ["i0", "i11x"]), deletes(["i1"])]);
      const [{ vector: query }] = randomItems(1, 13) as [Item];
      expectHits((await index.search(query, { k: 50, ef: EF })).hits, nearest(items.slice(2), query, "cosine", 50));
    });

    it("looks items up with their metadata", async () => {
      const items = randomItems(3, 14).map((item, at) => ({ ...item, metadata: at === 0 ? '{"n":0}' : null }));
      const index = await filled(items);
      const looked = index.lookup(["i0", "i2", "i9"]);
      // The answer is of the moment of the call.
      const deleting = index.apply([deletes(["i0"])]);
      expect(await looked).toEqual(
        new Map([
          ["i0", '{"n":0}'],
          ["i2", null],
        ]),
      );
      await deleting;
    });

    it("is empty at first, and gives all items where k is more than there are", async () => {
      const empty = await filled([]);
      const [{ vector: query }] = randomItems(1, 15) as [Item];
      expect([empty.count, empty.dead]).toEqual([0, 0]);
      expect(await empty.search(query, { k: 10, ef: EF })).toMatchObject({ hits: [] });
      await empty.settled();
      expect(await empty.vector("i0")).toBeUndefined();
      const items = randomItems(7, 16);
      const index = await filled(items);
      await inBothStates(index, async () => {
        const { hits } = await index.search(query, { k: 1_000, ef: EF });
        expect(sorted(idsOf(hits))).toEqual(sorted(items.map(({ id }) => id)));
      });
    });

    it("shows a search all of a change, or nothing", async () => {
      const items = randomItems(300, 17);
      const index = await filled(items);
      const [{ vector: query }] = randomItems(1, 18) as [Item];
      let visible = 0;
      const checks: Promise<void>[] = [];
      const look = (): void => {
        const then = visible;
        checks.push(
          index.search(query, { k: 4, ef: EF }).then(({ hits }) => {
            const round = idsOf(hits).filter((id) => id.startsWith("round"));
            expect(round).toEqual(then === 0 ? [] : ["a", "b", "c"].map((part) => `round${then}${part}`));
          }),
        );
      };
      for (let round = 1; round <= 20; round++) {
        const added = ["a", "b", "c"].map((part) => ({ id: `round${round}${part}`, vector: query.slice() }));
        const before = ["a", "b", "c"].map((part) => `round${round - 1}${part}`);
        const applied = index.apply([mixed(added, before)], () => {
          visible = round;
        });
        look();
        await new Promise(setImmediate);
        look();
        await applied;
        expect(visible).toBe(round);
        look();
      }
      await Promise.all(checks);
    });

    it("takes changes in the order they were made, also when nobody waits", async () => {
      const index = await filled([]);
      const items = randomItems(40, 19);
      const writes = items.map((item) => index.apply([upserts([{ ...item, id: "same" }])]));
      writes.push(index.apply([upserts([{ id: "other", vector: (items[0] as Item).vector.slice() }])]));
      writes.push(index.apply([deletes(["other"])]));
      await Promise.all(writes);
      const last = items.at(-1) as Item;
      const { hits } = await index.search(last.vector, { k: 5, ef: EF });
      expect(idsOf(hits)).toEqual(["same"]);
      expect(hits[0]?.distance).toBeCloseTo(0, 5);
    });

    it("stops waiting when the caller does, and goes on", async () => {
      const items = randomItems(500, 20);
      const index = await filled(items);
      const caller = new AbortController();
      const [{ vector: query }] = randomItems(1, 21) as [Item];
      const searching = index.search(query, { k: 1, ef: EF, signal: caller.signal });
      const waiting = index.settled(caller.signal);
      caller.abort();
      await expect(searching).rejects.toMatchObject({ name: "LakeError", code: "cancelled" });
      await expect(waiting).rejects.toMatchObject({ name: "LakeError", code: "cancelled" });
      expectHits((await index.search(query, { k: 3, ef: 500 })).hits, nearest(items, query, "cosine", 3));
    });

    it("tells what memory it takes, which grows with its items", async () => {
      const index = await filled(randomItems(10, 22));
      const before = index.bytes;
      await index.apply([upserts(randomItems(1_000, 23).map((item) => ({ ...item, metadata: '{"role":"driver"}' })))]);
      expect(index.bytes).toBeGreaterThan(before);
      expect(index.itemBytes).toBeGreaterThanOrEqual(0);
      expect(await index.stats()).toMatchObject({ dead: 10 });
      await index.settled();
      const { graph, pending, bytes } = await index.stats();
      expect(graph + pending).toBe(1_000);
      expect(bytes).toBeGreaterThan(0);
      const shape = { dimension: DIMENSION, metric: "cosine" as const };
      expect(engine.bytesFor(shape, 1_000, index.itemBytes)).toBeLessThanOrEqual(index.bytes);
      expect(engine.bytesFor(shape, 2_000)).toBeGreaterThanOrEqual(engine.bytesFor(shape, 1_000));
    });

    it("is closed once, for good, and leaves others alone", async () => {
      const items = randomItems(20, 24);
      const [index, other] = [await filled(items), await filled(items)];
      const query = (items[4] as Item).vector;
      await index.close();
      await index.close();
      const closed = { name: "LakeError", kind: "closed" };
      await expect(index.search(query, { k: 1, ef: EF })).rejects.toMatchObject(closed);
      await expect(index.apply([deletes(["i0"])])).rejects.toMatchObject(closed);
      await expect(index.stats()).rejects.toMatchObject(closed);
      expect(idsOf((await other.search(query, { k: 1, ef: EF })).hits)).toEqual(["i4"]);
      expect(other.broken).toBe(false);
      await scope.close();
      expect(() => engine.open({ dimension: DIMENSION, metric: "cosine" }, 1)).toThrow(expect.objectContaining(closed));
    });

    describe("saving", () => {
      const shape = { dimension: DIMENSION, metric: "cosine" as const };
      const content: AnnContent = {
        index: "things",
        version: 7,
        commitId: "7d9f2a70-1c5a-4d3e-9b43-0d3f3b1f0c55",
        count: 190,
      };
      const items = randomItems(200, 25).map((item, at) => ({ ...item, metadata: at % 3 ? `{"n":${at}}` : null }));
      const live = items.slice(10);
      const query = (randomItems(1, 26) as [Item])[0].vector;

      /** Settled, with some items deleted. */
      const settled = async (): Promise<AnnIndex> => {
        const index = await filled(items);
        await index.apply([deletes(items.slice(0, 10).map(({ id }) => id))]);
        await index.settled();
        return index;
      };

      it("is refused where it is not possible", async () => {
        const index = await settled();
        const saving = index.save(folder, SAVED_AT, () => content);
        if (engine.saves) expect((await stat(await saving)).size).toBeGreaterThan(0);
        else await expect(saving).rejects.toMatchObject({ name: "LakeError", kind: "internal" });
      });

      it("and restoring gives the same index, which goes on from there", async ({ skip }) => {
        skip(!engine.saves, "cannot be saved");
        const index = await settled();
        const path = await index.save(folder, SAVED_AT, () => content);
        const again = await engine.restore(path, shape, content);
        await rm(path);
        expect(again.count).toBe(190);
        for (const { vector } of randomItems(10, 27)) {
          const { hits } = await again.search(vector, { k: 10, ef: 200 });
          expect(hits).toEqual((await index.search(vector, { k: 10, ef: 200 })).hits);
        }
        const ids = items.map(({ id }) => id);
        expect(await again.lookup(ids)).toEqual(await index.lookup(ids));
        await again.apply([mixed([{ id: "new", vector: query.slice() }], ["i20"])]);
        const left = [...live.filter(({ id }) => id !== "i20"), { id: "new", vector: query }];
        await inBothStates(again, async () => {
          expectHits((await again.search(query, { k: 9, ef: 200 })).hits, nearest(left, query, "cosine", 9));
        });
      });

      it("keeps the moment at which it asks for the content", async ({ skip }) => {
        skip(!engine.saves, "cannot be saved");
        const index = await settled();
        let asked = 0;
        const saving = index.save(folder, SAVED_AT, () => {
          asked += 1;
          return content;
        });
        while (asked === 0) await new Promise(setImmediate);
        await index.apply([mixed([{ id: "late", vector: query.slice() }], ["i50"])]);
        expect(idsOf((await index.search(query, { k: 1, ef: EF })).hits)).toEqual(["late"]);
        const again = await engine.restore(await saving, shape, content);
        expect(asked).toBe(1);
        expectHits((await again.search(query, { k: 9, ef: 200 })).hits, nearest(live, query, "cosine", 9));
      });

      it("waits for nothing: an index that is not settled is refused", async ({ skip }) => {
        skip(!engine.saves, "cannot be saved");
        const index = await settled();
        await index.apply([upserts(randomItems(2_000, 28))]);
        await expect(index.save(folder, SAVED_AT, () => content)).rejects.toMatchObject({ kind: "conflict" });
      });

      it("says in its head when it was", async ({ skip }) => {
        skip(!engine.saves, "cannot be saved");
        const { readFile } = await import("node:fs/promises");
        const path = await (await settled()).save(folder, SAVED_AT, () => content);
        const head = (await readFile(path)).subarray(0, 64 * 1024);
        expect(engine.savedAt(head)).toEqual(SAVED_AT);
        expect(engine.savedAt(Buffer.from("something else"))).toBeUndefined();
      });

      it("is restored only as what it was, and whole", async ({ skip }) => {
        skip(!engine.saves, "cannot be saved");
        const path = await (await settled()).save(folder, SAVED_AT, () => content);
        const corrupt = { name: "LakeError", kind: "corrupt" };
        for (const other of [
          { ...content, index: "others" },
          { ...content, version: 8 },
          { ...content, commitId: "7d9f2a70-1c5a-4d3e-9b43-0d3f3b1f0c56" },
          { ...content, count: 191 },
        ]) {
          await expect(engine.restore(path, shape, other)).rejects.toMatchObject(corrupt);
        }
        await expect(engine.restore(path, { ...shape, metric: "l2" }, content)).rejects.toMatchObject(corrupt);
        await expect(engine.restore(path, { ...shape, dimension: 13 }, content)).rejects.toMatchObject(corrupt);
        await truncate(path, (await stat(path)).size - 1);
        await expect(engine.restore(path, shape, content)).rejects.toMatchObject(corrupt);
        await expect(engine.restore(join(folder, "none"), shape, content)).rejects.toMatchObject(corrupt);
      });
    });
  });
}

/** `i0`, `i1`, …, each time the same ones. */
function randomItems(count: number, seed: number): Item[] {
  const random = openRandom(seed * 7_919);
  const vector = (): Float32Array => Float32Array.from({ length: DIMENSION }, () => random() * 2 - 1);
  return Array.from({ length: count }, (_, at) => ({ id: `i${at}`, vector: vector(), metadata: null }));
}

const upserts = (items: readonly Item[]): AnnChanges => mixed(items, []);
const deletes = (ids: readonly string[]): AnnChanges => mixed([], ids);

function mixed(items: readonly Item[], deleted: readonly string[]): AnnChanges {
  const vectors = new Float32Array((items.length + deleted.length) * DIMENSION);
  for (const [at, { vector }] of items.entries()) vectors.set(vector, (deleted.length + at) * DIMENSION);
  return {
    ids: [...deleted, ...items.map(({ id }) => id)],
    vectors,
    metadata: [...deleted.map(() => null), ...items.map(({ metadata = null }) => metadata)],
    deleted: [...deleted.map(() => true), ...items.map(() => false)],
  };
}

const idsOf = (hits: readonly AnnHit[]): string[] => hits.map(({ id }) => id);

function nearest(items: readonly Item[], query: Float32Array, metric: Metric, k: number): AnnHit[] {
  return items
    .map(({ id, vector, metadata = null }) => ({ id, distance: distance(metric, query, vector), metadata }))
    .sort((a, b) => a.distance - b.distance)
    .slice(0, k);
}

function expectHits(hits: readonly AnnHit[], expected: readonly AnnHit[]): void {
  expect(idsOf(hits)).toEqual(idsOf(expected));
  for (const [at, hit] of hits.entries()) {
    expect(hit.metadata).toBe(expected[at]?.metadata);
    expect(hit.distance).toBeCloseTo(expected[at]?.distance ?? Number.NaN, 4);
  }
}
