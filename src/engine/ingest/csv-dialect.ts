import { type Connection, literal, literalList } from "../duckdb/duckdb.ts";
import type { Dialect } from "./csv-lines.ts";
import { dialectOptions } from "./csv-read.ts";
import { isDamage, isTooLong } from "./csv-rejects.ts";
import { readHead } from "./csv-text.ts";
import { NULL_SPELLINGS } from "./csv-types.ts";
import type { Format } from "./types.ts";

/** What a CSV file looks like, before its values are looked at. */
export interface Sniffed extends Dialect {
  header: boolean;
  names: string[];
  renamed: { from: string; to: string }[];
  /** A DuckDB type for each column that fits the rows DuckDB sampled, and for dates how they are written. */
  types: string[];
  dateFormat: string | null;
  timestampFormat: string | null;
  /** Average over the first records. */
  rowBytes: number;
}

const HEAD_BYTES = 64 * 1024;
const MAX_HEADER_BYTES = 4 * 1024 ** 2;
const HEAD_RECORDS = 100;
const [LF, CR, SPACE] = [0x0a, 0x0d, 0x20];
const DELIMITERS = [",", ";", "\t", "|"];
/** Delimiters for one column of text: the first one that the text does not have. */
const UNUSED = [",", ";", "\t", "|", "\u001f", "\u0001"];

/**
 * Finds delimiter, quoting, header and candidate types. The delimiter comes from the first records and not from DuckDB,
 * whose sniffer, at the first short row, calls the file one column wide rather than damaged.
 */
export async function sniffCsv(
  connection: Connection,
  path: string,
  format: Format,
  bufferOptions: string[],
  signal: AbortSignal | undefined,
): Promise<Sniffed> {
  const head = await readFirstRecords(path);
  const dialect = chooseDialect(head, format);
  const records = outlineRecords(head, dialect);
  const first = records[0] ? fieldsOf(head, records[0], dialect) : [""];
  const sniffed = await sniffTypes(connection, path, dialect, first.length, bufferOptions, signal);
  const { names, renamed } = sniffed.header
    ? uniqueNames(first)
    : { names: first.map((_, index) => `column${index}`), renamed: [] };
  const rowBytes = (records.at(-1)?.end ?? 0) / Math.max(1, records.length);
  return { ...dialect, ...sniffed, names, renamed, rowBytes };
}

async function readFirstRecords(path: string): Promise<string> {
  for (let length = HEAD_BYTES; ; length *= 4) {
    const head = await readHead(path, Math.min(length, MAX_HEADER_BYTES));
    const text = new TextDecoder().decode(head);
    if (/[\r\n]/.test(text.trimStart()) || head.length < length || length >= MAX_HEADER_BYTES) return text;
  }
}

/** The dialect in which most of the first records have as many fields as the first one, if that is more than one. */
function chooseDialect(head: string, format: Format): Dialect {
  const escapes = head.includes('\\"') ? ['"', "\\"] : ['"'];
  let best: { dialect: Dialect; share: number; fields: number } | undefined;
  for (const delimiter of (format === "tsv" ? ["\t"] : DELIMITERS).filter((candidate) => head.includes(candidate))) {
    for (const escapedBy of escapes) {
      const dialect = { delimiter, quote: '"', escapedBy };
      const records = outlineRecords(head, dialect);
      const fields = records[0]?.delimiters.length ?? 0;
      const good = records.filter((record) => record.delimiters.length === fields && record.wellQuoted);
      const share = good.length / records.length;
      if (fields === 0) continue;
      if (!best || share > best.share || (share === best.share && fields > best.fields))
        best = { dialect, share, fields };
    }
  }
  if (best) return best.dialect;
  const unused = UNUSED.find((delimiter) => !head.includes(delimiter)) ?? ",";
  return { delimiter: format === "tsv" ? "\t" : unused, quote: '"', escapedBy: '"' };
}

/** Where a record and its fields lie in the text; their contents are looked at only for the first. */
interface Outline {
  start: number;
  end: number;
  delimiters: number[];
  /** Nothing follows a closing quote. */
  wellQuoted: boolean;
}

/**
 * The first records by RFC 4180 with a free delimiter. Blank lines are no records, nor is one that the head cuts off,
 * unless it is the first.
 */
