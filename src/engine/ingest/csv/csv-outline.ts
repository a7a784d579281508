import type { Cell } from "./csv-header.ts";
import type { Dialect } from "./csv-lines.ts";

/** Offsets of a record and its delimiters in the head. */
export interface Outline {
  start: number;
  end: number;
  delimiters: number[];
  /** Nothing follows a closing quote. */
  wellQuoted: boolean;
}

/** The start of a file. */
export interface Head {
  /** Latin-1: one character a byte. */
  bytes: string;
  /** The file is no longer. */
  complete: boolean;
}

/** Most columns of a CSV: with more, DuckDB's state per column exceeds any memory setting. */
export const MAX_COLUMNS = 20_000;
/** Most records of a head that are read. */
export const MAX_RECORDS = 100;
const [LF, CR, SPACE] = [0x0a, 0x0d, 0x20];

/**
 * The first records from `start` on, by RFC 4180 but with any delimiter. Blank lines are no records, nor is a record that
 * the head cuts off, unless it is the first. Fields beyond `MAX_COLUMNS` count as one.
 */
export function outlineRecords({ bytes, complete }: Head, start: number, dialect: Dialect): Outline[] {
  const [quote, escapedBy, delimiter] = codesOf(dialect);
  const records: Outline[] = [];
  let record: Outline = { start, end: start, delimiters: [], wellQuoted: true };
  let state: "start" | "plain" | "quoted" | "closed" = "start";
  const endRecord = (end: number): void => {
    if (end > record.start) records.push({ ...record, end });
    record = { start: end + 1, end, delimiters: [], wellQuoted: true };
    state = "start";
  };
  let at = start;
  for (; at < bytes.length && records.length < MAX_RECORDS; at++) {
    const code = bytes.charCodeAt(at);
    if (state === "quoted") {
      if (code === escapedBy && bytes.charCodeAt(at + 1) === quote) at++;
      else if (code === quote) state = "closed";
    } else if (code === delimiter) {
      if (record.delimiters.length <= MAX_COLUMNS) record.delimiters.push(at);
      state = "start";
    } else if (code === LF || code === CR) endRecord(at);
    else if (code === quote && state === "start") state = "quoted";
    else if (code !== SPACE) {
      if (state === "closed") record.wellQuoted = false;
      else state = "plain";
    }
  }
  if (records.length === 0 || (at >= bytes.length && complete)) endRecord(bytes.length);
  return records;
}

function codesOf({ quote, escapedBy, delimiter }: Dialect): [number, number, number] {
  return [quote.charCodeAt(0), escapedBy.charCodeAt(0), delimiter.charCodeAt(0)];
}

export function cellsOf({ bytes }: Head, { start, end, delimiters }: Outline, dialect: Dialect): Cell[] {
  const { quote, escapedBy } = dialect;
  const ends = [...delimiters, end];
  return ends.map((to, index) => {
    const cell = withoutSpaces(bytes, index === 0 ? start : (ends[index - 1] ?? 0) + 1, to);
    if (!cell.startsWith(quote)) return { text: utf8(cell), quoted: false };
    const inner = cell.slice(1, cell.endsWith(quote) && cell.length > 1 ? -1 : undefined);
    return { text: utf8(inner.replaceAll(escapedBy + quote, quote)), quoted: true };
  });
}

/** By hand: a pattern for spaces at the end takes quadratic time. */
function withoutSpaces(bytes: string, start: number, end: number): string {
  let [from, to] = [start, end];
  while (from < to && bytes.charCodeAt(from) === SPACE) from++;
  while (to > from && bytes.charCodeAt(to - 1) === SPACE) to--;
  return bytes.slice(from, to);
}

/** Decodes bytes that were read as Latin-1. Bytes that are not UTF-8 become U+FFFD, which gets into no name or value. */
export function utf8(bytes: string): string {
  return /^[\0-\x7f]*$/.test(bytes) ? bytes : Buffer.from(bytes, "latin1").toString("utf8");
}
