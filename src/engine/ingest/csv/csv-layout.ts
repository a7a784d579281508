import { foldedName } from "../../duckdb/folded-name.ts";
import { LakeError } from "../../kernel/errors.ts";
import { argument, next } from "../../kernel/next-step.ts";
import type { ConvertContext, CsvOptions, Source } from "../types.ts";
import { type Cell, isBlank, judgeHeader } from "./csv-header.ts";
import { type Dialect, offsetOfLine } from "./csv-lines.ts";
import { cellsOf, type Head, MAX_COLUMNS, MAX_RECORDS, type Outline, outlineRecords, utf8 } from "./csv-outline.ts";
import { readHead } from "./csv-text.ts";

/** Where the table of a CSV file lies, and how it is written, as its first records show. */
export interface Layout extends Dialect {
  /** The names as the file spells them; undefined when the first record is data. */
  header: string[] | undefined;
  headerLine: number | null;
  columns: number;
  /** Lines left out before the header, or before the data when there is none. */
  skipped: { count: number; lines: { line: number; text: string }[] };
  /** Byte offset of the first row of data. */
  dataStart: number;
  /** Its line, from 1. */
  dataLine: number;
  /** The header is the first line of the file, so that DuckDB may skip it. */
  plainStart: boolean;
  /** The first rows of data. */
  sample: Cell[][];
  sampleIsAll: boolean;
  /** Average size of the first records. */
  rowBytes: number;
}

const HEAD_BYTES = 64 * 1024;
const MAX_HEAD_BYTES = 4 * 1024 ** 2;
const HEAD_LINES = 20;
const SAMPLE_CELLS = 100_000;
const MAX_TITLES = 20;
const SHOWN_LINES = 20;
const SHOWN_CHARACTERS = 200;
const DELIMITERS = [",", ";", "\t", "|"];
/** Delimiters for a file of one column: the first that it does not contain is used. */
const UNUSED = [",", ";", "\t", "|", "\u001f", "\u0001"];

/** The head of a file from `offset` on, which is on line `line`. */
interface Start extends Head {
  offset: number;
  line: number;
}

/** One way to read the head. */
interface Reading {
  dialect: Dialect;
  records: Outline[];
  /** Index of the record that begins the table. */
  first: number;
  /** Share of the table's records that have as many fields as the first one. */
  share: number;
}

/**
 * Detects titles, delimiter, quoting and header from the first records. DuckDB's sniffer takes a file with a short row for
 * one column, and years in a header for data. Throws `limit` for too many columns.
 */
export async function readLayout(path: string, source: Source, context: ConvertContext): Promise<Layout> {
  const options = context.csv ?? {};
  const start = await openStart(path, source, options, context.signal);
  const named = options.skipLines === undefined ? sepLine(start) : undefined;
  const from = named?.end ?? bomLength(start);
  const delimiter = options.delimiter ?? named?.delimiter;
  const candidates = delimiter !== undefined ? [delimiter] : (context.delimiters ?? DELIMITERS);
  const reading =
    options.skipLines === undefined
      ? readPastComments(start, from, candidates, options)
      : readFrom(start, from, candidates, { ...options, titles: false });
  return layoutOf(start, reading, source, context);
}

