import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { convertParquet } from "../../../../src/engine/ingest/parquet/parquet.ts";
import { type Converting, openConverting } from "../../../support/converting.ts";
import { type ElementOptions, logical, oneColumn, statistics, type TypeName } from "../../../support/parquet-file.ts";

let bench: Converting;
beforeAll(async () => {
  bench = await openConverting();
});
afterAll(() => bench[Symbol.asyncDispose]());

async function convert(bytes: Buffer, overrides = {}) {
  return bench.convert(convertParquet, await bench.source("in.parquet", bytes), overrides);
}

async function refused(bytes: Buffer): Promise<{ kind: string; message: string; hint: string }> {
  const outcome: unknown = await convert(bytes).catch((error: unknown) => error);
  if (outcome instanceof Error && outcome.name === "LakeError") return outcome as never;
  throw outcome instanceof Error ? outcome : new Error(`It should have failed: ${JSON.stringify(outcome)}`);
}

const MIN32 = -(2n ** 31n);
const MAX32 = 2n ** 31n - 1n;
const MIN64 = -(2n ** 63n);
const MAX64 = 2n ** 63n - 1n;
const DAY = 86_400_000n;

type Case = [
  name: string,
  type: TypeName,
  options: ElementOptions,
  /** First and last value that fit, with how they read back. */
  fit: [bigint, string | number][],
  kept: string,
  /** Values that do not. */
  unfit: bigint[],
];
const CASES: Case[] = [
  [
    "TIME(ms)",
    "INT32",
    { logical: logical.time("ms") },
    [
      [0n, "00:00:00"],
      [DAY, "24:00:00"],
    ],
    "TIME",
    [-1n, DAY + 1n, MIN32, MAX32],
  ],
  [
    "old TIME_MILLIS",
    "INT32",
    { converted: 7 },
    [
      [0n, "00:00:00"],
      [DAY, "24:00:00"],
    ],
    "TIME",
    [-1n, DAY + 1n, MIN32],
  ],
  [
    "TIME(us)",
    "INT64",
    { logical: logical.time("us", true) },
    [
      [0n, "00:00:00"],
      [1000n * DAY, "24:00:00"],
    ],
    "TIME",
    [-1n, 1000n * DAY + 1n, MIN64, MAX64],
  ],
  [
    "old TIME_MICROS",
    "INT64",
    { converted: 8 },
    [
      [0n, "00:00:00"],
      [1000n * DAY, "24:00:00"],
    ],
    "TIME",
    [-1n, 1000n * DAY + 1n, MIN64],
  ],
  [
    "TIME(ns)",
    "INT64",
    { logical: logical.time("ns") },
    [
      [1n, "00:00:00.000000001"],
      [1_000_000n * DAY, "24:00:00"],
    ],
    "TIME_NS",
    [-1n, 1_000_000n * DAY + 1n, MIN64, MAX64],
  ],
  [
    "DATE",
    "INT32",
    { logical: logical.date },
    [
      [-1n, "1969-12-31"],
      [MAX32 - 1n, "5881580-07-10"],
    ],
    "DATE",
    [MIN32],
  ],
  [
    "old DATE",
    "INT32",
    { converted: 6 },
    [
      [MIN32 + 2n, "5877642-06-25 (BC)"],
      [0n, "1970-01-01"],
    ],
    "DATE",
    [MIN32],
  ],
  [
    "TIMESTAMP(ms)",
    "INT64",
    { logical: logical.timestamp("ms") },
    [
      [-1n, "1969-12-31 23:59:59.999"],
      [9223372036854775n, "294247-01-10 04:00:54.775"],
    ],
    "TIMESTAMP",
    [MIN64, MIN64 + 2n, MAX64 - 1n, 9223372036854776n],
  ],
  [
    "old TIMESTAMP_MILLIS",
    "INT64",
    { converted: 9 },
    [
      [-1n, "1969-12-31 23:59:59.999"],
      [9223372036854775n, "294247-01-10 04:00:54.775"],
    ],
    "TIMESTAMP",
    [MIN64, MAX64 - 1n],
  ],
  [
    "TIMESTAMP(us)",
    "INT64",
    { logical: logical.timestamp("us") },
    [
      [-9223372022400000000n, "290309-12-22 (BC) 00:00:00"],
      [MAX64 - 1n, "294247-01-10 04:00:54.775806"],
    ],
    "TIMESTAMP",
    [MIN64, MIN64 + 2n, -9223372022400000001n],
  ],
  [
    "TIMESTAMP(us, UTC)",
    "INT64",
    { logical: logical.timestamp("us", true) },
    [
      [-1n, "1969-12-31 23:59:59.999999+00"],
      [MAX64 - 1n, "294247-01-10 04:00:54.775806+00"],
    ],
    "TIMESTAMP WITH TIME ZONE",
    [MIN64, MIN64 + 2n],
  ],
  [
    "TIMESTAMP(ns)",
    "INT64",
    { logical: logical.timestamp("ns") },
    [
      [-9223286400000000000n, "1677-09-22 00:00:00"],
      [MAX64 - 1n, "2262-04-11 23:47:16.854775806"],
    ],
    "TIMESTAMP_NS",
    [MIN64, MIN64 + 2n, -9223286400000000001n],
  ],
  [
    "TIMESTAMP(ns, UTC)",
    "INT64",
    { logical: logical.timestamp("ns", true) },
    [
      [-1n, "1969-12-31 23:59:59.999999999"],
      [MAX64 - 1n, "2262-04-11 23:47:16.854775806"],
    ],
    "TIMESTAMP_NS",
    [MIN64, MIN64 + 2n],
  ],
  [
    "INT_8",
    "INT32",
    { logical: logical.integer(8, true) },
    [
      [-128n, -128],
      [127n, 127],
    ],
    "TINYINT",
    [-129n, 128n, MIN32, MAX32],
  ],
  [
    "old INT_16",
    "INT32",
    { converted: 16 },
    [
      [-32768n, -32768],
      [32767n, 32767],
    ],
    "SMALLINT",
    [-32769n, 32768n],
  ],
  [
    "UINT_8",
    "INT32",
    { logical: logical.integer(8, false) },
    [
      [0n, 0],
      [255n, 255],
    ],
    "UTINYINT",
    [-1n, 256n],
  ],
  [
    "old UINT_16",
    "INT32",
    { converted: 12 },
    [
      [0n, 0],
      [65535n, 65535],
    ],
    "USMALLINT",
    [-1n, 65536n],
  ],
  [
    "UINT_32",
    "INT32",
    { logical: logical.integer(32, false) },
    [
      [-1n, 4294967295],
      [MIN32, 2147483648],
    ],
    "UINTEGER",
    [],
  ],
  [
    "UINT_64",
    "INT64",
    { converted: 14 },
    [
      [-1n, "18446744073709551615"],
      [MIN64, "9223372036854775808"],
    ],
    "UBIGINT",
    [],
  ],
  [
    "DECIMAL(4,2) in INT32",
    "INT32",
    { logical: logical.decimal(4, 2) },
    [
      [-9999n, "-99.99"],
      [9999n, "99.99"],
    ],
    "DECIMAL(4,2)",
    [10000n, 65536n, MIN32],
  ],
  [
    "DECIMAL(9,0) in INT32",
    "INT32",
    { converted: 5, precision: 9, scale: 0 },
    [
      [-999999999n, "-999999999"],
      [7n, "7"],
    ],
    "DECIMAL(9,0)",
    [1000000000n],
  ],
  [
    "DECIMAL(9,9) in INT64",
    "INT64",
    { logical: logical.decimal(9, 9) },
    [
      [-999999999n, "-0.999999999"],
      [1n, "0.000000001"],
    ],
    "DECIMAL(9,9)",
    [1000000000n, MIN64],
  ],
  [
    "DECIMAL(18,18) in INT64",
    "INT64",
    { logical: logical.decimal(18, 18) },
    [
      [-999999999999999999n, "-0.999999999999999999"],
      [1n, "0.000000000000000001"],
    ],
    "DECIMAL(18,18)",
    [10n ** 18n, MAX64],
  ],
];

