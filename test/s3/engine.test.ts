import { mkdir, mkdtemp, readdir, readFile, realpath, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, inject, test } from "vitest";
import { type Engine, openEngine } from "../../src/engine/engine.ts";
import { openScope, type Scope } from "../../src/engine/kernel/scope.ts";
import type { EngineSettings, S3Settings } from "../../src/engine/settings.ts";
import { openMetrics } from "../../src/observability/metrics.ts";
import { type FaultProxy, openFaultProxy } from "../support/fault-proxy.ts";
import { testSettings } from "../support/lake.ts";
import { s3Settings } from "../support/s3.ts";

const ceph = inject("s3Endpoint");
const HOUR = 3_600_000;

let scope: Scope;
let folder: string;
let proxy: FaultProxy;
let s3: S3Settings;

beforeEach(async () => {
  scope = openScope();
  folder = await realpath(await mkdtemp(join(tmpdir(), "lakehouse-s3-engine-")));
  scope.defer(() => rm(folder, { recursive: true, force: true }));
  proxy = await openFaultProxy(ceph);
  scope.defer(async () => proxy[Symbol.asyncDispose]());
  s3 = { ...(await s3Settings(folder, ceph)), endpoint: proxy.endpoint };
});
afterEach(() => scope.close());

/** A server on a machine of its own: with its own disk, over the same bucket. */
async function open(machine: string, overrides: Partial<EngineSettings> = {}): Promise<Engine> {
  const own = join(folder, machine);
  await mkdir(join(own, "inbox"), { recursive: true });
  const engine = await openEngine({ ...testSettings(own), s3, refreshMs: HOUR, ...overrides });
  scope.defer(() => engine.close());
  return engine;
}

async function rowsOf(engine: Engine, sql: string): Promise<unknown[][]> {
  return (await engine.query(sql)).rows;
}

const csv = (from: number, count: number): string =>
  `a,b\n${Array.from({ length: count }, (_, i) => `${from + i},row ${from + i}`).join("\n")}\n`;

test("everything an agent does works on a bucket, and another machine goes on with it", async () => {
  const one = await open("one");
  await writeFile(join(folder, "one/inbox/t.csv"), csv(0, 1_000));
  expect(await one.ingest({ name: "t", source: { path: "t.csv" } })).toMatchObject({ version: 1, rows: 1_000 });
  expect(await one.ingest({ name: "t", source: { path: "t.csv" } })).toMatchObject({ unchanged: true });
  expect(await one.ingest({ name: "t", source: { text: csv(1_000, 10) }, mode: "append" })).toMatchObject({
    rows: 1_010,
  });
  expect(await one.ingest({ name: "u", source: { sql: "SELECT a * 2 AS c FROM t WHERE a < 5" } })).toMatchObject({
    rows: 5,
  });
  expect(
    await rowsOf(one, 'SELECT count(*)::INT, max(a)::INT FROM t UNION ALL SELECT count(*)::INT, 0 FROM "t@1"'),
  ).toEqual([
    [1_010, 1_009],
    [1_000, 0],
  ]);
  await one.createIndex({ name: "texts", source: { dataset: "t", text: "b", id: "a" } });
  expect((await one.search({ index: "texts", text: "row 17", k: 1 })).hits[0]?.id).toBe("17");
  await one.drop("u");
  await one.close();

  const two = await open("two");
  expect((await two.list()).datasets.map(({ name }) => name)).toEqual(["t", "texts"]);
  expect(await rowsOf(two, "SELECT sum(a)::INT FROM t")).toEqual([[(1_009 * 1_010) / 2]]);
  expect(await rowsOf(two, 'SELECT c::INT FROM "u@1" ORDER BY 1')).toEqual([[0], [2], [4], [6], [8]]);
  expect((await two.search({ index: "texts", text: "row 18", k: 1 })).hits[0]?.id).toBe("18");
  await two.upsert("texts", [{ id: "new", text: "row 17 and 18" }]);
  const found = "SELECT id FROM vector_search('texts', 'row 17 and 18', 1)";
  expect(await rowsOf(two, found)).toEqual([["new"]]);
  const { jobId } = await two.startJob("ingest", { name: "job", source: { text: "x\n1\n" } });
  expect(await two.jobStatus(jobId, { waitMs: 30_000 })).toMatchObject({ state: "done" });
});