function outlineRecords(text: string, dialect: Dialect): Outline[] {
  const [quote, escapedBy, delimiter] = codesOf(dialect);
  const records: Outline[] = [];
  let record: Outline = { start: text.startsWith("\ufeff") ? 1 : 0, end: 0, delimiters: [], wellQuoted: true };
  let state: "start" | "plain" | "quoted" | "closed" = "start";
  const endRecord = (end: number): void => {
    if (end > record.start) records.push({ ...record, end });
    record = { start: end + 1, end, delimiters: [], wellQuoted: true };
    state = "start";
  };
  let at = record.start;
  for (; at < text.length && records.length < HEAD_RECORDS; at++) {
    const code = text.charCodeAt(at);
    if (state === "quoted") {
      if (code === escapedBy && text.charCodeAt(at + 1) === quote) at++;
      else if (code === quote) state = "closed";
    } else if (code === delimiter) {
      record.delimiters.push(at);
      state = "start";
    } else if (code === LF || code === CR) endRecord(at);
    else if (code === quote && state === "start") state = "quoted";
    else if (code !== SPACE) {
      if (state === "closed") record.wellQuoted = false;
      else state = "plain";
    }
  }
  if (records.length === 0 || (at >= text.length && text.length < HEAD_BYTES)) endRecord(text.length);
  return records;
}

function codesOf({ quote, escapedBy, delimiter }: Dialect): [number, number, number] {
  return [quote.charCodeAt(0), escapedBy.charCodeAt(0), delimiter.charCodeAt(0)];
}

function fieldsOf(text: string, { start, end, delimiters }: Outline, { quote, escapedBy }: Dialect): string[] {
  const ends = [...delimiters, end];
  return ends.map((to, index) => {
    const cell = text.slice(index === 0 ? start : (ends[index - 1] ?? 0) + 1, to).trim();
    if (!cell.startsWith(quote)) return cell;
    return cell.slice(1, cell.endsWith(quote) ? -1 : undefined).replaceAll(escapedBy + quote, quote);
  });
}

interface SniffRow {
  HasHeader: boolean;
  Columns: { name: string; type: string }[];
  DateFormat: string | null;
  TimestampFormat: string | null;
}

async function sniffTypes(
  connection: Connection,
  path: string,
  dialect: Dialect,
  columns: number,
  bufferOptions: string[],
  signal: AbortSignal | undefined,
): Promise<Pick<Sniffed, "header" | "types" | "dateFormat" | "timestampFormat">> {
  const options = [
    ...dialectOptions(dialect),
    "comment = ''",
    "skip = 0",
    `nullstr = ${literalList(nullStrings())}`,
    ...bufferOptions,
  ];
  // With damaged rows in the sample the strict sniffer gives up; what is wrong with them is for the conversion to say.
  for (const lenient of [[], ["ignore_errors = true"]]) {
    try {
      const call = `sniff_csv(${[literal(path), ...options, ...lenient].join(", ")})`;
      const [row] = await connection.rows<SniffRow>(`FROM ${call}`, { signal });
      if (row?.Columns.length !== columns) continue;
      return {
        header: row.HasHeader,
        types: row.Columns.map(({ type }) => type),
        dateFormat: row.DateFormat,
        timestampFormat: row.TimestampFormat,
      };
    } catch (error) {
      if (!isDamage(error) && !isTooLong(error)) throw error;
    }
  }
  return { header: true, types: Array(columns).fill("VARCHAR"), dateFormat: null, timestampFormat: null };
}

/** The sniffer compares exactly, so it gets every spelling that one meets. */
function nullStrings(): string[] {
  const capitalised = NULL_SPELLINGS.map((text) => text.slice(0, 1).toUpperCase() + text.slice(1));
  return [...new Set([...NULL_SPELLINGS, ...NULL_SPELLINGS.map((text) => text.toUpperCase()), ...capitalised, "NaN"])];
}

/** Names that SQL can hold and tell apart: it ignores case. */
function uniqueNames(cells: string[]): { names: string[]; renamed: { from: string; to: string }[] } {
  const originals = cells.map((cell) => cell.trim());
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what has to go
  const wanted = originals.map((name) => name.replace(/[\x00-\x1f\x7f]+/g, " ").trim());
  const taken = new Set<string>();
  const reserved = new Set(wanted.map((name) => name.toLowerCase()));
  const renamed: { from: string; to: string }[] = [];
  const names = wanted.map((plain, index) => {
    const base = plain === "" ? `column${index}` : plain;
    let name = base;
    for (
      let suffix = 1;
      taken.has(name.toLowerCase()) || (name !== plain && reserved.has(name.toLowerCase()));
      suffix++
    ) {
      name = `${base}_${suffix}`;
    }
    taken.add(name.toLowerCase());
    const from = originals[index] ?? "";
    if (name !== from) renamed.push({ from, to: name });
    return name;
  });
  return { names, renamed };
}