describe("the whole physical range of a logical type loads exactly or is refused by column", () => {
  describe.each(CASES)("%s", (_, type, options, fit, kept, unfit) => {
    const numbers = fit.map(([value]) => value);
    test.each(["without statistics", "with"])("what fits, %s", async (which) => {
      const [first = 0n, last = 0n] = numbers;
      const metadata = which === "with" ? { 12: statistics(type, first, last) } : {};
      const { columns, values } = await convert(oneColumn(type, options, numbers, { metadata }));
      expect(columns).toEqual([{ name: "c", type: kept }]);
      expect(values.map(({ c }) => c)).toEqual(fit.map(([, shown]) => shown));
    });
    for (const value of unfit) {
      test.each(["without statistics", "with", "with wrong"])(`${value}, %s`, async (which) => {
        const [first = 0n] = numbers;
        const known = which === "with wrong" || value > first ? first : value;
        const most = which === "with" && value > first ? value : first;
        const metadata = which === "without statistics" ? {} : { 12: statistics(type, known, most) };
        // Wrong statistics of whole numbers and decimals are believed, since their values cannot do harm.
        if (which === "with wrong" && /INT_|DECIMAL/.test(_)) return;
        const { kind, message, hint } = await refused(oneColumn(type, options, [first, value], { metadata }));
        expect(kind).toBe("invalid");
        expect(message).toMatch(/^in\.parquet: column "c" has a value that /);
        if (which !== "with wrong") expect(message).toContain(String(value));
        expect(hint).toBeTruthy();
      });
    }
  });
});
