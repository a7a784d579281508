/** What a JSON value can be, as far as the type of its column goes. */
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

/** The kind of a number literal of JSON, `NaN` and the infinities included. */
export function numberKind(literal: string): Kind {
  if (/^-?\d+$/.test(literal)) {
    if (literal.length <= 15) return "INTEGER";
    const value = BigInt(literal);
    if (value >= -(2n ** 53n) && value <= 2n ** 53n) return "INTEGER";
    return value >= -(2n ** 63n) && value < 2n ** 63n ? "BIGINT" : "NUMBER";
  }
  const value = Number(literal);
  if (!Number.isFinite(value)) return /[Na]/.test(literal) ? "DOUBLE" : "NUMBER";
  return significant(literal) === significant(String(value)) ? "DOUBLE" : "NUMBER";
}

/** Digits and exponent, in one way of many to write them. */
function significant(literal: string): string {
  const [, whole = "", fraction = "", exponent = "0"] = /^-?(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(literal) ?? [];
  const digits = (whole + fraction).replace(/^0+/, "");
  const trimmed = digits.replace(/0+$/, "");
  if (trimmed === "") return "0";
  return `${trimmed}e${Number(exponent) - fraction.length + digits.length - trimmed.length}`;
}

const DATE = /^(\d{4})-(\d\d)-(\d\d)$/;
const TIMESTAMP = /^(\d{4}-\d\d-\d\d)[T ]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?(Z|\+00:00)?$/;

/**
 * The kind of a string: a date or time only in ISO 8601 and only when the type keeps all of it. An offset other than UTC
 * would be lost, so it stays text.
 */
export function stringKind(text: string): Kind {
  const first = text.charCodeAt(0);
  if (text.length < 10 || text.length > 32 || first < 48 || first > 57) return "VARCHAR";
  if (text.length === 10) return isDate(text) ? "DATE" : "VARCHAR";
  const [, date = "", , zone] = TIMESTAMP.exec(text) ?? [];
  if (!isDate(date)) return "VARCHAR";
  return zone === undefined ? "TIMESTAMP" : "TIMESTAMP WITH TIME ZONE";
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
