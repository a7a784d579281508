import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { mapAhead } from "../../../src/engine/kernel/map-ahead.ts";

test("results come in the order of the items, with no more than `ahead` in flight", async () => {
  let inFlight = 0;
  let most = 0;
  const results: number[] = [];
  const items = Array.from({ length: 50 }, (_, i) => i);
  const mapped = mapAhead(items, 8, async (item) => {
    inFlight++;
    most = Math.max(most, inFlight);
    await sleep((item * 7) % 5);
    inFlight--;
    return item * 2;
  });
  for await (const result of mapped) results.push(result);
  expect(results).toEqual(items.map((item) => item * 2));
  expect(most).toBe(8);
});

test("the first failure ends it, and those behind it are not unhandled", async () => {
  const seen: number[] = [];
  const run = async (): Promise<void> => {
    const mapped = mapAhead([1, 2, 3, 4, 5], 3, async (item) => {
      if (item >= 3) throw new Error(`item ${item}`);
      return item;
    });
    for await (const result of mapped) seen.push(result);
  };
  await expect(run()).rejects.toThrow("item 3");
  expect(seen).toEqual([1, 2]);
  await sleep(1);
});

test("no items, no results", async () => {
  for await (const _ of mapAhead([], 3, async () => 1)) throw new Error("a result of nothing");
});
