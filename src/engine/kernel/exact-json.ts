import { randomUUID } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import { JsonLimitError } from "./json-limit-error.ts";
import { type Cut, openCutter, parseInPieces, setOwn } from "./json-pieces.ts";

/**
 * A number that a double does not hold, as it was written. A String object: it crosses process boundaries as what it is,
 * no text of a caller is one, and in JSON it becomes a string, as results have such numbers.
 */
export class ExactNumber extends String {}

export const isExactNumber = (value: unknown): value is ExactNumber => value instanceof String;

/** The whole number that it is. Undefined for fractions, and for more digits than any type of SQL has. */
export function wholeIn(number: ExactNumber): bigint | undefined {
  return /^-?\d{1,40}$/.test(String(number)) ? BigInt(String(number)) : undefined;
}

export interface JsonLimits {
  maxDepth: number;
  /** Of one object. */
  maxKeys: number;
  /** Objects and arrays; each takes as long as many numbers. Default: any. */
  maxContainers?: number;
  /**
   * It is a message of the protocol: numbers are kept exact in the arguments of a request only, apart from vectors, which
   * are of float32, and `maxKeys` are the values of arguments'; other objects may have so many.
   */
  message?: { maxKeys: number };
  /** Such numbers become strings, as results have them. */
  asText?: boolean;
  /** So many characters are parsed at a time, or those up to the next comma. Default: a millisecond's. */
  pieceChars?: number;
}

const SLICE_MS = 5;
export const ANYWHERE: JsonLimits = { maxDepth: 1_000, maxKeys: Number.POSITIVE_INFINITY };

/** `JSON.parse`, with an `ExactNumber` for what a double does not hold. Throws `SyntaxError` and `JsonLimitError`. */
export function parseExact(text: string, limits = ANYWHERE): unknown {
  const parsing = parse(text, limits);
  for (;;) {
    const { done, value } = parsing.next();
    if (done) return value;
  }
}

/** The same for long texts: it gives way to others. */
export async function parseExactInSlices(text: string, limits = ANYWHERE): Promise<unknown> {
  const parsing = parse(text, limits);
  let started = performance.now();
  for (;;) {
    const { done, value } = parsing.next();
    if (done) return value;
    if (performance.now() - started < SLICE_MS) continue;
    await setImmediate();
    started = performance.now();
  }
}

