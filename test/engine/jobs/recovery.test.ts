// @module-tag slow
import { writeFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { KEPT_RECORDS } from "../../../src/engine/jobs/recovery.ts";
import type { JobRecord } from "../../../src/engine/jobs/types.ts";
import { failure, openVectorLake, until, type VectorLake } from "../../support/vectors.ts";
import { BUILD, goneProcess, jobFiles, leftBehind, openGate, TEXTS } from "./support.ts";

const gone = await goneProcess();
const DAY = 86_400_000;

/** Version 7, of the `n`-th ms since `from` days ago. */
function idOf(n: number, days = 0): string {
  const time = (Date.now() - days * DAY + n).toString(16).padStart(12, "0");
  return `${time.slice(0, 8)}-${time.slice(8)}-7000-8000-000000000000`;
}

function ago(ms: number): string {
  return new Date(Date.now() - ms).toISOString();
}

function doneRecord(id: string, finished: string): JobRecord {
  return {
    ...leftBehind(id, gone),
    kind: "ingest",
    request: { name: "rows", source: { path: "rows.csv" } },
    state: "done",
    updated: finished,
    finished,
    result: { version: 1 },
  } as unknown as JobRecord;
}

/** A lake with texts and no engine open on it that has looked for jobs. */
async function openLeft(...records: JobRecord[]): Promise<VectorLake> {
  const lake = await openVectorLake();
  await lake.csv("texts", TEXTS);
  for (const record of records) await jobFiles(lake).write(record.id, record);
  return lake;
}

describe("a job that a killed server left behind", () => {
  test("goes on under its id when it builds an index", async () => {
    const id = idOf(0);
    await using lake = await openLeft(leftBehind(id, gone));
    await lake.engine.warm();
    await until(async () => (await jobFiles(lake).read(id)).state === "done");
    // The file comes first, the engine's own record a moment later.
    const record = await lake.engine.jobStatus(id, { waitMs: 30_000 });
    expect(record).toMatchObject({ state: "done", resumed: 1, result: { count: 3 }, owner: { pid: process.pid } });
    expect(record.error).toBeUndefined();
    // Only once.
    const engine = await lake.reopen();
    await engine.warm();
    expect(await engine.jobStatus(id)).toEqual(record);
  });

  test("goes on when it is asked about, too", async () => {
    await using lake = await openVectorLake();
    await lake.csv("texts", TEXTS);
    await lake.engine.listJobs();
    const id = idOf(0);
    await jobFiles(lake).write(id, leftBehind(id, gone));
    expect(await lake.engine.jobStatus(id, { waitMs: 30_000 })).toMatchObject({ state: "done", resumed: 1 });
  });

  test("is taken up by one of several engines that start at once", async () => {
    await using gate = await openGate();
    await using lake = await openVectorLake({ embed: gate.embed });
    await lake.csv("texts", TEXTS);
    const ids = Array.from({ length: 5 }, (_, n) => idOf(n));
    const requests = ids.map((_, n) => ({ ...BUILD, name: `index_${n}` }));
    for (const [n, id] of ids.entries()) {
      await jobFiles(lake).write(id, leftBehind(id, gone, { request: requests[n] } as Partial<JobRecord>));
    }
    const engines = [lake.engine, await lake.another(), await lake.another()];
    await Promise.all(engines.map((engine) => engine.listJobs()));
    gate.open();
    for (const id of ids) {
      expect(await engines[0]?.jobStatus(id, { waitMs: 30_000 })).toMatchObject({
        state: "done",
        resumed: 1,
        result: { embedded: 3 },
      });
    }
    expect((await jobFiles(lake).names()).filter((name) => name.includes("claim"))).toHaveLength(5);
  });

  test("goes on although the engine that claimed it ended right away", async () => {
    const id = idOf(0);
    await using lake = await openLeft(leftBehind(id, gone));
    const { owner } = leftBehind(id, gone);

    await writeFile(`${lake.folder}/lake/jobs/${id}.claim-1`, JSON.stringify({ owner, at: ago(0) }));
    await writeFile(`${lake.folder}/lake/jobs/${id}.claim-2`, "");
    expect(await lake.engine.jobStatus(id, { waitMs: 30_000 })).toMatchObject({ state: "done", resumed: 3 });
  });

  test("does not go on when it was cancelled, or its index dropped meanwhile", async () => {
    const [cancelled, dropped] = [idOf(0), idOf(1)];
    await using lake = await openLeft();
    await lake.engine.createIndex(BUILD);
    const early = { created: ago(60_000), updated: ago(1_000) };
    await lake.engine.drop(BUILD.name);
    const files = jobFiles(lake);
    await files.write(dropped, leftBehind(dropped, gone, early));
    await files.write(cancelled, leftBehind(cancelled, gone, { request: { ...BUILD, name: "other" } } as never));

    await writeFile(`${lake.folder}/lake/jobs/${cancelled}.cancel`, "{}");
    expect(await lake.engine.jobStatus(cancelled)).toMatchObject({ state: "cancelled", resumed: 0 });
    expect(await lake.engine.jobStatus(dropped)).toMatchObject({ state: "cancelled", error: { kind: "conflict" } });
    expect((await lake.engine.list()).datasets.map((head) => head.name)).toEqual(["texts"]);
  });

  test("does not go on for ever when it takes its server down each time", async () => {
    const id = idOf(0);
    await using lake = await openLeft(leftBehind(id, gone, { resumed: 10 }));
    expect(await lake.engine.jobStatus(id)).toMatchObject({ state: "failed", resumed: 10 });
  });

  test("is interrupted when it was an ingest", async () => {
    const id = idOf(0);
    const request = { name: "rows", source: { path: "rows.csv" } };
    await using lake = await openLeft(leftBehind(id, gone, { kind: "ingest", request } as Partial<JobRecord>));
    const record = await lake.engine.jobStatus(id, { waitMs: 30_000 });
    expect(record).toMatchObject({
      state: "interrupted",
      error: { kind: "unavailable", message: "The server ended before the job was done." },
    });
    expect(record.error?.hint).toContain("Call ingest again");
    expect(await jobFiles(lake).read(id)).toEqual(record);
  });

  test("of another machine is left alone until it was silent for long", async () => {
    const [fresh, silent] = [idOf(0), idOf(1)];
    const owner = { ...leftBehind(fresh, 1).owner, host: "elsewhere.invalid" };
    const silence = { owner, created: ago(DAY), updated: ago(601_000) };
    await using lake = await openLeft(
      leftBehind(fresh, 1, { owner, updated: ago(500_000) }),
      leftBehind(silent, 1, silence),
    );
    await until(async () => (await lake.engine.jobStatus(silent)).state === "done");
    expect(await lake.engine.jobStatus(fresh)).toMatchObject({ state: "running", owner, resumed: 0 });
  });
});

describe("a damaged record", () => {
  const good = leftBehind(idOf(0), gone);
  test.each([
    ["nothing", ""],
    ["half of it", JSON.stringify(good).slice(0, 200)],
    ["something else", "[1, 2]"],
    ["binary", "\u0000\u0001\uFFFD"],
    ["another format", { ...good, format: 2 }],
    ["another id", { ...good, id: idOf(7) }],
    ["an unknown state", { ...good, state: "paused" }],
    ["an unknown kind", { ...good, kind: "toString" }],
    ["no request", { ...good, request: null }],
    ["a request of another kind", { ...good, kind: "ingest" }],
    ["no time", { ...good, updated: "yesterday" }],
    ["done without a result", { ...good, state: "done", finished: good.updated }],
    ["progress beyond the end", { ...good, progress: { fraction: 7, message: "" } }],
  ])("is skipped and told, and harms nothing: %s", async (_, content) => {
    const id = good.id;
    await using lake = await openLeft();
    const files = jobFiles(lake);
    await files.write(id, content);
    await files.write("not-a-job", "{}");
    const whole = doneRecord(idOf(-5), ago(0));
    await files.write(whole.id, whole);
    await lake.engine.warm();
    expect((await lake.engine.listJobs()).map((record) => record.id)).toEqual([whole.id]);
    const error = await failure(lake.engine.jobStatus(id));
    expect(error.kind).toBe("corrupt");
    expect(error.message).toContain(id);
    expect(await failure(lake.engine.cancelJob(id))).toMatchObject({ kind: "corrupt" });
    const { jobId } = await lake.engine.startJob("ingest", { name: "rows", source: { text: "a\n1\n" } });
    expect(await lake.engine.jobStatus(jobId, { waitMs: 30_000 })).toMatchObject({ state: "done" });
    const told = lake.logged.filter(({ message }) => message === "the record of a job cannot be read");
    expect(told.map(({ fields }) => fields?.job)).toEqual([id]);
    expect(await files.names()).toContain(`${id}.json`);
  });
});

describe("retention", () => {
  test("forgets jobs that ended a week ago, with their marks, and no others", async () => {
    const [old, young, running] = [idOf(0, 8), idOf(0, 6), idOf(1, 8)];
    const owner = { ...leftBehind(running, 1).owner, host: "elsewhere.invalid" };
    await using lake = await openLeft(
      doneRecord(old, ago(7 * DAY + 60_000)),
      doneRecord(young, ago(6 * DAY)),
      leftBehind(running, 1, { owner, created: ago(8 * DAY) }),
    );

    const orphan = idOf(2, 8);
    for (const mark of [`${old}.claim-1`, `${old}.cancel`, `${orphan}.claim-1`, `${young}.claim-1`]) {
      await writeFile(`${lake.folder}/lake/jobs/${mark}`, "{}");
    }
    await lake.engine.listJobs();
    const left = [`${young}.claim-1`, `${young}.json`, `${running}.json`].sort((a, b) => (a < b ? -1 : 1));
    await until(async () => JSON.stringify(await jobFiles(lake).names()) === JSON.stringify(left));
    expect(await failure(lake.engine.jobStatus(old))).toMatchObject({ kind: "not_found" });
  });

  test("keeps so many, the newest", async () => {
    const records = Array.from({ length: KEPT_RECORDS + 20 }, (_, n) => doneRecord(idOf(n, 1), ago(DAY)));
    await using lake = await openLeft(...records);
    await lake.engine.listJobs();
    await until(async () => (await jobFiles(lake).names()).length <= KEPT_RECORDS);
    expect((await jobFiles(lake).names()).at(0)).toBe(`${records[20]?.id}.json`);
    expect(await lake.engine.listJobs({ limit: 5_000 })).toHaveLength(KEPT_RECORDS);
  });
});
