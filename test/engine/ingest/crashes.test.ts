// @module-tag slow
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { DuckDBInstance } from "@duckdb/node-api";
import { expect, onTestFinished, test } from "vitest";
import { childrenOf } from "../../support/child-processes.ts";
import { type Lake, openLake } from "../../support/lake.ts";

async function open(): Promise<Lake> {
  // One that an earlier test has left would be used again.
  for (const pid of workers()) process.kill(pid, "SIGKILL");
  await expect.poll(workers).toEqual([]);
  const lake = await openLake({ settings: { maxIngestRows: 100_000_000 } });
  onTestFinished(() => lake[Symbol.asyncDispose]());
  return lake;
}

/** Processes that run the engine's worker program. */
function workers(): number[] {
  return childrenOf(process.pid).filter((pid) => {
    try {
      return /process\/main\.js/.test(readFileSync(`/proc/${pid}/cmdline`, "latin1"));
    } catch {
      return false;
    }
  });
}

/** The next one beside `before` that has been started. */
async function nextWorker(before: readonly number[]): Promise<number> {
  for (;;) {
    const found = workers().find((pid) => !before.includes(pid));
    if (found !== undefined) return found;
    await sleep(5);
  }
}

/** Seconds of the processors that a process has had. */
function cpuOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "latin1")
    .replace(/^.*\) /, "")
    .split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** Ends the next process as a crash would, when it has worked for so long. */
async function crashNext(before: readonly number[], cpuSeconds: number): Promise<number> {
  const pid = await nextWorker(before);
  while (cpuOf(pid) < cpuSeconds) await sleep(5);
  process.kill(pid, "SIGSEGV");
  return pid;
}

/** A Parquet file of what a query yields. */
async function parquetFile(lake: Lake, sql: string): Promise<string> {
  const path = join(lake.folder, "inbox", "t.parquet");
  const instance = await DuckDBInstance.create(":memory:");
  const connection = await instance.connect();
  await connection.run(`COPY (${sql}) TO '${path}' (FORMAT parquet)`);
  connection.closeSync();
  instance.closeSync();
  return path;
}

test("a crash of the reader names the file and the column that was read when it came", async () => {
  const lake = await open();
  // Each takes some milliseconds, most of them for the footer.
  const columns = Array.from({ length: 3000 }, (_, at) => `i AS "col ""${at}"""`);
  const path = await parquetFile(lake, `SELECT ${columns.join(", ")} FROM range(10) t(i)`);
  const before = workers();
  const failing = lake.refused("ingest", { name: "t", path });
  const first = await crashNext(before, 0.8);
  await crashNext([...before, first], 2);
  const message = await failing;
  const [, column] =
    /t\.parquet cannot be read: its column "col \\"(\d+)\\"" made the reader of parquet fail \(SIGSEGV\)\. Nothing was changed\./.exec(
      message,
    ) ?? expect.fail(message);
  expect(Number(column)).toBeGreaterThan(0);
  expect(await lake.call("ingest", { name: "t", text: "a\n1\n" })).toMatchObject({ version: 1 });
});

test("a crash that no column causes alone names the file and its format", async () => {
  const lake = await open();
  const path = await parquetFile(lake, "SELECT random() AS a, random() AS b, uuid() AS c FROM range(6000000)");
  const before = workers();
  const failing = lake.refused("ingest", { name: "t", path });
  await crashNext(before, 0.7);
  expect(await failing).toContain("t.parquet cannot be read: it made the reader of parquet fail (SIGSEGV).");
});

test("a crash over CSV, of which no column can be read alone, names the file and its format", async () => {
  const lake = await open();
  await lake.file("t.csv", `a,b\n${"1,some text\n".repeat(10_000_000)}`);
  const before = workers();
  const failing = lake.refused("ingest", { name: "t", path: "t.csv" });
  await crashNext(before, 0.7);
  expect(await failing).toContain("t.csv cannot be read: it made the reader of csv fail (SIGSEGV).");
});

test("no process that read one caller's file reads another's, and the same caller gets his own again", async () => {
  const lake = await open();
  const before = workers();
  const afterIngestOf = async (caller: string): Promise<number[]> => {
    await lake.engine.ingest({ name: caller, source: { text: `a,b\n${Math.random()},x\n` } }, { caller });
    return workers().filter((pid) => !before.includes(pid));
  };
  const [ann, ...others] = await afterIngestOf("ann");
  expect(others).toEqual([]);
  const both = await afterIngestOf("bob");
  expect(both.length).toBe(2);
  expect(both).toContain(ann);
  for (const caller of ["ann", "bob", "bob", "ann"]) expect(await afterIngestOf(caller)).toEqual(both);
});
