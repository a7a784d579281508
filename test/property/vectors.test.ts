import fc from "fast-check";
import { expect, test } from "vitest";
import type { Engine } from "../../src/engine/engine.ts";
import type { Item } from "../../src/engine/index/types.ts";
import { openVectorLake, sorted, type VectorLake } from "../support/vectors.ts";

/** What an index does, against a map that does the same: in memory, on disk, saved, merged, and by two engines. */

interface Model {
  items: Map<string, { vector: number[]; metadata: string | null }>;
}

type Step =
  | { kind: "upsert"; items: { id: number; x: number; metadata: number | null | undefined }[] }
  | { kind: "delete"; ids: number[] }
  | { kind: "search"; x: number }
  | { kind: "reopen" }
  | { kind: "rest" }
  | { kind: "other" };

const ids = fc.integer({ min: 0, max: 340 });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("upsert" as const),
      items: fc.uniqueArray(
        fc.record({
          id: ids,
          x: fc.integer({ min: 1, max: 1000 }),
          metadata: fc.oneof(fc.constant(undefined), fc.constant(null), fc.nat(9)),
        }),
        { minLength: 1, maxLength: 25, selector: (item) => item.id },
      ),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant("delete" as const), ids: fc.array(ids, { minLength: 1, maxLength: 25 }) }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("search" as const), x: fc.integer({ min: 1, max: 1000 }) }) },
  { weight: 1, arbitrary: fc.constant({ kind: "reopen" as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: "rest" as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: "other" as const }) },
);

test("an index holds what a map holds, whatever is done to it", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 40 }), async (steps) => {
      await using lake = await openVectorLake({
        vector: { memoryBytes: 2 ** 28, threads: 2, ef: 64, hnsw: true, quietMs: 15 },
      });
      const other = await lake.another();
      await lake.engine.createIndex({ name: "things", dimension: 2, metric: "l2" });
      const model: Model = { items: new Map() };
      // Enough for graphs to be saved.
      const first = Array.from({ length: 300 }, (_, id) => ({ id, x: (id * 37) % 1000, metadata: id % 10 }));
      await run({ kind: "upsert", items: first }, lake, other, model);
      await compare(lake.engine, model, 5);
      for (const each of steps) await run(each, lake, other, model);
      await compare(lake.engine, model, 500);
      await compare(other, model, 3);
    }),
    { numRuns: 8 },
  );
}, 240_000);

async function run(each: Step, lake: VectorLake, other: Engine, model: Model): Promise<void> {
  switch (each.kind) {
    case "upsert": {
      const items = each.items.map(
        ({ id, x, metadata }): Item => ({
          id: `i${id}`,
          vector: [x, id / 100],
          ...(metadata !== undefined && { metadata: metadata === null ? {} : { m: metadata } }),
        }),
      );
      const known = items.filter(({ id }) => model.items.has(id)).length;
      const done = await lake.engine.upsert("things", items);
      for (const { id, vector = [], metadata } of items) {
        const before = model.items.get(id)?.metadata ?? null;
        const kept =
          metadata === undefined ? before : Object.keys(metadata).length === 0 ? null : JSON.stringify(metadata);
        model.items.set(id, { vector: [...vector], metadata: kept });
      }
      expect(done).toMatchObject({ updated: known, inserted: items.length - known, count: model.items.size });
      return;
    }
    case "delete": {
      const wanted = [...new Set(each.ids.map((id) => `i${id}`))];
      const there = wanted.filter((id) => model.items.has(id));
      const done = await lake.engine.deleteItems({ index: "things", ids: wanted });
      for (const id of wanted) model.items.delete(id);
      expect(done).toMatchObject({ deleted: there.length, count: model.items.size });
      expect(sorted(done.missing)).toEqual(sorted(wanted.filter((id) => !there.includes(id))));
      return;
    }
    case "search":
      return compare(lake.engine, model, each.x);
    case "reopen":
      await lake.reopen();
      return;
    case "rest":
      return new Promise((resolve) => setTimeout(resolve, 40));
    case "other":
      return compare(other, model, 7);
  }
}

async function compare(engine: Engine, model: Model, x: number): Promise<void> {
  const { hits, count } = await engine.search({ index: "things", vector: [x, 0], k: 1000 });
  const expected = [...model.items].map(([id, { vector, metadata }]) => ({
    id,
    metadata,
    distance: Math.hypot((vector[0] ?? 0) - x, Math.fround(vector[1] ?? 0)),
  }));
  expect(count).toBe(expected.length);
  const seen = (each: { id: string; metadata: unknown }): string => `${each.id} ${String(each.metadata)}`;
  const found = hits.map(({ id, metadata }) => ({ id, metadata: metadata === null ? null : JSON.stringify(metadata) }));
  expect(sorted(found.map(seen))).toEqual(sorted(expected.map(seen)));
  expected.sort((a, b) => a.distance - b.distance);
  for (const [at, hit] of hits.entries()) expect(hit.distance).toBeCloseTo(expected[at]?.distance ?? Number.NaN, 2);

  const { rows } = await engine.query("SELECT id, metadata::VARCHAR FROM things", { maxRows: 1000 });
  expect(sorted(rows.map(([id, metadata]) => `${String(id)} ${String(metadata)}`))).toEqual(sorted(expected.map(seen)));
}
