import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import type { Engine } from "../../../src/engine/engine.ts";
import type { JobRecord } from "../../../src/engine/jobs/types.ts";
import { isWorking } from "../../support/lake.ts";
import { failure, openVectorLake, until } from "../../support/vectors.ts";
import { BUILD, ENDLESS, jobFiles, openGate, TEXTS } from "./support.ts";

const UNKNOWN = "01900000-0000-7000-8000-000000000000";

async function timed<Result>(work: Promise<Result>): Promise<{ result: Result; ms: number }> {
  const started = performance.now();
  return { result: await work, ms: performance.now() - started };
}

async function running(engine: Engine, id: string): Promise<void> {
  await until(async () => (await engine.jobStatus(id)).progress.message !== "waiting for its turn");
}

test("a job ends without its caller, with the result that the call would have had", async () => {
  await using lake = await openVectorLake();
  const { engine } = lake;
  await lake.csv("texts", TEXTS);
  const { jobId } = await engine.startJob("vector-index-create", BUILD);
  expect(jobId).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  const record = await engine.jobStatus(jobId, { waitMs: 30_000 });
  expect(record).toMatchObject({
    state: "done",
    kind: "vector-index-create",
    request: BUILD,
    progress: { fraction: 1 },
    resumed: 0,
    finished: expect.any(String),
  });
  const waited = await engine.createIndex({ ...BUILD, name: "other_index" });
  expect(record.result).toEqual({ ...waited, index: BUILD.name });

  const ingest = { name: "rows", source: { text: "a,b\n1,x\n2,y\n" } };
  const job = await engine.startJob("ingest", ingest);
  const done = await engine.jobStatus(job.jobId, { waitMs: 30_000 });
  const again = await engine.ingest({ ...ingest, name: "other_rows" });
  expect(done.result).toEqual({ ...again, name: "rows", dataset_id: expect.any(String) });
  expect((await engine.query("SELECT * FROM rows ORDER BY a")).rows).toEqual([
    [1, "x"],
    [2, "y"],
  ]);
});

test("inline text is not kept, which the record says", async () => {
  await using lake = await openVectorLake();
  const text = "a,b\n1,secret\n";
  const { jobId } = await lake.engine.startJob("ingest", { name: "rows", source: { text } });
  await lake.engine.jobStatus(jobId, { waitMs: 30_000 });
  const record = await jobFiles(lake).read(jobId);
  expect(record.request).toEqual({ name: "rows", source: { inline: { characters: text.length, kept: false } } });
  expect(JSON.stringify(record)).not.toContain("secret");
});

test("status waits no longer than it is told, and returns at once when the job ends", async () => {
  await using gate = await openGate();
  await using lake = await openVectorLake({ embed: gate.embed });
  const { engine } = lake;
  await lake.csv("texts", TEXTS);
  const { jobId } = await engine.startJob("vector-index-create", BUILD);
  const early = await timed(engine.jobStatus(jobId, { waitMs: 300 }));
  expect(early.result.state).toBe("running");
  expect(early.ms).toBeGreaterThanOrEqual(290);
  const leaving = new AbortController();
  setTimeout(() => leaving.abort(), 50);
  const left = await timed(failure(engine.jobStatus(jobId, { waitMs: 60_000, signal: leaving.signal })));
  expect(left.ms).toBeLessThan(5_000);

  const waiting = engine.jobStatus(jobId, { waitMs: 60_000 });
  gate.open();
  expect(await waiting).toMatchObject({ state: "done", result: { count: 3, embedded: 3 } });
  const after = await timed(engine.jobStatus(jobId, { waitMs: 60_000 }));
  expect(after.ms).toBeLessThan(1_000);
});