function layoutOf(start: Start, { dialect, records, first }: Reading, source: Source, context: ConvertContext): Layout {
  const [top, ...below] = records.slice(first);
  const columns = (top?.delimiters.length ?? 0) + 1;
  if (columns > MAX_COLUMNS) throw tooManyColumns(source.label);
  if (!top && !start.complete) throw endlessRecord(source.label, start.line);
  if (top && top.end === start.bytes.length && !start.complete)
    throw endlessRecord(source.label, lineAt(start, top.start));
  const cells = (record: Outline): Cell[] => cellsOf(start, record, dialect);
  const sample = below.slice(0, sampledRows(columns)).map(cells);
  const topCells = top ? cells(top) : [{ text: "", quoted: false }];
  const isHeader = decideHeader(topCells, sample, context);
  const topStart = top?.start ?? start.bytes.length;
  if (isHeader) refuseBadBytes(start, top, source.label);
  const dataStart = isHeader && top ? lineEndAfter(start, top.end) : topStart;
  const spansLines = isHeader && top !== undefined && /[\r\n]/.test(start.bytes.slice(top.start, top.end));
  return {
    ...dialect,
    header: isHeader ? topCells.map(({ text }) => text) : undefined,
    headerLine: isHeader ? lineAt(start, topStart) : null,
    columns,
    skipped: skippedLines(start, topStart),
    dataStart: start.offset + dataStart,
    dataLine: lineAt(start, dataStart),
    plainStart: start.offset === 0 && topStart === bomLength(start) && !spansLines,
    sample: isHeader ? sample : [topCells, ...sample],
    sampleIsAll: start.complete && sample.length === below.length && below.length < MAX_RECORDS - MAX_TITLES - 1,
    rowBytes: (records.at(-1)?.end ?? 0) / Math.max(1, records.length),
  };
}

function decideHeader(top: Cell[], sample: Cell[][], { csv, target }: ConvertContext): boolean {
  if (csv?.header !== undefined) return csv.header;
  const known = target?.columns.map(({ name }) => name) ?? [];
  const names = new Set(top.map(({ text }) => foldedName(text.trim())));
  if (known.length > 0 && known.every((name) => names.has(foldedName(name)))) return true;
  return judgeHeader(top, sample).header;
}

/** Reads some records from the line on that follows the skipped ones. */
async function openStart(
  path: string,
  source: Source,
  { skipLines = 0 }: CsvOptions,
  signal: AbortSignal | undefined,
): Promise<Start> {
  const offset = skipLines === 0 ? 0 : await offsetOfLine(path, skipLines + 1, signal);
  if (offset === undefined) {
    throw new LakeError("invalid", `${source.label} ends before line ${skipLines + 1}. Nothing was ingested.`, {
      hint: next`Give a smaller ${argument("skip_lines")}.`,
      facts: { argument: "skip_lines" },
    });
  }
  for (let length = HEAD_BYTES; ; length *= 4) {
    const head = await readHead(path, Math.min(length, MAX_HEAD_BYTES), offset);
    const bytes = head.toString("latin1");
    const complete = head.length < Math.min(length, MAX_HEAD_BYTES);
    const lines = bytes.match(/(?:^|[\r\n])[^#\s]/g)?.length ?? 0;
    if (lines >= HEAD_LINES || complete || length >= MAX_HEAD_BYTES) {
      return { bytes, complete, offset, line: skipLines + 1 };
    }
  }
}

/** The first line `sep=;`, with which a file tells Excel its delimiter. */
function sepLine(start: Start): { delimiter: string; end: number } | undefined {
  const [line, delimiter = ""] =
    /^(?:\xef\xbb\xbf)?"?sep=(\\t|[^"\r\n])"?[,;\t|]*(?:\r\n|\r|\n|$)/i.exec(start.bytes) ?? [];
  return line === undefined ? undefined : { delimiter: delimiter === "\\t" ? "\t" : delimiter, end: line.length };
}

/**
 * Lines that begin with `#` at the start of the file are comments. The last of them is the header, though, when it has a
 * name for each column and the line below it has none.
 */
