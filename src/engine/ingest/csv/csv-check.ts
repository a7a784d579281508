import { identifier, literal } from "../../duckdb/duckdb.ts";
import { foldedName } from "../../duckdb/folded-name.ts";
import type { ConvertContext } from "../types.ts";
import type { Cell } from "./csv-header.ts";
import { type Attempt, isWide, isWidest, readCsv } from "./csv-read.ts";
import {
  areIdentifiers,
  guessSpelling,
  quickPattern,
  type Spellings,
  settleSpelling,
  spellingsOf,
} from "./csv-spelling.ts";
import {
  type Candidate,
  candidateFor,
  castText,
  exchangedFormat,
  isCastable,
  isNullSpelling,
  isNullText,
  misfitReason,
  typedColumn,
} from "./csv-types.ts";

export interface CsvColumn {
  name: string;
  /** The type it is read as; undefined for text. */
  candidate: Candidate | undefined;
}

/** Why a column stays text. */
export interface Kept {
  column: string;
  /** The type that it does not get. */
  inferred: string;
  /** Number of the first row that does not fit, from 1; null when the reason is not a single row. */
  row: number | null;
  value: string;
  reason: string;
  /** The type was named by the caller. */
  given: boolean;
}

const NUMBER_LIKE = /^[+-]?(?:\d[\d_]*(?:,\d{3})*(?:[.,]\d*)?(?:[eE][+-]?\d+)?|0[xXbBoO][\da-fA-F]+)$/;

const SAMPLE_ROWS = 20_480;
const SAMPLE_BYTES = 16 * 1024 ** 2;
const SAMPLE_CELLS = 1_000_000;
/** Most columns checked in one scan, which keeps a state for each. */
const CHECKED_COLUMNS = 100;
/** The same for the widest tables, where each scan takes long just to bind its columns. */
const CHECKED_OF_WIDEST = 500;
const SHOWN_CHARACTERS = 200;

/**
 * Chooses each column's type: the caller's, else the dataset's, else the sniffed one. A column that is text in the dataset
 * stays text, even if all new values are numbers.
 */
export function chooseCandidates({ sniffed, context }: Attempt): CsvColumn[] {
  const known = new Map(context.target?.columns.map(({ name, type }) => [name, type]));
  return sniffed.names.map((name, index) => {
    const given = typeGiven(context.csv?.types, sniffed, name);
    const type = given ?? known.get(name);
    const texts = textsOf(sniffed.sample, index, context);
    const sniffedType = sniffed.types[index] ?? "VARCHAR";
    const guess = candidateFor(
      sniffedType === "VARCHAR" && type === undefined ? likelyType(texts) : sniffedType,
      sniffed,
    );
    if (given !== undefined) {
      const isIso = texts.some((text) => /^\d{4}-\d{1,2}-\d/.test(text));
      const format = given === guess?.type && !isIso ? guess.format : null;
      return { name, candidate: isCastable(given) ? { type: given, format, given: true } : undefined };
    }
    if (type !== undefined && type !== guess?.type) {
      return { name, candidate: isCastable(type) ? withSpelling({ type, format: null }, texts, true) : undefined };
    }
    return { name, candidate: guess && withSpelling(guess, texts, type !== undefined) };
  });
}

/** The caller may name a column as it will be called, or as the file spells it. */
function typeGiven(
  types: Record<string, string> | undefined,
  { renamed }: Attempt["sniffed"],
  name: string,
): string | undefined {
  const written = renamed.find(({ to, from }) => to === name && foldedName(from) === foldedName(name));
  return types?.[name] ?? (written && types?.[written.from]);
}

/** A column that the dataset has as numbers takes any spelling of them, but no codes. */
function withSpelling(candidate: Candidate, texts: string[], isKnown: boolean): Candidate {
  if (candidate.type !== "DOUBLE") return candidate;
  const guessed = guessSpelling(texts);
  return { ...candidate, spelling: isKnown ? { ...guessed, decimals: "any" } : guessed };
}

/** Numbers for a column that DuckDB takes for text but that mostly has numbers: then the value that is none is reported. */
function likelyType(texts: string[]): string {
  const numbers = texts.filter((text) => NUMBER_LIKE.test(text));
  const few = numbers.length < 2 && texts.length > numbers.length;
  if (few || numbers.length * 2 <= texts.length) return "VARCHAR";
  return numbers.some((text) => /[.eE]/.test(text) && !/^[+-]?0x/i.test(text)) ? "DOUBLE" : "BIGINT";
}

