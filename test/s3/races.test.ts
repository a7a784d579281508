import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, inject, test } from "vitest";
import { openCatalog } from "../../src/engine/catalog/catalog.ts";
import { openEngine } from "../../src/engine/engine.ts";
import { openScope, type Scope } from "../../src/engine/scope.ts";
import { systemClock } from "../../src/engine/settings.ts";
import { testSettings } from "../support/lake.ts";
import { openTestStore, s3Settings } from "../support/s3.ts";

const endpoint = inject("s3Endpoint");
const WRITERS = 4;
const COMMITS = 50;
const TOTAL = WRITERS * COMMITS;
const PATIENCE = 300_000;

interface Acknowledged {
  version: number;
  commitId: string;
  key: string;
}

test(
  "four processes commit fifty times each to one dataset in a bucket, and nothing is lost",
  async () => {
    await inFolder(async (scope, folder) => {
      const settings = await s3Settings(folder, endpoint, { timeoutMs: 30_000 });
      const acknowledged = await race<Acknowledged>(scope, "committer", (writer) => [
        join(folder, `machine-${writer}`),
        `${writer}`,
        `${COMMITS}`,
        JSON.stringify(settings),
      ]);
      const store = await openTestStore(scope, folder, settings);
      const catalog = await openCatalog(scope, store, {
        refreshMs: 0,
        clock: systemClock,
        log: () => undefined,
        engineVersion: "test",
      });
      const { heads: versions } = await catalog.versions("shared");
      expect(versions.map(({ version }) => version)).toEqual(Array.from({ length: TOTAL }, (_, i) => TOTAL - i));
      const byVersion = new Map(versions.map(({ version, commitId }) => [version, commitId]));
      expect(acknowledged).toHaveLength(TOTAL);
      for (const { version, commitId } of acknowledged) expect(byVersion.get(version)).toBe(commitId);
      const { files } = await catalog.load("shared");
      expect(files).toHaveLength(TOTAL);
      expect(new Set(files.map(({ key }) => key))).toEqual(new Set(acknowledged.map(({ key }) => key)));
    });
  },
  PATIENCE,
);

test(
  "four processes upsert fifty times each into one vector index in a bucket, and no item is lost or doubled",
  async () => {
    await inFolder(async (scope, folder) => {
      const s3 = await s3Settings(folder, endpoint, { timeoutMs: 30_000 });
      const { clock: _clock, log: _log, ...plain } = { ...testSettings(folder), s3 };
      const engine = await openEngine({ ...testSettings(folder), s3 });
      scope.defer(() => engine.close());
      await engine.createIndex({ name: "shared", dimension: 3 });
      const acknowledged = await race<{ version: number; id: string }>(scope, "upserter", (writer) => [
        JSON.stringify({ ...plain, data: join(folder, `machine-${writer}`) }),
        `${writer}`,
        `${COMMITS}`,
      ]);
      expect(new Set(acknowledged.map(({ version }) => version)).size).toBe(TOTAL);
      const { rows } = await engine.query("SELECT count(*)::INT, count(DISTINCT id)::INT FROM shared");
      expect(rows).toEqual([[TOTAL, TOTAL]]);
      const { count } = await engine.indexStatus("shared");
      expect(count).toBe(TOTAL);
      const { hits } = await engine.search({ index: "shared", vector: [1, 1, 1], k: TOTAL });
      expect(new Set(hits.map(({ id }) => id))).toEqual(new Set(acknowledged.map(({ id }) => id)));
    });
  },
  PATIENCE,
);

async function inFolder(work: (scope: Scope, folder: string) => Promise<void>): Promise<void> {
  const scope = openScope();
  const folder = await mkdtemp(join(tmpdir(), "lakehouse-races-"));
  scope.defer(() => rm(folder, { recursive: true, force: true }));
  try {
    await work(scope, folder);
  } finally {
    await scope.close();
  }
}

/** Starts the writers together, and returns what all of them say at the end. */
async function race<T>(scope: Scope, script: string, args: (writer: number) => string[]): Promise<T[]> {
  const path = fileURLToPath(new URL(`../support/${script}.mjs`, import.meta.url));
  const writers = Array.from({ length: WRITERS }, (_, writer) => fork(path, args(writer)));
  for (const writer of writers) scope.defer(() => void writer.kill());
  await Promise.all(writers.map((writer) => answer(writer)));
  const answers = writers.map((writer) => answer(writer));
  for (const writer of writers) writer.send("go");
  return (await Promise.all(answers)).flat() as T[];
}

/** The next message of a process; rejects when it ends without one. */
async function answer(writer: ChildProcess): Promise<unknown> {
  const ended = once(writer, "exit").then(([code]) => {
    throw new Error(`a writer ended with ${code}`);
  });
  ended.catch(() => undefined);
  const [message] = await Promise.race([once(writer, "message"), ended]);
  return message;
}