test("replicas see each other's versions after a refresh, their own at once, and a conflict settles on the newest", async () => {
  const one = await open("one");
  const two = await open("two", { refreshMs: 1_000 });
  await one.ingest({ name: "t", source: { text: csv(0, 1) } });
  // One that is not known yet is asked for.
  expect(await rowsOf(two, "SELECT count(*)::INT FROM t")).toEqual([[1]]);
  await two.ingest({ name: "t", source: { text: csv(1, 1) }, mode: "append" });
  expect(await rowsOf(two, "SELECT count(*)::INT FROM t")).toEqual([[2]]);
  // The first looks once an hour, so it still has what it knows, wholly.
  expect(await rowsOf(one, "SELECT count(*)::INT FROM t")).toEqual([[1]]);
  // A write is decided on the newest version, whatever is known: nothing of the other's is lost or taken for unchanged.
  expect(await one.ingest({ name: "t", source: { text: csv(2, 1) }, mode: "append" })).toMatchObject({
    version: 3,
    rows: 3,
  });
  expect(await one.ingest({ name: "t", source: { text: csv(1, 1) }, mode: "append" })).toMatchObject({
    unchanged: true,
  });
  expect(await rowsOf(one, "SELECT a::INT FROM t ORDER BY 1")).toEqual([[0], [1], [2]]);
  await expect.poll(() => rowsOf(two, "SELECT count(*)::INT FROM t"), { timeout: 10_000 }).toEqual([[3]]);
});

test("a statement reads one version of each dataset, also while others are fetched", async () => {
  const one = await open("one");
  const two = await open("two", { refreshMs: 20 });
  await one.ingest({ name: "t", source: { text: csv(0, 10) } });
  await one.ingest({ name: "u", source: { text: csv(0, 10) } });
  const stop = new AbortController();
  const writer = (async () => {
    for (let i = 1; !stop.signal.aborted; i++)
      await one.ingest({ name: "t", source: { text: csv(i * 10, 10) }, mode: "append" });
  })();
  const sql =
    "SELECT (SELECT count(*) FROM t)::INT, (SELECT count(DISTINCT a) FROM t)::INT, (SELECT count(*) FROM u)::INT";
  for (let i = 0; i < 30; i++) {
    const [row] = (await rowsOf(two, sql)) as [[number, number, number]];
    expect(row[0]).toBe(row[1]);
    expect(row[0] % 10).toBe(0);
    expect(row[2]).toBe(10);
  }
  stop.abort();
  await writer;
});

