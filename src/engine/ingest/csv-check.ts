import { identifier, literal } from "../duckdb/duckdb.ts";
import { LakeError } from "../errors.ts";
import type { Cell } from "./csv-header.ts";
import { type Attempt, isWide, readCsv } from "./csv-read.ts";
import { guessSpelling, type Spellings, settleSpelling, spellingsOf } from "./csv-spelling.ts";
import {
  type Candidate,
  candidateFor,
  castText,
  exchangedFormat,
  isCastable,
  isNullText,
  misfitReason,
  NULL_SPELLINGS,
  typedColumn,
} from "./csv-types.ts";
import type { ConvertContext } from "./types.ts";

export interface CsvColumn {
  name: string;
  /** Undefined for text. */
  candidate: Candidate | undefined;
}

/** Why a column stays text. */
export interface Kept {
  column: string;
  inferred: string;
  /** Number of the first row that does not fit, from 1; null when the trouble is with all of them. */
  row: number | null;
  value: string;
  reason: string;
  /** The caller said that the column is of this type. */
  given: boolean;
}

const NUMBER_LIKE = /^[+-]?(?:\d[\d_,.]*(?:[eE][+-]?\d+)?|0[xXbBoO][\da-fA-F]+)$/;

const SAMPLE_ROWS = 20_480;
const SAMPLE_BYTES = 16 * 1024 ** 2;
const SAMPLE_CELLS = 1_000_000;
/** Columns checked in one scan, because the state of the checks is kept for each. */
const CHECKED_COLUMNS = 100;
const SHOWN_CHARACTERS = 200;

/**
 * What the caller says goes first, then what the dataset has: a column that is text there stays text, however much new
 * values look like numbers.
 */
export function chooseCandidates({ sniffed, context }: Attempt): CsvColumn[] {
  const known = new Map(context.target?.columns.map(({ name, type }) => [name, type]));
  return sniffed.names.map((name, index) => {
    const given = context.csv?.types?.[name];
    const type = given ?? known.get(name);
    const texts = textsOf(sniffed.sample, index, context);
    const sniffedType = sniffed.types[index] ?? "VARCHAR";
    const guess = candidateFor(
      sniffedType === "VARCHAR" && type === undefined ? likelyType(texts) : sniffedType,
      sniffed,
    );
    if (given !== undefined) {
      const format = given === guess?.type ? guess.format : null;
      return { name, candidate: isCastable(given) ? { type: given, format, given: true } : undefined };
    }
    if (type !== undefined && type !== guess?.type) {
      return { name, candidate: isCastable(type) ? withSpelling({ type, format: null }, texts, true) : undefined };
    }
    return { name, candidate: guess && withSpelling(guess, texts, type !== undefined) };
  });
}

/** A dataset's column of numbers takes them as they are written, but no codes. */
function withSpelling(candidate: Candidate, texts: string[], isKnown: boolean): Candidate {
  if (candidate.type !== "DOUBLE") return candidate;
  const guessed = guessSpelling(texts);
  return { ...candidate, spelling: isKnown ? { ...guessed, decimals: "any" } : guessed };
}

/** A column that DuckDB calls text and in which most are numbers gets their type, so that it is said what is not one. */
function likelyType(texts: string[]): string {
  const numbers = texts.filter((text) => NUMBER_LIKE.test(text));
  if (numbers.length < 2 || numbers.length * 2 <= texts.length) return "VARCHAR";
  return numbers.some((text) => /[.eE]/.test(text) && !/^[+-]?0x/i.test(text)) ? "DOUBLE" : "BIGINT";
}

function textsOf(sample: readonly Cell[][], index: number, { csv }: ConvertContext): string[] {
  return sample.flatMap((row) => {
    const text = row[index]?.text.trim() ?? "";
    const isNull = NULL_SPELLINGS.includes(text.toLowerCase()) || csv?.nullValues?.includes(row[index]?.text ?? "");
    return isNull ? [] : [text];
  });
}

export function sampleRows({ sniffed }: Attempt): number {
  const { rowBytes, names } = sniffed;
  return Math.max(100, Math.floor(Math.min(SAMPLE_ROWS, SAMPLE_BYTES / rowBytes, SAMPLE_CELLS / names.length)));
}