function readPastComments(start: Start, from: number, delimiters: readonly string[], options: CsvOptions): Reading {
  let comments = 0;
  let lastComment: number | undefined;
  let at = from;
  for (let end = lineEnd(start, at); end !== undefined; end = lineEnd(start, at)) {
    const line = start.bytes.slice(at, end);
    if (/^#(?:[\s#!%]|$)/.test(line)) {
      comments++;
      lastComment = at;
    } else if (line.trim() !== "") break;
    at = end;
  }
  if (at >= start.bytes.length) return readFrom(start, from, delimiters, { ...options, titles: true });
  const after = readFrom(start, at, delimiters, { ...options, titles: true });
  const [top] = after.records.slice(after.first);
  if (comments === 0 || lastComment === undefined || !top || after.first > 0) return after;
  const [comment] = outlineRecords(start, lastComment, after.dialect);
  const width = top.delimiters.length;
  if (!comment || width === 0 || comment.delimiters.length !== width) return after;
  const below = after.records.slice(after.first, 50).map((record) => cellsOf(start, record, after.dialect));
  const names = cellsOf(start, comment, after.dialect);
  const [row = [], ...rest] = below;
  if (judgeHeader(row, rest).certain || !judgeHeader(names, below).header) return after;
  return { ...after, records: outlineRecords(start, lastComment, after.dialect) };
}

/** The reading in which the largest share of records has as many fields as the first one, if these are several. */
function readFrom(
  start: Start,
  from: number,
  delimiters: readonly string[],
  options: CsvOptions & { titles: boolean },
): Reading {
  const at = from + (/^(?:[ \t]*(?:\r\n|\r|\n))+/.exec(start.bytes.slice(from))?.[0].length ?? 0);
  const escapes = start.bytes.includes('\\"') ? ['"', "\\"] : ['"'];
  let best: Reading | undefined;
  for (const delimiter of delimiters.filter((candidate) => start.bytes.includes(candidate, at))) {
    for (const escapedBy of escapes) {
      const reading = readAs(start, at, { delimiter, quote: '"', escapedBy }, options);
      if (!reading) continue;
      const fields = fieldsOf(reading);
      if (!best || reading.share > best.share || (reading.share === best.share && fields > fieldsOf(best)))
        best = reading;
    }
  }
  if (best) return best;
  const unused = UNUSED.find((candidate) => !start.bytes.includes(candidate)) ?? ",";
  const delimiter = delimiters.length === 1 ? (delimiters[0] ?? unused) : unused;
  const dialect = { delimiter, quote: '"', escapedBy: '"' };
  return { dialect, records: outlineRecords(start, at, dialect), first: 0, share: 0 };
}

function fieldsOf({ records, first }: Reading): number {
  return records[first]?.delimiters.length ?? 0;
}

function readAs(
  start: Start,
  at: number,
  dialect: Dialect,
  options: CsvOptions & { titles: boolean },
): Reading | undefined {
  const records = outlineRecords(start, at, dialect);
  const first = options.titles && options.header !== false ? countTitles(start, records, dialect) : 0;
  const fields = records[first]?.delimiters.length ?? 0;
  if (fields === 0) return undefined;
  const rest = records.slice(first);
  const good = rest.filter((record) => record.delimiters.length === fields && record.wellQuoted);
  return { dialect, records, first, share: good.length / rest.length };
}

/**
 * Counts the titles before the table: records of another width, or with one filled cell at most. They are titles only
 * where a certain header follows, or where each is a lone text.
 */
function countTitles(start: Start, records: Outline[], dialect: Dialect): number {
  const width = mostCommonWidth(records);
  if (width < 2) return 0;
  const filledIn = (record: Outline): number => cellsOf(start, record, dialect).filter((cell) => !isBlank(cell)).length;
  const isTitle = (record: Outline): boolean =>
    record.delimiters.length + 1 !== width || filledIn(record) <= (width > 2 ? 1 : 0);
  const first = records.findIndex((record) => !isTitle(record));
  if (first <= 0 || first > MAX_TITLES || records.length - first < 2) return 0;
  const titles = records.slice(0, first);
  const [top = [], ...below] = records
    .slice(first, first + sampledRows(width))
    .map((record) => cellsOf(start, record, dialect));
  const { header, certain } = judgeHeader(top, below);
  if (certain || (width > 2 && titles.every((title) => isLoneText(start, title)))) return first;
  // Two parts around a comma are as likely a sentence.
  const prose = dialect.delimiter === "," && width === 2 && records.some((record) => hasSpaceAfter(start, record));
  return header && !prose && titles.every((record) => filledIn(record) <= 1) ? first : 0;
}