describe("what goes over the network", () => {
  const seen = (): string[] => proxy.seen.map(({ method, url }) => `${method} ${kindOf(url)}`);
  function kindOf(url: string): string {
    if (url.includes("list-type=2")) return "LIST";
    return /\/lake\/one\/([a-z]+)\//.exec(url)?.[1] ?? url;
  }

  test("a warm statement asks the bucket nothing, a cold one for the files of the datasets it names", async () => {
    const one = await open("one");
    for (const name of ["a", "b", "c"]) await one.ingest({ name, source: { text: `${name}\n1\n` } });
    const two = await open("two");
    await two.list();
    proxy.seen.length = 0;
    await rowsOf(two, "SELECT * FROM a JOIN b ON true");
    expect(seen().toSorted((a, b) => (a < b ? -1 : 1))).toEqual(["GET catalog", "GET catalog", "GET data", "GET data"]);
    proxy.seen.length = 0;
    await rowsOf(two, "SELECT * FROM a JOIN b ON true");
    await rowsOf(two, "SELECT count(*) FROM a");
    expect(seen()).toEqual([]);
  });

  test("a refresh with nothing new is one LIST for each thousand versions", async () => {
    const one = await open("one");
    await Promise.all(
      Array.from({ length: 40 }, (_, i) => one.ingest({ name: `d${i}`, source: { text: `a\n${i}\n` } })),
    );
    const two = await open("two", { refreshMs: 100 });
    await two.list();
    proxy.seen.length = 0;
    await expect.poll(() => proxy.seen.length, { timeout: 10_000 }).toBeGreaterThanOrEqual(5);
    expect(new Set(seen())).toEqual(new Set(["GET LIST"]));
  });

  test("reads go on from the cache while the bucket is away, and writes say so", async () => {
    const one = await open("one", { s3: { ...s3, timeoutMs: 4_000 } });
    await one.ingest({ name: "t", source: { text: csv(0, 10) } });
    await rowsOf(one, "SELECT count(*)::INT FROM t");
    proxy.fault = () => ({ status: 503, code: "SlowDown" });
    expect(await rowsOf(one, "SELECT count(*)::INT FROM t")).toEqual([[10]]);
    await expect(one.ingest({ name: "t", source: { text: csv(0, 11) } })).rejects.toMatchObject({
      kind: "unavailable",
      message: expect.stringContaining("takes no more requests"),
    });
    proxy.fault = () => undefined;
    expect(await one.ingest({ name: "t", source: { text: csv(0, 11) } })).toMatchObject({ rows: 11 });
  });
});

describe("a copy that changes on the disk after it was verified", () => {
  const copies = (): string => join(folder, "two/lake/.cache/files");
  /** At places that DuckDB cannot read past: it has no checksums for what lies between. */
  async function damage(at: number): Promise<void> {
    for (const name of await readdir(copies())) {
      const path = join(copies(), name);
      const bytes = await readFile(path);
      const from = at < 0 ? bytes.length + at : at;
      bytes.fill(0x55, from, from + 8);
      await writeFile(path, bytes);
      // As it is found later: by the second of the last change DuckDB knows what it has read.
      const before = Date.now() / 1000 - 3_600;
      await utimes(path, before, before);
    }
  }

  test("is fetched again by the statement that finds it", async () => {
    const one = await open("one");
    await one.ingest({ name: "t", source: { text: csv(0, 5_000) } });
    const sql = "SELECT count(*)::INT, sum(a)::INT, count(DISTINCT b)::INT FROM t";
    const whole = [[5_000, (4_999 * 5_000) / 2, 5_000]];
    const first = await open("two");
    expect(await rowsOf(first, sql)).toEqual(whole);
    expect(first.stats().copies).toMatchObject({ misses: 1 });
    await first.close();
    for (const at of [4, -8, -60]) {
      await damage(at);
      // A new process: the one that has read it may have it in memory.
      const two = await open("two");
      expect(await rowsOf(two, sql)).toEqual(whole);
      expect(two.stats().copies).toMatchObject({ misses: 1 });
      await two.close();
    }
    await damage(4);
    const last = await open("two");
    const rows: unknown[] = [];
    await last.stream("SELECT a FROM t WHERE b <> ''", { onRows: async (some) => void rows.push(...some) });
    expect(rows).toHaveLength(5_000);
    const metrics = openMetrics({ engine: last, http: () => undefined });
    scope.defer(async () => metrics.close());
    const text = await metrics.render();
    expect(text).toMatch(/^lakehouse_file_cache_hits_total [1-9]/m);
    expect(text).toMatch(/^lakehouse_file_cache_misses_total 1$/m);
    expect(text).toMatch(/^lakehouse_file_cache_bytes [1-9]/m);
  });

  test("is told when an ingest finds it, and fetched by the next", async () => {
    const one = await open("one");
    await one.ingest({ name: "t", source: { text: csv(0, 5_000) } });
    const first = await open("two");
    await rowsOf(first, "SELECT count(*) FROM t WHERE a >= 0");
    await first.close();
    await damage(4);
    const two = await open("two");
    const source = { sql: "SELECT a, b FROM t WHERE b <> ''" };
    await expect(two.ingest({ name: "u", source })).rejects.toMatchObject({
      kind: "unavailable",
      message: expect.stringContaining("was damaged"),
    });
    expect(await two.ingest({ name: "u", source })).toMatchObject({ rows: 5_000 });
  });

  test("is fetched again when an index is read from it", async () => {
    const one = await open("one");
    await one.createIndex({ name: "v", dimension: 32 });
    const vector = (n: number) => Array.from({ length: 32 }, (_, i) => Math.sin(n * 7 + i * n));
    await one.upsert(
      "v",
      Array.from({ length: 500 }, (_, n) => ({ id: `${n}`, vector: vector(n + 1) })),
    );
    const before = await open("two");
    const best = async (engine: Engine) => (await engine.search({ index: "v", vector: vector(8), k: 1 })).hits[0]?.id;
    expect(await best(before)).toBe("7");
    await before.close();
    await damage(4);
    const after = await open("two");
    expect(await best(after)).toBe("7");
    expect(after.stats().copies).toMatchObject({ misses: 1 });
  });
});