describe("a call that takes long", () => {
  test("becomes a job, which its caller's leaving does not stop", async () => {
    await using gate = await openGate();
    await using lake = await openVectorLake({ embed: gate.embed, jobAfterMs: 300 });
    await lake.csv("texts", TEXTS);
    const caller = new AbortController();
    const performed = await lake.engine.perform("vector-index-create", BUILD, { signal: caller.signal });
    const jobId = "jobId" in performed ? performed.jobId : "";
    caller.abort();
    expect(await lake.engine.jobStatus(jobId, { waitMs: 200 })).toMatchObject({ state: "running" });
    gate.open();
    expect(await lake.engine.jobStatus(jobId, { waitMs: 30_000 })).toMatchObject({
      state: "done",
      result: { count: 3 },
    });
  });

  test("is stopped by its caller's leaving as long as it is no job", async () => {
    await using lake = await openVectorLake({ jobAfterMs: 60_000 });
    const caller = new AbortController();
    setTimeout(() => caller.abort(), 500);
    const left = failure(lake.engine.perform("ingest", ENDLESS, { signal: caller.signal }));
    expect((await left).message).toBe("The call was cancelled.");
    expect(await lake.engine.listJobs()).toEqual([]);
    expect(isWorking(lake.engine)).toBe(false);
  });

  test("that ends before is none, tells its progress, and leaves no record", async () => {
    await using gate = await openGate();
    await using lake = await openVectorLake({ embed: gate.embed, jobAfterMs: 60_000 });
    await lake.csv("texts", TEXTS);
    const told: number[] = [];
    setTimeout(gate.open, 500);
    const performed = await lake.engine.perform("vector-index-create", BUILD, {
      onProgress: (fraction) => void told.push(fraction),
    });
    expect(performed).toMatchObject({ result: { count: 3 } });
    expect(told.at(-1)).toBe(1);
    expect(await jobFiles(lake).names()).toEqual([]);
  });

  test("waits when no record can be written, and a job is refused then", async () => {
    await using gate = await openGate();
    await using lake = await openVectorLake({ embed: gate.embed, jobAfterMs: 50 });
    await lake.csv("texts", TEXTS);
    await writeFile(join(lake.folder, "lake", "jobs"), "in the way");
    expect((await failure(lake.engine.startJob("vector-index-create", BUILD))).message).toContain("jobs/");
    setTimeout(gate.open, 300);
    expect(await lake.engine.perform("vector-index-create", BUILD)).toMatchObject({ result: { count: 3 } });
    expect(gate.asked()).toBe(1);
  });
});

describe("cancelling", () => {
  test("stops an ingest, which changes nothing", async () => {
    await using lake = await openVectorLake();
    const { engine } = lake;
    const { jobId } = await engine.startJob("ingest", ENDLESS);
    await running(engine, jobId);
    const cancelled = await timed(engine.cancelJob(jobId));
    expect(cancelled.ms).toBeLessThan(5_000);
    expect(cancelled.result).toMatchObject({ state: "cancelled", error: { message: "The job was cancelled." } });
    expect((await engine.list()).total).toBe(0);
    expect(await engine.cancelJob(jobId)).toEqual(cancelled.result);
    // Its place is free again.
    await lake.csv("texts", TEXTS);
  });

  test("stops a build, and says what stays", async () => {
    await using gate = await openGate();
    await using lake = await openVectorLake({ embed: gate.embed });
    await lake.csv("texts", TEXTS);
    const { jobId } = await lake.engine.startJob("vector-index-create", BUILD);
    await until(() => gate.asked() > 0);
    const { state, error } = await lake.engine.cancelJob(jobId);
    expect({ state, error }).toEqual({
      state: "cancelled",
      error: {
        kind: "unavailable",
        message: "The job was cancelled. Of 3 texts to embed, 0 are in texts_index, and stay there.",
        hint: "Call vector-index-create again with the same arguments: it goes on from there.",
      },
    });
    // It was cancelled by somebody, so that no later server goes on with it.
    const engine = await lake.reopen();
    expect(await engine.jobStatus(jobId)).toMatchObject({ state: "cancelled", resumed: 0 });
  });

  test("counts when the server is closed at the same moment", async () => {
    await using gate = await openGate();
    await using lake = await openVectorLake({ embed: gate.embed });
    await lake.csv("texts", TEXTS);
    const { jobId } = await lake.engine.startJob("vector-index-create", BUILD);
    await until(() => gate.asked() > 0);
    const cancelling = lake.engine.cancelJob(jobId).catch(() => undefined);
    await sleep(1);
    await lake.engine.close();
    await cancelling;
    expect(await jobFiles(lake).read(jobId)).toMatchObject({ state: "cancelled" });
  });

  test("leaves a job as it is that has ended", async () => {
    await using lake = await openVectorLake();
    const { jobId } = await lake.engine.startJob("ingest", { name: "rows", source: { text: "a\n1\n" } });
    const done = await lake.engine.jobStatus(jobId, { waitMs: 30_000 });
    expect(await lake.engine.cancelJob(jobId)).toEqual(done);
  });
});

