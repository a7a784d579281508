import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { Schema, Table, tableToIPC, vectorFromArray } from "apache-arrow";
import { Table as WasmTable, writeParquet as writeWasm } from "parquet-wasm";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { convertParquet } from "../../../../src/engine/ingest/parquet/parquet.ts";
import type { Source } from "../../../../src/engine/ingest/types.ts";
import { type Converting, openConverting } from "../../../support/converting.ts";

let bench: Converting;
beforeAll(async () => {
  bench = await openConverting();
});
afterAll(() => bench[Symbol.asyncDispose]());

async function made(name: string, select: string, options = ""): Promise<Source> {
  const path = join(bench.folder, name);
  await bench.make(`COPY (${select}) TO '$folder/${name}' (FORMAT parquet${options})`);
  return { path, label: name, compression: "none", bytes: (await stat(path)).size };
}

describe("values and types", () => {
  test("every type keeps its name and value, nested ones too", async () => {
    const source = await made(
      "types.parquet",
      `SELECT 1::TINYINT t, 18446744073709551615::UBIGINT u, 1.10::DECIMAL(38, 10) d, 'NaN'::DOUBLE f, '007' s,
        DATE '2024-02-29' d2, TIMESTAMP '2024-01-01 00:00:00.123456' ts, TIMESTAMPTZ '2024-01-01 00:00:00+02' tz,
        TIMESTAMP_NS '2024-01-01 00:00:00.123456789' ns, TIME '01:02:03' tm, INTERVAL '1 month 2 days' iv,
        uuid_x::UUID id, '\\x00\\xFF'::BLOB b, {a: 1, b: [{c: 'x'}]} st, MAP {'k': [1, NULL]} m, '{"a": 1}'::JSON j,
        NULL::INTEGER n
       FROM (SELECT '8c2c1c6e-5c58-4a1c-9c79-5cf3ff3e7a11' uuid_x)`,
    );
    const { columns, values, rows } = await bench.convert(convertParquet, source);
    expect(rows).toBe(1);
    expect(columns.map(({ name, type }) => `${name} ${type}`)).toMatchInlineSnapshot(`
      [
        "t TINYINT",
        "u UBIGINT",
        "d DECIMAL(38,10)",
        "f DOUBLE",
        "s VARCHAR",
        "d2 DATE",
        "ts TIMESTAMP",
        "tz TIMESTAMP WITH TIME ZONE",
        "ns TIMESTAMP_NS",
        "tm TIME",
        "iv INTERVAL",
        "id UUID",
        "b BLOB",
        "st STRUCT(a INTEGER, b STRUCT(c VARCHAR)[])",
        "m MAP(VARCHAR, INTEGER[])",
        "j JSON",
        "n INTEGER",
      ]
    `);
    expect(values).toMatchInlineSnapshot(`
      [
        {
          "b": "\\x00\\xFF",
          "d": "1.1000000000",
          "d2": "2024-02-29",
          "f": "NaN",
          "id": "8c2c1c6e-5c58-4a1c-9c79-5cf3ff3e7a11",
          "iv": {
            "days": 2,
            "micros": "0",
            "months": 1,
          },
          "j": "{"a": 1}",
          "m": [
            {
              "key": "k",
              "value": [
                1,
                null,
              ],
            },
          ],
          "n": null,
          "ns": "2024-01-01 00:00:00.123456789",
          "s": "007",
          "st": {
            "a": 1,
            "b": [
              {
                "c": "x",
              },
            ],
          },
          "t": 1,
          "tm": "01:02:03",
          "ts": "2024-01-01 00:00:00.123456",
          "tz": "2023-12-31 22:00:00+00",
          "u": "18446744073709551615",
        },
      ]
    `);
  });

  test("field ids, compression and row groups are ours, whatever the source had", async () => {
    const source = await made(
      "odd.parquet",
      "SELECT i AS b, i AS a FROM range(100000) t(i)",
      ", COMPRESSION uncompressed, ROW_GROUP_SIZE 2048, FIELD_IDS {b: 70, a: 3}",
    );
    const { files } = await bench.convert(convertParquet, source);
    const path = files[0]?.path ?? "";
    await bench.make(
      `COPY (SELECT (SELECT list(field_id) FROM parquet_schema('${path}') WHERE type IS NOT NULL) ids,
         (SELECT list(DISTINCT compression) FROM parquet_metadata('${path}')) codecs,
         (SELECT max(row_group_num_rows) > 2048 FROM parquet_metadata('${path}')) larger) TO '$folder/odd.json'`,
    );
    expect(JSON.parse(await readFile(join(bench.folder, "odd.json"), "utf8"))).toEqual({
      ids: [1, 2],
      codecs: ["ZSTD"],
      larger: true,
    });
  });

  test("column names that repeat, differ by case only or are empty are changed and reported", async () => {
    const column = () => vectorFromArray([1, 2]);
    const table = new Table({ "": column(), a: column(), A: column(), b: column() });
    const source = await wasm("names.parquet", table);
    const { columns, notes } = await bench.convert(convertParquet, source);
    expect(columns.map(({ name }) => name)).toEqual(["C0", "a", "A_1", "b"]);
    expect(notes.renamed_columns).toEqual([
      { from: "", to: "C0" },
      { from: "A", to: "A_1" },
    ]);
  });

  test("names inside structs are not taken for column names", async () => {
    const source = await made("struct.parquet", "SELECT {a: 1, b: {c: 2}} AS a, 1 AS b");
    const { columns, notes } = await bench.convert(convertParquet, source);
    expect(columns.map(({ name }) => name)).toEqual(["a", "b"]);
    expect(notes.renamed_columns).toEqual([]);
  });

  test("no rows is a dataset with columns", async () => {
    const source = await made("none.parquet", "SELECT 1 AS a, 'x' AS b LIMIT 0");
    const { columns, rows, files } = await bench.convert(convertParquet, source);
    expect(columns).toEqual([
      { name: "a", type: "INTEGER" },
      { name: "b", type: "VARCHAR" },
    ]);
    expect([rows, files.length]).toEqual([0, 1]);
  });
});

