import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type Engine, openEngine } from "../../src/engine/engine.ts";
import { LakeError } from "../../src/engine/kernel/errors.ts";
import { inWords } from "../../src/engine/kernel/next-step.ts";
import { openScope, type Scope } from "../../src/engine/kernel/scope.ts";
import type { EngineSettings } from "../../src/engine/settings.ts";
import { TOOL_WORDS } from "../../src/tools/words.ts";
import { VECTOR } from "../support/embedder.ts";
import { testSettings } from "../support/lake.ts";
import { openSmallDisk, type SmallDisk } from "../support/small-disk.ts";
import { openRandom, randomVector, until } from "../support/vectors.ts";

const PAGE = 4096;

let scope: Scope;
let disk: SmallDisk;
let folder: string;
let engine: Engine;
let logged: string[];

beforeEach(async () => {
  scope = openScope();
  disk = await openSmallDisk(scope, 24 * 2 ** 20);
  folder = await mkdtemp(join(tmpdir(), "lakehouse-full-"));
  scope.defer(() => rm(folder, { recursive: true, force: true }));
  await mkdir(join(folder, "inbox"));
  engine = await open();
});
afterEach(() => scope.close());

/** Everything but the lake is on another disk. */
async function open(settings: Partial<EngineSettings> = {}): Promise<Engine> {
  logged = [];
  const opened = await openEngine({
    ...testSettings(folder),
    data: join(disk.folder, "lake"),
    log: (_level, message) => void logged.push(message),
    ...settings,
  });
  scope.defer(() => opened.close());
  return opened;
}

/** What cannot be compressed to less than half. */
const csv = (rows: number): string =>
  `id,noise\n${Array.from({ length: rows }, (_, i) => `${i},${randomBytes(20).toString("hex")}`).join("\n")}\n`;

const rowsOf = async (sql: string): Promise<unknown[][]> => (await engine.query(sql)).rows;

/** Does `work` with so little space that it fails, and with a page more each time until it does not. */
async function withEverLessToLack(work: () => Promise<unknown>, check: () => Promise<void>): Promise<string[]> {
  const said: string[] = [];
  for (let pages = 0; ; pages++) {
    await disk.leave(pages * PAGE);
    const error = await work().then(
      () => undefined,
      (reason: unknown) => reason,
    );
    if (error === undefined) return said;
    expect(error).toBeInstanceOf(LakeError);
    const { kind, message } = error as LakeError;
    const hint = inWords((error as LakeError).hint ?? "", TOOL_WORDS);
    said.push(message);
    expect({ kind, message, hint }).toEqual({
      kind: "limit",
      message: expect.stringMatching(/[Tt]he disk is full/),
      hint: expect.stringMatching(/[Ff]ree some space/),
    });
    expect(`${message} ${hint}`).not.toContain(disk.folder);
    // Still full: what is there is served, and nothing was left that takes up space.
    await check();
  }
}

test("an ingest that fills the disk, at whatever point, changes nothing, and works when there is space", async () => {
  await engine.ingest({ name: "kept", source: { text: "a\n1\n" } });
  await engine.ingest({ name: "t", source: { text: csv(10) } });
  const text = csv(600);
  const said = await withEverLessToLack(
    () => engine.ingest({ name: "t", source: { text }, mode: "append" }),
    async () => {
      expect(await rowsOf("SELECT (SELECT count(*)::INT FROM t), (SELECT a::INT FROM kept)")).toEqual([[10, 1]]);
      expect((await engine.describe("t")).versionsTotal).toBe(1);
    },
  );
  // While the text is kept, while it is copied for the conversion, while it is converted, and while it is committed.
  expect(new Set(said)).toEqual(
    new Set([
      "Could not ingest into t: the disk is full.",
      "Could not ingest: the disk is full.",
      "The disk is full.",
      "Could not write catalog/t/00000000000000000002.parquet: the disk is full.",
    ]),
  );
  expect(await rowsOf("SELECT count(*)::INT FROM t")).toEqual([[610]]);
  await disk.free();
  expect(await engine.ingest({ name: "t", source: { text: csv(5) }, mode: "append" })).toMatchObject({ version: 3 });
  expect(await engine.verify()).toMatchObject({ ok: true });
});