test("a job that fails says why, and what to do", async () => {
  await using lake = await openVectorLake();
  const { jobId } = await lake.engine.startJob("ingest", { name: "rows", source: { path: "missing.csv" } });
  const told = await failure(lake.engine.ingest({ name: "rows", source: { path: "missing.csv" } }));
  const record = await lake.engine.jobStatus(jobId, { waitMs: 30_000 });
  expect(record).toMatchObject({ state: "failed", error: { kind: told.kind, message: told.message, hint: told.hint } });
  expect(record.result).toBeUndefined();
});

test("an unknown job is answered with the recent ones", async () => {
  await using lake = await openVectorLake();
  expect(await failure(lake.engine.jobStatus(UNKNOWN))).toMatchObject({ kind: "not_found" });
  const { jobId } = await lake.engine.startJob("ingest", { name: "rows", source: { text: "a\n1\n" } });
  await lake.engine.jobStatus(jobId, { waitMs: 30_000 });
  for (const id of [UNKNOWN, "../catalog/rows", "", jobId.toUpperCase(), "x".repeat(5_000)]) {
    const error = await failure(lake.engine.jobStatus(id));
    expect(error.kind).toBe("not_found");
    expect(error.hint).toBe(`Recent jobs: ${jobId} (ingest, done).`);
    expect(error.message.length).toBeLessThan(200);
    expect(await failure(lake.engine.cancelJob(id))).toMatchObject({ kind: "not_found" });
  }
});

test("builds of one index are one after the other: nothing is embedded twice", async () => {
  await using gate = await openGate();
  await using lake = await openVectorLake({ embed: { ...gate.embed, cacheBytes: 0 } });
  const { engine } = lake;
  await lake.csv("texts", TEXTS);
  const first = await engine.startJob("vector-index-create", BUILD);
  const second = await engine.startJob("vector-index-create", BUILD);
  const third = engine.perform("vector-index-create", BUILD);
  await until(() => gate.asked() > 0);
  await sleep(200);
  expect(await engine.jobStatus(second.jobId)).toMatchObject({ progress: { message: "waiting for its turn" } });
  gate.open();
  const records = await Promise.all([first, second].map(({ jobId }) => engine.jobStatus(jobId, { waitMs: 30_000 })));
  expect(records.map(({ result }) => result)).toMatchObject([{ embedded: 3 }, { embedded: 0, unchanged: true }]);
  expect(await third).toMatchObject({ result: { unchanged: true } });
  expect(gate.asked()).toBe(1);
});

test("builds of several indexes run side by side", { tags: ["slow"] }, async () => {
  await using lake = await openVectorLake();
  const { engine } = lake;
  await lake.csv("texts", TEXTS);
  const requests = Array.from({ length: 12 }, (_, n) => ({ ...BUILD, name: `index_${n}` }));
  const started = await Promise.all(requests.map((request) => engine.startJob("vector-index-create", request)));
  for (const { jobId } of started) {
    expect(await engine.jobStatus(jobId, { waitMs: 30_000 })).toMatchObject({ state: "done", result: { embedded: 3 } });
  }
});

