import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, utimes, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { manifestKey } from "../../../src/engine/catalog/identity.ts";
import { expiredVersions } from "../../../src/engine/upkeep/retention.ts";
import { makeOlder } from "../../support/aging.ts";
import { type Lake, openLake } from "../../support/lake.ts";

const DAY = 86_400_000;
const MINIMAL = { versions: 1, ageMs: 0, graceMs: 120_000 };
const HARD = { delete: true, retention: MINIMAL };

const lakeOf = (lake: Lake): string => join(lake.folder, "lake");
const load = (lake: Lake, value: string | number, name = "t") =>
  lake.engine.ingest({ name, source: { text: `a\n${value}\n` } });

async function files(lake: Lake, folder: string): Promise<string[]> {
  const found = await readdir(join(lakeOf(lake), folder), { recursive: true, withFileTypes: true }).catch(() => []);
  return found.filter((entry) => entry.isFile()).map((entry) => entry.name);
}

test("a run without delete changes nothing and tells what a run with it does", async () => {
  await using lake = await openLake();
  for (const value of [1, 2, 3]) await load(lake, value);
  await makeOlder(lakeOf(lake), DAY);
  const all = await files(lake, ".");
  const dry = await lake.engine.gc({ retention: MINIMAL });
  expect(dry).toMatchObject({ deleted: false, versions: 2, files: 0, laterFiles: 2 });
  expect(dry.changes).toMatchObject([{ name: "t", versions: { from: 1, to: 2, count: 2 }, waitsUntil: null }]);
  expect(await files(lake, ".")).toEqual(all);

  expect(await lake.engine.gc(HARD)).toEqual({ ...dry, deleted: true });
});

test("removed versions say so at once; their files go after the grace period; the rest stays readable", async () => {
  await using lake = await openLake();
  const { engine } = lake;
  for (const value of [1, 2, 3]) await load(lake, value);
  await engine.query('FROM "t@1"');
  await makeOlder(lakeOf(lake), DAY);
  await engine.gc(HARD);

  await expect(engine.query('FROM "t@1"')).rejects.toMatchObject({
    kind: "not_found",
    message: 'Version 1 of dataset "t" was removed by gc.',
    hint: "It has versions 3 to 3.",
  });
  await expect(engine.restore("t@2")).rejects.toMatchObject({ kind: "not_found" });
  expect(await files(lake, "data")).toHaveLength(3);
  const waiting = await engine.gc(HARD);
  expect(waiting).toMatchObject({ files: 0, versions: 0 });
  expect(waiting.changes[0]?.waitsUntil).toMatch(/^\d{4}-/);

  await makeOlder(lakeOf(lake), DAY);
  expect(await engine.gc(HARD)).toMatchObject({ files: 2, versions: 0, changes: [{ waitsUntil: null }] });
  expect(await files(lake, "data")).toHaveLength(1);
  expect((await engine.query("FROM t")).rows).toEqual([[3]]);
  expect((await engine.verify()).problems).toEqual([]);
  // Counting goes on.
  expect((await load(lake, 4)).version).toBe(4);
});

test("what is young stays: versions, and files that no version has yet", async () => {
  await using lake = await openLake();
  const { engine } = lake;
  for (const value of [1, 2]) await load(lake, value);
  const [fingerprint = ""] = await readdir(join(lakeOf(lake), "data", "t"));
  const orphan = join(lakeOf(lake), "data", "t", fingerprint, `${"0".repeat(64)}.parquet`);
  const unknown = join(lakeOf(lake), "data", "never", "0".repeat(64), `${"0".repeat(64)}.parquet`);
  const foreign = join(lakeOf(lake), "data", "t", "notes.txt");
  await mkdir(join(unknown, ".."), { recursive: true });
  for (const path of [orphan, unknown, foreign]) await writeFile(path, "x");
  expect(await engine.gc(HARD)).toMatchObject({ versions: 0, files: 0, changes: [] });

  for (const path of [orphan, unknown, foreign]) await utimes(path, new Date(0), new Date(0));
  expect(await engine.gc(HARD)).toMatchObject({ versions: 0, files: 2, bytes: 2 });
  expect([orphan, unknown, foreign].map((path) => existsSync(path))).toEqual([false, false, true]);
});

test("a dropped dataset keeps its tombstone, so that its name goes on counting versions and field ids", async () => {
  await using lake = await openLake();
  const { engine } = lake;
  await load(lake, 1);
  await engine.drop("t");
  await makeOlder(lakeOf(lake), DAY);
  // However many versions are kept: a drop is meant.
  await engine.gc({ delete: true, retention: { ...MINIMAL, versions: 100 } });
  await makeOlder(lakeOf(lake), DAY);
  expect(await engine.gc(HARD)).toMatchObject({ files: 1 });
  expect(await files(lake, "data")).toEqual([]);
  await expect(engine.describe("t")).rejects.toMatchObject({
    message: 'Dataset "t" was dropped at version 2.',
    hint: "Its versions were removed by gc; ingest it again.",
  });
  const again = await engine.ingest({ name: "t", source: { text: "b\nx\n" } });
  expect(again.version).toBe(3);
  expect((await engine.describe("t")).manifest.columns).toMatchObject([{ id: 2, name: "b" }]);
});