/** Makes text of every column in which a value does not fit, in the first `limit` rows or in all, and says why. */
export async function keepMisfits(attempt: Attempt, columns: CsvColumn[], limit?: number): Promise<Kept[]> {
  const kept: Kept[] = [];
  const typed = columns.flatMap(({ candidate }, index) => (candidate ? [{ index, candidate }] : []));
  for (let at = 0; at < typed.length; at += CHECKED_COLUMNS) {
    for (const misfit of await findMisfits(attempt, typed.slice(at, at + CHECKED_COLUMNS), limit)) {
      const column = columns[misfit.index];
      if (!column?.candidate) continue;
      const settled = await settle(attempt, misfit, column.candidate, limit);
      if ("type" in settled) {
        column.candidate = settled;
        continue;
      }
      const value = await readValue(attempt, misfit.index, settled.row);
      const { type, given = false } = column.candidate;
      const reason = settled.reason ?? misfitReason(type, value);
      kept.push({ column: column.name, inferred: type, row: settled.row, value, reason, given });
      column.candidate = undefined;
    }
  }
  return kept;
}

/** A number that is not spelled as was guessed may still be one: the candidate that it is, or why there is none. */
async function settle(
  attempt: Attempt,
  { index, row }: Misfit,
  candidate: Candidate,
  limit: number | undefined,
): Promise<Candidate | { row: number | null; reason: string | undefined }> {
  if (row === null) return { row, reason: "day and month cannot be told apart" };
  if (candidate.spelling === undefined) return { row, reason: undefined };
  const [raw, value] = [`c${index}`, `k${index}`];
  const free: Candidate = { ...candidate, spelling: undefined };
  const seen = spellingsOf("text", isNullText("text"));
  const aggregates = Object.entries(seen).map(([name, sql]) => `${sql} AS "${name}"`);
  const [found] = await attempt.connection.rows<Spellings & { misfitRow: number | null }>(
    `SELECT min(CASE WHEN ${typedColumn(raw, value, free).misfit} THEN row END) AS "misfitRow", ${aggregates.join(", ")}
     FROM (SELECT row, ${raw}, trim(${raw}) AS text, ${castText(raw, free)} AS ${value} FROM (${numbered(attempt, limit)}))`,
    { signal: attempt.context.signal },
  );
  if (!found) throw new LakeError("internal", "An aggregate without a row.");
  if (found.misfitRow !== null) return { row: Number(found.misfitRow), reason: undefined };
  const spelling = settleSpelling({
    ...found,
    codeRow: found.codeRow === null ? null : Number(found.codeRow),
    zeroRow: found.zeroRow === null ? null : Number(found.zeroRow),
  });
  if ("row" in spelling) return spelling;
  return {
    ...candidate,
    spelling: candidate.spelling.decimals === "any" ? { ...spelling, decimals: "any" } : spelling,
  };
}

interface Misfit {
  index: number;
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
    // Dates are certain once one of them makes no sense with day and month exchanged.
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
  return columns.flatMap(({ index }): Misfit[] => {
    const row = found?.[`row${index}`];
    if (row != null) return [{ index, row: Number(row) }];
    return found?.[`certain${index}`] === false ? [{ index, row: null }] : [];
  });
}

async function readValue(attempt: Attempt, index: number, row: number | null): Promise<string> {
  const which = row === null ? `c${index} IS NOT NULL` : `row = ${row}`;
  const [found] = await attempt.connection.rows<{ value: string }>(
    `SELECT left(c${index}, ${SHOWN_CHARACTERS}) AS value FROM (${numbered(attempt, row ?? undefined)}) WHERE ${which} LIMIT 1`,
    { signal: attempt.context.signal },
  );
  return found?.value ?? "";
}

function numbered(attempt: Attempt, limit: number | undefined): string {
  const rows = `SELECT row_number() OVER () AS row, * FROM ${readCsv(attempt, "rejects_check")}`;
  return limit === undefined ? rows : `${rows} LIMIT ${limit}`;
}

/**
 * The rows with their types, under their names. Where a value does not fit, the query fails with `MISFIT`, save for wide
 * tables: for those the checks are too much to keep in memory at once, and every column has to be checked before.
 */
export function selectTyped(attempt: Attempt, columns: CsvColumn[], rejects: string): string {
  const wide = isWide(attempt.sniffed);
  const values = columns.map(({ candidate }, index) =>
    candidate ? `c${index}, ${castText(`c${index}`, candidate)} AS k${index}` : `c${index}`,
  );
  const typed = columns.map(({ name, candidate }, index) => {
    if (!candidate) return `c${index} AS ${identifier(name)}`;
    if (!wide) return `${typedColumn(`c${index}`, `k${index}`, candidate).value} AS ${identifier(name)}`;
    const isFloat = candidate.type === "DOUBLE" || candidate.type === "FLOAT";
    return `${isFloat ? `nullif(k${index}, 'nan')` : `k${index}`} AS ${identifier(name)}`;
  });
  return `SELECT ${typed.join(", ")} FROM (SELECT ${values.join(", ")} FROM ${readCsv(attempt, rejects)})`;
}