test("listeners hear when a job begins and ends", async () => {
  await using lake = await openVectorLake();
  const heard: string[] = [];
  const stop = lake.engine.onJob(({ id, state }) => void heard.push(`${id} ${state}`));
  const { jobId } = await lake.engine.startJob("ingest", { name: "rows", source: { text: "a\n1\n" } });
  await lake.engine.jobStatus(jobId, { waitMs: 30_000 });
  stop();
  const other = await lake.engine.startJob("ingest", { name: "rows", source: { text: "a\n2\n" } });
  await lake.engine.jobStatus(other.jobId, { waitMs: 30_000 });
  expect(heard).toEqual([`${jobId} running`, `${jobId} done`]);
});

describe("two engines on one lake", () => {
  test("tell of each other's jobs, and wait for them", async () => {
    await using gate = await openGate();
    await using lake = await openVectorLake({ embed: gate.embed });
    await lake.csv("texts", TEXTS);
    const other = await lake.another();
    const { jobId } = await lake.engine.startJob("vector-index-create", BUILD);
    expect(await other.jobStatus(jobId)).toMatchObject({ state: "running" });
    expect((await other.listJobs()).map(({ id, state }) => [id, state])).toEqual([[jobId, "running"]]);
    const waiting = other.jobStatus(jobId, { waitMs: 30_000 });
    gate.open();
    expect(await waiting).toMatchObject({ state: "done", result: { count: 3 } });
  });

  test("stop each other's jobs", { tags: ["slow"] }, async () => {
    await using lake = await openVectorLake();
    const other = await lake.another();
    const { jobId } = await lake.engine.startJob("ingest", ENDLESS);
    await running(lake.engine, jobId);
    expect(await other.cancelJob(jobId)).toMatchObject({ state: "cancelled" });
    expect(isWorking(lake.engine)).toBe(false);
  });
});

test("closing interrupts what runs: an ingest is to be called again, a build goes on under its id", async () => {
  await using gate = await openGate();
  await using lake = await openVectorLake({ embed: gate.embed });
  await lake.csv("texts", TEXTS);
  const ingest = await lake.engine.startJob("ingest", ENDLESS);
  const build = await lake.engine.startJob("vector-index-create", BUILD);
  await running(lake.engine, ingest.jobId);
  await until(() => gate.asked() > 0);
  const waiting = lake.engine.jobStatus(build.jobId, { waitMs: 60_000 });
  const { ms } = await timed(lake.engine.close());
  expect(ms).toBeLessThan(3_000);
  expect(await waiting).toMatchObject({ state: "interrupted", error: { kind: "unavailable" } });
  const files = jobFiles(lake);
  const records = await Promise.all([ingest.jobId, build.jobId].map(files.read));
  expect(records.map(({ state }) => state)).toEqual(["interrupted", "interrupted"]);
  expect(records[0]?.error?.hint).toContain("Call ingest again");

  gate.open();
  const engine = await lake.reopen();
  await engine.warm();
  await until(async () => (await engine.jobStatus(build.jobId)).state === "done");
  expect(await engine.jobStatus(build.jobId)).toMatchObject({ resumed: 1, result: { count: 3 } });
  expect(await engine.jobStatus(ingest.jobId)).toMatchObject({ state: "interrupted", resumed: 0 });
  expect((await engine.list()).datasets.map((head) => head.name)).toEqual(["texts", "texts_index"]);
});

test("records are the same after a restart, newest first", async () => {
  await using lake = await openVectorLake();
  const ids: string[] = [];
  for (const text of ["a\n1\n", "a\n2\n", "b\n2\n"]) {
    ids.unshift((await lake.engine.startJob("ingest", { name: "rows", source: { text } })).jobId);
    await lake.engine.jobStatus(ids[0] ?? "", { waitMs: 30_000 });
    await sleep(2);
  }
  const before: JobRecord[] = await lake.engine.listJobs();
  expect(before.map(({ id, state }) => [id, state])).toEqual([
    [ids[0], "failed"],
    [ids[1], "done"],
    [ids[2], "done"],
  ]);
  const engine = await lake.reopen();
  expect(await engine.listJobs()).toEqual(before);
  expect((await engine.listJobs({ limit: 2 })).map(({ id }) => id)).toEqual(ids.slice(0, 2));
});
