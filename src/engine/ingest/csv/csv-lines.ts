import { createReadStream } from "node:fs";

/** How a CSV file is written. `quote` and `escapedBy` are one byte each. */
export interface Dialect {
  delimiter: string;
  quote: string;
  escapedBy: string;
}

const LF = 0x0a;
const CR = 0x0d;
const BOM = [0xef, 0xbb, 0xbf];

/** The byte offset at which a line, from 1, starts; undefined where the file ends before. */
export async function offsetOfLine(
  path: string,
  wanted: number,
  signal: AbortSignal | undefined,
): Promise<number | undefined> {
  let offset = 0;
  let line = 1;
  let previous = 0;
  for await (const chunk of createReadStream(path, { signal })) {
    for (const byte of chunk as Buffer) {
      // The LF of a CR LF belongs to the line that the CR ended.
      if (line === wanted && !(byte === LF && previous === CR)) return offset;
      if (byte === CR || (byte === LF && previous !== CR)) line++;
      previous = byte;
      offset++;
    }
  }
  return undefined;
}

/** The line of each byte offset (from 0) of a file that starts on `firstLine`. LF, CR LF and CR end a line. */
export async function linesOfOffsets(
  path: string,
  offsets: readonly number[],
  firstLine: number,
  signal: AbortSignal | undefined,
): Promise<Map<number, number>> {
  const lines = new Map<number, number>();
  const wanted = [...new Set(offsets)].sort((a, b) => a - b);
  let next = wanted.shift();
  let offset = 0;
  let line = firstLine;
  let previous = 0;
  for await (const chunk of createReadStream(path, { signal })) {
    for (const byte of chunk as Buffer) {
      for (; next === offset; next = wanted.shift()) lines.set(offset, line);
      if (next === undefined) return lines;
      if (byte === CR || (byte === LF && previous !== CR)) line++;
      previous = byte;
      offset++;
    }
  }
  for (; next !== undefined; next = wanted.shift()) lines.set(next, line);
  return lines;
}

export interface RecordQuery {
  dialect: Dialect;
  /** Blank lines are records only where there is one column. */
  columns: number;
  /** Numbers of the records whose lines to find, from 0, the header included. */
  ordinals: readonly number[];
  /** Byte offsets of records that are not counted. */
  leftOut?: ReadonlySet<number>;
  /** Line of the source on which the file starts. */
  firstLine: number;
  /** Stops at the last record of `ordinals`; `count` is then that of the records before it. */
  linesOnly?: boolean;
}

export interface Records {
  /** The line, from 1, on which each record of `ordinals` starts. */
  lines: Map<number, number>;
  count: number;
  /** The last record, when its quotes never close. */
  open: { offset: number; line: number } | undefined;
}

/** Counts the records of a file and finds their lines. Quoted fields may span lines. */
export async function scanRecords(
  path: string,
  { dialect, columns, ordinals, leftOut = new Set(), firstLine, linesOnly = false }: RecordQuery,
  signal: AbortSignal | undefined,
): Promise<Records> {
  const lines = new Map<number, number>();
  const [quote, escapedBy] = [dialect.quote.charCodeAt(0), dialect.escapedBy.charCodeAt(0)];
  const delimiter = dialect.delimiter.charCodeAt(0);
  const wanted = new Set(ordinals);
  let offset = 0;
  let line = firstLine;
  let previous = 0;
  let start = 0;
  let startLine = firstLine;
  let blank = true;
  let count = 0;
  let state: "start" | "plain" | "quoted" | "escaped" | "closed" = "start";

  const endRecord = (): void => {
    if ((blank && columns > 1) || leftOut.has(start)) return;
    if (wanted.has(count)) lines.set(count, startLine);
    count++;
  };
  for await (const chunk of createReadStream(path, { signal })) {
    if (linesOnly && lines.size === wanted.size) return { lines, count, open: undefined };
    for (const byte of chunk as Buffer) {
      if (offset < BOM.length && byte === BOM[offset]) {
        offset++;
        continue;
      }
      const endsCrLf = byte === LF && previous === CR;
      const newline = byte === CR || (byte === LF && !endsCrLf);
      if (newline) line++;
      previous = byte;
      offset++;
      if (state === "escaped") state = "quoted";
      else if (state === "quoted") {
        if (byte === quote) state = "closed";
        else if (byte === escapedBy) state = "escaped";
      } else if (endsCrLf) {
        if (blank) start = offset;
      } else if (newline) {
        endRecord();
        start = offset;
        startLine = line;
        blank = true;
        state = "start";
      } else {
        blank = false;
        if (byte === delimiter) state = "start";
        else state = byte === quote && (state === "start" || state === "closed") ? "quoted" : "plain";
      }
    }
  }
  if (!blank) endRecord();
  const isOpen = state === "quoted" || state === "escaped";
  return { lines, count, open: isOpen ? { offset: start, line: startLine } : undefined };
}
