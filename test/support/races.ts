import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import { type Engine, openEngine } from "../../src/engine/engine.ts";
import type { Scope } from "../../src/engine/kernel/scope.ts";
import type { S3Settings } from "../../src/engine/settings.ts";
import { testSettings } from "./lake.ts";

const WRITERS = 4;
const COMMITS = 50;
const TOTAL = WRITERS * COMMITS;
export const PATIENCE = 400_000;

interface Acknowledged {
  version: number;
  id: string;
}

/** Four processes append fifty times each to one dataset, two rows at a time. */
export async function raceForRows(scope: Scope, folder: string, s3?: S3Settings): Promise<void> {
  const { acknowledged, engine } = await race(scope, folder, "appender", s3);
  expect(sortedNumbers(acknowledged)).toEqual(Array.from({ length: TOTAL }, (_, i) => i + 1));
  const { versionsTotal, manifest } = await engine.describe("shared");
  expect(versionsTotal).toBe(TOTAL);
  expect(manifest).toMatchObject({ version: TOTAL, rows: 2 * TOTAL, fileCount: TOTAL });
  const { rows } = await engine.query("SELECT id, count(*)::INT, sum(n)::INT FROM shared GROUP BY id", {
    maxRows: 2 * TOTAL,
  });
  const expected = acknowledged.map(({ id }) => [id, 2, 3]);
  expect(rows.toSorted(byFirst)).toEqual(expected.toSorted(byFirst));
  // Each version has the rows of those before it, and its own: the file that it added is the last.
  for (const { version, id } of acknowledged.filter((_, at) => at % 20 === 0)) {
    const seen = await engine.query(
      `SELECT count(*)::INT, count(*) FILTER (id = '${id}')::INT FROM "shared@${version}"`,
    );
    expect(seen.rows).toEqual([[2 * version, 2]]);
    const before = await engine
      .query(`SELECT count(*)::INT FROM "shared@${version - 1}" WHERE id = '${id}'`)
      .catch(() => undefined);
    if (version > 1) expect(before?.rows).toEqual([[0]]);
  }
  expect(await engine.verify()).toMatchObject({ ok: true, problemsTotal: 0, unused: { files: 0 } });
}

/** Four processes upsert fifty times each into one vector index. */
export async function raceForItems(scope: Scope, folder: string, s3?: S3Settings): Promise<void> {
  const { acknowledged, engine } = await race(scope, folder, "upserter", s3, (opened) =>
    opened.createIndex({ name: "shared", dimension: 3 }),
  );
  // An index merges its segments by itself, which makes versions too.
  expect(new Set(acknowledged.map(({ version }) => version)).size).toBe(TOTAL);
  const { rows } = await engine.query("SELECT count(*)::INT, count(DISTINCT id)::INT FROM shared");
  expect(rows).toEqual([[TOTAL, TOTAL]]);
  const { count } = await engine.indexStatus("shared");
  expect(count).toBe(TOTAL);
  const { hits } = await engine.search({ index: "shared", vector: [1, 1, 1], k: TOTAL });
  expect(new Set(hits.map(({ id }) => id))).toEqual(new Set(acknowledged.map(({ id }) => id)));
  expect(await engine.verify()).toMatchObject({ ok: true, problemsTotal: 0 });
}

/** Starts the writers together, and returns what all of them were told. In a bucket each has a disk of its own. */
async function race(
  scope: Scope,
  folder: string,
  script: "appender" | "upserter",
  s3?: S3Settings,
  prepare: (engine: Engine) => Promise<unknown> = async () => undefined,
): Promise<{ acknowledged: Acknowledged[]; engine: Engine }> {
  await mkdir(join(folder, "inbox"), { recursive: true });
  const settings = { ...testSettings(folder), ...(s3 && { s3 }) };
  const engine = await openEngine(settings);
  scope.defer(() => engine.close());
  await prepare(engine);
  const { clock: _clock, log: _log, ...plain } = settings;
  const path = fileURLToPath(new URL(`./${script}.mjs`, import.meta.url));
  const writers = Array.from({ length: WRITERS }, (_, writer) => {
    const data = s3 ? join(folder, `machine-${writer}`) : plain.data;
    return fork(path, [JSON.stringify({ ...plain, data }), `${writer}`, `${COMMITS}`]);
  });
  for (const writer of writers) scope.defer(() => void writer.kill());
  await Promise.all(writers.map((writer) => answer(writer)));
  const answers = writers.map((writer) => answer(writer));
  for (const writer of writers) writer.send("go");
  const acknowledged = (await Promise.all(answers)).flat() as Acknowledged[];
  expect(acknowledged).toHaveLength(TOTAL);
  return { acknowledged, engine };
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

const sortedNumbers = (acknowledged: Acknowledged[]): number[] =>
  acknowledged.map(({ version }) => version).sort((a, b) => a - b);

const byFirst = ([a]: unknown[], [b]: unknown[]): number => (String(a) < String(b) ? -1 : 1);