function textsOf(sample: readonly Cell[][], index: number, { csv }: ConvertContext): string[] {
  return sample.flatMap((row) => {
    const text = row[index]?.text.trim() ?? "";
    const isNull = isNullSpelling(text) || csv?.nullValues?.includes(row[index]?.text ?? "");
    return isNull ? [] : [text];
  });
}

/**
 * Whether to write the table without checking values first: writing a few rows in vain costs no more than a check. Not
 * where the dataset has other columns, which is an error before anything is written.
 */
export function isWrittenAtOnce({ sniffed, context }: Attempt, columns: readonly CsvColumn[]): boolean {
  if (!sniffed.sampleIsAll || isWide(sniffed)) return false;
  const known = new Map(context.target?.columns.map(({ name, type }) => [name, type]));
  if (known.size > 0 && known.size !== columns.length) return false;
  return columns.every(({ name, candidate }, index) => {
    const sameType = known.size === 0 || known.get(name) === (sniffed.types[index] ?? "VARCHAR");
    return sameType && exchangedFormat(candidate?.format ?? null) === undefined;
  });
}

export function sampleRows({ sniffed }: Attempt): number {
  const { rowBytes, names } = sniffed;
  return Math.max(100, Math.floor(Math.min(SAMPLE_ROWS, SAMPLE_BYTES / rowBytes, SAMPLE_CELLS / names.length)));
}

/** Makes text of every column with a value that does not fit, in the first `limit` rows or in all; returns why. */
export async function keepMisfits(attempt: Attempt, columns: CsvColumn[], limit?: number): Promise<Kept[]> {
  const kept: Kept[] = [];
  const typed = columns.flatMap(({ candidate }, index) =>
    candidate && !isSure(attempt, index, candidate) ? [{ index, candidate }] : [],
  );
  const step = isWidest(attempt.sniffed) ? CHECKED_OF_WIDEST : CHECKED_COLUMNS;
  for (let at = 0; at < typed.length; at += step) {
    const misfits = await findMisfits(attempt, typed.slice(at, at + step), limit);
    const { respelled, text } = await settle(attempt, misfits, limit);
    for (const { index, candidate } of respelled) if (columns[index]) columns[index].candidate = candidate;
    const values = await readValues(attempt, text);
    for (const [place, { index, row, candidate, reason }] of text.entries()) {
      const { type, given = false } = candidate;
      const [column, value] = [columns[index], values[place] ?? ""];
      if (!column) continue;
      kept.push({
        column: column.name,
        inferred: type,
        row,
        value,
        reason: reason ?? misfitReason(type, value),
        given,
      });
      column.candidate = undefined;
    }
  }
  return kept;
}

/** Whether a column of a very wide table needs no check: the sample is the whole file, and every value of it fits. */
function isSure({ sniffed, context }: Attempt, index: number, candidate: Candidate): boolean {
  const sure = SURE[candidate.type] ?? (candidate.spelling && quickPattern(candidate.spelling));
  if (!isWidest(sniffed) || !sniffed.sampleIsAll || sure === undefined || candidate.format !== null) return false;
  const pattern = new RegExp(`^(?:${sure})$`);
  return textsOf(sniffed.sample, index, context).every((text) => pattern.test(text));
}

const SURE: Record<string, string | undefined> = {
  BIGINT: "0|-?[1-9]\\d{0,17}",
  DATE: "[12]\\d{3}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\\d|2[0-8])",
  BOOLEAN: "true|false",
};

/** Why a column's values are text although they read as its type; `value` is one of them. */
type TextRule = (name: string, type: string, texts: readonly string[]) => { value: string; reason: string } | undefined;

/** Makes text of inferred columns that may hold no numbers or dates although every value reads as one; returns why. */
export function keepDoubtful({ sniffed, context }: Attempt, columns: CsvColumn[]): Kept[] {
  const known = new Set(context.target?.columns.map(({ name }) => name));
  const textsIn = columns.map((_, index) => textsOf(sniffed.sample, index, context));
  const hasCommas = known.size === 0 && sniffed.delimiter !== "," && textsIn.some(haveDecimalCommas);
  const rules = [onlyWords, identifiers, ...(hasCommas ? [thousands] : [])];
  return rules.flatMap((rule) =>
    columns.flatMap((column, index) => {
      const { name, candidate } = column;
      if (!candidate || candidate.given || known.has(name)) return [];
      const doubt = rule(name, candidate.type, textsIn[index] ?? []);
      if (!doubt) return [];
      column.candidate = undefined;
      return [{ column: name, inferred: candidate.type, row: null, ...doubt, given: false }];
    }),
  );
}

