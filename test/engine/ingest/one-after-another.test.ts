import { gzipSync } from "node:zlib";
import { expect, it } from "vitest";
import { openIngesting } from "../../support/ingesting.ts";

// Small files are read by the instance that read the last one. Nothing of that one may be left in it.

it("tells of each file's own bad rows", async () => {
  await using lake = await openIngesting();
  const bad = { onBadRows: "skip" } as const;
  const first = await lake.csv("a,b\n1,2\n3\n4,5,6\n", bad);
  expect([first.rows, first.notes.skipped_rows?.lines.map(({ line }) => line)]).toEqual([1, [3, 4]]);
  const sound = await lake.csv("a,b\n1,2\n", bad);
  expect([sound.rows, sound.notes.skipped_rows]).toEqual([1, null]);
  const refused = await lake.refused({ source: { text: "a,b\n1,2\n1\n" } });
  expect(refused.message).toContain("line 3");
  const last = await lake.csv("a,b\n1\n3,4\n", bad);
  expect([last.rows, last.notes.skipped_rows?.lines.map(({ line }) => line)]).toEqual([1, [2]]);
});

it("reads what is there now, of files with one name and size, and of all formats", async () => {
  await using lake = await openIngesting();
  for (const value of [1, 2, 3]) {
    expect((await lake.csv(`a\n${value}\n`)).values).toEqual([[String(value)]]);
    await lake.ingest({ source: { text: `[{"a":${value}}]` }, format: "json" });
    expect(await lake.rows()).toEqual([{ a: String(value) }]);
    const source = { path: await lake.file("data.csv.gz", gzipSync(`a\n${value}\n`)) };
    expect((await lake.ingest({ source })).unchanged).toBe(true);
  }
});

it("keeps the limits of each ingest, and hides its paths", async () => {
  await using lake = await openIngesting({ maxIngestRows: 2 });
  await lake.csv("a\n1\n");
  expect((await lake.refused({ source: { text: "a\n1\n2\n3\n" } })).message).toContain("more than 2 rows");
  const refused = await lake.refused({ source: { path: await lake.file("bad.csv", 'a,b\n"1,2\n') } });
  expect(refused.message).not.toContain(lake.folder);
  expect((await lake.csv("a\n7\n")).values).toEqual([["7"]]);
  expect((await lake.files()).filter((file) => file.includes("ingest."))).toEqual([]);
});