describe("limits", () => {
  test("a small file that holds very many rows is refused from its footer", { tags: ["slow"] }, async () => {
    const source = await made(
      "bomb.parquet",
      "SELECT 1 AS a FROM range(200000000)",
      ", COMPRESSION zstd, ROW_GROUP_SIZE 50000000",
    );
    expect(source.bytes).toBeLessThan(1000);
    await expect(bench.convert(convertParquet, source)).rejects.toMatchObject({
      kind: "limit",
      message: "bomb.parquet has 200000000 rows; one ingest may write 1000000.",
      hint: expect.arrayContaining([{ setting: "max_ingest_rows" }]),
    });
  });

  test("a cell that unpacks to more than the memory allows is a limit, not a crash", { tags: ["slow"] }, async () => {
    const source = await made("cell.parquet", "SELECT repeat('x', 300000000) AS a", ", COMPRESSION zstd");
    expect(source.bytes).toBeLessThan(100_000);
    await expect(bench.convert(convertParquet, source)).rejects.toMatchObject({ kind: "limit" });
  });

  test("cancelling stops it", async () => {
    const source = await made("some.parquet", "SELECT range AS a FROM range(1000)");
    const signal = AbortSignal.abort();
    await expect(bench.convert(convertParquet, source, { signal })).rejects.toMatchObject({ kind: "unavailable" });
  });
});

describe("files that cannot be read", () => {
  const cases: [string, () => Promise<Uint8Array>, string | RegExp][] = [
    ["empty", async () => new Uint8Array(), "broken.parquet is not a Parquet file, or is cut short"],
    ["text", async () => Buffer.from("worker_id,name\n1,Ann\n"), "broken.parquet is not a Parquet file"],
    ["cut short", async () => (await good()).subarray(0, -30), "broken.parquet is not a Parquet file, or is cut short"],
    ["footer of noise", async () => footer(Buffer.alloc(100, 7), "PAR1"), "broken.parquet is damaged"],
    ["footer longer than the file", async () => footer(Buffer.alloc(20), "PAR1", 4000), "broken.parquet is damaged"],
    ["encrypted", async () => footer(Buffer.alloc(100), "PARE"), "broken.parquet is an encrypted Parquet file."],
    ["damaged page", async () => damaged(), /^broken.parquet is damaged(: column| in column) "a"/],
  ];
  test.each(cases)("%s", async (_name, data, message) => {
    const source = await bench.source("broken.parquet", await data());
    const error = await bench.convert(convertParquet, source).catch((caught: unknown) => caught);
    expect(error).toMatchObject({ kind: "invalid", message: expect.stringMatching(message), hint: expect.any(String) });
    expect(String(error)).not.toContain(bench.folder);
  });

  test("no columns", async () => {
    const source = await wasm("zero.parquet", new Table(new Schema([])));
    await expect(bench.convert(convertParquet, source)).rejects.toMatchObject({
      kind: "invalid",
      message: "zero.parquet has no columns.",
    });
  });

  test("compressed as a whole", async () => {
    const source = await bench.source("whole.parquet.gz", await good(), "gzip");
    await expect(bench.convert(convertParquet, source)).rejects.toMatchObject({
      kind: "invalid",
      message: expect.stringContaining("whole.parquet.gz is a compressed Parquet file"),
    });
  });
});

async function wasm(name: string, table: Table): Promise<Source> {
  return bench.source(name, writeWasm(WasmTable.fromIPCStream(tableToIPC(table, "stream"))));
}

async function good(): Promise<Buffer> {
  const { path } = await made("good.parquet", "SELECT i AS a, 'text ' || i AS b FROM range(5000) t(i)");
  return readFile(path);
}

async function damaged(): Promise<Uint8Array> {
  const bytes = await good();
  return bytes.map((byte, at) => (at > 60 && at < 400 ? byte ^ 0x55 : byte));
}

function footer(body: Uint8Array, magic: string, length = body.length): Buffer {
  const size = Buffer.alloc(4);
  size.writeUInt32LE(length);
  return Buffer.concat([Buffer.from(magic), body, size, Buffer.from(magic)]);
}
