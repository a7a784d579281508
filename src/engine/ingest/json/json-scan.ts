import {
  addColumn,
  type Columns,
  keepRecord,
  openColumns,
  type ScanOptions,
  surveyed,
  undoRecord,
} from "./json-columns.ts";
import {
  type Copy,
  EXAMPLE_BYTES,
  example,
  type Output,
  quoteNumber,
  replace,
  space,
  startsWith,
} from "./json-copy.ts";
import { KIND, type KindIndex, stringKind } from "./json-kinds.ts";
import { skimNested } from "./json-nested.ts";
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

export interface Scanner {
  /**
   * Reads the object at `window.at` and appends it to `output` on one line, with numbers that DuckDB would round as
   * strings. False when the window ends before the object does: then nothing has changed. Throws `JsonFault`, or
   * `TooManyKeys`.
   */
  record(window: Window, output: Output, oneLine: boolean): boolean;
  /** The columns, after the last record. */
  survey(): ColumnSurvey[];
}

export function createScanner(options: ScanOptions): Scanner {
  const columns = openColumns(options);
  return {
    survey: () => surveyed(columns),
    record(window, output, oneLine) {
      const { at, line, lineStart } = window;
      const { length } = output;
      const known = columns.all.length;
      const copy: Copy = { output, copied: at };
      try {
        if (options.whole) readWhole(columns, window, copy, oneLine);
        else readMembers(columns, window, copy, oneLine);
        const end = window.at;
        if (oneLine) skipLineEnd(window);
        checkUtf8(window, at);
        output.copy(window.bytes, copy.copied, end);
        output.text(options.whole ? "}\n" : "\n");
        keepRecord(columns);
        return true;
      } catch (error) {
        output.length = length;
        undoRecord(columns, known);
        if (error !== MORE) throw error;
        window.at = at;
        window.line = line;
        window.lineStart = lineStart;
        return false;
      }
    },
  };
}

function readWhole(columns: Columns, window: Window, copy: Copy, oneLine: boolean): void {
  if (columns.all.length === 0) addColumn(columns, "json", Buffer.alloc(0));
  copy.output.text(columns.options.rename ? '{"c0":' : '{"json":');
  readMember(columns, window, copy, oneLine, 0);
}

function readMembers(columns: Columns, window: Window, copy: Copy, oneLine: boolean): void {
  expect(window, OPEN_OBJECT, "an object");
  space(window, copy, oneLine);
  if (peek(window) === CLOSE_OBJECT) {
    window.at += 1;
    return;
  }
  for (let guess = 0; ; ) {
    const keyAt = window.at;
    const index = readKey(columns, window, guess);
    markSeen(columns, index, window, keyAt);
    guess = index + 1;
    if (columns.options.rename) replace(window, copy, keyAt, `"c${index}"`);
    space(window, copy, oneLine);
    expect(window, COLON, '":" after a key');
    space(window, copy, oneLine);
    readMember(columns, window, copy, oneLine, index);
    space(window, copy, oneLine);
    const byte = peek(window);
    if (byte === CLOSE_OBJECT) break;
    if (byte !== COMMA) throw fault(window, '"," or "}" after a value is expected');
    window.at += 1;
    space(window, copy, oneLine);
  }
  window.at += 1;
}

/** Moves over a key and finds its column. Most records have their keys in the same order, so `guess` is tried first. */
function readKey(columns: Columns, window: Window, guess: number): number {
  const expected = columns.all[guess]?.written;
  if (expected && startsWith(window, expected)) {
    window.at += expected.length;
    return guess;
  }
  if (peek(window) !== QUOTE) throw fault(window, "a key in double quotes is expected");
  const start = window.at;
  skipString(window);
  const written = window.bytes.subarray(start, window.at);
  const key = String(JSON.parse(written.toString("utf8")));
  return columns.byKey.get(key) ?? addColumn(columns, key, Buffer.from(written));
}

function markSeen({ all, record }: Columns, index: number, window: Window, keyAt: number): void {
  const column = all[index];
  if (!column) return;
  if (column.record === record) {
    const key = JSON.stringify(column.survey.key.slice(0, EXAMPLE_BYTES));
    throw fault(window, `the key ${key} appears twice`, keyAt);
  }
  column.record = record;
}

function readMember(columns: Columns, window: Window, copy: Copy, oneLine: boolean, index: number): void {
  const start = window.at;
  const { line } = window;
  const byte = peek(window);
  const column = columns.all[index];
  const counts = column?.survey.counts;
  let kind: KindIndex | undefined;
  if (byte === QUOTE) {
    const plain = skipString(window);
    // Once a column has a string that is no date, its type is settled.
    kind = plain && counts?.[KIND.VARCHAR] === 0 ? dateKind(window, start) : KIND.VARCHAR;
  } else if (byte === OPEN_OBJECT || byte === OPEN_LIST) {
    const nested = skimNested(window, copy, oneLine, column?.shape, columns.shapes);
    if (nested.bigint || nested.number || nested.key) columns.nested.push({ column: index, nested });
    kind = KIND.NESTED;
  } else {
    kind = skipScalar(window);
    if (kind === KIND.NUMBER || (column?.verbatim && kind !== undefined && kind !== KIND.BOOLEAN)) {
      quoteNumber(window, copy, start);
    }
  }
  if (kind === undefined) return;
  columns.valueColumns[columns.values] = index;
  columns.valueKinds[columns.values] = kind;
  columns.values += 1;
  if (counts?.[kind] === 0) {
    columns.firsts.push({ column: index, kind, example: { line, value: example(window, start) } });
  }
}

/** The kind of the string without escapes that was read since `start`. */
function dateKind(window: Window, start: number): KindIndex {
  const { bytes, at } = window;
  const length = at - start - 2;
  if (length < 10 || length > 32 || !isDigit(bytes[start + 1] ?? 0) || bytes[start + 5] !== MINUS) return KIND.VARCHAR;
  return stringKind(bytes.toString("latin1", start + 1, at - 1));
}
