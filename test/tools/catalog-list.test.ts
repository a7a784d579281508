import { afterAll, beforeAll, expect, test } from "vitest";
import { type Lake, openLake } from "../support/lake.ts";

let lake: Lake;
const NAMES = Array.from({ length: 25 }, (_, n) => `set_${String(n).padStart(2, "0")}`);

beforeAll(async () => {
  lake = await openLake();
  for (const name of NAMES) await lake.call("ingest", { name, text: `id,${name}_value\n1,a\n` });
  await lake.call("ingest", { name: "workers", text: "id,name,score\n1,Ann,0.5\n2,,0.9\n" });
});
afterAll(() => lake[Symbol.asyncDispose]());

interface Page {
  datasets: { name: string }[];
  next_cursor?: string;
  total: number;
}

test("pages cover every dataset once, in order", async () => {
  const seen: string[] = [];
  let cursor: string | undefined;
  do {
    const page: Page = await lake.call<Page>("catalog-list", { limit: 10, ...(cursor !== undefined && { cursor }) });
    expect(page.total).toBe(26);
    seen.push(...page.datasets.map((dataset) => dataset.name));
    cursor = page.next_cursor;
  } while (cursor !== undefined);
  expect(seen).toEqual([...NAMES, "workers"]);
});

test("search finds names and columns; a cursor of another search is refused", async () => {
  expect((await lake.call<Page>("catalog-list", { search: "work" })).datasets.map((d) => d.name)).toEqual(["workers"]);
  expect((await lake.call<Page>("catalog-list", { search: "SCORE" })).datasets.map((d) => d.name)).toEqual(["workers"]);
  expect((await lake.call<Page>("catalog-list", { search: "set_03 value" })).total).toBe(1);
  expect((await lake.call<Page>("catalog-list", { kind: "vectors" })).total).toBe(0);
  const { next_cursor } = await lake.call<Page>("catalog-list", { search: "set", limit: 2 });
  expect(await lake.refused("catalog-list", { search: "work", cursor: next_cursor })).toContain("cursor");
});
