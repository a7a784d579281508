import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, inject, test } from "vitest";
import { type Engine, openEngine } from "../../src/engine/engine.ts";
import { openScope, type Scope } from "../../src/engine/kernel/scope.ts";
import type { S3Settings } from "../../src/engine/settings.ts";
import { testSettings } from "../support/lake.ts";
import { s3Settings } from "../support/s3.ts";
import { openSmallDisk, type SmallDisk } from "../support/small-disk.ts";

const endpoint = inject("s3Endpoint");

let scope: Scope;
let folder: string;
let disk: SmallDisk;
let s3: S3Settings;

beforeEach(async () => {
  scope = openScope();
  folder = await mkdtemp(join(tmpdir(), "lakehouse-s3-full-"));
  scope.defer(() => rm(folder, { recursive: true, force: true }));
  disk = await openSmallDisk(scope, 24 * 2 ** 20);
  s3 = await s3Settings(folder, endpoint);
});
afterEach(() => scope.close());

/** A server over the bucket, whose own disk is `data`. */
async function open(data: string): Promise<Engine> {
  await mkdir(join(folder, "inbox"), { recursive: true });
  const engine = await openEngine({ ...testSettings(folder), data, s3 });
  scope.defer(() => engine.close());
  return engine;
}

const text = `id,noise\n${Array.from({ length: 10_000 }, (_, i) => `${i},${randomBytes(20).toString("hex")}`).join("\n")}\n`;
const full = {
  kind: "limit",
  message: expect.stringMatching(/disk is full/),
  hint: expect.arrayContaining([expect.stringContaining("space")]),
};

test("a cache that fills the disk fails the statement that needs the file, and no other, until there is space", async () => {
  const writer = await open(join(folder, "writer"));
  await writer.ingest({ name: "big", source: { text } });
  await writer.ingest({ name: "small", source: { text: "a\n1\n" } });
  const reader = await open(join(disk.folder, "reader"));
  await reader.list();
  await disk.leave(64 * 1024);
  for (let tries = 0; tries < 3; tries++) {
    await expect(reader.query("SELECT count(*) FROM big")).rejects.toMatchObject(full);
  }
  expect((await reader.query("SELECT a::INT FROM small")).rows).toEqual([[1]]);
  await disk.free();
  expect((await reader.query("SELECT count(*)::INT, count(DISTINCT noise)::INT FROM big")).rows).toEqual([
    [10_000, 10_000],
  ]);
});

test("an ingest that fills the disk before its upload puts nothing into the bucket", async () => {
  const engine = await open(join(disk.folder, "lake"));
  await engine.ingest({ name: "t", source: { text: "id,noise\n1,x\n" } });
  for (const free of [0, 64 * 1024, 300 * 1024, 500 * 1024]) {
    await disk.leave(free);
    await expect(engine.ingest({ name: "t", source: { text } })).rejects.toMatchObject(full);
    expect((await engine.query("SELECT count(*)::INT FROM t")).rows).toEqual([[1]]);
  }
  expect(await engine.verify()).toMatchObject({ ok: true, manifests: 1, unused: { files: 0 } });
  await disk.free();
  expect(await engine.ingest({ name: "t", source: { text } })).toMatchObject({ version: 2, rows: 10_000 });
});
