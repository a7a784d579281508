import { readFile } from "node:fs/promises";
import { type DataType, Field, Int8, List, Struct } from "apache-arrow";
import { Table, writeParquet } from "parquet-wasm";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openWriter, STREAMED } from "../../../src/cli/formats.ts";
import { type Column, column } from "../../../src/engine/parquet/arrow-column.ts";
import { batchMessage, schemaMessage, toStream } from "../../../src/engine/parquet/arrow-encode.ts";
import { type Lake, openLake, textOf } from "../../support/lake.ts";

let lake: Lake;
beforeAll(async () => {
  lake = await openLake();
});
afterAll(() => lake[Symbol.asyncDispose]());

/** A struct in a column "s", each field of which has its place as its value. */
function structFile(names: string[], wrap?: string): Uint8Array {
  const values = names.map((_, at) => column("fixed", 1, { width: 1, data: Uint8Array.of(at + 1) }));
  let type: DataType = new Struct(names.map((name) => new Field(name, new Int8(), true)));
  let struct: Column = column("struct", 1, { children: values });
  if (wrap === "list") {
    type = new List(new Field("element", type, true));
    struct = column("list", 1, { offsets: Uint8Array.of(0, 0, 0, 0, 1, 0, 0, 0), children: [struct] });
  } else if (wrap !== undefined) {
    type = new Struct([new Field(wrap, type, true)]);
    struct = column("struct", 1, { children: [struct] });
  }
  return toStream([schemaMessage([new Field("s", type, true)]), batchMessage(1, [struct])]);
}

async function load(format: "parquet" | "arrow", names: string[], wrap?: string) {
  const arrow = structFile(names, wrap);
  const path = await lake.file(`odd.${format}`, format === "arrow" ? arrow : writeParquet(Table.fromIPCStream(arrow)));
  return lake.raw("ingest", { name: "odd", path, schema_change: "allow" });
}

/** Everything that may be asked of what was loaded. */
async function looked(): Promise<unknown> {
  const { rows } = await lake.call<{ rows: unknown[][] }>("sql", { sql: "SELECT s FROM odd" });
  for (const sql of [
    "DESCRIBE odd",
    "SUMMARIZE odd",
    'SELECT 1 FROM "odd" WHERE s = s',
    "SELECT s, count(*) FROM odd GROUP BY s",
  ]) {
    expect((await lake.call<{ rows: unknown[] }>("sql", { sql })).rows, sql).toHaveLength(1);
  }
  await lake.call("catalog-describe", { name: "odd" });
  await lake.call("ingest", { name: "more", sql: "FROM odd", schema_change: "allow" });
  await lake.call("ingest", { name: "more", sql: "SELECT s FROM odd WHERE s IS NOT NULL", mode: "append" });
  return rows[0]?.[0];
}

describe("names of struct fields that differ by case alone", { tags: ["slow"] }, () => {
  const cases: [names: string[], shown: Record<string, number>][] = [
    [["a", "A", "a"], { a: 1, A_1: 2, a_2: 3 }],
    [["k", " ", "list", "element", "__proto__"], JSON.parse('{"k":1," ":2,"list":3,"element":4,"__proto__":5}')],
    [["x VARCHAR)", 'say "hi"', "a.b", "STRUCT("], { "x VARCHAR)": 1, 'say "hi"': 2, "a.b": 3, "STRUCT(": 4 }],
  ];
  test.each(cases)("Parquet with %j", async (names, shown) => {
    expect((await load("parquet", names)).isError).toBeFalsy();
    expect(await looked()).toEqual(shown);
    expect((await load("parquet", names, "list")).isError).toBeFalsy();
    expect(await looked()).toEqual([shown]);
  });

  test.each(cases)("Arrow with %j, told where they changed", async (names, shown) => {
    const loaded = await load("arrow", names);
    expect(await looked()).toEqual(shown);
    const renamed = names.flatMap((name, at) => {
      const to = Object.keys(shown)[at] ?? "";
      return to === name ? [] : [{ from: `s.${name}`, to: `s.${to}` }];
    });
    expect(loaded.structuredContent).toMatchObject({ notes: { renamed_columns: renamed } });
  });
});

