import { mkdir, mkdtemp, readdir, rename, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Connection, literal, openDuck } from "../../../src/engine/duckdb/duckdb.ts";
import type { ConvertContext, Target } from "../../../src/engine/ingest/types.ts";
import { writeParquet } from "../../../src/engine/ingest/write.ts";
import { openScope, type Scope } from "../../../src/engine/kernel/scope.ts";

let scope: Scope;
let folder: string;
let connection: Connection;
let context: ConvertContext;

beforeEach(async () => {
  scope = openScope();
  folder = await mkdtemp(join(tmpdir(), "lake-write-"));
  await mkdir(join(folder, "out"));
  const duck = await openDuck(scope, {
    folders: [join(folder, "out")],
    memoryBytes: 256 * 2 ** 20,
    threads: 2,
    tempFolder: join(folder, "tmp"),
    maxTempBytes: 2 ** 30,
  });
  connection = await duck.connect();
  context = { duck, folder: join(folder, "out"), onBadRows: "fail", maxRows: 1_000_000 };
});
afterEach(async () => {
  connection.close();
  await scope.close();
  await rm(folder, { recursive: true, force: true });
});

const schema = (path: string) =>
  connection.rows<{ name: string; field_id: string | null }>(
    `SELECT name, field_id FROM parquet_schema(${literal(path)}) WHERE field_id IS NOT NULL`,
  );

describe("writeParquet", () => {
  it("writes more columns than fit at once as one file, with all their rows, ids and statistics", {
    tags: ["slow"],
  }, async () => {
    const names = Array.from({ length: 2500 }, (_, at) => `c${at}`);
    const columns = names.map((name, at) => ({ name, type: at % 2 === 0 ? "BIGINT" : "VARCHAR" }));
    const select = `SELECT ${names.map((name, at) => (at % 2 === 0 ? `i + ${at} AS ${name}` : `'v' || (i % 5) AS ${name}`)).join(", ")} FROM range(3000) t(i)`;
    const [file, ...more] = await writeParquet(connection, () => select, columns, context);
    const path = literal(file?.path ?? "");
    expect([file?.rows, more, (await stat(file?.path ?? "")).size]).toEqual([3000, [], file?.bytes]);
    expect((await readdir(join(folder, "out"))).length).toBe(1);
    expect([file?.stats.c0, file?.stats.c2499]).toEqual([
      { min: "0", max: "2999", nulls: 0 },
      { min: "v0", max: "v4", nulls: 0 },
    ]);
    const elements = await schema(file?.path ?? "");
    expect(elements).toEqual(names.map((name, at) => ({ name, field_id: String(at + 1) })));
    expect(
      await connection.rows(
        `SELECT count(DISTINCT c0) AS first, min(c2498 - c0) AS least, max(c2498 - c0) AS most, count(*) FILTER (c1023 = c1025) AS same, max(c2499) AS last FROM ${path}`,
      ),
    ).toEqual([{ first: "3000", least: "2498", most: "2498", same: "3000", last: "v4" }]);
    expect(
      await connection.rows(
        `SELECT row_group_num_rows AS rows, count(*) AS columns FROM parquet_metadata(${path}) GROUP BY ALL ORDER BY ALL`,
      ),
    ).toEqual([
      { rows: "952", columns: "2500" },
      { rows: "2048", columns: "2500" },
    ]);
  });

  it("sets field ids, and gives statistics of the top level", async () => {
    const columns = [
      { name: 'a "b"', type: "INTEGER" },
      { name: "t", type: "VARCHAR" },
      { name: "s", type: "STRUCT(x INTEGER)" },
    ];
    const select = `SELECT i::INTEGER AS "a ""b""", nullif('v' || i, 'v1') AS t, {'x': i::INTEGER} AS s FROM range(3) r(i)`;
    const [file] = await writeParquet(connection, select, columns, context);
    expect(file).toMatchObject({
      rows: 3,
      stats: { 'a "b"': { min: "0", max: "2", nulls: 0 }, t: { min: "v0", max: "v2", nulls: 1 } },
    });
    expect(Object.keys(file?.stats ?? {})).toEqual(['a "b"', "t"]);
    expect(await schema(file?.path ?? "")).toEqual([
      { name: 'a "b"', field_id: "1" },
      { name: "t", field_id: "2" },
      { name: "s", field_id: "3" },
    ]);
  });

  it("writes what the target settles: its order, ids and types, NULL for what is missing", async () => {
    const target: Target = {
      columns: [],
      settle: async () => [
        { id: 7, name: "c", type: "DOUBLE" },
        { id: 3, name: "b", type: "VARCHAR" },
        { id: 9, name: "a", type: "BIGINT" },
      ],
    };
    const columns = [
      { name: "a", type: "INTEGER" },
      { name: "b", type: "VARCHAR" },
    ];
    const [file] = await writeParquet(connection, "SELECT 1::INTEGER AS a, 'x' AS b", columns, { ...context, target });
    const path = file?.path ?? "";
    expect((await schema(path)).map(({ field_id }) => field_id)).toEqual(["7", "3", "9"]);
    expect(await connection.rows(`DESCRIBE FROM ${literal(path)}`)).toMatchObject([
      { column_name: "c", column_type: "DOUBLE" },
      { column_name: "b", column_type: "VARCHAR" },
      { column_name: "a", column_type: "BIGINT" },
    ]);
    expect(await connection.rows(`FROM ${literal(path)}`)).toEqual([{ c: null, b: "x", a: "1" }]);
  });

  it("splits large output into files, in order and whole", async () => {
    const columns = [{ name: "n", type: "BIGINT" }];
    const select = "SELECT (hash(i) % 1000000007)::BIGINT AS n FROM range(50000) r(i)";
    const [whole] = await writeParquet(connection, select, columns, context);
    const copy = join(context.folder, "copy");
    await rename(whole?.path ?? "", copy);
    const files = await writeParquet(connection, select, columns, context, { fileBytes: (whole?.bytes ?? 0) / 3 });
    expect(files.length).toBeGreaterThanOrEqual(3);
    expect(files.reduce((sum, { rows }) => sum + rows, 0)).toBe(50_000);
    expect(new Set(await readdir(context.folder))).toEqual(
      new Set([...files.map(({ path }) => basename(path)), "copy"]),
    );
    const values = (paths: string[]) =>
      connection.rows(`SELECT n FROM read_parquet([${paths.map(literal).join(", ")}])`);
    expect(await values(files.map(({ path }) => path))).toEqual(await values([copy]));
  });

  it("makes row groups small for long rows and many columns", async () => {
    const groups = async (rowBytes: number): Promise<number> => {
      const select = "SELECT i AS n FROM range(50000) r(i)";
      const [file] = await writeParquet(connection, select, [{ name: "n", type: "BIGINT" }], context, { rowBytes });
      const [row] = await connection.rows<{ groups: string }>(
        `SELECT num_row_groups AS groups FROM parquet_file_metadata(${literal(file?.path ?? "")})`,
      );
      return Number(row?.groups);
    };
    expect(await groups(100)).toBe(3);
    expect(await groups(24 * 1024)).toBeGreaterThan(20);
  });

  it("refuses more rows than are allowed", async () => {
    const columns = [{ name: "n", type: "BIGINT" }];
    await expect(
      writeParquet(connection, "SELECT i AS n FROM range(1000000000000) r(i)", columns, { ...context, maxRows: 10 }),
    ).rejects.toMatchObject({
      kind: "limit",
      message: "The source has more than 10 rows, the most one ingest may write.",
    });
  });
});
