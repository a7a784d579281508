import { LakeError } from "../../kernel/errors.ts";
import type { ParquetFooter, Range } from "../../parquet/parquet-footer.ts";
import type { Reread } from "../../parquet/parquet-rewrite.ts";
import { columnName, type Logical, type SchemaNode, type Unit } from "../../parquet/parquet-schema.ts";

/**
 * How the values of one leaf become what the lake keeps. DuckDB takes the physical value for granted: it crashes on some
 * that are outside of their type, and shows others as something else.
 */
export interface LeafRule {
  /** DuckDB reads it as another type, because it would change or not survive the values of its own. */
  reread?: Reread;
  /** SQL that is true for what `value` may be; `value` is not NULL. */
  check(value: string): string;
  /** SQL of what is kept; absent: the value. */
  make?(value: string): string;
  /** Asked of the data before `check` and `make` are: SQL that is true for a value without nanoseconds. */
  isWhole?(value: string): string;
  /** Where not every value is whole. */
  fine?: Pick<LeafRule, "check" | "make" | "infinite"> & { type: string; reason?: string };
  /** Where numbers of the type's range are infinity to DuckDB: SQL that is true for those, and the type they are kept in. */
  infinite?: { is(value: string): string; type: string };
  /** SQL that shows a value that `check` refuses. */
  show(value: string): string;
  /** In words, for messages: the column's type, and what it may hold. */
  type: string;
  allowed: string;
}

const MIN_MICROS = -9223372022400000000n;
const MAX_64 = 9223372036854775806n;
const INFINITY_64 = MAX_64 + 1n;
const ZONED = "TIMESTAMP WITH TIME ZONE";
/** The first day that DuckDB has as a whole. */
const MIN_NANOS = -9223286400000000000n;
const MAX_DAYS = 2147483646n;
const DAY: Record<Unit, bigint> = { ms: 86_400_000n, us: 86_400_000_000n, ns: 86_400_000_000_000n };

/** Rules by leaf, undefined where every value of the physical type fits. Throws `invalid` naming a column that has none. */
export function leafRules(footer: ParquetFooter, label: string): (LeafRule | undefined)[] {
  return footer.leaves.map((leaf, index) => {
    refuseType(leaf, label);
    return ruleOf(leaf, footer.ranges[index]);
  });
}

function ruleOf(leaf: SchemaNode, range: Range | undefined): LeafRule | undefined {
  const { logical, physical, path } = leaf;
  if (physical === "INT96") return int96();
  switch (logical?.kind) {
    case "INTEGER":
      return logical.bits < 32 ? unlessWithin(range, ...integerBounds(logical), narrowInteger(logical)) : undefined;
    case "DECIMAL":
      return decimal(leaf, logical, range);
    case "DATE":
      return ends(path, range, -MAX_DAYS, MAX_DAYS, {
        type: "DATE",
        kept: "DATE",
        infinity: MAX_DAYS + 1n,
        allowed: "years -5877641 to 5881580",
        unit: "days since 1970",
        bare: (value) => `(${value} - DATE '1970-01-01')`,
        make: (value) => `(DATE '1970-01-01' + ${value})`,
      });
    case "TIME":
      return time(logical.unit);
    case "TIMESTAMP":
      return timestamp(path, logical, range);
    case "INTERVAL":
      return {
        type: "INTERVAL",
        allowed: "up to 2147483647 months and days",
        check: (value) => `${months(value)} >= 0 AND date_part('day', ${value}) >= 0`,
        show: (value) => `concat(${months(value)}, ' months, ', date_part('day', ${value}), ' days')`,
      };
    default:
      return undefined;
  }
}

/** What statistics prove to be inside needs no check. */
function unlessWithin(range: Range | undefined, min: bigint, max: bigint, rule: LeafRule): LeafRule | undefined {
  return isWithin(range, min, max) ? undefined : rule;
}

function isWithin(range: Range | undefined, min: bigint, max: bigint): boolean {
  if (!range?.isKnown) return false;
  return (range.min ?? min) >= min && (range.max ?? max) <= max;
}

interface Ends extends Pick<LeafRule, "type" | "allowed"> {
  /** The type of DuckDB. */
  kept: string;
  /** The number that is infinity to DuckDB; the negative one is -infinity. */
  infinity: bigint;
  /** What the numbers are, in words. */
  unit: string;
  /** SQL of the number behind a value of DuckDB's type. */
  bare(value: string): string;
  /** SQL of the value behind a number. */
  make(value: string): string;
}

