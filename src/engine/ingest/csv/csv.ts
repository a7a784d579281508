import { stat } from "node:fs/promises";
import { quoted } from "../../catalog/nearest.ts";
import { damagedRow } from "../../duckdb/duck-errors.ts";
import { LakeError } from "../../kernel/errors.ts";
import { argument, next } from "../../kernel/next-step.ts";
import type { ConvertContext, Converted, Converter, CsvDialect, IngestNotes, Source } from "../types.ts";
import { writeParquet } from "../write.ts";
import {
  chooseCandidates,
  isWrittenAtOnce,
  type Kept,
  keepDoubtful,
  keepMisfits,
  sampleRows,
  selectTyped,
} from "./csv-check.ts";
import { sniffCsv } from "./csv-dialect.ts";
import { readLayout } from "./csv-layout.ts";
import { type RecordQuery, scanRecords } from "./csv-lines.ts";
import { type Attempt, bufferOptions, dropRejects, isWide, type Reading, readCsv } from "./csv-read.ts";
import {
  addOpenRecord,
  type BadRows,
  badRowsError,
  isDamage,
  isTooLong,
  readRejects,
  rowTooLong,
} from "./csv-rejects.ts";
import {
  hasCarriageReturns,
  openPlainText,
  type PlainText,
  recodeUnlessUtf8,
  textFrom,
  unifyRecordEnds,
} from "./csv-text.ts";
import { expectedForm } from "./csv-types.ts";

/**
 * CSV and TSV. Everything is read as text and cast by the statement that writes the Parquet file. When a text does not fit
 * its column, that statement fails; one scan then finds all such columns, which stay text. That is as fast as DuckDB's own
 * typed reading, and no value is lost or rounded. Throws `invalid` with line and column for rows that are not CSV.
 */
export const convertCsv: Converter = async (source, context) => {
  const connection = await context.duck.connect();
  try {
    const reading: Reading = {
      ...(await openTable(await openPlainText(source, context), source, context)),
      longRows: false,
      skipBadRows: false,
    };
    let attempts = 0;
    const prepare = async (): Promise<Attempt> => {
      if (attempts++ > 0) await dropRejects(connection);
      const sniffed = await sniffCsv(connection, reading, source, context, bufferOptions(reading, false));
      return { connection, source, context, reading, sniffed };
    };
    for (;;) {
      try {
        return await convert(await prepare());
      } catch (error) {
        await adjust(reading, error, prepare);
      }
    }
  } finally {
    connection.close();
  }
};

export const convertTsv: Converter = (source, context) => convertCsv(source, { ...context, delimiters: ["\t"] });

/** Finds the table in a text, and copies its rows where DuckDB cannot skip the lines before them. */
async function openTable(
  text: PlainText,
  source: Source,
  context: ConvertContext,
): Promise<Pick<Reading, "whole" | "text" | "layout" | "headerInFile">> {
  const layout = await readLayout(text.path, source, context);
  if (layout.plainStart) return { whole: text, text, layout, headerInFile: layout.header !== undefined };
  const rows = await textFrom(text, layout.dataStart, layout.dataLine, context);
  return { whole: text, text: rows, layout, headerInFile: false };
}

/** Changes `reading` so that the next attempt gets past `error`, or throws the error for the caller. */
async function adjust(reading: Reading, error: unknown, prepare: () => Promise<Attempt>): Promise<void> {
  if (isTooLong(error) && !reading.longRows) {
    reading.longRows = true;
    return;
  }
  if (!isDamage(error)) throw error;
  const attempt = await prepare();
  const { source, context } = attempt;
  const recoded = await recodeUnlessUtf8(reading.whole, source, context);
  if (recoded) Object.assign(reading, await openTable(recoded, source, context));
  else if (reading.text.newlines === "kept" && (await hasCarriageReturns(reading.text.path, context.signal)))
    reading.text = await unifyRecordEnds(reading.text, attempt.sniffed, context);
  else if (reading.skipBadRows) throw badQuotes(attempt, error);
  else if (context.onBadRows === "skip") reading.skipBadRows = true;
  else {
    const damage = await describeDamage({ ...attempt, reading: { ...reading, skipBadRows: true } }, error);
    if (!isTooLong(damage) || reading.longRows) throw damage;
    reading.longRows = true;
  }
}

