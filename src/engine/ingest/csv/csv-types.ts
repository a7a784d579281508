import { MISFIT } from "../../duckdb/duck-errors.ts";
import { literal } from "../../duckdb/duckdb.ts";
import { ANY_SPELLING, isSpelled, quickPattern, type Spelling } from "./csv-spelling.ts";

/** Spellings of NULL, compared without case. In columns of text only the empty field is NULL. */
export const NULL_SPELLINGS = ["", "null", "na", "n/a", "#n/a", "\\n", "none", "nil", "nan"];

export function isNullSpelling(text: string): boolean {
  return NULL_SPELLINGS.includes(text.toLowerCase());
}

const NULL_PATTERN = `(?i)(${NULL_SPELLINGS.map((text) => text.replaceAll("\\", "\\\\")).join("|")})`;

/** A type that a column may get. */
export interface Candidate {
  type: string;
  /** How dates are written, for strptime; null when DuckDB's cast reads them. */
  format: string | null;
  /** Of a DOUBLE that was inferred; undefined where the column is known to hold numbers. */
  spelling?: Spelling | undefined;
  /** The caller named the type: everything that reads as it is taken, 007 and +1 for INTEGER too. */
  given?: true | undefined;
}

interface Check {
  /** SQL of the value that the text `raw` is read as; NULL when it cannot be. */
  cast: (raw: string) => string;
  /** SQL: cheap, and true for nearly every text that fits. */
  quick: (raw: string, value: string) => string;
  /** SQL: whether the text fits, evaluated only where `quick` is not true. */
  thorough: (raw: string, value: string) => string;
}

const INTEGER = /^(U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER)$/;
const DAY = "\\d{4}-\\d{1,2}-\\d{1,2}";
const TIME = "\\d{1,2}:\\d{2}(:\\d{2}(\\.\\d{1,6})?)?";
/** Numbers of so many decimal digits survive the way to the type and back. */
const SAFE_DIGITS: Record<string, number> = { DOUBLE: 15, FLOAT: 6 };

/** Whether `typedColumn` can read texts as this type. */
export function isCastable(type: string): boolean {
  return checkOf({ type, format: null }) !== undefined;
}

/**
 * SQL of a column as the candidate's type: the value, and whether the text does not fit. A text fits when nothing of it is
 * lost: `007`, `+1`, 20 digits, and 0.1234567 seconds, cut to microseconds, do not.
 */
export function typedColumn(raw: string, value: string, candidate: Candidate): { value: string; misfit: string } {
  const check = checkOf(candidate);
  if (!check) return { value: raw, misfit: "false" };
  // A pattern, because DuckDB turns IN with so many constants into a join that runs for every row.
  const isNull = isNullText(`trim(${raw})`);
  const choose = (fits: string, none: string, otherwise: string): string =>
    `CASE WHEN ${raw} IS NULL THEN ${none} WHEN ${check.quick(raw, value)} THEN ${fits} WHEN ${isNull} THEN ${none}
      WHEN ${check.thorough(raw, value)} THEN ${fits} ELSE ${otherwise} END`;
  return { value: choose(value, "NULL", `error(${literal(MISFIT)})`), misfit: choose("false", "false", "true") };
}

/** SQL: whether a trimmed text stands for NULL. */
export function isNullText(text: string): string {
  return `regexp_full_match(${text}, ${literal(NULL_PATTERN)})`;
}

/** SQL that reads the text in `raw` as `candidate`, NULL where it cannot. */
export function castText(raw: string, candidate: Candidate): string {
  return checkOf(candidate)?.cast(raw) ?? raw;
}

