import { mkdir, readdir } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { literal } from "../../../src/engine/duckdb/duckdb.ts";
import { type Ingesting, openIngesting } from "../../support/ingesting.ts";

const rows = (count: number): string =>
  `a,b\n${Array.from({ length: count }, (_, index) => `${index},x${index % 50}`).join("\n")}\n`;

describe("the same source again", () => {
  it("changes nothing on replace", async () => {
    await using lake = await openIngesting();
    const path = await lake.file("data.csv", rows(1000));
    const first = await lake.ingest({ source: { path } });
    const files = await lake.files();
    const again = await lake.ingest({ source: { path } });
    expect(again).toMatchObject({ version: 1, unchanged: true, rows_written: 0, rows: 1000, columns: first.columns });
    expect(await lake.files()).toEqual(files);
    expect((await lake.catalog.load("t")).provenance.sourceHash).toMatch(/^xxh128:[0-9a-f]{32}$/);
  });

  it("is noticed under another name, and as inline text", async () => {
    await using lake = await openIngesting();
    await lake.csv("a\n1\n");
    await lake.file("copy.csv", "a\n1\n");
    expect(await lake.ingest({ source: { path: "copy.csv" } })).toMatchObject({ unchanged: true });
    expect(await lake.ingest({ source: { text: "a\n1\n" } })).toMatchObject({ unchanged: true });
  });

  it("is noticed by its rows, where its bytes differ", async () => {
    await using lake = await openIngesting();
    await lake.csv("a,b\n1,x\n");
    expect(await lake.csv('a;b\r\n1;"x"\r\n')).toMatchObject({ unchanged: true, version: 1 });
    await lake.file("data.csv.gz", gzipSync("a,b\n1,x\n"));
    expect(await lake.ingest({ source: { path: "data.csv.gz" } })).toMatchObject({ unchanged: true, version: 1 });
  });

  it("is appended once, however many came between", async () => {
    await using lake = await openIngesting();
    await lake.csv("a\n1\n", { mode: "append" });
    await lake.csv("a\n2\n", { mode: "append" });
    expect(await lake.csv("a\n1\n", { mode: "append" })).toMatchObject({ unchanged: true, version: 2, rows: 2 });
  });

  it("replaces what an append made of it", async () => {
    await using lake = await openIngesting();
    await lake.csv("a\n1\n");
    await lake.csv("a\n2\n", { mode: "append" });
    expect(await lake.csv("a\n1\n")).toMatchObject({ unchanged: false, version: 3, rows: 1 });
    await lake.csv("a\n2\n", { mode: "append" });
    expect(await lake.csv("a\n2\n")).toMatchObject({ unchanged: false, rows: 1 });
  });

  it("is a change once a byte differs", async () => {
    await using lake = await openIngesting();
    await lake.csv(rows(1000));
    expect(await lake.csv(rows(1000).replace("x7", "y7"))).toMatchObject({ unchanged: false, version: 2 });
  });

  it("is noticed while it is converted, which then stops", async () => {
    await using lake = await openIngesting();
    const path = await lake.file("data.csv", rows(400_000));
    await lake.ingest({ source: { path } });
    const messages: string[] = [];
    const again = await lake.ingest({ source: { path } }, { onProgress: (_, message) => messages.push(message) });
    expect([again.unchanged, messages.includes("hashing")]).toEqual([true, false]);
  });
});

describe("sql", () => {
  it("materialises a query over datasets, in its order, and once", async () => {
    await using lake = await openIngesting();
    await lake.csv("name,team\nb,x\na,x\nc,y\n", { name: "people" });
    const sql =
      "SELECT team, count(*) AS n, sum(length(name)) AS s FROM people GROUP BY team ORDER BY n DESC -- most first";
    expect(await lake.ingest({ source: { sql } })).toMatchObject({ version: 1, rows: 2, unchanged: false });
    expect(await lake.rows()).toEqual([
      { team: "x", n: "2", s: "2" },
      { team: "y", n: "1", s: "1" },
    ]);
    expect(await lake.ingest({ source: { sql } })).toMatchObject({ version: 1, unchanged: true });
    expect((await lake.catalog.load("t")).provenance).toMatchObject({
      source: "SELECT team, count(*) AS n, sum(length(name)) AS s FROM people GROUP BY team ORDER BY n DESC",
      options: { format: "sql" },
    });
  });

  it("keeps every value of types that Parquet would round, under a type that holds it", async () => {
    await using lake = await openIngesting();
    const sql = `SELECT 170141183460469231731687303715::HUGEINT AS h, 'a'::ENUM ('a', 'b') AS e,
      '{"x": 1}'::JSON AS j, '101'::BIT AS b, '12:00:00+02'::TIMETZ AS z, [1, 2] AS l, {'p': 1} AS s`;
    const { columns } = await lake.ingest({ source: { sql } });
    const [row] = await lake.rows();
    expect(row).toMatchObject({
      h: "170141183460469231731687303715",
      e: "a",
      j: '{"x": 1}',
      b: "101",
      l: [1, 2],
      s: { p: 1 },
    });
    const described = await describeFile(lake);
    expect(columns).toEqual(described);
  });

  it("cannot write where it reads, nor read elsewhere", async () => {
    await using lake = await openIngesting();
    const error = await lake.refused({ source: { sql: `SELECT * FROM read_csv('${lake.inbox}/x.csv')` } });
    expect(error.kind).toBe("denied");
  });
});

