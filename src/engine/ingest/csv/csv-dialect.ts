import { type Connection, literal, literalList } from "../../duckdb/duckdb.ts";
import { foldedName } from "../../duckdb/folded-name.ts";
import { LakeError } from "../../kernel/errors.ts";
import type { ConvertContext, Source } from "../types.ts";
import { uniqueNames } from "../unique-names.ts";
import type { Layout, Sniffed } from "./csv-layout.ts";
import { assertTyped } from "./csv-options.ts";
import { dialectOptions, isWidest, newlineOptions, type Reading } from "./csv-read.ts";
import { isDamage, isTooLong } from "./csv-rejects.ts";
import { isNullSpelling, NULL_SPELLINGS } from "./csv-types.ts";

/** The layout with names and candidate types. Throws `invalid` when the caller's types or null values do not go with it. */
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
    throw new LakeError("invalid", `null_values has the delimiter, ${JSON.stringify(layout.delimiter)}.`, {
      hint: "Leave that text out, or give another delimiter.",
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

/** A column that the dataset spells with other capitals is that column: SQL does not tell them apart. */
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
  // With damaged rows in the sample the strict sniffer gives up; what is wrong with them is for the conversion to say.
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

/** The types of the widest tables, from their first rows. What does not fit is found in all of them. */
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

/** The sniffer compares exactly, so it gets every spelling that one meets. */
function nullStrings(): string[] {
  const capitalised = NULL_SPELLINGS.map((text) => text.slice(0, 1).toUpperCase() + text.slice(1));
  return [...new Set([...NULL_SPELLINGS, ...NULL_SPELLINGS.map((text) => text.toUpperCase()), ...capitalised, "NaN"])];
}

function withoutControls(name: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what has to go
  return name.replace(/[\x00-\x1f\x7f]+/g, " ").trim();
}
