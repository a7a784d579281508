import { type DataType, DateDay, Field, Time, Timestamp, TimeUnit } from "apache-arrow";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { convertArrow } from "../../../../src/engine/ingest/arrow/arrow.ts";
import { column } from "../../../../src/engine/parquet/arrow-column.ts";
import { batchMessage, schemaMessage, toStream } from "../../../../src/engine/parquet/arrow-encode.ts";
import { type Converting, openConverting } from "../../../support/converting.ts";
import { readParquet } from "../../../support/ingesting.ts";

let bench: Converting;
beforeAll(async () => {
  bench = await openConverting();
});
afterAll(() => bench[Symbol.asyncDispose]());

/** A file with one column of these values. */
async function convert(field: DataType, bits: number, values: readonly bigint[]) {
  const data = Buffer.alloc((bits / 8) * values.length);
  for (const [index, value] of values.entries()) {
    if (bits === 64) data.writeBigInt64LE(value, index * 8);
    else data.writeInt32LE(Number(value), index * 4);
  }
  const batch = batchMessage(values.length, [column("fixed", values.length, { width: bits / 8, data })]);
  const source = await bench.source("ends.arrow", toStream([schemaMessage([new Field("c", field, true)]), batch]));
  const { columns, files, notes } = await bench.convert(convertArrow, source);
  return { type: columns[0]?.type ?? "", path: files[0]?.path, notes };
}

async function same(path: string | undefined, type: string, texts: readonly string[]): Promise<void> {
  const right = texts.map((text) => `CAST('${text}' AS ${type})`).join(", ");
  const rows = await readParquet(`SELECT list(c) = [${right}] AS same, list(c)::VARCHAR AS got, [${right}]::VARCHAR AS v
    FROM read_parquet('${path}')`);
  expect(rows).toEqual([{ same: true, got: rows[0]?.v, v: rows[0]?.v }]);
}

const UNITS = {
  s: TimeUnit.SECOND,
  ms: TimeUnit.MILLISECOND,
  us: TimeUnit.MICROSECOND,
  ns: TimeUnit.NANOSECOND,
};
const MOST = 2n ** 63n - 1n;

describe("24:00:00 is a time of every unit", () => {
  test.each([
    ["s", 32, 86_400n, "TIME"],
    ["ms", 32, 86_400_000n, "TIME"],
    ["us", 64, 86_400_000_000n, "TIME"],
    ["ns", 64, 86_400_000_000_000n, "TIME_NS"],
  ] as const)("%s", async (unit, bits, day, kept) => {
    const { type, path } = await convert(new Time(UNITS[unit], bits), bits, [0n, day]);
    expect(type).toBe(kept);
    await same(path, kept, ["00:00:00", "24:00:00"]);
  });
});

describe("the numbers that DuckDB writes to Arrow for infinity are it, which is told", () => {
  const text = ["-infinity", "1970-01-01", "infinity"];
  test.each([
    ["s", "", "TIMESTAMP"],
    ["ms", "", "TIMESTAMP"],
    ["us", "", "TIMESTAMP"],
    ["ns", "", "TIMESTAMP_NS"],
    ["s", "UTC", "TIMESTAMP WITH TIME ZONE"],
    ["ms", "UTC", "TIMESTAMP WITH TIME ZONE"],
    ["us", "UTC", "TIMESTAMP WITH TIME ZONE"],
  ] as const)("timestamp[%s] %s", async (unit, zone, kept) => {
    const moment = new Timestamp(UNITS[unit], zone === "" ? undefined : zone);
    const { type, path, notes } = await convert(moment, 64, [-MOST, 0n, MOST]);
    expect(type).toBe(kept);
    await same(path, kept, text);
    expect(notes.converted).toMatchObject([{ column: "c", to: kept, reason: expect.stringContaining("infinity") }]);
  });

  test("date32", async () => {
    const most = 2n ** 31n - 1n;
    const { path, notes } = await convert(new DateDay(), 32, [-most, 0n, most]);
    await same(path, "DATE", text);
    expect(notes.converted).toMatchObject([{ column: "c", to: "DATE" }]);
  });
});