test("a dataset with an unreadable manifest keeps everything, whichever it is; the others do not", {
  tags: ["slow"],
}, async () => {
  for (const damaged of [1, 2, 3]) {
    await using lake = await openLake();
    const { engine } = lake;
    for (const name of ["t", "u"]) for (const value of [1, 2, 3]) await load(lake, value, name);
    await makeOlder(lakeOf(lake), DAY);
    const path = join(lakeOf(lake), manifestKey("t", damaged));
    const good = await readFile(path);
    await writeFile(path, "not a manifest");
    await utimes(path, new Date(0), new Date(0));
    const report = await engine.gc(HARD);
    expect(report.kept).toEqual([{ name: "t", reason: expect.stringContaining("is damaged") }]);
    expect(report.changes.map(({ name }) => name)).toEqual(["u"]);
    expect(await files(lake, "catalog/t")).toHaveLength(3);
    expect(await files(lake, "data/t")).toHaveLength(3);

    await writeFile(path, good);
    await utimes(path, new Date(0), new Date(0));
    expect(await engine.gc(HARD)).toMatchObject({ kept: [], versions: 2 });
  }
});

test("without any catalog nothing is deleted: it is more likely lost than empty", async () => {
  await using lake = await openLake();
  await load(lake, 1);
  await makeOlder(lakeOf(lake), DAY);
  const { rename } = await import("node:fs/promises");
  await rename(join(lakeOf(lake), "catalog"), join(lake.folder, "elsewhere"));
  expect(await lake.engine.gc(HARD)).toMatchObject({ files: 0, datasets: 0 });
  expect(await files(lake, "data")).toHaveLength(1);
});

test("saved graphs of indexes that are gone, and all but the newest, go; so do folders of ended processes", async () => {
  await using lake = await openLake();
  const { engine } = lake;
  await engine.createIndex({ name: "v", dimension: 2 });
  await engine.upsert("v", [{ id: "a", vector: [1, 0] }]);
  const snapshot = (name: string, version: number): string =>
    join(lakeOf(lake), "vectors", name, `${String(version).padStart(20, "0")}.lhv1`);
  for (const [name, version] of [
    ["v", 1],
    ["v", 2],
    ["gone", 1],
  ] as const) {
    await mkdir(join(snapshot(name, version), ".."), { recursive: true });
    await writeFile(snapshot(name, version), "xx");
  }
  const spool = (host: string, pid: number): string => {
    const id = "00000000-0000-4000-8000-000000000000";
    return join(lakeOf(lake), ".spool", `ingest.${host}.${pid}.${id}.${id}`);
  };
  const dead = spool(hostname(), 2 ** 22 + 1);
  const foreign = spool("elsewhere", 1);
  for (const path of [dead, foreign]) {
    await mkdir(path, { recursive: true });
    await writeFile(join(path, "part"), "xxx");
  }
  expect(await engine.gc(HARD)).toMatchObject({
    snapshots: { files: 0, bytes: 0 },
    spool: { files: 1, bytes: 3 },
  });
  await makeOlder(lakeOf(lake), 30 * DAY);
  await utimes(foreign, new Date(0), new Date(0));
  expect(await engine.gc(HARD)).toMatchObject({
    snapshots: { files: 2, bytes: 4 },
    spool: { files: 1, bytes: 3 },
  });
  expect([snapshot("v", 1), snapshot("v", 2), snapshot("gone", 1)].map((path) => existsSync(path))).toEqual([
    false,
    true,
    false,
  ]);
  expect([dead, foreign].map((path) => existsSync(path))).toEqual([false, false]);
  // The open engine has a folder there too, and goes on.
  await engine.upsert("v", [{ id: "b", vector: [1, 1] }]);
  expect((await engine.search({ index: "v", vector: [1, 0] })).hits.map(({ id }) => id)).toEqual(["a", "b"]);
});

test("a grace period that an ingest may outlast is refused", async () => {
  await using lake = await openLake();
  await expect(lake.engine.gc({ delete: true, retention: { ...MINIMAL, graceMs: 60_000 } })).rejects.toMatchObject({
    kind: "invalid",
    message: expect.stringContaining("is not longer than the"),
    facts: { setting: "gc_grace" },
  });
});

test("a cancelled run ends with the caller's reason", async () => {
  await using lake = await openLake();
  await load(lake, 1);
  const reason = new Error("enough");
  await expect(lake.engine.gc({ ...HARD, signal: AbortSignal.abort(reason) })).rejects.toBeDefined();
  expect((await lake.engine.query("FROM t")).rows).toEqual([[1]]);
});

const at = (...hours: number[]) => hours.map((hour, index) => ({ version: index + 1, modified: hour * 3600e3 }));
const policy = { versions: 2, ageMs: 10 * 3600e3, graceMs: 3600e3 };

test.each([
  ["nothing of one version", at(0), 1000, false, []],
  ["the oldest beyond the count that were superseded long ago", at(0, 1, 2, 3), 100, false, [1, 2]],
  ["none that was the newest a while ago", at(0, 1, 95, 96), 100, false, [1]],
  ["the count does not matter after a drop", at(0, 1), 100, true, [1]],
  ["but the age does", at(0, 95), 100, true, []],
  ["nothing when the clock was set back", at(50, 51, 52, 53), 10, false, []],
] as const)("retention lets go of %s", (_, versions, hour, dropped, expected) => {
  const expired = expiredVersions(versions, { dropped, now: hour * 3600e3 }, policy);
  expect(expired.map(({ version }) => version)).toEqual(expected);
});

test("retention never lets go of the newest, nor of what is younger than the grace period", () => {
  const least = { versions: 0, ageMs: 0, graceMs: 3600e3 };
  expect(expiredVersions(at(0, 1, 2), { dropped: false, now: 1e12 }, least)).toHaveLength(2);
  expect(expiredVersions(at(0, 1, 2), { dropped: false, now: 2.5 * 3600e3 }, least)).toHaveLength(1);
});