/** Names such as Inf, Nan and Infinity are no numbers and no dates where nothing else is in the column. */
const onlyWords: TextRule = (_, type, [value, ...others]) =>
  value === undefined || type === "BOOLEAN" || [value, ...others].some((text) => /\d/.test(text))
    ? undefined
    : { value, reason: "nothing but words" };

/** Fractions under a name such as version are no numbers, also where none ends with a zero yet. */
const identifiers: TextRule = (name, type, texts) => {
  const value = texts.find((text) => text.includes("."));
  if (type !== "DOUBLE" || value === undefined || !areIdentifiers(name, texts)) return undefined;
  return { value, reason: "the name says that it is an identifier, in which 1.10 is not 1.1" };
};

/** Where other columns have decimal commas, three digits after every dot may be thousands. */
const thousands: TextRule = (_, type, texts) => {
  const value = texts.find((text) => text.includes("."));
  const areThousands = texts.every((text) => /^-?(?:0|[1-9]\d{0,2}(?:\.\d{3})?)$/.test(text));
  if (type !== "DOUBLE" || value === undefined || !areThousands) return undefined;
  return { value, reason: "the dot may separate thousands, since other columns have decimal commas" };
};

function haveDecimalCommas(texts: readonly string[]): boolean {
  return (
    texts.some((text) => /,\d/.test(text)) &&
    texts.every((text) => /^[+-]?(?:\d+|\d{1,3}(?:\.\d{3})*)(?:,\d+)?$/.test(text))
  );
}

interface Settled {
  /** Numbers in another spelling. */
  respelled: { index: number; candidate: Candidate }[];
  text: (Misfit & { reason: string | undefined })[];
}

/** Tells numbers in another spelling than the guessed one, which stay numbers, from columns that become text. */
async function settle(attempt: Attempt, misfits: Misfit[], limit: number | undefined): Promise<Settled> {
  const spelled = misfits.filter(({ row, candidate }) => row !== null && candidate.spelling !== undefined);
  const seen = await readSpellings(attempt, spelled, limit);
  const settled: Settled = { respelled: [], text: [] };
  for (const misfit of misfits) {
    const { index, row, candidate } = misfit;
    const found = seen.get(index);
    if (!found || found.misfitRow !== null) {
      const reason = row === null ? "day and month cannot be told apart" : undefined;
      settled.text.push({ ...misfit, row: found ? found.misfitRow : row, reason });
      continue;
    }
    const spelling = settleSpelling(found);
    const isKnown = candidate.spelling?.decimals === "any";
    if ("reason" in spelling && !(isKnown && found.codeRow === null)) settled.text.push({ ...misfit, ...spelling });
    else {
      const exponents = isKnown || "reason" in spelling ? "any" : spelling.exponents;
      const decimals = isKnown || "reason" in spelling ? "any" : spelling.decimals;
      settled.respelled.push({ index, candidate: { ...candidate, spelling: { decimals, exponents } } });
    }
  }
  return settled;
}

async function readSpellings(
  attempt: Attempt,
  misfits: Misfit[],
  limit: number | undefined,
): Promise<Map<number, Spellings & { misfitRow: number | null }>> {
  if (misfits.length === 0) return new Map();
  const aggregates = misfits.flatMap(({ index, candidate }) => {
    const [raw, value, text] = [`c${index}`, `k${index}`, `t${index}`];
    const { misfit } = typedColumn(raw, value, { ...candidate, spelling: undefined });
    const all = { misfitRow: `min(CASE WHEN ${misfit} THEN row END)`, ...spellingsOf(text, isNullText(text)) };
    return Object.entries(all).map(([name, sql]) => `${sql} AS ${name}${index}`);
  });
  const values = misfits.map(
    ({ index, candidate }) =>
      `c${index}, trim(c${index}) AS t${index}, ${castText(`c${index}`, candidate)} AS k${index}`,
  );
  const [found = {}] = await attempt.connection.rows<Record<string, string | boolean | null>>(
    `SELECT ${aggregates.join(", ")} FROM (SELECT row, ${values.join(", ")} FROM (${numbered(attempt, limit)}))`,
    { signal: attempt.context.signal },
  );
  const numberAt = (name: string): number | null => (found[name] == null ? null : Number(found[name]));
  return new Map(
    misfits.map(({ index }) => [
      index,
      {
        misfitRow: numberAt(`misfitRow${index}`),
        pointed: found[`pointed${index}`] === true,
        pointedCapital: found[`pointedCapital${index}`] === true,
        measured: found[`measured${index}`] === true,
        codeRow: numberAt(`codeRow${index}`),
        capitalRow: numberAt(`capitalRow${index}`),
        zeroRow: numberAt(`zeroRow${index}`),
        fewestDecimals: numberAt(`fewestDecimals${index}`),
        mostDecimals: numberAt(`mostDecimals${index}`),
      },
    ]),
  );
}

