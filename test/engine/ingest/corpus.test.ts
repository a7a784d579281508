import { copyFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { keepFound, readCorpus } from "../../support/corpus.ts";

/** What the fuzzers load in every run. */
const FILES = new URL("parquet/files/", import.meta.url);

let folder: URL;
beforeAll(async () => {
  folder = pathToFileURL(`${await mkdtemp(join(tmpdir(), "corpus-"))}/`);
});
afterAll(() => rm(folder, { recursive: true }));

test("a corpus that is missing, or has nothing sound, is an error", async () => {
  await expect(readCorpus(new URL("none/", folder), ".parquet")).rejects.toThrow("ENOENT");
  await expect(readCorpus(folder, ".parquet")).rejects.toThrow("has no files of the corpus");
  await writeFile(new URL("hostile-x.parquet", folder), "x");
  await expect(readCorpus(folder, ".parquet")).rejects.toThrow("has no files of the corpus");
});

test("what a fuzzer finds is part of the corpus from then on", async () => {
  await copyFile(new URL("plain-v1.parquet", FILES), new URL("plain-v1.parquet", folder));
  const told = await keepFound(folder, "1-7.parquet", Buffer.from("crash"));
  expect(told).toMatch(/^Kept as .*found-1-7\.parquet: mend the cause, and commit the file.* Its bytes: Y3Jhc2g=$/);
  const kept = (await readCorpus(folder, ".parquet")).map(({ name, kind }) => `${kind} ${name}`);
  expect(kept).toEqual(["found found-1-7.parquet", "hostile hostile-x.parquet", "sound plain-v1.parquet"]);
});

test("the files are small, and those that are compressed are what they were made for", async () => {
  const corpus = await readCorpus(FILES, ".parquet");
  const bytes = Object.fromEntries(corpus.map((kept) => [kept.name, kept.bytes.length]));
  expect(bytes["hostile-nested-groups.parquet.gz"]).toBeGreaterThan(100_000);
  expect(bytes["hostile-page-sizes.parquet.gz"]).toBeGreaterThan(65_536);
  for (const { name } of corpus.filter(({ name }) => !name.endsWith(".gz")))
    expect(bytes[name], name).toBeLessThan(8192);
});
