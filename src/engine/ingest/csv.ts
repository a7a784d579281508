import { type Connection, identifier, literal } from "../duckdb/duckdb.ts";
import { LakeError } from "../errors.ts";
import { type Sniffed, sniffCsv } from "./csv-dialect.ts";
import { linesOfRecords } from "./csv-lines.ts";
import { type BadRows, badRowsError, isDamage, isTooLong, readRejects, rejectingOptions } from "./csv-rejects.ts";
import { openPlainText, type PlainText, reread } from "./csv-text.ts";
import {
  type Candidate,
  candidateFor,
  castText,
  exchangedFormat,
  isCastable,
  MISFIT,
  misfitReason,
  typedColumn,
} from "./csv-types.ts";
import type { ConvertContext, Converted, Converter, IngestNotes, Source } from "./types.ts";
import { writeParquet } from "./write.ts";

const SAMPLE_ROWS = 20_480;
const SAMPLE_BYTES = 16 * 1024 ** 2;
const SAMPLE_CELLS = 1_000_000;
/** One row longer than DuckDB's usual 2 MB: larger buffers, and fewer of them. */
const LONG_ROW_BYTES = 64_000_000;
const SHOWN_CHARACTERS = 200;

/** How the file is read; each of them changes at most once, after an attempt shows that it has to. */
interface Reading {
  text: PlainText;
  longRows: boolean;
  skipBadRows: boolean;
}

interface Job {
  connection: Connection;
  source: Source;
  context: ConvertContext;
  reading: Reading;
  sniffed: Sniffed;
}

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
    for (;;) {
      try {
        return await convertOnce(connection, source, context, reading);
      } catch (error) {
        await adjust(connection, source, context, reading, error);
      }
    }
  } finally {
    connection.close();
  }
};

/** Changes `reading` so that another attempt gets further, or throws what the caller has to know. */
async function adjust(
  connection: Connection,
  source: Source,
  context: ConvertContext,
  reading: Reading,
  error: unknown,
): Promise<void> {
  if (isTooLong(error) && !reading.longRows) {
    reading.longRows = true;
    return;
  }
  if (!isDamage(error) || reading.skipBadRows) throw error;
  const text = await reread(reading.text, error.message, source, context);
  if (text) reading.text = text;
  else if (context.onBadRows === "skip") reading.skipBadRows = true;
  else {
    const damage = await describeDamage(connection, source, context, reading, error);
    if (!isTooLong(damage) || reading.longRows) throw damage;
    reading.longRows = true;
  }
}

async function convertOnce(
  connection: Connection,
  source: Source,
  context: ConvertContext,
  reading: Reading,
): Promise<Converted> {
  const { signal } = context;
  const sniffed = await sniffCsv(connection, reading.text.path, source.format, bufferOptions(reading), signal);
  const job: Job = { connection, source, context, reading, sniffed };
  const columns = chooseCandidates(job);
  const kept: Kept[] = [];
  const sample = await findMisfits(job, columns, sampleRows(sniffed));
  keepAsText(columns, sample.misfits, kept);

  const write = async (rejects: string): Promise<Converted> => {
    const typed = columns.map(({ name, candidate }) => ({ name, type: candidate?.type ?? "VARCHAR" }));
    const files = await writeParquet(connection, selectTyped(job, columns, rejects), typed, context, {
      rowBytes: sample.rowBytes,
    });
    const skipped = reading.skipBadRows ? await rejected(job, rejects) : undefined;
    return {
      columns: typed,
      files,
      rows: files.reduce((sum, file) => sum + file.rows, 0),
      notes: await notesOf(job, kept, skipped),
    };
  };
  try {
    return await write("rejects_1");
  } catch (error) {
    if (!(error instanceof LakeError && error.message.includes(MISFIT))) throw error;
    keepAsText(columns, (await findMisfits(job, columns)).misfits, kept);
    return write("rejects_2");
  }
}

interface CsvColumn {
  name: string;
  /** Undefined for text. */
  candidate: Candidate | undefined;
}

/**
 * What the dataset has goes first: a column that is text there stays text, however much the new values look like numbers.
 */
