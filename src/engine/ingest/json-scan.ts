import { isUtf8 } from "node:buffer";
import { KINDS, type Kind, numberKind, stringKind } from "./json-kinds.ts";

/** Something that is not the JSON it should be, at a line and a column (in bytes), both from 1. */
export class JsonFault extends Error {
  readonly line: number;
  readonly column: number;

  constructor(reason: string, line: number, column: number) {
    super(reason);
    this.line = line;
    this.column = column;
  }
}

/** A stretch of input, and where it lies. Scanning moves `at`, `line` and `lineStart`. */
export interface Window {
  bytes: Buffer;
  /** The next byte to look at; `end` is the first that has not been read yet. */
  at: number;
  end: number;
  /** Whether nothing follows `end`. */
  final: boolean;
  line: number;
  /** Index of the first byte of the line; negative when the line began before the window. */
  lineStart: number;
}

/** What is known about the values under one top-level key. */
export interface ColumnSurvey {
  key: string;
  /** How many values are of each kind, in the order of `KINDS`; null is none of them. */
  counts: number[];
  /** The first value of each kind. */
  first: (Example | null)[];
  /** Nested values hold integers that DOUBLE would round. */
  nestedBigint: boolean;
  /** Nested values hold numbers that had to become strings. */
  nestedNumber: Example | null;
}

export interface Example {
  line: number;
  value: string;
}

export interface Scanner {
  readonly columns: ColumnSurvey[];
  /**
   * Reads the object at `window.at` and appends it to `output` on one line, its keys replaced by `c0`, `c1`…, and
   * numbers that DuckDB would round as strings. False when the window ends before the object does: nothing has happened
   * then. Throws `JsonFault`, or `TooManyKeys`.
   */
  record(window: Window, output: Output, oneLine: boolean): boolean;
}

export class TooManyKeys extends Error {}

