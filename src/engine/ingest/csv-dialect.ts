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

const HEAD_BYTES = 256 * 1024;
const MAX_HEADER_BYTES = 4 * 1024 ** 2;
const HEAD_RECORDS = 100;
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
  const first = parseRecords(head, dialect, 1)[0]?.fields ?? [""];
  const sniffed = await sniffTypes(connection, path, dialect, first.length, bufferOptions, signal);
  const { names, renamed } = sniffed.header
    ? uniqueNames(first)
    : { names: first.map((_, index) => `column${index}`), renamed: [] };
  const rowBytes = Buffer.byteLength(head) / Math.max(1, parseRecords(head, dialect, Number.POSITIVE_INFINITY).length);
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
  for (const delimiter of format === "tsv" ? ["\t"] : DELIMITERS) {
    for (const escapedBy of escapes) {
      const dialect = { delimiter, quote: '"', escapedBy };
      const records = parseRecords(head, dialect, HEAD_RECORDS);
      const fields = records[0]?.fields.length ?? 0;
      const good = records.filter((record) => record.fields.length === fields && record.wellQuoted);
      const share = good.length / Math.max(records.length, 1);
      if (fields < 2) continue;
      if (!best || share > best.share || (share === best.share && fields > best.fields))
        best = { dialect, share, fields };
    }
  }
  if (best) return best.dialect;
  const unused = UNUSED.find((delimiter) => !head.includes(delimiter)) ?? ",";
  return { delimiter: format === "tsv" ? "\t" : unused, quote: '"', escapedBy: '"' };
}

interface HeadRecord {
  fields: string[];
  /** Nothing follows a closing quote. */
  wellQuoted: boolean;
}

/** RFC 4180 with a free delimiter. Blank lines are no records, nor is an unfinished one at the end of the head. */
function parseRecords(text: string, { delimiter, quote, escapedBy }: Dialect, limit: number): HeadRecord[] {
  const records: HeadRecord[] = [];
  let record: HeadRecord = { fields: [], wellQuoted: true };
  let field = "";
  let state: "plain" | "quoted" | "closed" = "plain";
  let at = text.startsWith("\ufeff") ? 1 : 0;

  const endRecord = (): void => {
    const blank = record.fields.length === 0 && field === "" && state === "plain";
    if (!blank) records.push({ ...record, fields: [...record.fields, field] });
    record = { fields: [], wellQuoted: true };
    field = "";
    state = "plain";
  };
  for (; at < text.length && records.length < limit; at++) {
    const char = text.charAt(at);
    if (state === "quoted") {
      if (char === escapedBy && text.charAt(at + 1) === quote) field += text.charAt(++at);
      else if (char === quote) state = "closed";
      else field += char;
    } else if (char === delimiter) {
      record.fields.push(field);
      field = "";
      state = "plain";
    } else if (char === "\n" || char === "\r") endRecord();
    else if (char === quote && state === "plain" && field.trim() === "") {
      state = "quoted";
      field = "";
    } else {
      if (state === "closed" && char !== " ") record.wellQuoted = false;
      field += char;
    }
  }
  const isWhole = at >= text.length && text.length < HEAD_BYTES && (state as string) !== "quoted";
  if (records.length === 0 || isWhole) endRecord();
  return records;
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