test("a vector segment that fills the disk changes nothing, and works when there is space", async () => {
  const random = openRandom(1);
  const items = (count: number) =>
    Array.from({ length: count }, (_, i) => ({ id: `i${i}`, vector: randomVector(random, 32) }));
  await engine.createIndex({ name: "v", dimension: 32 });
  await engine.upsert("v", items(5));
  const batch = items(200);
  const unchanged = async (count: number): Promise<void> => {
    expect(await rowsOf("SELECT count(*)::INT FROM v")).toEqual([[count]]);
    expect((await engine.search({ index: "v", vector: batch[0]?.vector ?? [], k: 300 })).hits).toHaveLength(count);
  };
  const said = await withEverLessToLack(
    () => engine.upsert("v", batch),
    () => unchanged(5),
  );
  await unchanged(200);
  said.push(
    ...(await withEverLessToLack(
      () => engine.deleteItems({ index: "v", ids: ["i1", "i7"] }),
      () => unchanged(200),
    )),
  );
  await unchanged(198);
  said.push(
    ...(await withEverLessToLack(
      () => engine.drop("v"),
      () => unchanged(198),
    )),
  );
  const manifests = [3, 4, 5].map((version) => `catalog/v/${`${version}`.padStart(20, "0")}.parquet`);
  expect(new Set(said)).toEqual(
    new Set(["The disk is full.", ...manifests.map((key) => `Could not write ${key}: the disk is full.`)]),
  );
  await disk.free();
  await engine.restore("v@2");
  await unchanged(5);
  expect(await engine.verify()).toMatchObject({ ok: true });
});

test("graphs that cannot be saved are told in the log, searched all the same, and saved when there is space", async () => {
  await engine.close();
  engine = await open({ vector: { ...VECTOR, quietMs: 30 } });
  const random = openRandom(1);
  const items = Array.from({ length: 2_000 }, (_, i) => ({ id: `i${i}`, vector: randomVector(random, 128) }));
  await engine.createIndex({ name: "v", dimension: 128 });
  await engine.upsert("v", items);
  await disk.leave(64 * 1024);
  const search = async () => (await engine.search({ index: "v", vector: items[7]?.vector ?? [], k: 1 })).hits[0]?.id;
  expect(await search()).toBe("i7");
  await until(() => logged.some((message) => message.includes("tended")));
  expect(await readdir(join(disk.folder, "lake/vectors/v")).catch(() => [])).toEqual([]);
  expect(await search()).toBe("i7");

  await disk.free();
  await engine.upsert("v", items.slice(0, 1));
  await until(async () => (await readdir(join(disk.folder, "lake/vectors/v")).catch(() => [])).length > 0);
  expect(await engine.verify()).toMatchObject({ ok: true, snapshots: 1 });
});

test("an upload that fills the disk is refused and leaves nothing, and works when there is space", async () => {
  const text = csv(600);
  const send = () => engine.uploads.receive("ann", { name: "big.csv", length: undefined }, chunksOf(text));
  await withEverLessToLack(send, async () => {
    expect(await engine.uploads.list("ann")).toEqual([]);
  });
  await disk.free();
  const [{ upload } = { upload: "" }] = await engine.uploads.list("ann");
  expect(await engine.ingest({ name: "t", source: { upload } }, { caller: "ann" })).toMatchObject({ rows: 600 });
});

async function* chunksOf(text: string): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < text.length; at += 10_000) yield Buffer.from(text.slice(at, at + 10_000));
}

test("a lake that became read-only is read, says why it takes no writes, and takes them when it is writable again", async () => {
  await engine.ingest({ name: "t", source: { text: "a\n1\n" } });
  await engine.createIndex({ name: "v", dimension: 2 });
  await engine.upsert("v", [{ id: "x", vector: [1, 2] }]);
  await disk.readOnly(true);
  const denied = { kind: "denied", message: expect.stringContaining("the file system does not permit it") };
  for (const work of [
    () => engine.ingest({ name: "t", source: { text: "a\n2\n" } }),
    () => engine.upsert("v", [{ id: "y", vector: [1, 2] }]),
    () => engine.deleteItems({ index: "v", ids: ["x"] }),
    () => engine.drop("t"),
    () => engine.createIndex({ name: "w", dimension: 2 }),
    () => engine.startJob("ingest", { name: "t", source: { text: "a\n2\n" } }),
  ]) {
    await expect(work()).rejects.toMatchObject(denied);
  }
  expect(await rowsOf("SELECT a::INT, (SELECT count(*)::INT FROM v) FROM t")).toEqual([[1, 1]]);
  expect((await engine.search({ index: "v", vector: [1, 2], k: 1 })).hits[0]?.id).toBe("x");
  await disk.readOnly(false);
  expect(await engine.ingest({ name: "t", source: { text: "a\n2\n" } })).toMatchObject({ version: 2 });
  expect(await engine.upsert("v", [{ id: "y", vector: [1, 2] }])).toMatchObject({ count: 2 });
  expect(await engine.verify()).toMatchObject({ ok: true, unused: { files: 0 } });
});

test("a lake is not opened on a disk that is full or read-only, and it is said why", async () => {
  await engine.close();
  await disk.readOnly(true);
  await expect(open({ data: join(disk.folder, "new") })).rejects.toMatchObject({ kind: "denied" });
  await disk.readOnly(false);
  engine = await open();
  expect(await engine.ingest({ name: "t", source: { text: "a\n2\n" } })).toMatchObject({ version: 1 });
});