/**
 * For types of which DuckDB takes the ends for something else. Where statistics do not say that all is within, the column
 * is read as numbers, of which the two that DuckDB writes for infinity become it. Where they do, a check remains: some writers leave out what is at the ends (fastparquet its NaT).
 * DuckDB would leave out a check that statistics make needless: `xor` hides it from them. Inside of lists and structs,
 * where a check costs more, statistics are believed.
 */
function ends(
  path: string[],
  range: Range | undefined,
  min: bigint,
  max: bigint,
  { type, allowed, kept, infinity, unit, bare, make }: Ends,
): LeafRule | undefined {
  const words = { type, allowed };
  if (!isWithin(range, min, max)) {
    const is = isEither(infinity);
    return {
      ...words,
      reread: { meaning: "none" },
      check: (value) => `${value} BETWEEN ${min} AND ${max} OR ${is(value)}`,
      make: (value) => orInfinite(value, infinity, kept, make(value)),
      infinite: { is, type: kept },
      show: (value) => `concat(${value}, ' ${unit}')`,
    };
  }
  if (path.length > 1) return undefined;
  return {
    ...words,
    check: (value) => `xor(${bare(value)}, 0) BETWEEN ${min} AND ${max}`,
    show: (value) => `concat(coalesce(CAST(${bare(value)} AS VARCHAR), 'infinite'), ' ${unit}')`,
  };
}

function isEither(infinity: bigint): (value: string) => string {
  return (value) => `(${value} = ${infinity} OR ${value} = ${-infinity})`;
}

/** SQL of `finite`, or of the infinity that the number stands for. */
function orInfinite(value: string, infinity: bigint, type: string, finite: string): string {
  return `CASE ${value} WHEN ${infinity} THEN CAST('infinity' AS ${type}) WHEN ${-infinity} THEN CAST('-infinity' AS ${type}) ELSE ${finite} END`;
}

function timestamp(
  path: string[],
  { unit, utc }: Extract<Logical, { kind: "TIME" | "TIMESTAMP" }>,
  range: Range | undefined,
): LeafRule | undefined {
  const type = `TIMESTAMP(${unit}${utc ? ", UTC" : ""})`;
  if (unit === "ns") return utc ? zonedNanos(type) : nanos(type, path, range);
  const scale = unit === "ms" ? 1000n : 1n;
  return ends(path, range, MIN_MICROS / scale, MAX_64 / scale, {
    type,
    kept: utc ? ZONED : "TIMESTAMP",
    infinity: INFINITY_64,
    allowed: "290309-12-22 BC to 294247-01-10",
    unit: `${unit === "ms" ? "milliseconds" : "microseconds"} since 1970`,
    // In milliseconds, so that the bounds are those of the numbers in the file.
    bare: (value) => (unit === "ms" ? `epoch_ms(${value})` : `epoch_us(${value})`),
    make: (value) => `make_timestamp${utc ? "tz" : ""}(${value} * ${scale})`,
  });
}

const NANOS = { allowed: "1677-09-22 to 2262-04-11", unit: "nanoseconds since 1970" };

function nanos(type: string, path: string[], range: Range | undefined): LeafRule | undefined {
  return ends(path, range, MIN_NANOS, MAX_64, {
    ...NANOS,
    type,
    kept: "TIMESTAMP_NS",
    infinity: INFINITY_64,
    bare: (value) => `epoch_ns(${value})`,
    make: (value) => `make_timestamp_ns(${value})`,
  });
}

/** DuckDB's type with a time zone has microseconds, to which it would cut the values. */
function zonedNanos(type: string): LeafRule {
  const is = isEither(INFINITY_64);
  return {
    type,
    allowed: NANOS.allowed,
    reread: { meaning: "none" },
    show: (value) => `concat(${value}, ' ${NANOS.unit}')`,
    isWhole: (value) => `${value} % 1000 = 0 OR ${is(value)}`,
    check: (value) => `${value} BETWEEN ${-INFINITY_64} AND ${INFINITY_64}`,
    make: (value) => orInfinite(value, INFINITY_64, ZONED, `make_timestamptz(${value} // 1000)`),
    infinite: { is, type: ZONED },
    fine: {
      type: "TIMESTAMP_NS",
      reason: "it has nanoseconds, which a type with a time zone cannot hold; the values are in UTC",
      check: (value) => `${value} BETWEEN ${MIN_NANOS} AND ${MAX_64} OR ${is(value)}`,
      make: (value) => orInfinite(value, INFINITY_64, "TIMESTAMP_NS", `make_timestamp_ns(${value})`),
      infinite: { is, type: "TIMESTAMP_NS" },
    },
  };
}

