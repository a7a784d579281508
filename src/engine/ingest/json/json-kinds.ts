/** Kinds of JSON values that lead to different column types. */
export const KINDS = [
  "BOOLEAN",
  /** An integer that DOUBLE holds too. */
  "INTEGER",
  /** An integer that only BIGINT holds. */
  "BIGINT",
  "DOUBLE",
  /** A number with more digits than BIGINT or DOUBLE keep. */
  "NUMBER",
  "DATE",
  "TIMESTAMP",
  "TIMESTAMP WITH TIME ZONE",
  "VARCHAR",
  /** An object or a list. */
  "NESTED",
] as const;

export type Kind = (typeof KINDS)[number];

/** Indices into `KINDS`. */
export const KIND = {
  BOOLEAN: 0,
  INTEGER: 1,
  BIGINT: 2,
  DOUBLE: 3,
  NUMBER: 4,
  DATE: 5,
  TIMESTAMP: 6,
  TIMESTAMP_TZ: 7,
  VARCHAR: 8,
  NESTED: 9,
} as const;

export type KindIndex = (typeof KIND)[keyof typeof KIND];

/** The kind of a number literal of JSON. */
export function numberKind(literal: string): KindIndex {
  if (/^-?\d+$/.test(literal)) {
    const value = BigInt(literal);
    if (value >= -(2n ** 53n) && value <= 2n ** 53n) return KIND.INTEGER;
    return value >= -(2n ** 63n) && value < 2n ** 63n ? KIND.BIGINT : KIND.NUMBER;
  }
  const value = Number(literal);
  // Most writers print the shortest form that reads back as the same number, and so does JavaScript.
  const shortest = String(value);
  return shortest === literal || significant(shortest) === significant(literal) ? KIND.DOUBLE : KIND.NUMBER;
}

/** Digits and exponent in a canonical form. */
function significant(literal: string): string {
  const [, whole = "", fraction = "", exponent = "0"] = /^-?(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(literal) ?? [];
  const digits = (whole + fraction).replace(/^0+/, "");
  const trimmed = digits.replace(/0+$/, "");
  if (trimmed === "") return whole === "" ? literal : "0";
  return `${trimmed}e${Number(exponent) - fraction.length + digits.length - trimmed.length}`;
}

const DATE = /^(\d{4})-(\d\d)-(\d\d)$/;
const TIMESTAMP = /^(\d{4}-\d\d-\d\d)[T ](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?(Z|\+00:00)?$/;

/**
 * The kind of a string. Dates and times have to be in ISO 8601, and their type has to keep all of them: an offset other
 * than UTC would be lost, so such a string is text.
 */
export function stringKind(text: string): KindIndex {
  if (text.length === 10) return isDate(text) ? KIND.DATE : KIND.VARCHAR;
  const [, date = "", zone] = TIMESTAMP.exec(text) ?? [];
  if (!isDate(date)) return KIND.VARCHAR;
  return zone === undefined ? KIND.TIMESTAMP : KIND.TIMESTAMP_TZ;
}

function isDate(text: string): boolean {
  const [, year, month, day] = DATE.exec(text) ?? [];
  if (year === undefined || year === "0000") return false;
  const monthNumber = Number(month);
  return monthNumber >= 1 && monthNumber <= 12 && Number(day) >= 1 && Number(day) <= days(Number(year), monthNumber);
}

function days(year: number, month: number): number {
  if (month === 2) return (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0 ? 29 : 28;
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31;
}