async function convert(attempt: Attempt): Promise<Converted> {
  const { connection, context, sniffed } = attempt;
  const columns = chooseCandidates(attempt);
  const kept = keepDoubtful(attempt, columns);
  if (!isWrittenAtOnce(attempt, columns))
    kept.push(...(await keepMisfits(attempt, columns, isWide(sniffed) ? undefined : sampleRows(attempt))));
  await refuseGiven(attempt, kept);
  const options = { rowBytes: sniffed.rowBytes, ...(isWide(sniffed) && { atMostRows: await atMostRows(attempt) }) };

  const write = async (rejects: string): Promise<Converted> => {
    const typed = columns.map(({ name, candidate }) => ({ name, type: candidate?.type ?? "VARCHAR" }));
    const select = (names: ReadonlySet<string>): string => selectTyped(attempt, columns, rejects, names);
    const files = await writeParquet(connection, select, typed, context, options).catch(async (error: unknown) => {
      throw await withValue(attempt, kept, error);
    });
    const rows = files.reduce((sum, file) => sum + file.rows, 0);
    return { columns: typed, files, rows, notes: await notesOf(attempt, typed, kept, rows, rejects) };
  };
  try {
    return await write("rejects_first");
  } catch (error) {
    if (!(error instanceof LakeError && error.code === "value_misfit")) throw error;
    kept.push(...(await keepMisfits(attempt, columns)));
    await refuseGiven(attempt, kept);
    return write("rejects_second");
  }
}

/** Throws `invalid` for a value that does not fit a type that the caller named. */
async function refuseGiven(attempt: Attempt, kept: Kept[]): Promise<void> {
  const misfit = kept.find(({ given }) => given);
  if (!misfit) return;
  const { value, inferred, reason } = misfit;
  const { where, line } = await placeOf(attempt, misfit);
  throw new LakeError(
    "invalid",
    `${where}: ${JSON.stringify(value)} cannot be read as ${inferred}: ${reason}. Nothing was ingested.`,
    {
      code: "value_misfit",
      hint: next`${expectedForm(inferred)}Leave the column out of ${argument("types")} to keep it as text, or add texts that stand for no value to ${argument("null_values")}.`,
      facts: { argument: "types", line, column: misfit.column },
    },
  );
}

/** The line of a value, and the file's name with line and column, for messages. */
async function placeOf(attempt: Attempt, { row, column }: Kept): Promise<{ where: string; line: number | undefined }> {
  const ordinals = row === null ? [] : [row - 1 + Number(attempt.reading.headerInFile)];
  const leftOut = attempt.reading.skipBadRows
    ? (await readRejects(attempt, "rejects_check")).offsets
    : new Set<number>();
  const query = { ...recordsOf(attempt, ordinals), leftOut, linesOnly: true };
  const { lines } = await scanRecords(attempt.reading.text.path, query, attempt.context.signal);
  const line = ordinals.length > 0 ? lines.get(ordinals[0] ?? 0) : undefined;
  const where = `${attempt.source.label}${line === undefined ? "" : `, line ${line}`}, column ${quoted(column)}`;
  return { where, line };
}

/** A schema mismatch, with the value for which the first column of the dataset's became text. */
async function withValue(attempt: Attempt, kept: Kept[], error: unknown): Promise<unknown> {
  const known = new Map(attempt.context.target?.columns.map(({ name, type }) => [name, type]));
  const misfit = kept.find(({ column, inferred }) => known.get(column) === inferred);
  if (!misfit || !(error instanceof LakeError && error.code === "schema_mismatch")) return error;
  const { value, inferred, reason, column } = misfit;
  const { where, line } = await placeOf(attempt, misfit);
  const message = `${error.message} ${where}: ${JSON.stringify(value)} does not fit ${inferred}: ${reason}.`;
  return new LakeError(error.kind, message, {
    code: error.code,
    hint: next`Repair that value, or add texts that stand for no value to ${argument("null_values")}. ${error.hint}`,
    facts: { ...error.facts, line, column },
  });
}

function recordsOf({ reading, sniffed }: Attempt, ordinals: number[]): RecordQuery {
  return { dialect: sniffed, columns: sniffed.names.length, ordinals, firstLine: reading.text.firstLine };
}

/** Upper bound: a row takes at least a byte for each column, a delimiter or the line end. */
async function atMostRows({ reading, sniffed }: Attempt): Promise<number> {
  return Math.ceil((await stat(reading.text.path)).size / sniffed.names.length);
}

