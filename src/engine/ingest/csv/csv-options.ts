import { didYouMean, nearest, shown } from "../../catalog/nearest.ts";
import { LakeError } from "../../kernel/errors.ts";
import { argument, next } from "../../kernel/next-step.ts";
import type { CsvOptions, KnownCsvOptions } from "../types.ts";

/** Arguments of a call by option; manifests record options under these names too. */
const ARGUMENTS: Record<keyof CsvOptions, string> = {
  header: "header",
  skipLines: "skip_lines",
  delimiter: "delimiter",
  encoding: "encoding",
  nullValues: "null_values",
  types: "types",
};
const PLAIN = [
  ...["BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"],
  ...["FLOAT", "DOUBLE", "VARCHAR", "DATE", "TIME", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "UUID"],
];
const ALIASES: Record<string, string> = {
  BOOL: "BOOLEAN",
  INT1: "TINYINT",
  INT2: "SMALLINT",
  SHORT: "SMALLINT",
  INT: "INTEGER",
  INT4: "INTEGER",
  SIGNED: "INTEGER",
  LONG: "BIGINT",
  INT8: "BIGINT",
  REAL: "FLOAT",
  FLOAT4: "FLOAT",
  FLOAT8: "DOUBLE",
  "DOUBLE PRECISION": "DOUBLE",
  TEXT: "VARCHAR",
  STRING: "VARCHAR",
  CHAR: "VARCHAR",
  DATETIME: "TIMESTAMP",
  TIMESTAMPTZ: "TIMESTAMP WITH TIME ZONE",
};
const MAX_NULL_VALUES = 100;
const MAX_LINES = 1_000_000_000;

/**
 * Checks options and gives them in one spelling, undefined when there are none. Throws `invalid` for a wrong value, and
 * for any option when the format is not CSV or TSV.
 */
export function readCsvOptions(
  given: CsvOptions | undefined,
  format: string,
  isCsv: boolean,
): KnownCsvOptions | undefined {
  const names = (Object.keys(ARGUMENTS) as (keyof CsvOptions)[]).filter((name) => given?.[name] !== undefined);
  if (given === undefined || names.length === 0) return undefined;
  if (!isCsv) throw notForFormat(names, format);
  const { header, skipLines, delimiter, encoding, nullValues, types } = given;
  return {
    ...(header !== undefined && { header }),
    ...(skipLines !== undefined && { skipLines: readLines(skipLines) }),
    ...(delimiter !== undefined && { delimiter: readDelimiter(delimiter) }),
    ...(encoding !== undefined && { encoding: encoding === "latin1" ? "windows-1252" : encoding }),
    ...(nullValues !== undefined && { nullValues: readNullValues(nullValues) }),
    ...(types !== undefined && { types: readTypes(types) }),
  };
}

function notForFormat(names: readonly (keyof CsvOptions)[], format: string): LakeError {
  const list = names.flatMap((name, index) => [index === 0 ? "" : ", ", argument(ARGUMENTS[name])]);
  const what = format === "sql" ? "the result of a query" : format;
  return new LakeError("invalid", `Options of CSV and TSV do not apply to ${what}.`, {
    hint:
      format === "sql"
        ? next`Leave out ${list}.`
        : next`Leave out ${list}, or give ${argument("format", "csv")} if it is CSV.`,
    facts: { argument: names[0] && ARGUMENTS[names[0]] },
  });
}

/** The options as a manifest records them. */
export function recordedOptions(options: KnownCsvOptions | undefined): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(options ?? {}).map(([name, value]) => [ARGUMENTS[name as keyof CsvOptions], value]),
  );
}

function readLines(lines: number): number {
  if (Number.isInteger(lines) && lines >= 0 && lines <= MAX_LINES) return lines;
  throw new LakeError("invalid", `${lines} lines cannot be left out.`, {
    hint: next`Give the number of lines before the header as ${argument("skip_lines")}.`,
    facts: { argument: "skip_lines", limit: MAX_LINES },
  });
}

function readDelimiter(delimiter: string): string {
  const char = delimiter === "\\t" ? "\t" : delimiter;
  const isAscii = char.length === 1 && char > "\0" && char <= "\x7f";
  if (isAscii && !/[\n\r"\\]/.test(char)) return char;
  throw new LakeError("invalid", `${JSON.stringify(delimiter.slice(0, 20))} cannot be a delimiter.`, {
    hint: 'Give one ASCII character that is no quote or line end, such as ";" or "\\t".',
    facts: { argument: "delimiter" },
  });
}

function readNullValues(values: string[]): string[] {
  const bad = values.find((value) => /["\r\n\0]/.test(value) || value.length > 100);
  if (bad === undefined && values.length <= MAX_NULL_VALUES) return values;
  const what = bad === undefined ? `${values.length} texts` : JSON.stringify(bad.slice(0, 60));
  throw new LakeError("invalid", `${what} cannot stand for NULL.`, {
    hint: next`Give at most ${MAX_NULL_VALUES} texts as ${argument("null_values")}, without quotes and line ends.`,
    facts: { argument: "null_values", limit: MAX_NULL_VALUES },
  });
}

function readTypes(types: Readonly<Record<string, unknown>>): Record<string, string> {
  return Object.fromEntries(Object.entries(types).map(([column, type]) => [column, readType(column, type)]));
}

function readType(column: string, value: unknown): string {
  const given = typeof value === "string" ? value : String(JSON.stringify(value));
  const type = given.trim().toUpperCase().replace(/\s+/g, " ");
  const plain = ALIASES[type] ?? type;
  if (PLAIN.includes(plain)) return plain;
  if (/^VARCHAR ?\(\d+\)$/.test(type)) return "VARCHAR";
  const decimal = /^(?:DECIMAL|NUMERIC)(?: ?\( ?(\d{1,2}) ?(?:, ?(\d{1,2}) ?)?\))?$/.exec(type);
  const [width, scale] = decimal?.[1] ? [Number(decimal[1]), Number(decimal[2] ?? 0)] : [18, 3];
  if (decimal && width >= 1 && width <= 38 && scale <= width) return `DECIMAL(${width},${scale})`;
  throw new LakeError("invalid", `Column ${shown(column)} cannot be read as ${JSON.stringify(given.slice(0, 60))}.`, {
    hint: next`Give one of these as ${argument("types")}: ${PLAIN.join(", ")} or DECIMAL(width,scale).${didYouMean(type, PLAIN)}`,
    facts: { argument: "types", column, nearest: nearest(type, PLAIN) },
  });
}

/** Throws `invalid` for a type of a column that the file does not have. */
export function assertTyped(types: Record<string, string> | undefined, names: readonly string[], label: string): void {
  const unknown = Object.keys(types ?? {}).find((name) => !names.includes(name));
  if (unknown === undefined) return;
  const close = didYouMean(unknown, names).trim();
  const some = names.slice(0, 20).map(shown).join(", ");
  throw new LakeError("invalid", `${label} has no column ${shown(unknown)}.`, {
    hint: close === "" ? `Its columns are ${some}${names.length > 20 ? ", …" : ""}.` : close,
    facts: { argument: "types", column: unknown, nearest: nearest(unknown, names) },
  });
}
