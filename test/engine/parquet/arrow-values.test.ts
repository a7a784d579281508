import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type DataType,
  DateDay,
  DateMillisecond,
  Decimal,
  Field,
  Int,
  Int8,
  List,
  Time,
  Timestamp,
  TimeUnit,
} from "apache-arrow";
import { afterAll, beforeAll, expect, test } from "vitest";
import { column } from "../../../src/engine/parquet/arrow-column.ts";
import { batchMessage, schemaMessage, toStream } from "../../../src/engine/parquet/arrow-encode.ts";
import { arrowToParquet } from "../../../src/engine/parquet/arrow-ipc.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "arrow-values-"));
});
afterAll(() => rm(folder, { recursive: true }));

/** A file with one column of one such value: what no library writes, but many a program does. */
async function refusal(type: DataType, bits: number, value: bigint): Promise<string> {
  const data = new Uint8Array(bits / 8);
  for (let at = 0; at < data.length; at++) data[at] = Number((value >> BigInt(8 * at)) & 0xffn);
  const batch = batchMessage(1, [column("fixed", 1, { width: bits / 8, data })]);
  const path = join(folder, "values.arrow");
  await writeFile(path, toStream([schemaMessage([new Field("when", type, true)]), batch]));
  return arrowToParquet({ path, folder, maxRows: 10 }, "values.arrow", {}).then(
    () => "it was accepted",
    (error: { kind: string; message: string; hint: string }) => `${error.kind} ${error.message} ${error.hint}`,
  );
}

const { SECOND: S, MILLISECOND: MS, MICROSECOND: US, NANOSECOND: NS } = TimeUnit;
const LEAST = -(2n ** 63n);
const MOST = 2n ** 63n - 1n;

const OUTSIDE: [name: string, type: DataType, bits: number, values: bigint[]][] = [
  ["time32[s]", new Time(S, 32), 32, [-1n, 86_401n, 2n ** 31n - 1n, -(2n ** 31n)]],
  ["time32[ms]", new Time(MS, 32), 32, [-1n, 86_400_001n, 2n ** 31n - 1n, -(2n ** 31n)]],
  ["time64[us]", new Time(US, 64), 64, [-1n, 86_400_000_001n, MOST, LEAST]],
  ["time64[ns]", new Time(NS, 64), 64, [-1n, 86_400_000_000_001n, MOST, LEAST]],
  ["date32", new DateDay(), 32, [-(2n ** 31n)]],
  ["date64", new DateMillisecond(), 64, [1n, -1n, MOST, LEAST, 86_400_000n * 2n ** 31n]],
  ["timestamp[s]", new Timestamp(S), 64, [MOST - 1n, LEAST, LEAST + 2n, 9_223_372_036_855n, -9_223_372_022_401n]],
  [
    "timestamp[ms]",
    new Timestamp(MS),
    64,
    [MOST - 1n, LEAST, LEAST + 2n, 9_223_372_036_854_776n, -9_223_372_022_400_001n],
  ],
  ["timestamp[us]", new Timestamp(US), 64, [LEAST, LEAST + 2n, -9_223_372_022_400_000_001n]],
  ["timestamp[us, tz=UTC]", new Timestamp(US, "UTC"), 64, [LEAST, -9_223_372_022_400_000_001n]],
  ["timestamp[ns]", new Timestamp(NS), 64, [LEAST, LEAST + 2n, -9_223_286_400_000_000_001n]],
  ["timestamp[ns, tz=UTC]", new Timestamp(NS, "UTC"), 64, [LEAST, -9_223_286_400_000_000_001n]],
  ["decimal32(2, 0)", new Decimal(0, 2, 32), 32, [100n, -100n, -(2n ** 31n)]],
  ["decimal64(2, 1)", new Decimal(1, 2, 64), 64, [100n, MOST, LEAST]],
  ["decimal128(5, 2)", new Decimal(2, 5, 128), 128, [10n ** 5n, 2n ** 64n + 5n, -(2n ** 127n)]],
  ["decimal128(38, 0)", new Decimal(0, 38, 128), 128, [10n ** 38n, -(10n ** 38n)]],
  ["decimal256(5, -2)", new Decimal(-2, 5, 256), 256, [10n ** 5n, 2n ** 128n, -(2n ** 255n)]],
];

test.each(OUTSIDE)(
  "a value outside of %s is refused by its name",
  { tags: ["slow"] },
  async (name, type, bits, values) => {
    for (const value of values) {
      const said = await refusal(type, bits, value);
      expect(said).toContain(`invalid values.arrow: column "when" is a ${name} and holds ${value}`);
      expect(said).toContain("Correct the value");
    }
  },
);

const INSIDE: [name: string, type: DataType, bits: number, values: bigint[]][] = [
  ["time32[s]", new Time(S, 32), 32, [0n, 86_400n]],
  ["time64[us]", new Time(US, 64), 64, [0n, 86_400_000_000n]],
  ["date32", new DateDay(), 32, [2n ** 31n - 1n, -(2n ** 31n) + 1n]],
  ["date64", new DateMillisecond(), 64, [86_400_000n * (2n ** 31n - 2n), -86_400_000n * (2n ** 31n - 2n)]],
  ["timestamp[s]", new Timestamp(S), 64, [9_223_372_036_854n, -9_223_372_022_400n]],
  ["timestamp[us]", new Timestamp(US), 64, [MOST, LEAST + 1n, -9_223_372_022_400_000_000n]],
  ["timestamp[ns]", new Timestamp(NS), 64, [MOST, LEAST + 1n, -9_223_286_400_000_000_000n]],
  ["decimal128(38, 0)", new Decimal(0, 38, 128), 128, [10n ** 38n - 1n, 1n - 10n ** 38n]],
];

test.each(INSIDE)("the ends of %s are inside", async (_name, type, bits, values) => {
  for (const value of values) expect(await refusal(type, bits, value)).toBe("it was accepted");
});

test("what Arrow does not have is refused by name", async () => {
  expect(await refusal(new Int(true, 24 as 32), 32, 1n)).toContain('column "when" has integers of 24 bits');
  expect(await refusal(new Decimal(2, 39, 256), 256, 1n)).toContain(
    'column "when" is a decimal256(39, 2), a decimal of 39 digits; 38 fit.',
  );
  expect(await refusal(new Decimal(-1, 38, 128), 128, 1n)).toContain("39 digits; 38 fit");
});

test("types nested too deep are refused by the column's name, and are no damage", async () => {
  let type: DataType = new Int8();
  for (let level = 0; level < 20; level++) type = new List(new Field("element", type, true));
  const path = join(folder, "deep.arrow");
  await writeFile(path, toStream([schemaMessage([new Field("deep", type, true)])]));
  await expect(arrowToParquet({ path, folder, maxRows: 10 }, "deep.arrow", {})).rejects.toMatchObject({
    kind: "invalid",
    message: 'deep.arrow: column "deep" nests its types deeper than 16 levels.',
  });
});
