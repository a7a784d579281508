import { isUtf8 } from "node:buffer";
import { KIND, type KindIndex, numberKind } from "./json-kinds.ts";

/** Faults with a remedy of their own. `trailing`: something follows an object on its line. */
export type FaultCode = "not_utf8" | "not_object" | "list_not_object" | "trailing";

/** A place that is not the JSON it should be: line and column (in bytes), both from 1. */
export class JsonFault extends Error {
  readonly line: number;
  readonly column: number;
  readonly code: FaultCode | undefined;

  constructor(reason: string, line: number, column: number, code: FaultCode | undefined) {
    super(reason);
    this.line = line;
    this.column = column;
    this.code = code;
  }
}

/** The part of the input that is in memory. Reading moves `at`, `line` and `lineStart`. */
export interface Window {
  bytes: Buffer;
  /** Index of the next byte to look at. */
  at: number;
  /** Index behind the last byte in memory. */
  end: number;
  /** The input ends at `end`. */
  final: boolean;
  line: number;
  /** Index of the first byte of the line; negative when the line began before the window. */
  lineStart: number;
}

/** Thrown when the window ends inside a value, and more can be read. */
export const MORE = Symbol("more");

export const [TAB, NEWLINE, RETURN, SPACE, QUOTE, PLUS, COMMA, MINUS, DOT, COLON, BACKSLASH] = [
  9, 10, 13, 32, 34, 43, 44, 45, 46, 58, 92,
] as const;
export const [OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [91, 93, 123, 125] as const;

const LITERALS = ["true", "false", "null", "NaN", "Infinity", "-Infinity"].map((text) => Buffer.from(text));

/** Moves over whitespace, to the end of the window at most. With `oneLine`, a line break is a fault. */
export function skipSpace(window: Window, oneLine = false): void {
  const { bytes, end } = window;
  for (let at = window.at; at < end; at += 1) {
    const byte = bytes[at] as number;
    if (byte > SPACE || (byte !== SPACE && byte !== TAB && byte !== RETURN && byte !== NEWLINE)) {
      window.at = at;
      return;
    }
    if (byte === NEWLINE) {
      if (oneLine) throw fault(window, "the line ends before its object does", at);
      window.line += 1;
      window.lineStart = at + 1;
    }
  }
  window.at = end;
}

/** Moves to the end of the line, where only spaces may be. */
export function skipLineEnd(window: Window): void {
  const { bytes, end } = window;
  while (window.at < end && [SPACE, TAB, RETURN].some((space) => space === bytes[window.at])) window.at += 1;
  if (window.at === end && !window.final) throw MORE;
  if (window.at < end && bytes[window.at] !== NEWLINE) {
    throw fault(window, "something follows the object on its line", window.at, "trailing");
  }
}

/** Moves over a string. True when it has no escapes. */
export function skipString(window: Window): boolean {
  const { bytes, end } = window;
  let plain = true;
  for (let at = window.at + 1; at < end; at += 1) {
    const byte = bytes[at] as number;
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
  const byte = bytes[at + 1] ?? 0;
  if (at + 1 < end && '"\\/bfnrt'.includes(String.fromCharCode(byte))) return at + 1;
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

/** Moves over a number, `true`, `false` or `null` and says which; null is undefined. */
export function skipScalar(window: Window): KindIndex | undefined {
  const byte = peek(window);
  const next = window.bytes[window.at + 1] ?? 0;
  return isDigit(byte) || (byte === MINUS && next !== 73) ? skipNumber(window) : skipLiteral(window);
}

/** Counts digits on the way: only a literal long enough to be rounded is parsed. */
function skipNumber(window: Window): KindIndex {
  const { bytes, end } = window;
  const start = window.at;
  let at = start;
  let significant = 0;
  let plain = true;
  const digits = (): number => {
    const from = at;
    for (; at < end; at += 1) {
      const byte = bytes[at] as number;
      if (byte < 48 || byte > 57) break;
      if (significant > 0 || byte !== 48) significant += 1;
    }
    return at - from;
  };
  if (bytes[at] === MINUS) at += 1;
  const leadingZero = bytes[at] === 48;
  const whole = digits();
  let good = whole > 0 && !(leadingZero && whole > 1);
  const isInteger = bytes[at] !== DOT && bytes[at] !== 69 && bytes[at] !== 101;
  if (at < end && bytes[at] === DOT) {
    at += 1;
    good &&= digits() > 0;
  }
  if (at < end && (bytes[at] === 69 || bytes[at] === 101)) {
    at += 1;
    plain = false;
    if (bytes[at] === PLUS || bytes[at] === MINUS) at += 1;
    good &&= digits() > 0;
  }
  if (at >= end && !window.final) throw MORE;
  if (!good || (at < end && isWordByte(bytes[at] as number))) throw fault(window, "a number that is not JSON");
  window.at = at;
  if (significant <= 15 && plain && at - start < 300) return isInteger ? KIND.INTEGER : KIND.DOUBLE;
  return numberKind(bytes.toString("latin1", start, at));
}

/** `NaN` and the infinities are let through: JSON has no such thing, but many writers do. */
function skipLiteral(window: Window): KindIndex | undefined {
  const { bytes, end } = window;
  const start = window.at;
  let at = start;
  while (at < end && isWordByte(bytes[at] as number)) at += 1;
  if (at === end && !window.final) throw MORE;
  const literal = LITERALS.findIndex((text) => text.compare(bytes, start, at) === 0);
  if (literal === -1) throw fault(window, at === end ? "the file ends inside a record" : "a value is expected");
  window.at = at;
  return literal < 2 ? KIND.BOOLEAN : literal === 2 ? undefined : KIND.DOUBLE;
}

/** Letters, digits and `+-.`: the bytes of numbers and literals. */
function isWordByte(byte: number): boolean {
  return (
    isDigit(byte) ||
    (byte >= 97 && byte <= 122) ||
    (byte >= 65 && byte <= 90) ||
    byte === DOT ||
    byte === MINUS ||
    byte === PLUS
  );
}

export function isDigit(byte: number): boolean {
  return byte >= 48 && byte <= 57;
}

export function peek(window: Window): number {
  if (window.at >= window.end) return outOfInput(window, "the file ends inside a record");
  return window.bytes[window.at] as number;
}

export function expect(window: Window, byte: number, what: string): void {
  if (peek(window) !== byte) throw fault(window, `${what} is expected`);
  window.at += 1;
}

/** A fault at `at`, by default the next byte. */
export function fault(window: Window, reason: string, at: number = window.at, code?: FaultCode): JsonFault {
  return new JsonFault(reason, window.line, at - window.lineStart + 1, code);
}

function outOfInput(window: Window, reason: string): never {
  if (!window.final) throw MORE;
  throw fault(window, reason, window.end);
}

/** Throws `JsonFault` for the first byte since `start` that is not UTF-8. */
export function checkUtf8(window: Window, start: number): void {
  const { bytes, at } = window;
  if (isUtf8(bytes.subarray(start, at))) return;
  let good = start;
  for (let step = at - start; step >= 1; step = Math.floor(step / 2)) {
    while (good + step <= at && isUtf8(bytes.subarray(good, good + step))) good += step;
  }
  // Halving stops in front of a character of several bytes at the latest.
  for (let size = 1; size <= 4; size += 1) {
    if (good + size > at || !isUtf8(bytes.subarray(good, good + size))) continue;
    good += size;
    size = 0;
  }
  throw fault(window, "a byte that is not UTF-8", good, "not_utf8");
}