/** JSON with every `ExactNumber` as it was written. */
export function stringifyExact(value: unknown): string {
  if (isExactNumber(value)) return String(value);
  if (Array.isArray(value)) return `[${value.map(stringifyExact).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const fields = Object.entries(value).filter(([, field]) => field !== undefined);
  return `{${fields.map(([name, field]) => `${JSON.stringify(name)}:${stringifyExact(field)}`).join(",")}}`;
}

/** Work between two looks at the clock. */
const CHARS_PER_STEP = 2 ** 16;
const NUMBERS_PER_STEP = 512;
/** Each takes much longer than one that a double holds. */
const MAX_NUMBERS = 100_000;
const TOO_MANY_NUMBERS = `it has more than ${MAX_NUMBERS} numbers of more than 15 digits: send them as texts, in quotes`;
/** Begins a string that stands for a number until the text is parsed; nobody can guess it. */
const TAG = `${randomUUID()}:`;

function* parse(text: string, limits: JsonLimits): Generator<undefined, unknown> {
  const { inexact, cuts } = yield* scan(text, limits);
  if (inexact.length === 0 && cuts.length === 0) return JSON.parse(text);
  const asText = limits.asText ?? false;
  return yield* parseInPieces(text, cuts, tagging(text, inexact), TAG, (piece) => {
    if (inexact.length > 0) untag(piece, asText);
  });
}

/** The text between two places, with a tagged string for each inexact number. Each begins where the one before it ended. */
function tagging(text: string, inexact: readonly [number, number][]): (from: number, to: number) => string {
  let next = 0;
  return (from, to) => {
    const parts: string[] = [];
    let at = from;
    for (let span = inexact[next]; span && span[0] < to; span = inexact[++next]) {
      parts.push(text.slice(at, span[0]), `"${TAG}${text.slice(...span)}"`);
      at = span[1];
    }
    parts.push(text.slice(at, to));
    return parts.join("");
  };
}

/** Puts what stands for a number in the place of every tagged string. */
function untag(holder: object, asText: boolean): void {
  const todo: object[] = [holder];
  for (let next = todo.pop(); next; next = todo.pop()) {
    const values = next as Record<string, unknown>;
    for (const key of Array.isArray(next) ? next.keys() : Object.keys(next)) {
      const value = values[key];
      if (typeof value === "object" && value !== null) todo.push(value);
      else if (typeof value === "string" && value.startsWith(TAG)) {
        const literal = value.slice(TAG.length);
        setOwn(values, key, asText ? literal : new ExactNumber(literal));
      }
    }
  }
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;
const COMMA = 0x2c;
const MINUS = 0x2d;

/**
 * Where numbers stand that a double does not hold, and where a long text is cut. Looks outside of strings only, and is
 * cheaper than parsing. What is no JSON is for the parser to tell.
 */
function* scan(text: string, limits: JsonLimits): Generator<undefined, Scan> {
  const found: [number, number][] = [];
  const cutter = openCutter(text, limits.pieceChars);
  const keys: number[] = [0];
  const place = openPlace(text, limits);
  const { maxContainers = Number.POSITIVE_INFINITY } = limits;
  let containers = 0;
  let depth = 0;
  let pause = CHARS_PER_STEP;
  let numbers = 0;
  let string = 0;
  for (let at = 0; at < text.length; at++) {
    if (at >= pause) {
      pause = at + CHARS_PER_STEP;
      yield;
    }
    const char = text.charCodeAt(at);
    if (char === QUOTE) {
      string = at;
      let end = text.indexOf('"', at + 1);
      for (; end >= 0 && isEscaped(text, end); end = text.indexOf('"', end + 1)) {
        if (end < pause) continue;
        pause = end + CHARS_PER_STEP;
        yield;
      }
      at = end < 0 ? text.length : end;
    } else if (char === 0x5b || char === 0x7b) {
      if (++containers > maxContainers) {
        throw new JsonLimitError(`it has more than ${maxContainers} objects and arrays`);
      }
      if (++depth > limits.maxDepth) throw new JsonLimitError(`it is nested more than ${limits.maxDepth} deep`);
      keys[depth] = 0;
      cutter.begin(depth, char === 0x5b);
      if (place.isVector()) {
        for (let taken = CHARS_PER_STEP; taken === CHARS_PER_STEP; at += taken) {
          // In parts: a long one takes many milliseconds.
          const part = text.slice(at + 1, at + 1 + CHARS_PER_STEP);
          taken = endOf(NUMBERS, part, 0);
          const comma = taken === CHARS_PER_STEP ? part.lastIndexOf(",") : -1;
          if (comma >= 0) cutter.comma(depth, at + 1 + comma);
          if (taken === CHARS_PER_STEP) yield;
        }
      }
    } else if (char === 0x5d || char === 0x7d) depth = Math.max(0, depth - 1);
    else if (char === COLON) {
      const count = (keys[depth] ?? 0) + 1;
      const most = place.maxKeys(depth);
      if (count > most) throw new JsonLimitError(`an object in it has more than ${most} keys`);
      keys[depth] = count;
      place.key(depth, string);
      cutter.key(depth, string, at);
    } else if (char === MINUS || isDigit(char)) {
      const end = endOf(NUMBER, text, at);
      if (place.isExact(depth) && !isHeld(text, at, end) && isValue(text, at, end)) {
        found.push([at, end]);
        if (found.length > MAX_NUMBERS) throw new JsonLimitError(TOO_MANY_NUMBERS);
      }
      if (end - at >= SURE_CHARS && ++numbers % NUMBERS_PER_STEP === 0) yield;
      at = end - 1;
    } else if (char === COMMA) cutter.comma(depth, at);
  }
  return { inexact: found, cuts: cutter.cuts };
}

interface Scan {
  inexact: readonly [number, number][];
  cuts: readonly Cut[];
}

interface Place {
  /** At the colon after the key that begins at `start`. */
  key(depth: number, start: number): void;
  /** Whether a number at this depth is kept exact. */
  isExact(depth: number): boolean;
  isVector(): boolean;
  maxKeys(depth: number): number;
}

/** Follows the keys of a message, or of a batch of them, down to its arguments. */
function openPlace(text: string, { message, maxKeys }: JsonLimits): Place {
  if (!message) return { key: () => {}, isExact: () => true, isVector: () => false, maxKeys: () => maxKeys };
  const base = /^\s*\[/.test(text) ? 1 : 0;
  // A key with an escape may be any.
  const isKey = (start: number, name: string): boolean =>
    text.startsWith(name, start) || text.slice(start, start + 6 * name.length).includes("\\");
  const [inParams, inArguments, argument, item] = [base + 1, base + 2, base + 3, base + 5];
  let isParams = false;
  let isArguments = false;
  let isItems = false;
  let isVector = false;
  return {
    key: (depth, start) => {
      if (depth === inParams) {
        isParams = isKey(start, '"params"');
        isArguments = false;
      } else if (depth === inArguments) isArguments = isParams && isKey(start, '"arguments"');
      else if (depth === argument) {
        isItems = text.startsWith('"items"', start);
        isVector = text.startsWith('"vector"', start);
      } else if (depth === item) isVector = isItems && text.startsWith('"vector"', start);
    },
    isExact: (depth) => depth >= argument && isArguments && !isVector,
    isVector: () => isVector,
    maxKeys: (depth) => (depth > argument && isArguments ? maxKeys : message.maxKeys),
  };
}

function isEscaped(text: string, at: number): boolean {
  let escapes = 0;
  while (text.charCodeAt(at - 1 - escapes) === BACKSLASH) escapes++;
  return escapes % 2 === 1;
}

const isDigit = (char: number): boolean => char >= 0x30 && char <= 0x39;

const NUMBER = /[-+.\deE]*/y;
const NUMBERS = /[-+.\deE,\s]*/y;

/** Where what `pattern` matches from `start` on ends: several times faster than a look at each character. */
function endOf(pattern: RegExp, text: string, start: number): number {
  pattern.lastIndex = start;
  pattern.test(text);
  return pattern.lastIndex;
}

/** So many characters are digits that every double tells apart, unless one of them is an exponent. */
const SURE_CHARS = 16;
/** In plain notation a double has 309 digits before the point, and 1,074 after it. */
const MAX_NUMBER_CHARS = 1_500;

/** Whether a double holds the number between `start` and `end`: whole ones one by one, others by all of their digits. */
function isHeld(text: string, start: number, end: number): boolean {
  const short = end - start < SURE_CHARS;
  if (short && end - start < 4) return true;
  if (end - start > MAX_NUMBER_CHARS) return false;
  const literal = text.slice(start, end);
  if (short && !/e/i.test(literal)) return true;
  const value = Number(literal);
  if (/^-?\d+$/.test(literal)) return Number.isSafeInteger(value);
  if (!Number.isFinite(value)) return false;
  const shortest = String(value);
  return shortest === literal || digitsOf(shortest) === digitsOf(literal);
}

const WRITTEN = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:e[+-]?\d+)?$/i;
const BEFORE_COLON = /\s*:/y;

/** What is no number, or a key without quotes, is for the parser to tell. */
function isValue(text: string, start: number, end: number): boolean {
  return WRITTEN.test(text.slice(start, end)) && endOf(BEFORE_COLON, text, end) === 0;
}

/** The same for all ways to write a number: its digits without zeros at the ends, and the power of ten of the last. */
function digitsOf(literal: string): string {
  const [, sign = "", whole = "", fraction = "", exponent = "0"] =
    /^(-?)(\d+)(?:\.(\d+))?(?:e([+-]?\d+))?$/i.exec(literal) ?? [];
  const digits = `${whole}${fraction}`.replace(/^0+/, "");
  const significant = digits.replace(/0+$/, "");
  if (significant === "") return "0";
  return `${sign}${significant}e${Number(exponent) - fraction.length + digits.length - significant.length}`;
}