describe("struct fields without a name", () => {
  const cases: [names: string[], wrap: string | undefined][] = [
    [[""], undefined],
    [["", "a"], undefined],
    [["a", "", "b"], undefined],
    [["a", ""], undefined],
    [["a", ""], "list"],
    [["a", ""], "x"],
  ];
  test.each(cases)("Parquet with %j in %s gets names, which are told", { tags: ["slow"] }, async (names, wrap) => {
    const { structuredContent } = await load("parquet", names, wrap);
    expect(structuredContent).toMatchObject({
      notes: { renamed_columns: [{ from: expect.stringMatching(/^s\./), to: expect.stringMatching(/^s\..*\w$/) }] },
    });
    expect(JSON.stringify(await looked())).toContain(`:${names.indexOf("") + 1}`);
  });

  test.each(cases)("Arrow with %j in %s gets names, which are told", { tags: ["slow"] }, async (names, wrap) => {
    const { structuredContent } = await load("arrow", names, wrap);
    const at = names.indexOf("");
    const prefix = wrap === undefined ? "s." : wrap === "list" ? "s.element." : "s.x.";
    expect(structuredContent).toMatchObject({
      notes: { renamed_columns: [{ from: prefix, to: `${prefix}field${at + 1}` }] },
    });
    expect(JSON.stringify(await looked())).toContain(`"field${at + 1}":${at + 1}`);
  });

  test("of a statement are refused by the column's name", async () => {
    for (const sql of ["SELECT row(1, 2) AS s", "SELECT [row(1)] AS s", "SELECT {'a': row(1, 'x')} AS s"]) {
      expect(await lake.refused("ingest", { name: "unnamed", sql })).toMatch(/Column s is of type .*names/s);
    }
  });
});

test("a name that no statement can hold is refused, or another one is told", { tags: ["slow"] }, async () => {
  for (const names of [["a\0b"], ["a", "b\0c"]]) {
    const refused = await load("arrow", names);
    expect(refused.isError).toBe(true);
    expect(JSON.stringify(refused.content)).toMatch(/NUL character|cannot be written in SQL/);
    const loaded = await load("parquet", names);
    expect(loaded.isError, JSON.stringify(loaded.content)).toBeFalsy();
    expect(loaded.structuredContent).toMatchObject({ notes: { renamed_columns: [{ to: expect.any(String) }] } });
    expect(JSON.stringify(await looked())).not.toContain("\\u0000");
  }
});

test("a map's key that occurs twice is shown twice, in every way a result leaves", async () => {
  const file = await readFile(new URL("arrow/files/nested.arrow", import.meta.url));
  await lake.call("ingest", { name: "maps", path: await lake.file("nested.arrow", file) });
  const sql = "SELECT twice, {'m': twice} AS s FROM maps";
  const shown = [
    { key: "a", value: 1 },
    { key: "a", value: 2 },
  ];
  const result = await lake.raw("sql", { sql });
  expect(result.structuredContent).toMatchObject({
    rows: [
      [shown, { m: shown }],
      [null, { m: null }],
      [{}, { m: {} }],
    ],
  });
  expect(textOf(result)).toContain(JSON.stringify(shown));
  for (const format of STREAMED) {
    let text = "";
    await lake.engine.stream(sql, {
      onRows: async (rows, columns) => {
        text += openWriter(format, columns).rows(rows);
      },
    });
    const found = format === "csv" ? text.replaceAll('""', '"') : text;
    expect(found.split(JSON.stringify(shown)), format).toHaveLength(3);
  }
});

describe("geometry", () => {
  const shapes = [
    "POINT (1 2)",
    "POINT Z (1 2 3)",
    "POINT M (1 2 3)",
    "LINESTRING ZM (1 2 3 4, 5 6 7 8)",
    "POINT EMPTY",
  ];
  const texts = async (): Promise<unknown> =>
    (await lake.call<{ rows: unknown[] }>("sql", { sql: "SELECT g::VARCHAR FROM geo ORDER BY n" })).rows.flat();

  test.each(shapes)("%s comes back, alone, nested and after an append", async (shape) => {
    const select = `SELECT 1 AS n, '${shape}'::GEOMETRY AS g, ['${shape}'::GEOMETRY] AS l, NULL::GEOMETRY AS z`;
    await lake.call("ingest", { name: "geo", sql: select, schema_change: "allow" });
    await lake.call("ingest", { name: "geo", sql: select.replace("1 AS n", "2 AS n"), mode: "append" });
    expect(await texts()).toEqual([shape, shape]);
    const { rows } = await lake.call<{ rows: unknown[][] }>("sql", { sql: "SELECT l[1]::VARCHAR, z FROM geo LIMIT 1" });
    expect(rows).toEqual([[shape, null]]);
    await lake.call("sql", { sql: "SUMMARIZE geo" });
  });
});