async function notesOf(
  attempt: Attempt,
  columns: { name: string; type: string }[],
  kept: Kept[],
  rows: number,
  rejects: string,
): Promise<IngestNotes> {
  const { reading, sniffed, context } = attempt;
  const skipped = reading.skipBadRows ? await readRejects(attempt, rejects) : undefined;
  const headerRecords = reading.headerInFile ? 1 : 0;
  const ordinal = (row: number): number => row - 1 + headerRecords;
  let lines = new Map<number, number>();
  if (skipped || kept.some(({ row }) => row !== null)) {
    const records = await scanRecords(
      reading.text.path,
      {
        ...recordsOf(
          attempt,
          kept.flatMap(({ row }) => (row === null ? [] : [ordinal(row)])),
        ),
        leftOut: skipped?.offsets ?? new Set(),
        linesOnly: skipped === undefined,
      },
      context.signal,
    );
    lines = records.lines;
    if (skipped) accountFor(attempt, skipped, records, rows + headerRecords);
  }
  return {
    kept_as_text: kept.map(({ row, given, ...entry }) => ({
      ...entry,
      line: row === null ? null : (lines.get(ordinal(row)) ?? null),
    })),
    skipped_rows:
      skipped && skipped.count > 0 ? { count: skipped.count, lines: skipped.first.map(lineAndReason) } : null,
    renamed_columns: sniffed.renamed,
    converted: [],
    encoding: reading.text.encoding === "utf-8" ? null : reading.text.encoding,
    dialect: dialectOf(attempt, columns),
  };
}

const SHOWN_NAMES = 100;

function dialectOf({ sniffed, context }: Attempt, columns: { type: string }[]): CsvDialect {
  const { delimiter, quote, header, headerLine, skipped } = sniffed;
  const [only] = columns;
  const isText = columns.length === 1 && only?.type === "VARCHAR" && context.csv?.delimiter === undefined;
  return {
    delimiter,
    quote,
    header: header !== undefined,
    header_line: headerLine,
    header_names: header?.slice(0, SHOWN_NAMES) ?? [],
    skipped_lines: skipped.count > 0 ? skipped : null,
    warning: isText ? "All is one column of text. If it should be several, give the delimiter." : null,
  };
}

/** Throws unless every record is a row or a reported bad row: DuckDB does not report some that exceed its buffers. */
function accountFor(
  attempt: Attempt,
  skipped: BadRows,
  records: { count: number; open: { offset: number; line: number } | undefined },
  read: number,
): void {
  let missing = records.count - read;
  if (missing > 0 && records.open && !skipped.offsets.has(records.open.offset)) {
    addOpenRecord(skipped, records.open);
    missing--;
  }
  if (missing === 0) return;
  if (!attempt.reading.longRows) throw rowTooLong();
  throw badQuotes(attempt);
}

function badQuotes({ source }: Attempt, cause?: unknown): LakeError {
  return new LakeError("invalid", `${source.label} has bad quotes, and it cannot be told which rows they spoil.`, {
    hint: "Repair them: a value with a quote, a delimiter or a line end is quoted, and quotes in it are doubled.",
    cause,
  });
}

/** Finds all bad rows in one more scan, and gives the error that names the first. */
async function describeDamage(attempt: Attempt, error: LakeError): Promise<LakeError> {
  const { connection, source, context, reading, sniffed } = attempt;
  const { signal } = context;
  const counts = sniffed.names.map((_, index) => `count(c${index})`);
  try {
    await connection.run(`SELECT ${counts.join(", ")} FROM ${readCsv(attempt, "rejects_all")}`, { signal });
    const bad = await readRejects(attempt, "rejects_all");
    if (bad.count > 0) return badRowsError(source.label, bad);
  } catch (again) {
    if (isTooLong(again)) return again;
    if (!isDamage(again)) throw again;
  }
  const { open } = await scanRecords(reading.text.path, recordsOf(attempt, []), signal);
  if (open) {
    const bad: BadRows = { count: 0, offsets: new Set(), first: [] };
    addOpenRecord(bad, open);
    return badRowsError(source.label, bad);
  }
  const row = damagedRow(error);
  return new LakeError(
    "invalid",
    `${source.label} is not CSV${row ? ` from about row ${row} on` : ""}. Nothing was ingested.`,
    {
      code: "csv_damaged",
      hint: next`Check its quotes and line ends, or name another ${argument("format")}.`,
      cause: error,
    },
  );
}

function lineAndReason({ line, column, reason }: BadRows["first"][number]): { line: number; reason: string } {
  return { line, reason: column === null ? reason : `column ${quoted(column)}: ${reason}` };
}