/** DuckDB has 24:00:00 as a time of its own, which no moment of a day becomes. */
function time(unit: Unit): LeafRule {
  const make: Record<Unit, (value: string) => string> = {
    ms: (value) => `CAST(make_timestamp(CAST(${value} AS BIGINT) * 1000) AS TIME)`,
    us: (value) => `CAST(make_timestamp(${value}) AS TIME)`,
    ns: (value) => `CAST(make_timestamp_ns(${value}) AS TIME_NS)`,
  };
  const kept = unit === "ns" ? "TIME_NS" : "TIME";
  const words = { ms: "milliseconds", us: "microseconds", ns: "nanoseconds" }[unit];
  return {
    type: `TIME(${unit})`,
    allowed: "00:00:00 to 24:00:00",
    reread: { meaning: "none" },
    check: (value) => `${value} BETWEEN 0 AND ${DAY[unit]}`,
    make: (value) => `CASE ${value} WHEN ${DAY[unit]} THEN CAST('24:00:00' AS ${kept}) ELSE ${make[unit](value)} END`,
    show: (value) => `concat(${value}, ' ${words} since midnight')`,
  };
}

/**
 * INT96 has nanoseconds of the day in 8 bytes and the Julian day in 4, little-endian. DuckDB cuts it to microseconds and
 * checks nothing. Read as an interval, the same 12 bytes come out as two numbers and milliseconds, each of 32 bits.
 */
function int96(): LeafRule {
  const low = (value: string): string => `${months(value)} + CASE WHEN ${months(value)} < 0 THEN 4294967296 ELSE 0 END`;
  const nanos = (value: string): string => `(date_part('day', ${value}) * 4294967296 + ${low(value)})`;
  const julian = (value: string): string =>
    `(date_part('hour', ${value}) * 3600000 + date_part('minute', ${value}) * 60000 + date_part('millisecond', ${value}))`;
  const days = (value: string): string => `(${julian(value)} - 2440588)`;
  return {
    type: "INT96",
    allowed: "moments from 1677-09-22 to 2262-04-10, or of whole microseconds from 288000 BC to 292000",
    reread: { meaning: { converted: 21 }, isBytes: true },
    isWhole: (value) => `${nanos(value)} % 1000 = 0`,
    check: (value) => `${days(value)} BETWEEN -106000000 AND 106000000`,
    make: (value) => `make_timestamp(${days(value)} * 86400000000 + ${nanos(value)} // 1000)`,
    fine: {
      type: "TIMESTAMP_NS",
      check: (value) =>
        `${days(value)} BETWEEN -106750 AND 106750 AND ${nanos(value)} BETWEEN ${-DAY.ns} AND ${DAY.ns}`,
      make: (value) => `make_timestamp_ns(${days(value)} * ${DAY.ns} + ${nanos(value)})`,
    },
    show: (value) => `concat('day ', ${days(value)}, ' since 1970, ', ${nanos(value)}, ' nanoseconds')`,
  };
}

function months(interval: string): string {
  return `(date_part('year', ${interval}) * 12 + date_part('month', ${interval}))`;
}

function integerBounds({ bits, signed }: { bits: number; signed: boolean }): [bigint, bigint] {
  const all = 2n ** BigInt(bits);
  return signed ? [-all / 2n, all / 2n - 1n] : [0n, all - 1n];
}

function narrowInteger(logical: Extract<Logical, { kind: "INTEGER" }>): LeafRule {
  const [min, max] = integerBounds(logical);
  const type = `${logical.signed ? "" : "U"}${logical.bits === 8 ? "TINYINT" : "SMALLINT"}`;
  return {
    type: `${logical.signed ? "INT" : "UINT"}_${logical.bits}`,
    allowed: `${min} to ${max}`,
    reread: { meaning: "none" },
    check: (value) => `${value} BETWEEN ${min} AND ${max}`,
    make: (value) => `CAST(${value} AS ${type})`,
    show: (value) => `CAST(${value} AS VARCHAR)`,
  };
}