async function describeFile(lake: Ingesting): Promise<{ name: string; type: string }[]> {
  const { readParquet } = await import("../../support/ingesting.ts");
  const [file] = (await lake.catalog.load("t")).files;
  const path = await lake.store.localPath(file?.key ?? "");
  const described = await readParquet(`DESCRIBE FROM read_parquet(${literal(path)})`);
  return described.map(({ column_name, column_type }) => ({ name: String(column_name), type: String(column_type) }));
}

describe("nothing is left behind", () => {
  it("by a cancelled ingest", async () => {
    await using lake = await openIngesting();
    const path = await lake.file("data.csv", rows(600_000));
    const before = await lake.files();
    const controller = new AbortController();
    const error = await lake.refused(
      { source: { path } },
      { signal: controller.signal, onProgress: () => controller.abort() },
    );
    expect([error.kind, error.message]).toEqual(["unavailable", "The call was cancelled."]);
    expect(await lake.files()).toEqual(before);
    expect(await lake.ingest({ source: { path } })).toMatchObject({ version: 1, rows: 600_000 });
  });

  it("by one that fails on its last row", async () => {
    await using lake = await openIngesting();
    const before = await lake.files();
    await lake.refused({ source: { path: await lake.file("bad.csv", `${rows(50_000)}1\n`) } });
    expect(await lake.files()).toEqual(before);
  });

  it("by a process that died", async () => {
    await using lake = await openIngesting();
    const spool = join(lake.folder, "lake", ".spool");
    const id = "00000000-0000-4000-8000-000000000000";
    await mkdir(join(spool, `ingest.${hostname()}.999999999.${id}.${id}`));
    await mkdir(join(spool, `ingest.another-host.1.${id}.${id}`));
    await mkdir(join(spool, `ingest.${hostname()}.${process.pid}.${id}.${id}`));
    await mkdir(join(spool, `ingest.${hostname()}.${process.ppid}.${id}.${id}`));
    await lake.csv("a\n1\n");
    expect(new Set((await readdir(spool)).filter((entry) => entry.startsWith("ingest.")))).toEqual(
      new Set([`ingest.another-host.1.${id}.${id}`, `ingest.${hostname()}.${process.ppid}.${id}.${id}`]),
    );
  });
});

describe("budgets", () => {
  it("of rows stop an ingest, naming the setting", async () => {
    await using lake = await openIngesting({ maxIngestRows: 100 });
    const before = await lake.files();
    const error = await lake.refused({ source: { text: rows(101) } });
    expect([error.kind, error.hint]).toEqual(["limit", expect.stringContaining("LAKEHOUSE_MAX_INGEST_ROWS")]);
    expect(await lake.files()).toEqual(before);
    expect((await lake.ingest({ source: { text: rows(100) } })).rows).toBe(100);
    const endless = await lake.refused({ source: { sql: "SELECT * FROM range(1000000000000)" }, name: "endless" });
    expect(endless.kind).toBe("limit");
  });

  it("of time stop an ingest, naming the setting", async () => {
    await using lake = await openIngesting({ ingestTimeoutMs: 300 });
    const before = await lake.files();
    const sql = "SELECT count(*) AS n FROM range(10000000) a, range(10000000) b WHERE a.range % 7 = b.range % 3";
    const error = await lake.refused({ source: { sql } });
    expect([error.kind, error.message]).toEqual(["limit", "The ingest took longer than 300 ms. Nothing was changed."]);
    expect(await lake.files()).toEqual(before);
  });

  it("of disk stop what unpacks to more", { tags: ["slow"] }, async () => {
    await using lake = await openIngesting({ maxTempBytes: 5 * 2 ** 20 });
    const before = await lake.files();
    const path = await lake.file(
      "bomb.csv.gz",
      gzipSync(`a\n${"x".repeat(999)}\n`.repeat(1) + `${"y".repeat(999)}\n`.repeat(200_000)),
    );
    const error = await lake.refused({ source: { path } });
    expect([error.kind, error.hint]).toEqual(["limit", expect.stringContaining("LAKEHOUSE_MAX_TEMP_BYTES")]);
    expect(await lake.files()).toEqual(before);
  });
});
