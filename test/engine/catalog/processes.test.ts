// @module-tag slow
import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { openCatalog } from "../../../src/engine/catalog/catalog.ts";
import { openScope } from "../../../src/engine/kernel/scope.ts";
import { systemClock } from "../../../src/engine/settings.ts";
import { openFileStore } from "../../../src/engine/store/file.ts";

const COMMITTER = fileURLToPath(new URL("../../support/committer.mjs", import.meta.url));
const WRITERS = 4;
const COMMITS = 50;

interface Acknowledged {
  version: number;
  commitId: string;
  key: string;
}

test("four processes commit fifty times each to one dataset, and nothing is lost", async () => {
  const scope = openScope();
  const folder = await mkdtemp(join(tmpdir(), "lakehouse-processes-"));
  scope.defer(() => rm(folder, { recursive: true, force: true }));
  try {
    const writers = Array.from({ length: WRITERS }, (_, i) => fork(COMMITTER, [folder, `${i}`, `${COMMITS}`]));
    for (const writer of writers) scope.defer(() => void writer.kill());
    await Promise.all(writers.map((writer) => answer(writer)));
    const answers = writers.map((writer) => answer(writer));
    for (const writer of writers) writer.send("go");
    const acknowledged = (await Promise.all(answers)).flat() as Acknowledged[];

    const total = WRITERS * COMMITS;
    const store = await openFileStore(scope, { folder, label: "./lake" });
    const catalog = await openCatalog(scope, store, {
      refreshMs: 0,
      clock: systemClock,
      log: () => undefined,
      engineVersion: "test",
    });
    const { heads: versions } = await catalog.versions("shared");
    expect(versions.map(({ version }) => version)).toEqual(Array.from({ length: total }, (_, i) => total - i));
    expect(versions.map(({ parent }) => parent)).toEqual([...versions.slice(1).map(({ version }) => version), null]);
    const byVersion = new Map(versions.map(({ version, commitId }) => [version, commitId]));
    expect(acknowledged).toHaveLength(total);
    for (const { version, commitId } of acknowledged) expect(byVersion.get(version)).toBe(commitId);
    const { files } = await catalog.load("shared");
    expect(new Set(files.map(({ key }) => key))).toEqual(new Set(acknowledged.map(({ key }) => key)));
    expect(files).toHaveLength(total);
    expect(await readdir(join(folder, ".spool"))).toEqual([]);
  } finally {
    await scope.close();
  }
});

/** The next message of a process; rejects when it ends without one. */
async function answer(writer: ReturnType<typeof fork>): Promise<unknown> {
  const ended = once(writer, "exit").then(([code]) => {
    throw new Error(`a writer ended with ${code}`);
  });
  ended.catch(() => undefined);
  const [message] = await Promise.race([once(writer, "message"), ended]);
  return message;
}
