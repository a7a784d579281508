import { stat } from "node:fs/promises";
import { LakeError } from "../errors.ts";
import { chooseCandidates, type Kept, keepMisfits, sampleRows, selectTyped } from "./csv-check.ts";
import { sniffCsv } from "./csv-dialect.ts";
import { scanRecords } from "./csv-lines.ts";
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
import { openPlainText, reread } from "./csv-text.ts";
import { MISFIT } from "./csv-types.ts";
import type { Converted, Converter, IngestNotes } from "./types.ts";
import { writeParquet } from "./write.ts";

/**
 * CSV and TSV. Everything is read as text and cast in the statement that writes the Parquet file, where a text that does
 * not fit its column stops it; then one scan finds all such columns, and those stay text. That is as fast as letting
 * DuckDB read types, and no value is lost or rounded. Throws `invalid` with line and column for rows that are not CSV.
 */
export const convertCsv: Converter = async (source, context) => {
  const connection = await context.duck.connect();
  try {
    const text = await openPlainText(source, connection, context);
    const reading: Reading = { text, longRows: false, skipBadRows: false };
    const prepare = async (): Promise<Attempt> => {
      await dropRejects(connection);
      const buffers = bufferOptions(reading, false);
      const sniffed = await sniffCsv(connection, reading.text.path, source.format, buffers, context.signal);
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

/** Changes `reading` so that another attempt gets further, or throws what the caller has to know. */
async function adjust(reading: Reading, error: unknown, prepare: () => Promise<Attempt>): Promise<void> {
  if (isTooLong(error) && !reading.longRows) {
    reading.longRows = true;
    return;
  }
  if (!isDamage(error)) throw error;
  const attempt = await prepare();
  const text = await reread(reading.text, error.message, attempt.source, attempt.context);
  if (text) reading.text = text;
  else if (reading.skipBadRows) throw badQuotes(attempt, error);
  else if (attempt.context.onBadRows === "skip") reading.skipBadRows = true;
  else {
    const damage = await describeDamage({ ...attempt, reading: { ...reading, skipBadRows: true } }, error);
    if (!isTooLong(damage) || reading.longRows) throw damage;
    reading.longRows = true;
  }
}

async function convert(attempt: Attempt): Promise<Converted> {
  const { connection, context, sniffed } = attempt;
  const columns = chooseCandidates(attempt);
  const kept = await keepMisfits(attempt, columns, isWide(sniffed) ? undefined : sampleRows(attempt));
  const options = { rowBytes: sniffed.rowBytes, ...(isWide(sniffed) && { atMostRows: await atMostRows(attempt) }) };

  const write = async (rejects: string): Promise<Converted> => {
    const typed = columns.map(({ name, candidate }) => ({ name, type: candidate?.type ?? "VARCHAR" }));
    const files = await writeParquet(connection, selectTyped(attempt, columns, rejects), typed, context, options);
    const rows = files.reduce((sum, file) => sum + file.rows, 0);
    return { columns: typed, files, rows, notes: await notesOf(attempt, kept, rows, rejects) };
  };
  try {
    return await write("rejects_first");
  } catch (error) {
    if (!(error instanceof LakeError && error.message.includes(MISFIT))) throw error;
    kept.push(...(await keepMisfits(attempt, columns)));
    return write("rejects_second");
  }
}

/** A row takes a byte for each column at least: a delimiter, or the line end. */
async function atMostRows({ reading, sniffed }: Attempt): Promise<number> {
  return Math.ceil((await stat(reading.text.path)).size / sniffed.names.length);
}

async function notesOf(attempt: Attempt, kept: Kept[], rows: number, rejects: string): Promise<IngestNotes> {
  const { reading, sniffed, context } = attempt;
  const skipped = reading.skipBadRows ? await readRejects(attempt, rejects) : undefined;
  const headerRecords = sniffed.header ? 1 : 0;
  const ordinal = (row: number): number => row - 1 + headerRecords;
  let lines = new Map<number, number>();
  if (skipped || kept.some(({ row }) => row !== null)) {
    const records = await scanRecords(
      reading.text.path,
      {
        dialect: sniffed,
        columns: sniffed.names.length,
        ordinals: kept.flatMap(({ row }) => (row === null ? [] : [ordinal(row)])),
        leftOut: skipped?.offsets ?? new Set(),
      },
      context.signal,
    );
    lines = records.lines;
    if (skipped) accountFor(attempt, skipped, records, rows + headerRecords);
  }
  return {
    kept_as_text: kept.map(({ row, ...entry }) => ({
      ...entry,
      line: row === null ? null : (lines.get(ordinal(row)) ?? null),
    })),
    skipped_rows:
      skipped && skipped.count > 0 ? { count: skipped.count, lines: skipped.first.map(lineAndReason) } : null,
    renamed_columns: sniffed.renamed,
    converted: [],
    encoding: reading.text.encoding === "utf-8" ? null : reading.text.encoding,
    dialect: { delimiter: sniffed.delimiter, quote: sniffed.quote, header: sniffed.header },
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
  const { open } = await scanRecords(
    reading.text.path,
    { dialect: sniffed, columns: sniffed.names.length, ordinals: [] },
    signal,
  );
  if (open) {
    const bad: BadRows = { count: 0, offsets: new Set(), first: [] };
    addOpenRecord(bad, open);
    return badRowsError(source.label, bad);
  }
  const row = /CSV Error on Line: (\d+)/.exec(error.message)?.[1];
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
  return { line, reason: column === null ? reason : `column ${JSON.stringify(column)}: ${reason}` };
}