function chooseCandidates({ sniffed, context }: Job): CsvColumn[] {
  const known = new Map(context.target?.columns.map(({ name, type }) => [name, type]));
  return sniffed.names.map((name, index) => {
    const sniffedType = candidateFor(sniffed.types[index] ?? "VARCHAR", sniffed);
    const type = known.get(name);
    if (type === undefined || type === sniffedType?.type) return { name, candidate: sniffedType };
    return { name, candidate: isCastable(type) ? { type, format: null } : undefined };
  });
}

function sampleRows({ rowBytes, names }: Sniffed): number {
  return Math.max(100, Math.floor(Math.min(SAMPLE_ROWS, SAMPLE_BYTES / rowBytes, SAMPLE_CELLS / names.length)));
}

interface Misfit {
  index: number;
  /** Number of the row, from 1; null when the trouble is with all of them. */
  row: number | null;
  value: string;
  reason: string;
}

interface Kept {
  column: string;
  inferred: string;
  row: number | null;
  value: string;
  reason: string;
}

function keepAsText(columns: CsvColumn[], misfits: Misfit[], kept: Kept[]): void {
  for (const { index, row, value, reason } of misfits) {
    const column = columns[index];
    if (!column?.candidate) continue;
    kept.push({ column: column.name, inferred: column.candidate.type, row, value, reason });
    column.candidate = undefined;
  }
}

/** Every typed column that has a text which does not fit, with the first one; in the first `limit` rows, or in all. */
async function findMisfits(
  job: Job,
  columns: CsvColumn[],
  limit?: number,
): Promise<{ misfits: Misfit[]; rowBytes: number }> {
  const inner = columns.flatMap(({ candidate }, index) =>
    candidate ? [`c${index}`, `${castText(`c${index}`, candidate)} AS k${index}`] : [`c${index}`],
  );
  const checks = columns.flatMap(({ candidate }, index) => {
    if (!candidate) return [];
    const [raw, value] = [`c${index}`, `k${index}`];
    const { misfit } = typedColumn(raw, value, candidate);
    const exchanged = exchangedFormat(candidate.format);
    // A column of dates is certain once one of them makes no sense with day and month exchanged.
    const unsure = exchanged
      ? `count(${value}) > 0 AND count(*) FILTER (${value} IS NOT NULL AND try_strptime(${raw}, ${literal(exchanged)}) IS NULL) = 0`
      : "false";
    return [
      `min(row) FILTER (${misfit}) AS row${index}`,
      `left(coalesce(arg_min(${raw}, row) FILTER (${misfit}), any_value(${raw})), ${SHOWN_CHARACTERS}) AS text${index}`,
      `${unsure} AS unsure${index}`,
    ];
  });
  const length = `sum(strlen(concat(${columns.map((_, index) => `c${index}`).join(", ")})))`;
  const source = readCsv(job, "rejects_0");
  const [found] = await job.connection.rows<Record<string, string | boolean | null>>(
    `SELECT count(*) AS rows, ${limit ? length : "0"} AS bytes${checks.map((check) => `, ${check}`).join("")}
     FROM (SELECT row_number() OVER () AS row, ${inner.join(", ")} FROM ${source}${limit ? ` LIMIT ${limit}` : ""})`,
    { signal: job.context.signal },
  );
  if (job.reading.skipBadRows) await dropRejects(job.connection, "rejects_0");
  const misfits = columns.flatMap(({ candidate }, index): Misfit[] => {
    const row = found?.[`row${index}`];
    const value = String(found?.[`text${index}`] ?? "");
    if (candidate && row != null)
      return [{ index, row: Number(row), value, reason: misfitReason(candidate.type, value) }];
    if (limit && found?.[`unsure${index}`] === true) {
      return [{ index, row: null, value, reason: "day and month cannot be told apart" }];
    }
    return [];
  });
  return { misfits, rowBytes: Number(found?.bytes ?? 0) / Math.max(1, Number(found?.rows ?? 0)) };
}

function selectTyped(job: Job, columns: CsvColumn[], rejects: string): string {
  const inner = columns.map(({ candidate }, index) =>
    candidate ? `c${index}, ${castText(`c${index}`, candidate)} AS k${index}` : `c${index}`,
  );
  const outer = columns.map(({ name, candidate }, index) => {
    const value = candidate ? typedColumn(`c${index}`, `k${index}`, candidate).value : `c${index}`;
    return `${value} AS ${identifier(name)}`;
  });
  return `SELECT ${outer.join(", ")} FROM (SELECT ${inner.join(", ")} FROM ${readCsv(job, rejects)})`;
}

