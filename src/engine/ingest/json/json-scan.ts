import {
  type Copy,
  EXAMPLE_BYTES,
  type Example,
  example,
  type Output,
  quoteNumber,
  replace,
  space,
  startsWith,
} from "./json-copy.ts";
import { KIND, KINDS, type KindIndex, stringKind } from "./json-kinds.ts";
import { type Nested, skimNested } from "./json-nested.ts";
import { emptyShape, nestedType, openShapes, type Shape } from "./json-shape.ts";
import type { ColumnSurvey } from "./json-survey.ts";
import {
  CLOSE_OBJECT,
  COLON,
  COMMA,
  checkUtf8,
  expect,
  fault,
  isDigit,
  MINUS,
  MORE,
  OPEN_LIST,
  OPEN_OBJECT,
  peek,
  QUOTE,
  skipLineEnd,
  skipScalar,
  skipString,
  type Window,
} from "./json-tokens.ts";

export interface ScanOptions {
  /** Keys whose numbers are kept as they are written, as strings. */
  verbatim: ReadonlySet<string>;
  /** Calls the keys `c0`, `c1`… */
  rename: boolean;
  /** Does not take records apart: each is the value of one column. */
  whole: boolean;
  /** More different keys are `TooManyKeys`. */
  maxKeys: number;
}

export interface Scanner {
  readonly columns: ColumnSurvey[];
  /**
   * Reads the object at `window.at` and appends it to `output` on one line, with numbers that DuckDB would round as
   * strings. False when the window ends before the object does: nothing has happened then. Throws `JsonFault`, or
   * `TooManyKeys`.
   */
  record(window: Window, output: Output, oneLine: boolean): boolean;
  /** After the last record. */
  finish(): void;
}

export class TooManyKeys extends Error {}

