import { mkdir, mkdtemp, readdir, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Connection, openDuck } from "../../../../src/engine/duckdb/duckdb.ts";
import { openScope } from "../../../../src/engine/kernel/scope.ts";
import { openParquetLake } from "../../../support/parquet-lake.ts";

const scope = openScope();
let folder = "";
let connection: Connection;

beforeAll(async () => {
  folder = await realpath(await mkdtemp(join(tmpdir(), "lakehouse-locked-")));
  scope.defer(() => rm(folder, { recursive: true, force: true }));
  await mkdir(join(folder, "data"));
  await writeFile(join(folder, "secret.csv"), "a\n1\n");
  const duck = await openDuck(scope, {
    memoryBytes: 64 * 2 ** 20,
    threads: 1,
    tempFolder: join(folder, "tmp"),
    maxTempBytes: 2 ** 20,
    folders: [join(folder, "data")],
    hidePaths: [folder],
  });
  connection = await duck.connect();
});
afterAll(() => scope.close());

/** Behind the guard stands an instance that could not do it either. */
test.each([
  "SET memory_limit = '100GB'",
  "RESET memory_limit",
  "SET enable_external_access = true",
  "SET lock_configuration = false",
  "SET allowed_directories = ['/']",
  "SET enable_progress_bar_print = true",
  "INSTALL httpfs",
  "LOAD httpfs",
  "ATTACH 'FOLDER/x.duckdb' AS x",
  "FROM read_csv('FOLDER/secret.csv')",
  "FROM read_text('FOLDER/data/../secret.csv')",
  "FROM read_text('/etc/hostname')",
  "FROM glob('/etc/*')",
  "FROM 'https://example.com/x.csv'",
  "COPY (SELECT 1) TO 'FOLDER/out.csv'",
  "EXPORT DATABASE 'FOLDER/out'",
])("without the guard, too, DuckDB refuses: %s", async (sql) => {
  await expect(connection.run(sql.replaceAll("FOLDER", folder))).rejects.toThrow();
  expect(await readdir(folder)).not.toContain("out.csv");
});

test("a lake in a folder whose name means something to DuckDB works", async () => {
  const odd = join(folder, "year=2024 [a]'é");
  await using lake = await openParquetLake({ data: odd });
  await lake.write("workers", "SELECT 1 AS a");
  const { rows, columns } = await lake.query.query("FROM workers");
  expect(rows).toEqual([[1]]);
  expect(columns).toEqual([{ name: "a", type: "INTEGER" }]);
});
