// @module-tag slow
import { copyFile, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { convertParquet } from "../../../../src/engine/ingest/parquet/parquet.ts";
import { type Converting, openConverting } from "../../../support/converting.ts";
import { openIngesting, readParquet } from "../../../support/ingesting.ts";
import { type ElementOptions, logical, oneColumn, statistics, type TypeName } from "../../../support/parquet-file.ts";

let bench: Converting;
beforeAll(async () => {
  bench = await openConverting();
});
afterAll(() => bench[Symbol.asyncDispose]());

async function convert(bytes: Buffer) {
  return bench.convert(convertParquet, await bench.source("in.parquet", bytes));
}

/** The type that is kept, and values of the type that is written. */
const ENDS: [written: string, kept: string, ...values: string[]][] = [
  ["TIME", "TIME", "24:00:00", "00:00:00", "23:59:59.999999"],
  ["TIME_NS", "TIME_NS", "24:00:00", "23:59:59.999999999"],
  [
    "DATE",
    "DATE",
    ...["infinity", "-infinity", "5881580-07-10", "5877642-06-25 (BC)", "0044-03-15 (BC)", "12345-01-01"],
    ...["0001-12-31 (BC)", "0001-01-01", "9999-12-31", "10000-01-01"],
  ],
  [
    "TIMESTAMP",
    "TIMESTAMP",
    ...[
      "infinity",
      "-infinity",
      "294247-01-10 04:00:54.775806",
      "290309-12-22 (BC) 00:00:00",
      "0044-03-15 (BC) 12:00:00",
    ],
  ],
  [
    "TIMESTAMPTZ",
    "TIMESTAMP WITH TIME ZONE",
    ...["infinity", "-infinity", "294247-01-10 04:00:54.775806+00", "290309-12-22 (BC) 00:00:00+00"],
  ],
  ["TIMESTAMP_MS", "TIMESTAMP", "infinity", "-infinity", "294247-01-10 04:00:54.775", "290309-12-22 (BC)"],
  ["TIMESTAMP_S", "TIMESTAMP", "294247-01-10 04:00:54", "290309-12-22 (BC)"],
  [
    "TIMESTAMP_NS",
    "TIMESTAMP_NS",
    ...[
      "infinity",
      "-infinity",
      "2262-04-11 23:47:16.854775806",
      "1677-09-22 00:00:00",
      "1970-01-01 00:00:00.000000001",
    ],
  ],
];

/** Where a value may be: SQL of a column that has `v` inside, and of `v` in it. */
const PLACES: Record<string, [column: string, value: string]> = {
  column: ["v", "c"],
  struct: ["{'a': v, 'b': 1}", "c.a"],
  list: ["[NULL, v]", "c[2]"],
  "value of a map": ["MAP {'k': v}", "c['k']"],
  "key of a map": ["MAP {v: 1}", "map_keys(c)[1]"],
  "list of structs in a map": ["MAP {'k': [{'a': v}]}", "c['k'][1].a"],
  array: ["array_value(v, v)", "c[2]"],
};

describe("what DuckDB writes loads with the same values, and what was loaded loads again", () => {
  describe.each(ENDS)("%s", (written, kept, ...values) => {
    test.each(Object.entries(PLACES))("%s", async (_, [column, value]) => {
      const rows = values.map((text, index) => `(${index}, CAST('${text}' AS ${written}))`).join(", ");
      const from = join(bench.folder, "source.parquet");
      await bench.make(`COPY (SELECT n, ${column} AS c FROM (VALUES ${rows}) t(n, v)) TO '${from}' (FORMAT parquet)`);
      let path = from;
      for (const round of ["the source", "its copy"]) {
        const { files, notes } = await convert(await readFile(path));
        path = files[0]?.path ?? "";
        expect(notes.converted, round).toEqual([]);
        const compared = await readParquet(
          `SELECT typeof(${value}) AS type, ${value} IS NOT DISTINCT FROM v AS same, CAST(${value} AS VARCHAR) AS got
           FROM read_parquet('${path}') JOIN (VALUES ${rows}) t(n, v) USING (n) ORDER BY n`,
        );
        const right = await readParquet(
          `SELECT CAST(CAST(v AS ${kept}) AS VARCHAR) AS v FROM (VALUES ${rows}) t(n, v)`,
        );
        expect(compared, round).toEqual(right.map(({ v }) => ({ type: kept, same: true, got: v })));
      }
    });
  });

  test.each(["V1", "V2"])("in pages with dictionaries, of version %s", async (version) => {
    const path = join(bench.folder, "dictionaries.parquet");
    const select = `CASE i % 3 WHEN 0 THEN 'infinity' WHEN 1 THEN '-infinity' ELSE '2024-02-29' END`;
    await bench.make(
      `COPY (SELECT CAST(${select} AS DATE) AS d, CAST(${select} AS TIMESTAMP) AS t, CAST(${select} AS TIMESTAMPTZ) AS z,
         CASE i % 2 WHEN 0 THEN TIME '24:00:00' ELSE TIME '00:00:00' END AS m, [CAST(${select} AS DATE)] AS l
       FROM range(6000) r(i)) TO '${path}' (FORMAT parquet, PARQUET_VERSION ${version})`,
    );
    const [encodings] = await readParquet(
      `SELECT bool_and(encodings LIKE '%DICT%') AS all_of_them FROM parquet_metadata('${path}')`,
    );
    expect(encodings).toEqual({ all_of_them: true });
    const { files } = await convert(await readFile(path));
    const loaded = `read_parquet('${files[0]?.path}')`;
    const difference = `(FROM read_parquet('${path}') EXCEPT ALL FROM ${loaded})`;
    const [counted] = await readParquet(`SELECT (SELECT count(*) FROM ${loaded})::INTEGER AS rows,
      (SELECT count(*) FROM ${difference})::INTEGER AS changed`);
    expect(counted).toEqual({ rows: 6000, changed: 0 });
  });
});

const MAX32 = 2n ** 31n - 1n;
const MAX64 = 2n ** 63n - 1n;
const INFINITE: [name: string, type: TypeName, options: ElementOptions, most: bigint, kept: string][] = [
  ["DATE", "INT32", { logical: logical.date }, MAX32, "DATE"],
  ["TIMESTAMP(ms)", "INT64", { logical: logical.timestamp("ms") }, MAX64, "TIMESTAMP"],
  ["TIMESTAMP(us)", "INT64", { logical: logical.timestamp("us") }, MAX64, "TIMESTAMP"],
  ["TIMESTAMP(us)", "INT64", { converted: 10 }, MAX64, "TIMESTAMP"],
  ["TIMESTAMP(ms, UTC)", "INT64", { logical: logical.timestamp("ms", true) }, MAX64, "TIMESTAMP WITH TIME ZONE"],
  ["TIMESTAMP(us, UTC)", "INT64", { logical: logical.timestamp("us", true) }, MAX64, "TIMESTAMP WITH TIME ZONE"],
  ["TIMESTAMP(ns)", "INT64", { logical: logical.timestamp("ns") }, MAX64, "TIMESTAMP_NS"],
  ["TIMESTAMP(ns, UTC)", "INT64", { logical: logical.timestamp("ns", true) }, MAX64, "TIMESTAMP WITH TIME ZONE"],
];

describe("numbers of other writers that are infinity to DuckDB become it, which is told", () => {
  describe.each(INFINITE)("%s", (name, type, options, most, kept) => {
    const told = { column: "c", to: kept, reason: "the least and the greatest number are -infinity and infinity" };
    test.each(["without statistics", "with"])("%s", async (which) => {
      const metadata = which === "with" ? { 12: statistics(type, -most, most) } : {};
      const { columns, files, notes } = await convert(oneColumn(type, options, [-most, 0n, most], { metadata }));
      expect(columns).toEqual([{ name: "c", type: kept }]);
      const read = await readParquet(
        `SELECT isinf(c) AS i, c = CAST('infinity' AS ${kept}) AS up, c = CAST('-infinity' AS ${kept}) AS down
         FROM read_parquet('${files[0]?.path}')`,
      );
      expect(read).toEqual([
        { i: true, up: false, down: true },
        { i: false, up: false, down: false },
        { i: true, up: true, down: false },
      ]);
      expect(notes.converted).toMatchObject([told]);
      expect(notes.converted[0]?.from).toContain(name.slice(0, 4));
    });

    test("nothing is told of a column without them", async () => {
      const { notes } = await convert(oneColumn(type, options, [0n]));
      expect(notes.converted).toEqual([]);
    });
  });

  test("among nanoseconds in UTC that are no whole microseconds", async () => {
    const values = [MAX64, 1n, -MAX64];
    const { columns, values: kept } = await convert(
      oneColumn("INT64", { logical: logical.timestamp("ns", true) }, values),
    );
    expect(columns).toEqual([{ name: "c", type: "TIMESTAMP_NS" }]);
    const right = await readParquet(
      "SELECT CAST(unnest(['infinity', '1970-01-01 00:00:00.000000001', '-infinity']) AS TIMESTAMP_NS) AS c",
    );
    expect(kept).toEqual(right);
  });
});

test("24:00:00 is kept where a time is stored in any unit, inside of lists too", async () => {
  const path = join(bench.folder, "times.parquet");
  await bench.make(
    `COPY (SELECT [TIME '24:00:00', TIME '00:00:00', NULL] AS us, {'a': CAST('24:00:00' AS TIME_NS)} AS ns) TO '${path}'`,
  );
  const { values, columns } = await convert(await readFile(path));
  expect(columns.map(({ type }) => type)).toEqual(["TIME[]", "STRUCT(a TIME_NS)"]);
  expect(values).toEqual([{ us: ["24:00:00", "00:00:00", null], ns: { a: "24:00:00" } }]);
  for (const utc of [false, true]) {
    const day = oneColumn("INT32", { logical: logical.time("ms", utc) }, [86_400_000n]);
    expect((await convert(day)).values).toEqual([{ c: "24:00:00" }]);
  }
});

test("a TIME WITH TIME ZONE of DuckDB's is in UTC in the file, which is told", async () => {
  const path = join(bench.folder, "zoned.parquet");
  await bench.make(`COPY (SELECT [TIMETZ '12:00:00+05:30', NULL] AS l, TIME '01:02:03' AS t) TO '${path}'`);
  const { values, notes } = await convert(await readFile(path));
  expect(values).toEqual([{ l: ["06:30:00", null], t: "01:02:03" }]);
  expect(notes.converted).toEqual([
    { column: "l", from: "TIME WITH TIME ZONE", to: "TIME", reason: "DuckDB wrote the times in UTC" },
  ]);
});

test("a dataset's own file loads into another, with the same bytes, whatever the query made", async () => {
  await using lake = await openIngesting();
  const values = ENDS.flatMap(([type, , ...texts], at) => {
    const some = texts.map((text) => `CAST('${text}' AS ${type})`);
    return [`${some[0]} AS c${at}`, `[${some.join(", ")}] AS l${at}`, `MAP {'k': {'a': ${some[1]}}} AS m${at}`];
  });
  const others = [
    "CAST('infinity' AS TIMESTAMP_S) AS s",
    "TIMETZ '24:00:00+00' AS z",
    "INTERVAL '2000 hours 1 microsecond' AS v",
  ];
  await lake.ingest({ name: "first", source: { sql: `SELECT ${[...values, ...others].join(", ")}` } });
  const [file] = (await lake.catalog.load("first")).files;
  const path = join(lake.inbox, "first.parquet");
  await copyFile(await lake.store.localPath(file?.key ?? ""), path);
  const { notes, columns } = await lake.ingest({ name: "second", source: { path: "first.parquet" } });
  expect(notes.converted).toEqual([]);
  expect(columns.slice(-3).map(({ type }) => type)).toEqual(["TIMESTAMP", "VARCHAR", "VARCHAR"]);
  const [row] = await lake.rows("first");
  expect(await lake.rows("second")).toEqual([row]);
  // The conversion gives the same bytes, so that it is known to be the same data.
  const again = await lake.ingest({ name: "first", source: { path: "first.parquet" }, mode: "append" });
  expect(again.unchanged).toBe(true);
  expect(row).toMatchObject({ c0: "24:00:00", s: "infinity", z: "24:00:00+00", v: "2000:00:00.000001" });
});
