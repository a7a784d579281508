import {
  BIGINT,
  DECIMAL,
  DOUBLE,
  DuckDBDecimalValue,
  type DuckDBType,
  type DuckDBValue,
  HUGEINT,
  UHUGEINT,
} from "@duckdb/node-api";
import { LakeError } from "../kernel/errors.ts";
import { type ExactNumber, isExactNumber, wholeIn } from "../kernel/exact-json.ts";

export interface Typed {
  type: DuckDBType;
  value: DuckDBValue;
}

export type JsonNumber = number | ExactNumber;

export const isNumber = (value: unknown): value is JsonNumber => typeof value === "number" || isExactNumber(value);

/**
 * A number as a value of SQL: whole numbers are BIGINT, HUGEINT or UHUGEINT, others DOUBLE, or DECIMAL where a double
 * would not be exact. Throws `invalid` for a number that no type holds.
 */
export function bindNumber(number: JsonNumber, where: string): Typed {
  const whole = wholeOf(number);
  if (whole !== undefined) return { type: typeOfWhole(whole, whole, where), value: whole };
  if (typeof number === "number") return { type: DOUBLE, value: number };
  const decimal = decimalOf(String(number));
  const type = typeOfDecimals([decimal]);
  if (type === undefined) throw tooManyDigits(where, String(number));
  return { type, value: new DuckDBDecimalValue(decimal.digits, type.width, type.scale) };
}

/** The same for a list, in the one type that holds all of its numbers. */
export function bindNumbers(
  numbers: readonly (JsonNumber | null | undefined)[],
  where: string,
): { type: DuckDBType; value: DuckDBValue[] } {
  const present = numbers.filter((number) => number !== null && number !== undefined);
  const wholes = numbers.map(wholeOf);
  const known = wholes.filter((whole) => whole !== undefined);
  if (known.length === present.length) {
    let [least = 0n, most = least] = known;
    for (const whole of known) {
      if (whole < least) least = whole;
      else if (whole > most) most = whole;
    }
    return { type: typeOfWhole(least, most, where), value: wholes.map((whole) => whole ?? null) };
  }
  if (!present.some(isExactNumber)) {
    return { type: DOUBLE, value: numbers.map((number) => (typeof number === "number" ? number : null)) };
  }
  const decimals = numbers.map((number) => (isNumber(number) ? decimalOf(String(number)) : null));
  const type = typeOfDecimals(decimals.filter((decimal) => decimal !== null));
  if (type === undefined) throw tooManyDigits(where, longest(present));
  const rescaled = decimals.map((decimal) => {
    if (decimal === null) return null;
    return new DuckDBDecimalValue(decimal.digits * 10n ** BigInt(type.scale - decimal.scale), type.width, type.scale);
  });
  return { type, value: rescaled };
}

/** Ids, also those of UBIGINT, are whole numbers up to this; a larger double stays a DOUBLE. */
const MAX_WHOLE_DOUBLE = 2 ** 64;

function wholeOf(number: JsonNumber | null | undefined): bigint | undefined {
  if (typeof number === "number") {
    return Number.isInteger(number) && Math.abs(number) <= MAX_WHOLE_DOUBLE ? BigInt(number) : undefined;
  }
  if (!isExactNumber(number)) return undefined;
  const whole = wholeIn(number);
  if (whole !== undefined) return whole;
  const { digits, scale } = decimalOf(String(number));
  return scale === 0 ? digits : undefined;
}

/** The narrowest type that holds `least` and `most`. */
function typeOfWhole(least: bigint, most: bigint, where: string): DuckDBType {
  if (least >= -(2n ** 63n) && most < 2n ** 63n) return BIGINT;
  if (least >= -(2n ** 127n) && most < 2n ** 127n) return HUGEINT;
  if (least >= 0n && most < 2n ** 128n) return UHUGEINT;
  throw tooManyDigits(where, String(-least > most ? least : most));
}

/** `digits` divided by ten to the power of `scale`. */
interface Decimal {
  digits: bigint;
  scale: number;
}

const MAX_WIDTH = 38;
/** More digits than any type of SQL has, and few enough to compute with. */
const MAX_DIGITS = 60;
const TOO_LONG: Decimal = { digits: 10n ** BigInt(MAX_DIGITS), scale: MAX_DIGITS };

/** The value of a literal; one that no type holds where it has too many digits to compute with. */
function decimalOf(literal: string): Decimal {
  const [, sign = "", whole, fraction = "", exponent = "0"] =
    /^(-?)(\d+)(?:\.(\d+))?(?:e([+-]?\d+))?$/i.exec(literal) ?? [];
  if (whole === undefined) return TOO_LONG;
  const digits = `${whole}${fraction}`.replace(/^0+(?=\d)/, "");
  const scale = fraction.length - Number(exponent);
  const zeros = Math.max(0, -scale);
  if (digits.length + zeros > MAX_DIGITS || scale > MAX_DIGITS) return TOO_LONG;
  return { digits: BigInt(`${sign}${digits}${"0".repeat(zeros)}`), scale: Math.max(0, scale) };
}

/** The narrowest DECIMAL that holds all. Undefined where none has enough digits. */
function typeOfDecimals(decimals: readonly Decimal[]) {
  const scale = Math.max(...decimals.map((decimal) => decimal.scale));
  const before = Math.max(...decimals.map(({ digits, scale: own }) => String(digits).replace("-", "").length - own));
  const width = scale + Math.max(before, 0);
  return width > MAX_WIDTH ? undefined : DECIMAL(Math.max(width, 1), scale);
}

function longest(numbers: readonly JsonNumber[]): string {
  return numbers.map(String).reduce((a, b) => (b.length > a.length ? b : a), "");
}

function tooManyDigits(where: string, literal: string): LakeError {
  const shown = literal.length > 60 ? `${literal.slice(0, 60)}… (${literal.length} characters)` : literal;
  return new LakeError("invalid", `${where} has the number ${shown}, which no type of SQL holds exactly.`, {
    facts: { argument: "params" },
    hint: `A number may have ${MAX_WIDTH} digits. Round it, or send it as a text in quotes and cast that in the statement: CAST($1 AS DOUBLE).`,
  });
}