function checkOf({ type, format, spelling = ANY_SPELLING, given }: Candidate): Check | undefined {
  const cast = (raw: string): string => `TRY_CAST(${raw} AS ${type})`;
  const same = (raw: string, value: string): string => `CAST(${value} AS VARCHAR) = ${raw}`;
  const sameTrimmed = (raw: string, value: string): string => same(`trim(${raw})`, value);
  const matches = (pattern: string) => (raw: string) => `regexp_full_match(${raw}, ${literal(pattern)})`;
  const shaped = (pattern: string) => (raw: string, value: string) =>
    `${value} IS NOT NULL AND regexp_full_match(trim(${raw}), ${literal(pattern)})`;

  if (INTEGER.test(type) && given) return { cast, quick: same, thorough: shaped("[+-]?[0-9]+") };
  if (type === "BOOLEAN" && given)
    return { cast, quick: (_, value) => `${value} IS NOT NULL`, thorough: () => "false" };
  if (type === "UUID" && given) return { cast, quick: (_, value) => `${value} IS NOT NULL`, thorough: () => "false" };
  if (INTEGER.test(type) || type === "UUID") return { cast, quick: same, thorough: sameTrimmed };
  if (type === "BOOLEAN") {
    const spelled = (raw: string): string => `lower(${raw}) IN ('true', 'false')`;
    return { cast, quick: spelled, thorough: (raw) => spelled(`trim(${raw})`) };
  }
  if (type === "DOUBLE") {
    const exact = exactNumber(type, given);
    const thorough = (raw: string, value: string): string =>
      `${exact(raw, value)} AND ${isSpelled(`trim(${raw})`, spelling)}`;
    return { cast, quick: matches(quickPattern(spelling)), thorough };
  }
  if (type === "FLOAT") return { cast, quick: same, thorough: exactNumber(type, given) };
  if (type.startsWith("DECIMAL(")) {
    const plain = shaped(given ? "[+-]?[0-9]*(\\.[0-9]*)?" : "-?(0|[1-9][0-9]*)?(\\.[0-9]*)?");
    const exact = (raw: string, value: string): string =>
      `${plain(raw, value)} AND length(split_part(${raw}, '.', 2)) <= 18 AND TRY_CAST(${raw} AS DECIMAL(38, 18)) = ${value}`;
    return { cast, quick: same, thorough: exact };
  }
  if (format !== null && (type === "DATE" || type === "TIMESTAMP")) {
    const read = (raw: string): string => `CAST(try_strptime(${raw}, ${literal(format)}) AS ${type})`;
    return { cast: read, quick: (_, value) => `${value} IS NOT NULL`, thorough: () => "false" };
  }
  if (type === "DATE") return { cast, quick: same, thorough: shaped(DAY) };
  if (type === "TIME") return { cast, quick: same, thorough: shaped(TIME) };
  if (type === "TIMESTAMP") return { cast, quick: same, thorough: shaped(`${DAY}([T ]${TIME})?`) };
  if (type === "TIMESTAMP WITH TIME ZONE") {
    return { cast, quick: () => "false", thorough: shaped(`${DAY}[T ]${TIME} ?(Z|[+-]\\d{2}(:?\\d{2})?)`) };
  }
  return undefined;
}

function exactNumber(type: string, given: true | undefined): Check["thorough"] {
  const whole = given ? "[+-]?[0-9]*" : "-?(0|[1-9][0-9]*)?";
  return (raw, value) => {
    const text = `trim(${raw})`;
    const mantissa = `regexp_replace(${text}, '[eE].*$', '')`;
    const digits = `length(regexp_replace(${mantissa}, '^[+-]?0*\\.?0*|\\.', '', 'g'))`;
    return `${value} IS NOT NULL AND (CAST(${value} AS VARCHAR) = ${text}
      OR (isinf(${value}) AND NOT regexp_matches(${text}, '[0-9]'))
      OR (regexp_full_match(${text}, '${whole}(\\.[0-9]*)?([eE][+-]?[0-9]+)?') AND ${digits} <= ${SAFE_DIGITS[type]}
        AND isfinite(${value}) AND (${value} = 0) = NOT regexp_matches(${mantissa}, '[1-9]')))`;
  };
}

/** The candidate for a sniffed type, undefined for text. Dates with a two-digit year stay text: the century is unknown. */
export function candidateFor(
  type: string,
  formats: { dateFormat: string | null; timestampFormat: string | null },
): Candidate | undefined {
  if (!isCastable(type)) return undefined;
  const format = type === "DATE" ? formats.dateFormat : type === "TIMESTAMP" ? formats.timestampFormat : null;
  if (format?.includes("%y")) return undefined;
  return { type, format: format?.startsWith("%Y-%m-%d") ? null : format };
}

