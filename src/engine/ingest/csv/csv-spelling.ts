/**
 * How the numbers of a column are written. Two texts that are the same number may still be two codes: versions 1.1 and
 * 1.10, rooms 101E1 and 1010E0. Such a column stays text; one that shows that it holds measurements is numbers.
 */
export interface Spelling {
  /** `shortest`: no zeros at the end of a fraction but .0; a number: as many decimals in every fraction; `any`: measurements. */
  decimals: "any" | "shortest" | number;
  /** Whether digits, E, digits is a number: as others show, both 12E4 and 12e4 (`any`), or 12e4 alone (`small`). */
  exponents: "any" | "small" | "none";
}

/** The spellings found in a column of numbers. */
export interface Spellings {
  /** A decimal point, or a signed exponent: 1.5e3, 6E+23. */
  pointed: boolean;
  /** The same with a capital E: 1.5E3, 6E+23. A program that writes those writes 12E4 for 120000, too. */
  pointedCapital: boolean;
  /** A sign, more than four digits before the point or three after it: no version or section has these. */
  measured: boolean;
  /** The first row with digits, E, digits, from 1. */
  codeRow: number | null;
  /** The same with a capital E. */
  capitalRow: number | null;
  /** The first row with a fraction that ends with a zero. */
  zeroRow: number | null;
  fewestDecimals: number | null;
  mostDecimals: number | null;
}

export const ANY_SPELLING: Spelling = { decimals: "any", exponents: "any" };

const CODE = "[0-9]+[eE][0-9]+";
const CAPITAL_CODE = "[0-9]+E[0-9]+";
const POINTED = "\\.|[eE][+-]";
const POINTED_CAPITAL = "\\.[0-9]*E|E[+-]";
/** A fraction of two digits and more that ends with a zero. */
const END_ZERO = "[0-9]\\.[0-9]+0$";
const VERSION = "[0-9]{1,4}(\\.[0-9]{1,3})?";
const INTEGER_PART = "-?(0|[1-9][0-9]{0,8})";

/** Pattern of the usual numbers of a spelling: at most 15 digits and no exponent. */
export function quickPattern({ decimals }: Spelling): string {
  if (decimals === "any") return `${INTEGER_PART}(\\.[0-9]{0,6})?`;
  if (decimals === "shortest") return `${INTEGER_PART}(\\.(0|[0-9]{0,5}[1-9]))?`;
  return decimals > 6 ? INTEGER_PART : `${INTEGER_PART}(\\.[0-9]{${decimals}})?`;
}

/** SQL: whether the trimmed `text` is spelled like this. */
export function isSpelled(text: string, { decimals, exponents }: Spelling): string {
  const conditions: string[] = [];
  if (exponents === "small") conditions.push(`NOT regexp_full_match(${text}, '${CAPITAL_CODE}')`);
  if (exponents === "none") conditions.push(`NOT regexp_full_match(${text}, '${CODE}')`);
  if (decimals === "shortest") conditions.push(`NOT regexp_matches(${text}, '${END_ZERO}')`);
  if (typeof decimals === "number") {
    conditions.push(`(NOT contains(${text}, '.') OR regexp_matches(${text}, '^-?[0-9]+\\.[0-9]{${decimals}}$'))`);
  }
  return conditions.length === 0 ? "true" : conditions.join(" AND ");
}

/** SQL aggregates that give `Spellings`, over rows that have `row` and the trimmed `text`; `none` is true for NULL. */
export function spellingsOf(text: string, none: string): Record<keyof Spellings, string> {
  const fraction = `CASE WHEN contains(${text}, '.') THEN length(split_part(${text}, '.', 2)) END`;
  return {
    pointed: `coalesce(bool_or(regexp_matches(${text}, '${POINTED}')), false)`,
    pointedCapital: `coalesce(bool_or(regexp_matches(${text}, '${POINTED_CAPITAL}')), false)`,
    measured: `coalesce(bool_or(NOT (${none}) AND NOT regexp_full_match(${text}, '${VERSION}|${CODE}')), false)`,
    codeRow: `min(CASE WHEN regexp_full_match(${text}, '${CODE}') THEN row END)`,
    capitalRow: `min(CASE WHEN regexp_full_match(${text}, '${CAPITAL_CODE}') THEN row END)`,
    zeroRow: `min(CASE WHEN regexp_matches(${text}, '${END_ZERO}') THEN row END)`,
    fewestDecimals: `min(${fraction})`,
    mostDecimals: `max(${fraction})`,
  };
}

/** The spelling of a whole column; or the row that shows that it holds codes. */
export function settleSpelling(seen: Spellings): Spelling | { row: number; reason: string } {
  const codeRow = seen.pointed ? (seen.pointedCapital ? null : seen.capitalRow) : seen.codeRow;
  if (codeRow !== null) return { row: codeRow, reason: "digits around an E may be a code" };
  const exponents = seen.pointedCapital ? "any" : seen.pointed ? "small" : "none";
  if (seen.measured) return { decimals: "any", exponents };
  if (seen.zeroRow === null) return { decimals: "shortest", exponents };
  if (seen.fewestDecimals === seen.mostDecimals) return { decimals: seen.mostDecimals ?? 0, exponents };
  return {
    row: seen.zeroRow,
    reason: "zeros at the end would be lost, which tell versions such as 1.1 and 1.10 apart",
  };
}

/** A guess from some texts; rows that it does not fit are found later. */
export function guessSpelling(texts: readonly string[]): Spelling {
  const some = (pattern: string): boolean => texts.some((text) => new RegExp(pattern).test(text));
  const decimals = texts.filter((text) => text.includes(".")).map((text) => text.length - text.indexOf(".") - 1);
  const settled = settleSpelling({
    pointed: some(POINTED),
    pointedCapital: some(POINTED_CAPITAL),
    measured: texts.some((text) => !new RegExp(`^(?:${VERSION}|${CODE})$`).test(text)),
    codeRow: some(`^${CODE}$`) ? 1 : null,
    capitalRow: some(`^${CAPITAL_CODE}$`) ? 1 : null,
    zeroRow: some(END_ZERO) ? 1 : null,
    fewestDecimals: decimals.length > 0 ? Math.min(...decimals) : null,
    mostDecimals: decimals.length > 0 ? Math.max(...decimals) : null,
  });
  return "row" in settled ? { decimals: "shortest", exponents: "none" } : settled;
}

const IDENTIFIER_NAME = new RegExp(
  "(?:^|[ _])(?:version|ver|release|revision|rev|edition|section|chapter|paragraph|clause|code|article|sku)" +
    "(?:[ _](?:no|nr|num|number|id|name|tag))?$",
  "i",
);

/**
 * Whether fractions in a column of this name are identifiers, in which 1.10 is not 1.1: `version`, `Release No`,
 * `packageVersion`. A sign, an exponent, or more digits than versions have show that they are not.
 */
export function areIdentifiers(name: string, texts: readonly string[]): boolean {
  const words = name.replace(/([a-z\d])([A-Z])/g, "$1 $2").replace(/[^\p{L}\p{N}]+/gu, " ");
  return IDENTIFIER_NAME.test(words.trim()) && texts.every((text) => new RegExp(`^(?:${VERSION})$`).test(text));
}
