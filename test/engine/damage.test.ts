// @module-tag slow
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { failure, openVectorLake, type VectorLake } from "../support/vectors.ts";

/** What becomes of a lake whose files are changed or removed while it is open, and whose clock is wrong. */

const CSV = `id,word\n${Array.from({ length: 3_000 }, (_, i) => `${i},w${(i * 7919) % 9973}`).join("\n")}\n`;
const SUM = "SELECT count(*)::INT, sum(id)::INT, count(DISTINCT word)::INT FROM";
const WHOLE = [[3_000, (2_999 * 3_000) / 2, 3_000]];

async function dataFileOf(lake: VectorLake, name: string): Promise<string> {
  const { manifest } = await lake.engine.describe(name);
  return join(lake.folder, "lake", manifest.files[0]?.key ?? "");
}

test("a data file that is removed is named, hurts no other dataset, and comes back by ingesting the source again", async () => {
  await using lake = await openVectorLake();
  await lake.csv("t", CSV);
  await lake.csv("other", "a\n1\n");
  const file = await dataFileOf(lake, "t");
  await rm(file);
  const error = await failure(lake.engine.query(`${SUM} t`));
  expect(error.kind).toBe("corrupt");
  expect(error.message).toContain("data/t/");
  expect(error.hint).toBeTruthy();
  expect((await lake.engine.query("SELECT a::INT FROM other")).rows).toEqual([[1]]);
  expect(await lake.engine.verify()).toMatchObject({ ok: false, problems: [{ kind: "missing", dataset: "t" }] });

  await lake.csv("t", CSV);
  expect((await lake.engine.query(`${SUM} t`)).rows).toEqual(WHOLE);
  expect(await lake.engine.verify()).toMatchObject({ ok: true });
});

test("a data file with another byte is never an answer that nobody can doubt: it fails, or verify names it", async () => {
  await using lake = await openVectorLake();
  await lake.csv("t", CSV);
  const file = await dataFileOf(lake, "t");
  const good = await readFile(file);
  let refused = 0;
  const places = Array.from({ length: 12 }, (_, n) => 5 + n * Math.ceil(good.length / 12));
  // And where the footer ends, which is read first.
  for (const at of [...places.filter((place) => place < good.length), good.length - 7, good.length - 2]) {
    const bad = Buffer.from(good);
    bad.writeUInt8(bad.readUInt8(at) ^ 0x55, at);
    await writeFile(file, bad);
    const engine = await lake.reopen();
    await engine.query(`${SUM} t`).catch((error: unknown) => {
      expect(error).toMatchObject({
        name: "LakeError",
        kind: "corrupt",
        hint: expect.arrayContaining([{ action: "verify" }]),
      });
      expect(String(error)).not.toMatch(/\/tmp\b/);
      refused++;
    });
    const { problems } = await engine.verify();
    expect(problems).toMatchObject([{ kind: "hash", dataset: "t" }]);
  }
  expect(refused).toBeGreaterThan(3);

  // What verify says: as long as a file has the name, the source counts as loaded.
  await rm(file);
  await lake.csv("t", CSV);
  expect((await lake.engine.query(`${SUM} t`)).rows).toEqual(WHOLE);
  expect(await lake.engine.verify()).toMatchObject({ ok: true });
});

test.each([0, 4, 11, 12, 100])("a data file that is cut to %i bytes is damaged", async (bytes) => {
  await using lake = await openVectorLake();
  await lake.csv("t", CSV);
  const file = await dataFileOf(lake, "t");
  await writeFile(file, (await readFile(file)).subarray(0, bytes));
  const error = await failure((await lake.reopen()).query(`${SUM} t`));
  expect(error).toMatchObject({ kind: "corrupt", hint: expect.arrayContaining([{ action: "verify" }]) });
});

test("a clock that is set back loses nothing: versions are in the order of their commits, and gc waits rather than delete", async () => {
  let time = Date.parse("2026-06-01T00:00:00Z");
  const clock = { now: () => new Date(time) };
  await using lake = await openVectorLake({ clock });
  await lake.csv("t", "a\n1\n");
  await lake.engine.createIndex({ name: "v", dimension: 2 });
  await lake.engine.upsert("v", [{ id: "x", vector: [1, 2] }]);
  time -= 30 * 24 * 3_600_000;
  await lake.csv("t", "a\n2\n");
  await lake.engine.upsert("v", [{ id: "y", vector: [1, 2] }]);
  for (const engine of [lake.engine, await lake.another()]) {
    expect((await engine.query('SELECT a::INT, (SELECT a::INT FROM "t@1") FROM t')).rows).toEqual([[2, 1]]);
    expect((await engine.describe("t")).versions.map(({ version }) => version)).toEqual([2, 1]);
    expect((await engine.search({ index: "v", vector: [1, 2], k: 9 })).count).toBe(2);
  }
  const retention = { versions: 1, ageMs: 0, graceMs: 120_000 };
  for (let i = 0; i < 2; i++) {
    const { files } = await lake.engine.gc({ delete: true, retention });
    expect(files).toBe(0);
  }
  expect((await lake.engine.query("SELECT a::INT FROM t")).rows).toEqual([[2]]);
  expect(await lake.engine.verify()).toMatchObject({ ok: true });
  await lake.csv("t", "a\n3\n");
  const { jobId } = await lake.engine.startJob("ingest", { name: "t", source: { text: "a\n4\n" } });
  expect(await lake.engine.jobStatus(jobId, { waitMs: 30_000 })).toMatchObject({ state: "done" });
  expect((await lake.engine.query("SELECT a::INT FROM t")).rows).toEqual([[4]]);
  expect(await readdir(join(lake.folder, "lake/catalog/t"))).not.toHaveLength(0);
});
