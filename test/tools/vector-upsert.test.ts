import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { tools } from "../../src/tools/index.ts";
import { answer } from "../support/answer.ts";
import { type Lake, openLake } from "../support/lake.ts";
import { type Found, openPoints } from "../support/vector-tools.ts";

test("metadata comes back as it was sent, whatever its keys", async () => {
  await using lake = await openLake();
  await lake.call("vector-index-create", { name: "points", dimension: 1, metric: "l2" });
  const metadata = JSON.parse('{"__proto__": 1, "a": {"constructor": [null, 1.5, "é"]}}');
  await lake.call("vector-upsert", { index: "points", items: [{ id: "a", vector: [1], metadata }] });
  const { hits } = await lake.call<Found>("vector-search", { index: "points", vector: [1] });
  expect(JSON.stringify(hits[0]?.metadata)).toBe(JSON.stringify(metadata));
});

describe("a batch of which one item is wrong", () => {
  let lake: Lake;
  beforeAll(async () => {
    lake = await openPoints();
  });
  afterAll(() => lake[Symbol.asyncDispose]());

  test.each([
    ["a dimension", { id: "x", vector: [1, 2] }, 'items[1] (id "x"): vector has 2 values'],
    ["a vector without direction", { id: "x", vector: [0, 0, 0] }, 'items[1] (id "x"): vector'],
    ["no text and no vector", { id: "x" }, 'items[1] (id "x") has neither'],
    ["an empty id", { id: "", vector: [1, 2, 3] }, "items[1].id"],
    ["the id of another", { id: "fine", vector: [1, 2, 3] }, "has the id of items[0]"],
    [
      "too much metadata",
      { id: "x", vector: [1, 2, 3], metadata: { a: "x".repeat(2 ** 20) } },
      'items[1] (id "x"): metadata',
    ],
    ["a text for a model it has not", { id: "x", text: "words" }, 'items[1] (id "x") has a text'],
    ["a number in quotes", { id: "x", vector: [1, 2, "3"] }, "items.1.vector.2: expected a number"],
    ["a slip in a name", { id: "x", vectors: [1, 2, 3] }, 'items.1: unknown argument "vectors": use vector'],
  ])("is refused as a whole: %s", async (_, wrong, where) => {
    const items = [{ id: "fine", vector: [1, 2, 3] }, wrong];
    const told = await lake.refused("vector-upsert", { index: "points", items });
    expect(told).toContain(where);
    expect(told.length).toBeLessThan(1_000);
    const { structured } = await answer(lake, "vector-search", { index: "points", vector: [1, 2, 3] });
    expect(structured).toMatchObject({ version: 2, count: 3 });
  });
});

test("10,000 items are stored by one call", { tags: ["slow"] }, async () => {
  await using lake = await openLake();
  await lake.call("vector-index-create", { name: "points", dimension: 2 });
  const items = Array.from({ length: 10_000 }, (_, n) => ({ id: `p${n}`, vector: [1, n] }));
  const { structured } = await answer(lake, "vector-upsert", { index: "points", items });
  expect(structured).toMatchObject({ version: 2, count: 10_000, inserted: 10_000, updated: 0 });
  expect((await lake.call("sql", { sql: "SELECT count(DISTINCT id) FROM points" })).rows).toEqual([[10_000]]);
});

test("10,000 vectors of 768 numbers are checked in a fraction of the time that zod's own numbers take", {
  tags: ["slow"],
}, () => {
  const vector = Array.from({ length: 768 }, (_, n) => n / 7);
  const items = Array.from({ length: 10_000 }, (_, n) => ({ id: String(n), vector: [...vector] }));
  const quickest = (schema: z.ZodType, value: unknown): number =>
    Math.min(
      ...[1, 2, 3].map(() => {
        const started = performance.now();
        expect(schema.safeParse(value).success).toBe(true);
        return performance.now() - started;
      }),
    );
  const input = tools.find((tool) => tool.name === "vector-upsert")?.input ?? z.never();
  const own = z.array(z.object({ id: z.string(), vector: z.array(z.number()) }));
  expect(quickest(input, { index: "points", items })).toBeLessThan(quickest(own, items) / 2);
});