interface Misfit {
  index: number;
  candidate: Candidate;
  /** The first that does not fit, from 1; null when day and month cannot be told apart in any. */
  row: number | null;
}

async function findMisfits(
  attempt: Attempt,
  columns: { index: number; candidate: Candidate }[],
  limit: number | undefined,
): Promise<Misfit[]> {
  const values = columns.flatMap(({ index, candidate }) => [
    `c${index}`,
    `${castText(`c${index}`, candidate)} AS k${index}`,
  ]);
  // CASE and not FILTER, which copies all columns for each of them.
  const checks = columns.flatMap(({ index, candidate }) => {
    const [raw, value] = [`c${index}`, `k${index}`];
    const exchanged = exchangedFormat(candidate.format);
    // The order of day and month is certain once a date is none with both exchanged.
    const certain = exchanged
      ? `count(${value}) = 0 OR bool_or(${value} IS NOT NULL AND try_strptime(${raw}, ${literal(exchanged)}) IS NULL)`
      : "true";
    const { misfit } = typedColumn(raw, value, candidate);
    return [`min(CASE WHEN ${misfit} THEN row END) AS row${index}`, `${certain} AS certain${index}`];
  });
  const [found] = await attempt.connection.rows<Record<string, string | boolean | null>>(
    `SELECT ${checks.join(", ")} FROM (SELECT row, ${values.join(", ")} FROM (${numbered(attempt, limit)}))`,
    { signal: attempt.context.signal },
  );
  return columns.flatMap(({ index, candidate }): Misfit[] => {
    const row = found?.[`row${index}`];
    if (row != null) return [{ index, candidate, row: Number(row) }];
    return found?.[`certain${index}`] === false ? [{ index, candidate, row: null }] : [];
  });
}

/** The start of each column's value at its row, or of any value. */
async function readValues(attempt: Attempt, at: { index: number; row: number | null }[]): Promise<string[]> {
  if (at.length === 0) return [];
  const values = at.map(({ index, row }, place) => {
    const start = `left(c${index}, ${SHOWN_CHARACTERS})`;
    return `${row === null ? `any_value(${start})` : `max(CASE WHEN row = ${row} THEN ${start} END)`} AS v${place}`;
  });
  const last = at.some(({ row }) => row === null) ? undefined : Math.max(...at.map(({ row }) => row ?? 0));
  const [found] = await attempt.connection.rows<Record<string, string | null>>(
    `SELECT ${values.join(", ")} FROM (${numbered(attempt, last)})`,
    { signal: attempt.context.signal },
  );
  return at.map((_, place) => found?.[`v${place}`] ?? "");
}

function numbered(attempt: Attempt, limit: number | undefined): string {
  const rows = `SELECT row_number() OVER () AS row, * FROM ${readCsv(attempt, "rejects_check")}`;
  return limit === undefined ? rows : `${rows} LIMIT ${limit}`;
}

/**
 * SQL of the rows with names and types. It fails with `MISFIT` at a value that does not fit, except for wide tables: their
 * checks would take too much memory in one statement, so every column has to be checked before.
 */
export function selectTyped(attempt: Attempt, all: CsvColumn[], rejects: string, names: ReadonlySet<string>): string {
  const wide = isWide(attempt.sniffed);
  const columns = all.flatMap((column, index) => (names.has(column.name) ? [{ ...column, index }] : []));
  const values = columns.map(({ candidate, index }) =>
    candidate ? `c${index}, ${castText(`c${index}`, candidate)} AS k${index}` : `c${index}`,
  );
  const typed = columns.map(({ name, candidate, index }) => {
    if (!candidate) return `c${index} AS ${identifier(name)}`;
    if (!wide) return `${typedColumn(`c${index}`, `k${index}`, candidate).value} AS ${identifier(name)}`;
    const isFloat = candidate.type === "DOUBLE" || candidate.type === "FLOAT";
    return `${isFloat ? `nullif(k${index}, 'nan')` : `k${index}`} AS ${identifier(name)}`;
  });
  return `SELECT ${typed.join(", ")} FROM (SELECT ${values.join(", ")} FROM ${readCsv(attempt, rejects)})`;
}