const MAX_DEPTH = 200;
const EXAMPLE_BYTES = 80;
const [TAB, NEWLINE, RETURN, SPACE, QUOTE, COMMA, MINUS, COLON, BACKSLASH] = [9, 10, 13, 32, 34, 44, 45, 58, 92];
const [OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [91, 93, 123, 125];
const LITERALS = ["true", "false", "null", "NaN", "Infinity", "-Infinity"].map((text) => Buffer.from(text));
const KIND_INDEX = new Map(KINDS.map((kind, index) => [kind, index]));

/** The window ended inside a record. */
const MORE = Symbol("more");

/**
 * `verbatim` are keys whose numbers are to be kept as they are written, as strings; beyond `maxKeys` different keys it
 * throws `TooManyKeys`. With `whole`, records are not taken apart: each is the value of one column.
 */
export function createScanner(options: { verbatim: ReadonlySet<string>; maxKeys: number; whole: boolean }): Scanner {
  const columns: ColumnSurvey[] = [];
  const byKey = new Map<string, number>();
  /** Number of the record that last had the column. */
  const lastSeen: number[] = [];
  let records = 0;

  const columnOf = (key: string): number => {
    const known = byKey.get(key);
    if (known !== undefined) return known;
    if (columns.length >= options.maxKeys) throw new TooManyKeys();
    byKey.set(key, columns.length);
    const counts = KINDS.map(() => 0);
    columns.push({ key, counts, first: KINDS.map(() => null), nestedBigint: false, nestedNumber: null });
    return columns.length - 1;
  };

  const readRecord = (window: Window, output: Output, oneLine: boolean): void => {
    const start = window.at;
    const seen: { index: number; kind: Kind; line: number; value: string }[] = [];
    const nested: Nested = { bigint: false, number: null };
    if (options.whole) {
      output.text('{"c0":');
      skimNested(window, output, oneLine, nested);
      const column = columnOf("json");
      seen.push({ index: column, kind: "NESTED", line: window.line, value: example(window, start) });
      note(column, nested);
    } else {
      let separator = "{";
      expect(window, OPEN_OBJECT, "an object");
      skipSpace(window, oneLine);
      const empty = peek(window) === CLOSE_OBJECT;
      if (empty) output.text("{");
      while (!empty) {
        const at = window.at;
        if (peek(window) !== QUOTE) throw fault(window, "a key in double quotes is expected");
        const plain = skipString(window);
        const key = keyText(
          window.bytes.toString("latin1", at, window.at),
          plain,
          window.bytes.subarray(at, window.at),
        );
        const index = columnOf(key);
        if (lastSeen[index] === records + 1) throw fault(window, `the key ${quoteShort(key)} appears twice`, at);
        lastSeen[index] = records + 1;
        skipSpace(window, oneLine);
        expect(window, COLON, '":" after a key');
        skipSpace(window, oneLine);
        output.text(`${separator}"c${index}":`);
        separator = ",";
        const line = window.line;
        const from = window.at;
        nested.bigint = false;
        nested.number = null;
        const kind = readValue(window, output, oneLine, nested, options.verbatim.has(key));
        if (kind !== undefined) {
          const isFirst = columns[index]?.first[kindIndex(kind)] === null;
          seen.push({ index, kind, line, value: isFirst ? example(window, from) : "" });
          if (kind === "NESTED") note(index, nested);
        }
        skipSpace(window, oneLine);
        const next = peek(window);
        if (next === CLOSE_OBJECT) break;
        expect(window, COMMA, '"," or "}" after a value');
        skipSpace(window, oneLine);
      }
      window.at += 1;
    }
    if (oneLine) skipLineEnd(window);
    checkUtf8(window, start);
    // The record is good: only now does it count.
    for (const { index, kind, line, value } of seen) {
      const column = columns[index];
      const of = kindIndex(kind);
      if (!column) continue;
      column.counts[of] = (column.counts[of] ?? 0) + 1;
      column.first[of] ??= { line, value };
    }
    records += 1;
    output.text("}\n");
  };

  const note = (index: number, nested: Nested): void => {
    const column = columns[index];
    if (!column) return;
    column.nestedBigint ||= nested.bigint;
    column.nestedNumber ??= nested.number;
  };

  return {
    columns,
    record(window, output, oneLine) {
      const { at, line, lineStart } = window;
      const length = output.length;
      const known = columns.length;
      try {
        readRecord(window, output, oneLine);
        return true;
      } catch (error) {
        output.length = length;
        // The record does not count: neither do its keys, which would look repeated when it is read again.
        for (const { key } of columns.splice(known)) byKey.delete(key);
        for (const [index, record] of lastSeen.entries()) if (record === records + 1) lastSeen[index] = 0;
        if (error !== MORE) throw error;
        Object.assign(window, { at, line, lineStart });
        return false;
      }
    },
  };
}

/** Moves over whitespace, to the end of the window at most. With `oneLine`, a line break is a fault. */
export function skipSpace(window: Window, oneLine = false): void {
  const { bytes, end } = window;
  for (; window.at < end; window.at += 1) {
    const byte = bytes[window.at];
    if (byte === NEWLINE) {
      if (oneLine) throw fault(window, "the line ends before its object does");
      window.line += 1;
      window.lineStart = window.at + 1;
    } else if (byte !== SPACE && byte !== TAB && byte !== RETURN) return;
  }
}

/** Moves to the end of the line, where only spaces may be. */
function skipLineEnd(window: Window): void {
  const { bytes, end } = window;
  while (window.at < end && [SPACE, TAB, RETURN].includes(bytes[window.at] ?? 0)) window.at += 1;
  if (window.at === end && !window.final) throw MORE;
  if (window.at < end && bytes[window.at] !== NEWLINE) throw fault(window, "something follows the object on its line");
}

/** A fault at `at`, by default the next byte. */
export function fault(window: Window, reason: string, at: number = window.at): JsonFault {
  return new JsonFault(reason, window.line, at - window.lineStart + 1);
}

/** Bytes on their way to a file, with the means to take back the last of them. */
export interface Output {
  bytes: Buffer;
  length: number;
  text(text: string): void;
  copy(from: Buffer, start: number, end: number): void;
}

export function createOutput(): Output {
  const output: Output = {
    bytes: Buffer.allocUnsafe(1024 ** 2),
    length: 0,
    text(text) {
      reserve(text.length);
      output.length += output.bytes.write(text, output.length, "latin1");
    },
    copy(from, start, end) {
      reserve(end - start);
      output.length += from.copy(output.bytes, output.length, start, end);
    },
  };
  const reserve = (count: number): void => {
    if (output.length + count <= output.bytes.length) return;
    const grown = Buffer.allocUnsafe(Math.max(output.bytes.length * 2, output.length + count));
    output.bytes.copy(grown, 0, 0, output.length);
    output.bytes = grown;
  };
  return output;
}

interface Nested {
  bigint: boolean;
  number: Example | null;
}

/** Copies one value and says what it is; undefined is null. */
function readValue(
  window: Window,
  output: Output,
  oneLine: boolean,
  nested: Nested,
  verbatim: boolean,
): Kind | undefined {
  const start = window.at;
  const byte = peek(window);
  if (byte === QUOTE) {
    const plain = skipString(window);
    output.copy(window.bytes, start, window.at);
    const length = window.at - start - 2;
    return plain && length >= 10 && length <= 32
      ? stringKind(window.bytes.toString("latin1", start + 1, window.at - 1))
      : "VARCHAR";
  }
  if (byte === OPEN_OBJECT || byte === OPEN_LIST) {
    skimNested(window, output, oneLine, nested);
    return "NESTED";
  }
  const kind = skipScalar(window);
  const quoted = kind === "NUMBER" || (verbatim && kind !== undefined && kind !== "BOOLEAN");
  if (quoted) output.text('"');
  output.copy(window.bytes, start, window.at);
  if (quoted) output.text('"');
  return kind;
}

/** Copies an object or list of any depth. */
function skimNested(window: Window, output: Output, oneLine: boolean, nested: Nested): void {
  const { bytes } = window;
  const open: number[] = [];
  let copied = window.at;
  let expectsValue = true;
  const space = (): void => {
    const before = window.line;
    skipSpace(window, oneLine);
    if (window.line === before) return;
    // The line breaks go: what DuckDB reads has one record a line.
    output.copy(bytes, copied, lastNonSpace(bytes, window.at));
    copied = window.at;
  };
  const key = (): void => {
    if (peek(window) !== QUOTE) throw fault(window, "a key in double quotes is expected");
    skipString(window);
    space();
    expect(window, COLON, '":" after a key');
    space();
  };
  for (;;) {
    const byte = peek(window);
    if (expectsValue) {
      expectsValue = false;
      if (byte === OPEN_OBJECT || byte === OPEN_LIST) {
        if (open.length >= MAX_DEPTH) throw fault(window, `it nests deeper than ${MAX_DEPTH} levels`);
        open.push(byte + 2);
        window.at += 1;
        space();
        if (peek(window) === byte + 2) continue;
        if (byte === OPEN_OBJECT) key();
        expectsValue = true;
        continue;
      }
      if (byte === QUOTE) skipString(window);
      else {
        const start = window.at;
        const kind = skipScalar(window);
        if (kind === "BIGINT") nested.bigint = true;
        if (kind === "NUMBER") {
          nested.number ??= { line: window.line, value: example(window, start) };
          output.copy(bytes, copied, start);
          output.text('"');
          output.copy(bytes, start, window.at);
          output.text('"');
          copied = window.at;
        }
      }
    } else if (byte === open.at(-1)) {
      window.at += 1;
      open.pop();
      if (open.length === 0) break;
    } else {
      expect(window, COMMA, `"," or "${open.at(-1) === CLOSE_LIST ? "]" : "}"}" after a value`);
      space();
      if (open.at(-1) === CLOSE_OBJECT) key();
      expectsValue = true;
      continue;
    }
    if (open.length > 0) space();
  }
  output.copy(bytes, copied, window.at);
}

function lastNonSpace(bytes: Buffer, end: number): number {
  let at = end;
  while (at > 0 && [SPACE, TAB, NEWLINE, RETURN].includes(bytes[at - 1] ?? 0)) at -= 1;
  return at;
}

/** Moves over a string. True when it has no escapes. */
function skipString(window: Window): boolean {
  const { bytes, end } = window;
  let plain = true;
  for (let at = window.at + 1; at < end; at += 1) {
    const byte = bytes[at] ?? 0;
    if (byte === QUOTE) {
      window.at = at + 1;
      return plain;
    }
    if (byte === BACKSLASH) {
      plain = false;
      at = skipEscape(window, at);
    } else if (byte < SPACE) {
      throw fault(window, `a string holds the raw control character 0x${byte.toString(16).padStart(2, "0")}`, at);
    }
  }
  return outOfInput(window, "a string has no end");
}

/** Index of the last byte of the escape that begins at `at`. */
function skipEscape(window: Window, at: number): number {
  const { bytes, end } = window;
  if (at + 12 > end && !window.final) throw MORE;
  if ('"\\/bfnrt'.includes(String.fromCharCode(bytes[at + 1] ?? 0)) && at + 1 < end) return at + 1;
  const unit = escapedUnit(window, at);
  if (unit >= 0xdc00 && unit <= 0xdfff) throw fault(window, "half of a surrogate pair", at);
  if (unit < 0xd800 || unit > 0xdbff) return at + 5;
  const low = bytes[at + 6] === BACKSLASH ? escapedUnit(window, at + 6) : 0;
  if (low < 0xdc00 || low > 0xdfff) throw fault(window, "half of a surrogate pair", at);
  return at + 11;
}

function escapedUnit(window: Window, at: number): number {
  const text = window.bytes.toString("latin1", at, Math.min(window.end, at + 6));
  if (!/^\\u[0-9a-fA-F]{4}$/.test(text)) throw fault(window, "an escape that JSON does not have", at);
  return Number.parseInt(text.slice(2), 16);
}

/** Moves over a number, `true`, `false` or `null`; `NaN` and the infinities are let through, as many writers emit them. */
function skipScalar(window: Window): Kind | undefined {
  const { bytes, end } = window;
  const start = window.at;
  let at = start;
  while (at < end && isScalarByte(bytes[at] ?? 0)) at += 1;
  if (at === end && !window.final) throw MORE;
  const first = bytes[start] ?? 0;
  if (at > start && ((first >= 48 && first <= 57) || (first === MINUS && bytes[start + 1] !== 73))) {
    const text = bytes.toString("latin1", start, at);
    if (!/^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/.test(text)) throw fault(window, "a number that is not JSON");
    window.at = at;
    return at - start <= 15 && /^-?\d+$/.test(text) ? "INTEGER" : numberKind(text);
  }
  const literal = LITERALS.findIndex((text) => text.length === at - start && text.compare(bytes, start, at) === 0);
  if (literal === -1) throw fault(window, at === end ? "the file ends inside a record" : "a value is expected");
  window.at = at;
  return literal < 2 ? "BOOLEAN" : literal === 2 ? undefined : "DOUBLE";
}

/** Letters, digits and `+-.`: what numbers and literals are made of. */
function isScalarByte(byte: number): boolean {
  return (
    (byte >= 48 && byte <= 57) ||
    (byte >= 97 && byte <= 122) ||
    byte === 46 ||
    byte === 45 ||
    byte === 43 ||
    (byte >= 65 && byte <= 90)
  );
}

function peek(window: Window): number {
  if (window.at >= window.end) return outOfInput(window, "the file ends inside a record");
  return window.bytes[window.at] ?? 0;
}

function expect(window: Window, byte: number, what: string): void {
  if (peek(window) !== byte) throw fault(window, `${what} is expected`);
  window.at += 1;
}

function outOfInput(window: Window, reason: string): never {
  if (!window.final) throw MORE;
  throw fault(window, reason);
}

function checkUtf8(window: Window, start: number): void {
  const { bytes, at } = window;
  if (isUtf8(bytes.subarray(start, at))) return;
  let good = start;
  for (let step = at - start; step >= 1; step = Math.floor(step / 2)) {
    while (good + step <= at && isUtf8(bytes.subarray(good, good + step))) good += step;
  }
  // The steps end at a character of several bytes at the latest.
  for (let size = 1; size <= 4; size += 1) {
    if (good + size > at || !isUtf8(bytes.subarray(good, good + size))) continue;
    good += size;
    size = 0;
  }
  throw fault(window, "a byte that is not UTF-8", good);
}

function keyText(raw: string, plain: boolean, bytes: Buffer): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: ASCII is what it tests for
  return plain && /^[\x00-\x7f]*$/.test(raw) ? raw.slice(1, -1) : String(JSON.parse(bytes.toString("utf8")));
}

function kindIndex(kind: Kind): number {
  return KIND_INDEX.get(kind) ?? 0;
}

function example(window: Window, start: number): string {
  const text = window.bytes.subarray(start, Math.min(window.at, start + EXAMPLE_BYTES)).toString("utf8");
  return text.replace(/^"(.*?)"?$/s, "$1");
}

function quoteShort(text: string): string {
  return JSON.stringify(text.length > EXAMPLE_BYTES ? `${text.slice(0, EXAMPLE_BYTES)}…` : text);
}
