import { stat } from "node:fs/promises";
import { quoted } from "../../catalog/nearest.ts";
import { damagedRow } from "../../duckdb/duck-errors.ts";
import { LakeError } from "../../kernel/errors.ts";
import type { ConvertContext, Converted, Converter, CsvDialect, IngestNotes, Source } from "../types.ts";
import { writeParquet } from "../write.ts";
import {
  chooseCandidates,
  isWrittenAtOnce,
  type Kept,
  keepIdentifiers,
  keepMisfits,
  keepThousands,
  keepWords,
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
 * CSV and TSV. Everything is read as text and cast in the statement that writes the Parquet file, where a text that does
 * not fit its column stops it; then one scan finds all such columns, and those stay text. That is as fast as letting
 * DuckDB read types, and no value is lost or rounded. Throws `invalid` with line and column for rows that are not CSV.
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

/** Finds the table in a text. What DuckDB cannot skip by itself before its rows, a copy leaves out. */
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

/** Changes `reading` so that another attempt gets further, or throws what the caller has to know. */
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
  const kept = [
    ...keepWords(attempt, columns),
    ...keepIdentifiers(attempt, columns),
    ...keepThousands(attempt, columns),
  ];
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

/** What the caller said of a column is so, or the ingest fails. */
async function refuseGiven(attempt: Attempt, kept: Kept[]): Promise<void> {
  const misfit = kept.find(({ given }) => given);
  if (!misfit) return;
  const { value, inferred, reason } = misfit;
  throw new LakeError(
    "invalid",
    `${await whereIs(attempt, misfit)}: ${JSON.stringify(value)} cannot be read as ${inferred}: ${reason}. Nothing was ingested.`,
    {
      hint: `${expectedForm(inferred)}Leave the column out of types to keep it as text, or add what stands for no value to null_values.`,
    },
  );
}

/** A file's name, a line and a column, for messages. */
async function whereIs(attempt: Attempt, { row, column }: Kept): Promise<string> {
  const ordinals = row === null ? [] : [row - 1 + Number(attempt.reading.headerInFile)];
  const leftOut = attempt.reading.skipBadRows
    ? (await readRejects(attempt, "rejects_check")).offsets
    : new Set<number>();
  const query = { ...recordsOf(attempt, ordinals), leftOut, linesOnly: true };
  const { lines } = await scanRecords(attempt.reading.text.path, query, attempt.context.signal);
  const line = ordinals.length > 0 ? lines.get(ordinals[0] ?? 0) : undefined;
  return `${attempt.source.label}${line === undefined ? "" : `, line ${line}`}, column ${quoted(column)}`;
}

/** The dataset's refusal of columns that became text, with the value for which the first of them did. */
async function withValue(attempt: Attempt, kept: Kept[], error: unknown): Promise<unknown> {
  const known = new Map(attempt.context.target?.columns.map(({ name, type }) => [name, type]));
  const misfit = kept.find(({ column, inferred }) => known.get(column) === inferred);
  if (!misfit || !(error instanceof LakeError && error.kind === "conflict")) return error;
  const { value, inferred, reason } = misfit;
  const told = `${await whereIs(attempt, misfit)}: ${JSON.stringify(value)} does not fit ${inferred}: ${reason}.`;
  const hint = "Repair that value, or add what stands for no value to null_values.";
  return new LakeError("conflict", `${error.message} ${told}`, { hint: `${hint} ${error.hint ?? ""}`.trim() });
}

function recordsOf({ reading, sniffed }: Attempt, ordinals: number[]): RecordQuery {
  return { dialect: sniffed, columns: sniffed.names.length, ordinals, firstLine: reading.text.firstLine };
}

/** A row takes a byte for each column at least: a delimiter, or the line end. */
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
    warning: isText ? "All is one column of text. If it should be several, give delimiter." : null,
  };
}

/** Every record is a row or a reported bad row. DuckDB does not note some that are longer than its buffers. */
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

/** Finds every bad row in one more scan, for an error that says where. */
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
      hint: "Check its quotes and line ends, or name another format.",
      cause: error,
    },
  );
}

function lineAndReason({ line, column, reason }: BadRows["first"][number]): { line: number; reason: string } {
  return { line, reason: column === null ? reason : `column ${quoted(column)}: ${reason}` };
}
