import { expect, test } from "vitest";
import { openIdMap, partNumber } from "../../../src/engine/vector/id-map.ts";

test("holds what a map holds, whatever the ids are like", () => {
  const ids = Array.from({ length: 5_000 }, (_, n) => [
    `${n}`,
    `worker-${n % 700}@example.com`,
    `é😀${n}`,
    "x".repeat(n % 90),
  ]);
  const map = openIdMap<number>();
  const expected = new Map<string, number>();
  for (const [n, id] of ids.flat().entries()) {
    map.set(id, n);
    expected.set(id, n);
    if (n % 3 === 0) {
      map.delete(id);
      expected.delete(id);
    }
    if (n % 5 === 0) {
      map.delete(`${id} is not there`);
    }
  }
  expect(map.size).toBe(expected.size);
  for (const id of ids.flat()) expect(map.get(id)).toBe(expected.get(id));
});

test.each([
  ["numbers", (n: number) => `${n}`],
  ["numbers with a common ending", (n: number) => `https://x.example/${n}/index.html?lang=en-US`],
  ["numbers with a common beginning", (n: number) => `customers/2024/row-${String(n).padStart(9, "0")}`],
])("%s are spread over all parts", (_, idOf) => {
  const counts = new Map<number, number>();
  for (let n = 0; n < 64_000; n++) counts.set(partNumber(idOf(n)), (counts.get(partNumber(idOf(n))) ?? 0) + 1);
  expect(counts.size).toBe(64);
  expect(Math.max(...counts.values())).toBeLessThan(2_000);
});
