// @module-tag slow
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Ingesting, openIngesting, readParquet } from "../../../support/ingesting.ts";

let lake: Ingesting;

beforeAll(async () => {
  lake = await openIngesting();
});
afterAll(() => lake[Symbol.asyncDispose]());

const across = (count: number, cell: (index: number) => string | number): string =>
  Array.from({ length: count }, (_, index) => cell(index)).join(",");

it("reads 9000 columns in the default memory, each with its type", async () => {
  const rows = [0, 1, 2].map((row) =>
    across(
      9000,
      (at) => [`t${row}`, row * at, row + at / 4, `2024-01-0${row + 1}`, at < 10 ? "007" : row][at % 5] ?? "",
    ),
  );
  const path = await lake.file("wide.csv", `${across(9000, (at) => `c_${at}`)}\n${rows.join("\n")}\n`);
  const result = await lake.ingest({ name: "wide", source: { path } });
  expect([result.rows, result.columns.length]).toEqual([3, 9000]);
  expect(result.columns.slice(5, 10).map(({ type }) => type)).toEqual([
    "VARCHAR",
    "BIGINT",
    "DOUBLE",
    "DATE",
    "VARCHAR",
  ]);
  expect(result.notes.kept_as_text[0]).toMatchObject({ column: "c_4", line: 2, value: "007" });
  const manifest = await lake.catalog.load("wide");
  expect(manifest.columns.at(-1)).toMatchObject({ id: 9000, name: "c_8999" });
  const [file] = manifest.files;
  const parquet = await lake.store.localPath(file?.key ?? "");
  expect(file?.stats.c_8996).toMatchObject({ min: "0", max: "17992", nulls: 0 });
  const [, , last] = await readParquet(`SELECT c_0, c_1, c_1001, c_8995, c_8996, c_8997, c_8998 FROM '${parquet}'`);
  expect(Object.values(last ?? {})).toEqual(["t2", "2", "2002", "t2", "17992", 2251.25, "2024-01-03"]);
  const sums = await readParquet(`SELECT count(COLUMNS(*)) FROM '${parquet}'`);
  expect(Object.values(sums[0] ?? {})).toEqual(Array(9000).fill("3"));
  const ids = await readParquet(`SELECT field_id FROM parquet_schema('${parquet}') WHERE field_id IS NOT NULL`);
  expect(ids.map(({ field_id }) => Number(field_id))).toEqual(Array.from({ length: 9000 }, (_, index) => index + 1));
}, 120_000);

it("has several row groups of many columns, and bad rows left out", async () => {
  const rows = Array.from({ length: 5000 }, (_, row) => (row === 4000 ? "1,2" : across(1100, (at) => row * at)));
  const path = await lake.file("deep.csv", `${across(1100, (at) => `c_${at}`)}\n${rows.join("\n")}\n`);
  const result = await lake.ingest({ name: "deep", source: { path }, onBadRows: "skip" });
  expect([result.rows, result.notes.skipped_rows]).toMatchObject([4999, { count: 1, lines: [{ line: 4002 }] }]);
  const parquet = await lake.store.localPath((await lake.catalog.load("deep")).files[0]?.key ?? "");
  const [sums] = await readParquet(
    `SELECT count(*) AS n, sum(c_1)::BIGINT AS a, sum(c_1099)::BIGINT AS b, count(DISTINCT c_1099 - 1099 * c_1) AS same FROM '${parquet}'`,
  );
  const total = (4999 * 5000) / 2 - 4000;
  expect(sums).toEqual({ n: "4999", a: String(total), b: String(1099 * total), same: "1" });
}, 120_000);

it("refuses more than 20,000 columns before it reads on", async () => {
  for (const count of [20_001, 1_000_000]) {
    const path = await lake.file("widest.csv", `${across(count, (at) => `c${at}`)}\n${across(count, (at) => at)}\n`);
    const started = performance.now();
    const { kind, message } = await lake.refused({ source: { path } });
    expect([kind, message]).toEqual(["limit", "widest.csv has more than 20000 columns, the most a CSV may have."]);
    expect(performance.now() - started).toBeLessThan(5000);
  }
});

it("names equal columns apart, and judges hostile heads, in little time", async () => {
  const started = performance.now();
  const equal = await lake.file("equal.csv", `${across(3000, () => "a")}\n`);
  expect((await lake.ingest({ name: "equal", source: { path: equal } })).columns.at(-1)?.name).toBe("a_2999");
  const heads = [
    `a,b\n${" ".repeat(2 ** 20)}x,x@${".a".repeat(2 ** 19)} \n`,
    `${"\n".repeat(2 ** 20)}a,b\n1,2\n`,
    `${"# x\n".repeat(2 ** 14)}a,b\n1,2\n`,
  ];
  for (const [index, head] of heads.entries()) {
    const path = await lake.file(`head${index}.csv`, head);
    expect((await lake.ingest({ name: `head${index}`, source: { path } })).columns.map(({ name }) => name)).toEqual([
      "a",
      "b",
    ]);
  }
  expect(performance.now() - started).toBeLessThan(40_000);
}, 120_000);

it("refuses a first record without an end", async () => {
  const path = await lake.file("endless.csv", `a,"${"x".repeat(5 * 2 ** 20)}`);
  expect((await lake.refused({ source: { path } })).message).toBe(
    "endless.csv, line 1: no record ends in 4194304 bytes.",
  );
});