test("a cache smaller than one statement needs is told, and one that holds a dataset at a time serves all in turn", async () => {
  const one = await open("one");
  const names = ["a", "b", "c", "d"];
  for (const name of names) await one.ingest({ name, source: { text: csv(names.indexOf(name) * 10_000, 5_000) } });
  const { manifest } = await one.describe("a");
  const two = await open("two", { s3: { ...s3, cacheBytes: Math.ceil(manifest.bytes * 1.5) } });
  for (let round = 0; round < 2; round++) {
    for (const name of names) expect(await rowsOf(two, `SELECT count(*)::INT FROM ${name}`)).toEqual([[5_000]]);
  }
  await expect(two.query("SELECT count(*) FROM a JOIN b USING (a)")).rejects.toMatchObject({
    kind: "limit",
    hint: expect.arrayContaining([{ setting: "cache_bytes" }]),
  });
  expect(await rowsOf(two, "SELECT count(*)::INT FROM a")).toEqual([[5_000]]);
});

test("a fetch that takes longer than its statement may goes on, so that the next one finds the file", async () => {
  const one = await open("one");
  await one.ingest({ name: "t", source: { text: csv(0, 100) } });
  const two = await open("two");
  proxy.fault = ({ url, method }) => (method === "GET" && url.includes("/data/") ? { delayMs: 1_500 } : undefined);
  await expect(two.query("SELECT count(*) FROM t", { timeoutMs: 500 })).rejects.toMatchObject({ kind: "limit" });
  // A place on the pool was not taken meanwhile.
  expect(await rowsOf(two, "SELECT 1")).toEqual([[1]]);
  expect(await rowsOf(two, "SELECT count(*)::INT FROM t")).toEqual([[100]]);
  const fetches = proxy.seen.filter(({ url, method }) => method === "GET" && url.includes("/data/"));
  expect(fetches).toHaveLength(1);
});

test("a statement fetches only files that can have rows for it", async () => {
  const one = await open("one");
  await one.ingest({ name: "t", source: { text: csv(0, 10) } });
  for (const from of [100, 200, 300]) await one.ingest({ name: "t", source: { text: csv(from, 10) }, mode: "append" });
  const two = await open("two");
  const copies = async (): Promise<number> => (await readdir(join(folder, "two/lake/.cache/files"))).length;

  expect(
    await rowsOf(two, "SELECT b FROM t WHERE a BETWEEN 205 AND 250 AND b <> 'row 207' ORDER BY a LIMIT 1"),
  ).toEqual([["row 205"]]);
  expect(await copies()).toBe(1);
  expect((await two.query("SELECT b FROM t WHERE a = $1", { params: [105] })).rows).toEqual([["row 105"]]);
  expect(await copies()).toBe(2);
  expect(await rowsOf(two, "SELECT count(*)::INT FROM t WHERE a < 100 OR a > 1000")).toEqual([[10]]);
  expect(await copies()).toBe(4);
});