/** The file as columns `c0`, `c1` … of text. `rejects` names the table for rows left out, when rows may be. */
function readCsv({ reading, sniffed }: Pick<Job, "reading" | "sniffed">, rejects: string): string {
  const columns = sniffed.names.map((_, index) => `c${index}: 'VARCHAR'`).join(", ");
  return `read_csv(${literal(reading.text.path)}, auto_detect = false, delim = ${literal(sniffed.delimiter)},
    quote = ${literal(sniffed.quote)}, escape = ${literal(sniffed.escapedBy)}, comment = '', skip = 0, nullstr = [''],
    header = ${sniffed.header}, columns = {${columns}}${bufferOptions(reading)}${reading.skipBadRows ? rejectingOptions(rejects) : ""})`;
}

function bufferOptions({ longRows, skipBadRows }: Reading): string {
  if (!longRows) return "";
  const parallel = skipBadRows ? "" : ", parallel = false";
  return `, max_line_size = ${LONG_ROW_BYTES}, buffer_size = ${LONG_ROW_BYTES}${parallel}`;
}

async function rejected({ connection, context, reading, sniffed }: Job, table: string): Promise<BadRows> {
  return readRejects(connection, table, reading.text.path, sniffed.names, reading.longRows, context.signal);
}

async function dropRejects(connection: Connection, table: string): Promise<void> {
  await connection.run(`DROP TABLE IF EXISTS ${table}`);
  await connection.run(`DROP TABLE IF EXISTS ${table}_scan`);
}

/** Finds every bad row in one more scan, for an error that says where. */
async function describeDamage(
  connection: Connection,
  source: Source,
  context: ConvertContext,
  reading: Reading,
  error: LakeError,
): Promise<LakeError> {
  const { signal } = context;
  const lenient: Reading = { ...reading, skipBadRows: true };
  const sniffed = await sniffCsv(connection, reading.text.path, source.format, bufferOptions(lenient), signal);
  const job: Job = { connection, source, context, reading: lenient, sniffed };
  try {
    const counts = sniffed.names.map((_, index) => `count(c${index})`);
    await connection.run(`SELECT ${counts.join(", ")} FROM ${readCsv(job, "rejects_all")}`, { signal });
    const bad = await rejected(job, "rejects_all");
    if (bad.count > 0) return badRowsError(source.label, bad);
  } catch (again) {
    if (isTooLong(again)) return again;
    if (!isDamage(again)) throw again;
  }
  return new LakeError("invalid", `${source.label} cannot be read as CSV: ${plainReason(error.message)}`, {
    hint: "Check its quotes and line ends, or name another format.",
    cause: error,
  });
}

function plainReason(message: string): string {
  const line = /CSV Error on Line: (\d+)/.exec(message)?.[1];
  return line === undefined
    ? "its quotes or line ends do not follow RFC 4180."
    : `the trouble starts near row ${line}.`;
}

async function notesOf(
  { context, reading, sniffed }: Job,
  kept: Kept[],
  skipped: BadRows | undefined,
): Promise<IngestNotes> {
  const headerRows = sniffed.header ? 1 : 0;
  const ordinal = (row: number): number => row - 1 + headerRows;
  const rows = kept.flatMap(({ row }) => (row === null ? [] : [ordinal(row)]));
  const lines =
    rows.length === 0
      ? new Map<number, number>()
      : await linesOfRecords(
          reading.text.path,
          { dialect: sniffed, columns: sniffed.names.length, ordinals: rows, leftOut: skipped?.offsets ?? new Set() },
          context.signal,
        );
  return {
    kept_as_text: kept.map(({ row, ...entry }) => ({
      ...entry,
      line: row === null ? null : (lines.get(ordinal(row)) ?? null),
    })),
    skipped_rows:
      skipped && skipped.count > 0 ? { count: skipped.count, lines: skipped.first.map(lineAndReason) } : null,
    renamed_columns: sniffed.renamed,
    encoding: reading.text.encoding === "utf-8" ? null : reading.text.encoding,
    dialect: { delimiter: sniffed.delimiter, quote: sniffed.quote, header: sniffed.header },
  };
}

function lineAndReason({ line, column, reason }: BadRows["first"][number]): { line: number; reason: string } {
  return { line, reason: column === null ? reason : `column ${JSON.stringify(column)}: ${reason}` };
}
