import { type Connection, literal, literalList } from "../../duckdb/duckdb.ts";
import { foldedName } from "../../duckdb/folded-name.ts";
import { LakeError } from "../../kernel/errors.ts";
import { argument, next } from "../../kernel/next-step.ts";
import type { ConvertContext, Source } from "../types.ts";
import { uniqueNames } from "../unique-names.ts";
import type { Layout, Sniffed } from "./csv-layout.ts";
import { assertTyped } from "./csv-options.ts";
import { dialectOptions, isWidest, newlineOptions, type Reading } from "./csv-read.ts";
import { isDamage, isTooLong } from "./csv-rejects.ts";
import { isNullSpelling, NULL_SPELLINGS } from "./csv-types.ts";

/** Adds names and candidate types to the layout. Throws `invalid` when the caller's types or null values contradict it. */
export async function sniffCsv(
  connection: Connection,
  reading: Reading,
  source: Source,
  context: ConvertContext,
  bufferOptions: string[],
): Promise<Sniffed> {
  const { layout } = reading;
  const { names, renamed } = layout.header
    ? asKnown(
        uniqueNames(
          layout.header.map((cell) => cell.trim()),
          withoutControls,
        ),
        context.target?.columns ?? [],
      )
    : { names: Array.from({ length: layout.columns }, (_, index) => `column${index}`), renamed: [] };
  const respelled = renamed.filter(({ from, to }) => foldedName(from) === foldedName(to)).map(({ from }) => from);
  assertTyped(context.csv?.types, [...names, ...respelled], source.label);
  const nullValues = context.csv?.nullValues ?? [];
  if (nullValues.some((text) => text.includes(layout.delimiter))) {
    const delimiter = JSON.stringify(layout.delimiter);
    throw new LakeError("invalid", `A text with the delimiter, ${delimiter}, cannot stand for NULL.`, {
      hint: next`Leave it out of ${argument("null_values")}, or give another ${argument("delimiter")}.`,
      facts: { argument: "null_values" },
    });
  }
  const options = [
    ...dialectOptions(layout),
    "comment = ''",
    "skip = 0",
    `header = ${reading.headerInFile}`,
    `nullstr = ${literalList([...nullStrings(), ...nullValues])}`,
    ...newlineOptions(reading),
    ...bufferOptions,
  ];
  return { ...layout, ...(await sniffTypes(connection, reading, options, context.signal)), names, renamed };
}

/** Gives columns the dataset's spelling, which may have other capitals: SQL ignores case. */
function asKnown(
  { names, renamed }: { names: string[]; renamed: { from: string; to: string }[] },
  known: readonly { name: string }[],
): { names: string[]; renamed: { from: string; to: string }[] } {
  const spelled = new Map(known.map(({ name }) => [foldedName(name), name]));
  const all = [...renamed];
  const settled = names.map((name) => {
    const to = spelled.get(foldedName(name)) ?? name;
    if (to === name) return name;
    const before = all.findIndex((entry) => entry.to === name);
    if (before < 0) all.push({ from: name, to });
    else all[before] = { from: all[before]?.from ?? name, to };
    return to;
  });
  return { names: settled, renamed: all };
}

interface SniffRow {
  Columns: { name: string; type: string }[];
  DateFormat: string | null;
  TimestampFormat: string | null;
}

async function sniffTypes(
  connection: Connection,
  { text, layout }: Reading,
  options: string[],
  signal: AbortSignal | undefined,
): Promise<Pick<Sniffed, "types" | "dateFormat" | "timestampFormat">> {
  if (isWidest(layout)) return { types: likelyTypes(layout), dateFormat: null, timestampFormat: null };
  // With damaged rows in the sample the strict sniffer fails; the conversion reports what is wrong with them.
  for (const lenient of [[], ["ignore_errors = true"]]) {
    try {
      const call = `sniff_csv(${[literal(text.path), ...options, ...lenient].join(", ")})`;
      const [row] = await connection.rows<SniffRow>(`FROM ${call}`, { signal });
      if (row?.Columns.length !== layout.columns) continue;
      return {
        types: row.Columns.map(({ type }) => type),
        dateFormat: row.DateFormat,
        timestampFormat: row.TimestampFormat,
      };
    } catch (error) {
      if (!isDamage(error) && !isTooLong(error)) throw error;
    }
  }
  return { types: Array(layout.columns).fill("VARCHAR"), dateFormat: null, timestampFormat: null };
}

/** Candidate types of the widest tables, from their first rows; misfits are found later, in all rows. */
function likelyTypes({ columns, sample }: Layout): string[] {
  return Array.from({ length: columns }, (_, index) => {
    const texts = sample.flatMap((row) => row[index]?.text.trim() ?? []).filter((text) => !isNullSpelling(text));
    const fits = (pattern: RegExp): boolean => texts.length > 0 && texts.every((text) => pattern.test(text));
    return LIKELY.find(([, pattern]) => fits(pattern))?.[0] ?? "VARCHAR";
  });
}

const LIKELY: [string, RegExp][] = [
  ["BIGINT", /^-?\d{1,18}$/],
  ["DOUBLE", /^-?\d*\.?\d+(?:[eE][+-]?\d+)?$/],
  ["DATE", /^\d{4}-\d\d-\d\d$/],
  ["TIMESTAMP", /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?$/],
  ["BOOLEAN", /^(?:true|false)$/i],
];

/** The sniffer compares exactly, so it gets the usual capitalisations too. */
function nullStrings(): string[] {
  const capitalised = NULL_SPELLINGS.map((text) => text.slice(0, 1).toUpperCase() + text.slice(1));
  return [...new Set([...NULL_SPELLINGS, ...NULL_SPELLINGS.map((text) => text.toUpperCase()), ...capitalised, "NaN"])];
}

function withoutControls(name: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it removes
  return name.replace(/[\x00-\x1f\x7f]+/g, " ").trim();
}