export function createScanner(options: ScanOptions): Scanner {
  const columns: ColumnSurvey[] = [];
  const byKey = new Map<string, number>();
  /** Each column's key as it was first written, quotes included. */
  const written: Buffer[] = [];
  const verbatim: boolean[] = [];
  /** Number of the record that last had the column. */
  const lastSeen: number[] = [];
  /** What the nested values of each column are made of. */
  const nestedShapes: (Shape | undefined)[] = [];
  const shapes = openShapes();
  let records = 0;
  // What the current record adds once it has proved good.
  const seenColumns: number[] = [];
  const seenKinds: KindIndex[] = [];
  let seen = 0;
  let firsts: { column: number; kind: KindIndex; example: Example }[] = [];
  let nestings: { column: number; nested: Nested }[] = [];

  /** Moves over a key and finds its column: most records have their keys in the order of the one before. */
  const readKey = (window: Window, guess: number): number => {
    const expected = written[guess];
    if (expected && startsWith(window, expected)) {
      window.at += expected.length;
      return guess;
    }
    if (peek(window) !== QUOTE) throw fault(window, "a key in double quotes is expected");
    const start = window.at;
    skipString(window);
    const raw = window.bytes.subarray(start, window.at);
    const key = String(JSON.parse(raw.toString("utf8")));
    const known = byKey.get(key);
    return known ?? addColumn(key, Buffer.from(raw));
  };

  const addColumn = (key: string, raw: Buffer): number => {
    if (columns.length >= options.maxKeys) throw new TooManyKeys();
    byKey.set(key, columns.length);
    written.push(raw);
    verbatim.push(options.verbatim.has(key));
    lastSeen.push(0);
    nestedShapes.push(options.whole ? undefined : emptyShape());
    return (
      columns.push({
        key,
        counts: KINDS.map(() => 0),
        first: KINDS.map(() => null),
        nestedBigint: false,
        nestedNumber: null,
        nestedKey: null,
        nestedType: "JSON",
      }) - 1
    );
  };

  const readMembers = (window: Window, copy: Copy, oneLine: boolean): void => {
    expect(window, OPEN_OBJECT, "an object");
    space(window, copy, oneLine);
    if (peek(window) === CLOSE_OBJECT) {
      window.at += 1;
      return;
    }
    for (let guess = 0; ; ) {
      const keyAt = window.at;
      const column = readKey(window, guess);
      if (lastSeen[column] === records + 1) {
        const key = JSON.stringify(columns[column]?.key.slice(0, EXAMPLE_BYTES));
        throw fault(window, `the key ${key} appears twice`, keyAt);
      }
      lastSeen[column] = records + 1;
      guess = column + 1;
      if (options.rename) replace(window, copy, keyAt, `"c${column}"`);
      space(window, copy, oneLine);
      expect(window, COLON, '":" after a key');
      space(window, copy, oneLine);
      readMember(window, copy, oneLine, column);
      space(window, copy, oneLine);
      const byte = peek(window);
      if (byte === CLOSE_OBJECT) break;
      if (byte !== COMMA) throw fault(window, '"," or "}" after a value is expected');
      window.at += 1;
      space(window, copy, oneLine);
    }
    window.at += 1;
  };

  const readMember = (window: Window, copy: Copy, oneLine: boolean, column: number): void => {
    const start = window.at;
    const { line } = window;
    const byte = peek(window);
    let kind: KindIndex | undefined;
    if (byte === QUOTE) {
      const plain = skipString(window);
      // Once a column has a string that is no date, the others need not be looked at.
      kind = plain && columns[column]?.counts[KIND.VARCHAR] === 0 ? dateKind(window, start) : KIND.VARCHAR;
    } else if (byte === OPEN_OBJECT || byte === OPEN_LIST) {
      const nested = skimNested(window, copy, oneLine, nestedShapes[column], shapes);
      if (nested.bigint || nested.number || nested.key) nestings.push({ column, nested });
      kind = KIND.NESTED;
    } else {
      kind = skipScalar(window);
      if (kind === KIND.NUMBER || (verbatim[column] && kind !== undefined && kind !== KIND.BOOLEAN)) {
        quoteNumber(window, copy, start);
      }
    }
    if (kind === undefined) return;
    seenColumns[seen] = column;
    seenKinds[seen] = kind;
    seen += 1;
    if (columns[column]?.counts[kind] === 0) {
      firsts.push({ column, kind, example: { line, value: example(window, start) } });
    }
  };

  const readWhole = (window: Window, copy: Copy, oneLine: boolean): void => {
    if (columns.length === 0) addColumn("json", Buffer.alloc(0));
    copy.output.text(options.rename ? '{"c0":' : '{"json":');
    readMember(window, copy, oneLine, 0);
  };

  const settle = (): void => {
    for (let index = 0; index < seen; index += 1) {
      const counts = columns[seenColumns[index] as number]?.counts;
      if (counts) (counts[seenKinds[index] as number] as number) += 1;
    }
    for (const { column, kind, example: first } of firsts) {
      const survey = columns[column];
      if (survey) survey.first[kind] ??= first;
    }
    for (const { column, nested } of nestings) {
      const survey = columns[column];
      if (!survey) continue;
      survey.nestedBigint ||= nested.bigint;
      survey.nestedNumber ??= nested.number;
      survey.nestedKey ??= nested.key;
    }
    shapes.keep();
    records += 1;
  };

  const forget = (known: number): void => {
    // The record does not count: neither do its keys, which would look repeated when it is read again.
    for (const { key } of columns.splice(known)) byKey.delete(key);
    written.length = known;
    verbatim.length = known;
    lastSeen.length = known;
    shapes.undo();
    nestedShapes.length = known;
    for (const [index, record] of lastSeen.entries()) if (record === records + 1) lastSeen[index] = 0;
  };

  return {
    columns,
    finish() {
      for (const [index, column] of columns.entries()) {
        const shape = nestedShapes[index];
        if (shape && !column.nestedKey) column.nestedType = nestedType(shape, column.nestedBigint);
      }
    },
    record(window, output, oneLine) {
      const { at, line, lineStart } = window;
      const { length } = output;
      const known = columns.length;
      const copy: Copy = { output, copied: at };
      seen = 0;
      if (firsts.length > 0) firsts = [];
      if (nestings.length > 0) nestings = [];
      try {
        if (options.whole) readWhole(window, copy, oneLine);
        else readMembers(window, copy, oneLine);
        const end = window.at;
        if (oneLine) skipLineEnd(window);
        checkUtf8(window, at);
        output.copy(window.bytes, copy.copied, end);
        output.text(options.whole ? "}\n" : "\n");
        settle();
        return true;
      } catch (error) {
        output.length = length;
        forget(known);
        if (error !== MORE) throw error;
        window.at = at;
        window.line = line;
        window.lineStart = lineStart;
        return false;
      }
    },
  };
}

/** The kind of the string without escapes that was read since `start`. */
function dateKind(window: Window, start: number): KindIndex {
  const { bytes, at } = window;
  const length = at - start - 2;
  if (length < 10 || length > 32 || !isDigit(bytes[start + 1] ?? 0) || bytes[start + 5] !== MINUS) return KIND.VARCHAR;
  return stringKind(bytes.toString("latin1", start + 1, at - 1));
}