/** A record without any usual delimiter, which is no row of a table with three columns and more. */
function isLoneText({ bytes }: Start, { start, end }: Outline): boolean {
  const text = bytes.slice(start, end);
  return !DELIMITERS.some((delimiter) => text.includes(delimiter));
}

function hasSpaceAfter({ bytes }: Start, { delimiters: [delimiter] }: Outline): boolean {
  return delimiter !== undefined && bytes[delimiter + 1] === " ";
}

function mostCommonWidth(records: Outline[]): number {
  const counts = new Map<number, number>();
  for (const { delimiters } of records) counts.set(delimiters.length + 1, (counts.get(delimiters.length + 1) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1] || b[0] - a[0])[0]?.[0] ?? 1;
}

function sampledRows(columns: number): number {
  return Math.max(5, Math.floor(SAMPLE_CELLS / columns));
}

/** Throws `invalid` for a header that is not UTF-8. DuckDB checks only rows. */
function refuseBadBytes(start: Start, top: Outline | undefined, label: string): void {
  if (!top) return;
  const bytes = Buffer.from(start.bytes.slice(top.start, top.end), "latin1");
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    const line = lineAt(start, top.start);
    throw new LakeError(
      "invalid",
      `${label}, line ${line}: the header has bytes that are not UTF-8. Nothing was ingested.`,
      {
        hint: next`Repair it, or name the encoding of the file, as in ${argument("encoding", "windows-1252")}.`,
        facts: { line },
        cause,
      },
    );
  }
}

function skippedLines(start: Start, end: number): Layout["skipped"] {
  const texts = start.bytes
    .slice(bomLength(start), end)
    .split(/\r\n|\r|\n/)
    .slice(0, -1);
  const lines = texts.flatMap((text, index) =>
    text.trim() === "" ? [] : [{ line: start.line + index, text: utf8(text).slice(0, SHOWN_CHARACTERS) }],
  );
  return { count: start.line - 1 + texts.length, lines: lines.slice(0, SHOWN_LINES) };
}

function lineAt(start: Start, at: number): number {
  return start.line + (start.bytes.slice(0, at).match(/\r\n|\r|\n/g)?.length ?? 0);
}

/** Offset behind the line end that follows `at`; undefined when the head has none. */
function lineEnd(start: Start, at: number): number | undefined {
  const { bytes } = start;
  let end = at;
  while (end < bytes.length && bytes[end] !== "\n" && bytes[end] !== "\r") end++;
  return end < bytes.length ? lineEndAfter(start, end) : undefined;
}

function lineEndAfter({ bytes }: Start, end: number): number {
  return end + (/^(?:\r\n|\r|\n)/.exec(bytes.slice(end, end + 2))?.[0].length ?? 0);
}

function bomLength({ bytes, offset }: Start): number {
  return offset === 0 && bytes.startsWith("\xef\xbb\xbf") ? 3 : 0;
}

function tooManyColumns(label: string): LakeError {
  return new LakeError("limit", `${label} has more than ${MAX_COLUMNS} columns, the most a CSV may have.`, {
    hint: next`Check its ${argument("delimiter")}; a table this wide is better stored as rows of name and value.`,
    facts: { limit: MAX_COLUMNS },
  });
}

function endlessRecord(label: string, line: number): LakeError {
  return new LakeError("limit", `${label}, line ${line}: no record ends in ${MAX_HEAD_BYTES} bytes.`, {
    hint: next`Check its quotes and its line ends; ${argument("skip_lines")} leaves out lines before the table.`,
    facts: { line },
  });
}

/** The layout with names and candidate types, which no value has been checked against yet. */
export interface Sniffed extends Layout {
  names: string[];
  renamed: { from: string; to: string }[];
  /** DuckDB types by column, as its sample shows. */
  types: string[];
  /** How dates are written, for strptime; null when no column is one. */
  dateFormat: string | null;
  timestampFormat: string | null;
}