function decimal(
  { physical }: SchemaNode,
  { precision, scale }: Extract<Logical, { kind: "DECIMAL" }>,
  range: Range | undefined,
): LeafRule | undefined {
  const most = 10n ** BigInt(precision) - 1n;
  if (isWithin(range, -most, most)) return undefined;
  const type = `DECIMAL(${precision},${scale})`;
  const words = { type, allowed: `${precision} digits` };
  if (physical === "INT32" || physical === "INT64") {
    const step = `CAST('${scaled("1", scale)}' AS DECIMAL(${scale + 1},${scale}))`;
    return {
      ...words,
      reread: { meaning: "none" },
      check: (value) => `${value} BETWEEN ${-most} AND ${most}`,
      make: (value) => `CAST(CAST(${value} AS DECIMAL(19,0)) * ${step} AS ${type})`,
      show: (value) => `concat(${value}, ' units of ${scaled("1", scale)}')`,
    };
  }
  const end = `CAST('${scaled(String(most), scale)}' AS ${type})`;
  return {
    ...words,
    check: (value) => `${value} BETWEEN -${end} AND ${end}`,
    show: (value) => `CAST(${value} AS VARCHAR)`,
  };
}

function scaled(digits: string, scale: number): string {
  const padded = digits.padStart(scale + 1, "0");
  return scale === 0 ? padded : `${padded.slice(0, -scale)}.${padded.slice(-scale)}`;
}

/** Types that a reader takes apart wrongly, or not at all, when they do not go together. */
function refuseType(leaf: SchemaNode, label: string): void {
  const { logical, physical, length } = leaf;
  const column = `${label}: column ${columnName(leaf)}`;
  if (physical === "FIXED_LEN_BYTE_ARRAY" && length < 1) {
    throw new LakeError("invalid", `${column} has values of ${length} bytes.`, { hint: "Write the file again." });
  }
  if (!logical) return;
  if (logical.kind === "DECIMAL") {
    const { precision, scale } = logical;
    if (precision > 38) {
      throw new LakeError("invalid", `${column} is a DECIMAL(${precision}); 38 digits fit.`, {
        hint: "Write it as DECIMAL(38, s) or as text.",
      });
    }
    if (precision < 1 || scale < 0 || scale > precision) {
      throw new LakeError("invalid", `${column} is a DECIMAL(${precision}, ${scale}), which there is not.`, {
        hint: "Write it as DECIMAL(p, s) with 0 ≤ s ≤ p, or as text.",
      });
    }
  }
  const stored = physical === "FIXED_LEN_BYTE_ARRAY" ? `${physical}(${length})` : physical;
  if (!holders(logical).some((holder) => holder === stored || holder === physical)) {
    throw new LakeError("invalid", `${column} is a ${logical.kind} in ${stored}, which Parquet does not have.`, {
      hint: `Write it as ${holders(logical).join(" or ") || "a group"}, or without the logical type.`,
    });
  }
}

/** Physical types that a logical type may have. https://github.com/apache/parquet-format/blob/master/LogicalTypes.md */
function holders(logical: Logical): string[] {
  switch (logical.kind) {
    case "DECIMAL":
      return [
        ...(logical.precision <= 9 ? ["INT32"] : []),
        ...(logical.precision <= 18 ? ["INT64"] : []),
        ...["FIXED_LEN_BYTE_ARRAY", "BYTE_ARRAY"],
      ];
    case "DATE":
      return ["INT32"];
    case "TIME":
      return [logical.unit === "ms" ? "INT32" : "INT64"];
    case "TIMESTAMP":
      return ["INT64"];
    case "INTEGER":
      return ![8, 16, 32, 64].includes(logical.bits) ? [] : [logical.bits === 64 ? "INT64" : "INT32"];
    case "UUID":
      return ["FIXED_LEN_BYTE_ARRAY(16)"];
    case "FLOAT16":
      return ["FIXED_LEN_BYTE_ARRAY(2)"];
    case "INTERVAL":
      return ["FIXED_LEN_BYTE_ARRAY(12)"];
    case "UNKNOWN":
      return ["BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE", "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY"];
    case "MAP":
    case "LIST":
    case "VARIANT":
      return [];
    case "STRING":
    case "ENUM":
    case "JSON":
      return ["BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY"];
    default:
      return ["BYTE_ARRAY"];
  }
}
