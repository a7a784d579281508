import { expect, test } from "vitest";
import { openLake } from "../../support/lake.ts";

test("a long ingest tells how far it is, all the way", { tags: ["slow"] }, async () => {
  await using lake = await openLake();
  const line = `,${"some words that fill the row; ".repeat(12)},2026-01-02\n`;
  const rows = Array.from({ length: 350_000 }, (_, n) => `${n}${line}`);
  const path = await lake.file("long.csv", `id,words,day\n${rows.join("")}`);
  const seen: { fraction: number; message: string }[] = [];
  await lake.engine.ingest(
    { name: "long", source: { path } },
    { onProgress: (fraction, message) => seen.push({ fraction, message }) },
  );
  const converting = seen.filter(({ message }) => message === "converting").map(({ fraction }) => fraction);
  expect(new Set(converting.filter((fraction) => fraction > 0 && fraction < 0.9)).size).toBeGreaterThan(0);
  expect(seen.at(-1)).toEqual({ fraction: 1, message: "committed" });
});

test("ingests beyond the limit wait for their turn, and can be cancelled while they wait", async () => {
  await using lake = await openLake({ settings: { maxConcurrentIngests: 1 } });
  const abort = new AbortController();
  const first = lake.engine.ingest({ name: "first", source: { text: "a\n1\n" } });
  const second = lake.engine.ingest({ name: "second", source: { text: "a\n1\n" } }, { signal: abort.signal });
  const third = lake.engine.ingest({ name: "third", source: { text: "a\n1\n" } });
  abort.abort();
  await expect(second).rejects.toMatchObject({ kind: "unavailable" });
  expect((await first).rows).toBe(1);
  expect((await third).rows).toBe(1);
  expect((await lake.engine.list()).datasets.map(({ name }) => name)).toEqual(["first", "third"]);
});