/** The format with day and month exchanged, where it has both: text that fits both formats is ambiguous. */
export function exchangedFormat(format: string | null): string | undefined {
  if (format === null || /^%Y/.test(format) || !format.includes("%d") || !format.includes("%m")) return undefined;
  return format.replace("%d", "\0").replace("%m", "%d").replace("\0", "%m");
}

const NUMERIC = /^(?:U?(?:TINY|SMALL|BIG|HUGE)INT|U?INTEGER|DOUBLE|FLOAT|DECIMAL\(.*\))$/;

/** Why `text` does not fit `type`, for the caller. */
export function misfitReason(type: string, text: string): string {
  const value = text.trim();
  if (/^(?:[-–—.?*]+|n\.a\.)$/i.test(value)) return "it may stand for no value";
  if (NUMERIC.test(type)) return numberReason(type, value);
  if (type.startsWith("TIME") && /\.[0-9]{7,}/.test(value)) return "finer than a microsecond";
  return `not ${a(type)}`;
}

function numberReason(type: string, value: string): string {
  if (type.startsWith("U") && /^-0*[1-9][0-9]*$/.test(value)) return `below 0, the least that ${a(type)} holds`;
  if (/^-0+$/.test(value)) return "the sign of zero would be lost";
  if (/^[+-]?0[0-9]/.test(value)) return "leading zeros would be lost";
  if (/^\+[0-9]/.test(value)) return "the plus sign would be lost";
  if (/^[+-]?0[xXbBoO]/.test(value)) return "digits of another base may be a code";
  if (/^[+-]?[0-9]+(_[0-9]+)+$/.test(value)) return "the underscores would be lost";
  if (/^[+-]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]*)?$/.test(value)) return "it has a thousands separator";
  if (/^[+-]?[0-9.]*,[0-9]+$/.test(value)) return "it has a decimal comma";
  if (/^-?[0-9]+[eE][0-9]+$/.test(value) && type.endsWith("INT")) return "digits around an E may be a code";
  if (/^-?[0-9]+$/.test(value)) return `more digits than ${a(type)} holds`;
  if ((type === "DOUBLE" || type === "FLOAT") && /^-?[0-9]*\.?[0-9]+([eE][+-]?[0-9]+)?$/.test(value)) {
    return `more digits than ${a(type)} holds`;
  }
  return `not ${a(type)}`;
}

const DATE_FORM = "YYYY-MM-DD";
const TIME_FORM = "HH:MM or HH:MM:SS, with up to 6 digits of a second";
const FORMS: Record<string, string> = {
  BOOLEAN: "true or false, t or f, yes or no, y or n, 1 or 0",
  DATE: DATE_FORM,
  TIME: TIME_FORM,
  TIMESTAMP: `${DATE_FORM} and a time as ${TIME_FORM}`,
  "TIMESTAMP WITH TIME ZONE": `${DATE_FORM}, a time as ${TIME_FORM}, and Z or an offset such as +02:00`,
  UUID: "32 hexadecimal digits in groups of 8, 4, 4, 4 and 12",
};

/** A sentence about how values of a type are written; empty where its name says enough. */
export function expectedForm(type: string): string {
  const decimal = /^DECIMAL\((\d+),(\d+)\)$/.exec(type);
  const form = decimal
    ? `at most ${Number(decimal[1]) - Number(decimal[2])} digits before the point and ${decimal[2]} after it`
    : (FORMS[type] ?? integerForm(type));
  return form === undefined ? "" : `${article(type)} ${type} is written as ${form}. `;
}

function integerForm(type: string): string | undefined {
  const bits = { TINYINT: 8, SMALLINT: 16, INTEGER: 32, BIGINT: 64 }[type.replace(/^U/, "")];
  if (bits === undefined) return undefined;
  const all = 2n ** BigInt(bits);
  const [least, most] = type.startsWith("U") ? [0n, all - 1n] : [-all / 2n, all / 2n - 1n];
  return `a whole number from ${least} to ${most}`;
}

function article(type: string): string {
  return type === "INTEGER" ? "An" : "A";
}

function a(type: string): string {
  return `${article(type).toLowerCase()} ${type}`;
}
