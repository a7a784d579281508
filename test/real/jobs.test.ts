import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { until } from "../support/vectors.ts";
import { openWorkspace, type ServerProcess, type Workspace } from "./process.ts";

const BUILTIN = { LAKEHOUSE_JOB_AFTER: "5m", LAKEHOUSE_EMBED_PROVIDER: "builtin", LAKEHOUSE_VECTOR_QUIET: "200ms" };
const ROWS = 40_000;
const TEXTS = {
  name: "texts",
  sql: `SELECT i AS id, 'résumé ' || i || ' of a driver in area ' || (i % 97) AS words FROM range(${ROWS}) t(i)`,
};
const BUILD = { name: "texts_index", dataset: "texts", id: "id", text: "words" };

async function start(server: ServerProcess, tool: string, args: object): Promise<string> {
  return String((await server.call(tool, { ...args, background: true })).job_id);
}

async function ended(server: ServerProcess, job_id: string): Promise<Record<string, unknown>> {
  for (;;) {
    const job = await server.call("job-status", { job_id, wait_ms: 10_000 });
    if (job.state !== "running") return job;
  }
}

async function stateOnDisk(workspace: Workspace, job: string): Promise<string> {
  return JSON.parse(await readFile(join(workspace.folder, "lake", "jobs", `${job}.json`), "utf8")).state;
}

test("an index build that is killed goes on by itself under its id, and ends as one that was not", async () => {
  await using workspace = await openWorkspace();
  const first = await workspace.start({ env: BUILTIN });
  await first.call("ingest", TEXTS);
  const job = await start(first, "vector-index-create", BUILD);
  const versions = join(workspace.folder, "lake", "catalog", "texts_index");
  // Version 1 creates it, 2 says what it is built from, 3 is the first segment.
  await until(async () => (await readdir(versions).catch(() => [])).length >= 3);
  process.kill(first.pid, "SIGKILL");
  expect(await stateOnDisk(workspace, job)).toBe("running");

  // Two servers start at once: one of them goes on, without being asked.
  const [second, third] = await Promise.all([workspace.start({ env: BUILTIN }), workspace.start({ env: BUILTIN })]);
  await until(async () => (await stateOnDisk(workspace, job)) === "done");
  const record = await ended(second, job);
  expect(record).toMatchObject({ state: "done", resumed: 1, result: { count: ROWS, created: false } });
  const { embedded, kept } = record.result as { embedded: number; kept: number };
  expect(embedded + kept).toBe(ROWS);
  expect(kept).toBeGreaterThanOrEqual(10_000);
  expect(await ended(third, job)).toEqual(record);
  expect(`${second.stderr()}${third.stderr()}`.match(/"a job goes on"/g)).toHaveLength(1);

  const other = await second.call("vector-index-create", { ...BUILD, name: "other_index" });
  expect(other).toMatchObject({ count: ROWS });
  const { rows } = await second.call("sql", {
    sql: `SELECT count(*), count(DISTINCT a.id) FROM texts_index a JOIN other_index b
      ON a.id = b.id AND a.text = b.text AND a.vector = b.vector`,
  });
  expect(rows).toEqual([[ROWS, ROWS]]);
});

test("an ingest that is killed is interrupted, and its dataset is wholly there or not at all", async () => {
  await using workspace = await openWorkspace();
  const rows = 3_000_000;
  const lines = Array.from({ length: 300_000 }, (_, n) => `${n},name ${n},${n % 97}`);
  const path = await workspace.file("big.csv", `id,name,area\n${lines.join("\n")}\n`);
  const made = { name: "made", sql: `SELECT i, md5(i::VARCHAR) AS h FROM range(${rows}) t(i)` };
  const read = { name: "read", path };
  const outcomes: string[] = [];
  for (const [round, wait] of [5, 40, 120, 250, 500, 900].entries()) {
    const request = round % 2 === 0 ? { ...made, name: `made_${round}` } : { ...read, name: `read_${round}` };
    const server = await workspace.start({ env: BUILTIN });
    const job = await start(server, "ingest", request);
    await sleep(wait);
    process.kill(server.pid, "SIGKILL");

    const again = await workspace.start({ env: BUILTIN });
    const record = await ended(again, job);
    const { datasets } = (await again.call("catalog-list", { search: request.name })) as {
      datasets: { name: string; rows: number }[];
    };
    const found = datasets.find(({ name }) => name === request.name);
    const whole = round % 2 === 0 ? rows : lines.length;
    expect([undefined, whole]).toContain(found?.rows);
    if (record.state === "done") expect(found?.rows).toBe(whole);
    else {
      expect(record).toMatchObject({ state: "interrupted", error: { kind: "unavailable" } });
      const repeated = await again.call("ingest", request);
      expect(repeated).toMatchObject({ rows: whole, unchanged: found !== undefined, version: 1 });
    }
    outcomes.push(String(record.state));
    await again.client.close();
  }
  expect(outcomes).toContain("interrupted");
});

test("a client that goes takes its server with it; the next one ends the build", async () => {
  await using workspace = await openWorkspace();
  const first = await workspace.start({ env: BUILTIN });
  await first.call("ingest", TEXTS);
  const job = await start(first, "vector-index-create", BUILD);
  await until(async () => Number((await first.call("job-status", { job_id: job })).progress) > 0.05);
  await first.client.close();
  await until(async () => (await stateOnDisk(workspace, job)) !== "running");
  expect(await stateOnDisk(workspace, job)).toBe("interrupted");
  await until(() => first.stderr().includes('"message":"closed"'));

  const second = await workspace.start({ env: BUILTIN });
  await until(async () => (await stateOnDisk(workspace, job)) === "done");
  expect(await ended(second, job)).toMatchObject({ state: "done", resumed: 1, result: { count: ROWS } });
});
