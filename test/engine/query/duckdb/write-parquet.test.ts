import { mkdtemp, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { writePlanned } from "../../../../src/engine/query/duckdb/write-parquet.ts";
import { testSettings } from "../../../support/lake.ts";
import { openParquetLake, type ParquetLake, writtenRows } from "../../../support/parquet-lake.ts";

let lake: ParquetLake;
let folder: string;
beforeAll(async () => {
  lake = await openParquetLake({ timeZone: "America/New_York" });
  folder = await mkdtemp(join(lake.folder, "written-"));
  await lake.write("workers", "SELECT i AS id, 'w' || i AS name FROM range(1000) t(i)");
});
afterAll(() => lake[Symbol.asyncDispose]());

test("datasets, tables of the catalog and the end of a text are as in a query", async () => {
  const sql = "SELECT w.id, d.name FROM workers w, lakehouse_datasets d WHERE d.name = 'workers' AND id = 7 ; -- end";
  expect(await writtenRows(lake.query, sql)).toMatchObject({
    rows: [{ id: "7", name: "workers" }],
    datasets: ["workers@1"],
  });
  const hour = "SELECT hour(TIMESTAMPTZ '2024-01-01 00:00:00+00') AS h";
  expect((await writtenRows(lake.query, hour)).rows).toEqual([{ h: "19" }]);
});

test("an unknown column is answered with the columns that there are", async () => {
  await expect(writtenRows(lake.query, "SELECT nmae FROM workers")).rejects.toMatchObject({
    kind: "invalid",
    hint: expect.stringContaining("name"),
  });
});

describe("behind the guard, the instance that writes", () => {
  const write = (sql: string) =>
    writePlanned(
      { store: lake.store, catalog: lake.catalog, settings: testSettings(lake.folder) },
      { sql, setup: [] },
      { folder },
    );

  test("reads no files but those of the lake", async () => {
    await writeFile(join(lake.folder, "secret.csv"), "a\n1\n");
    await expect(write(`FROM read_csv('${lake.folder}/secret.csv')`)).rejects.toMatchObject({ kind: "denied" });
    expect(await readdir(folder)).toEqual([]);
  });

  test("runs one statement", async () => {
    await expect(write(`SELECT 1) TO '${folder}/a.csv'; COPY (SELECT 2`)).rejects.toMatchObject({ kind: "invalid" });
    expect(await readdir(folder)).toEqual([]);
  });
});
