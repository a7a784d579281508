import { randomUUID } from "node:crypto";
import { setImmediate } from "node:timers/promises";

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
}

/** A text that goes beyond the limits. The message says which. */
export class JsonLimitError extends Error {}

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

/** The same for long texts: apart from `JSON.parse` itself it gives way to others. */
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
const VALUES_PER_STEP = 4_096;
/** Each takes much longer than one that a double holds. */
const MAX_NUMBERS = 100_000;
const TOO_MANY_NUMBERS = `it has more than ${MAX_NUMBERS} numbers of more than 15 digits: send them as texts, in quotes`;
/** Begins a string that stands for a number until the text is parsed; nobody can guess it. */
const TAG = `${randomUUID()}:`;

function* parse(text: string, limits: JsonLimits): Generator<undefined, unknown> {
  const spans = yield* inexactNumbers(text, limits);
  if (spans.length === 0) return JSON.parse(text);
  const parts: string[] = [];
  let from = 0;
  for (const [start, end] of spans) {
    parts.push(text.slice(from, start), `"${TAG}${text.slice(start, end)}"`);
    from = end;
    if (parts.length % VALUES_PER_STEP === 0) yield;
  }
  parts.push(text.slice(from));
  const holder = { root: JSON.parse(parts.join("")) as unknown };
  yield* untag(holder, limits.asText ?? false);
  return holder.root;
}

/** Puts what stands for a number in the place of every tagged string. */
function* untag(holder: object, asText: boolean): Generator<undefined, void> {
  const todo: object[] = [holder];
  let seen = 0;
  for (let next = todo.pop(); next; next = todo.pop()) {
    const values = next as Record<string, unknown>;
    for (const key of Array.isArray(next) ? next.keys() : Object.keys(next)) {
      if (++seen % VALUES_PER_STEP === 0) yield;
      const value = values[key];
      if (typeof value === "object" && value !== null) todo.push(value);
      else if (typeof value === "string" && value.startsWith(TAG)) {
        // Unlike an assignment it makes an own property of `__proto__`.
        const literal = value.slice(TAG.length);
        Object.defineProperty(values, key, { ...WRITABLE, value: asText ? literal : new ExactNumber(literal) });
      }
    }
  }
}

const WRITABLE = { writable: true, enumerable: true, configurable: true };

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;
const MINUS = 0x2d;

/**
 * Where numbers stand that a double does not hold. Looks outside of strings only, and is cheaper than parsing. What is no
 * JSON is for the parser to tell.
 */
function* inexactNumbers(text: string, limits: JsonLimits): Generator<undefined, [number, number][]> {
  const found: [number, number][] = [];
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
      if (place.isVector()) at = endOf(NUMBERS, text, at + 1) - 1;
    } else if (char === 0x5d || char === 0x7d) depth = Math.max(0, depth - 1);
    else if (char === COLON) {
      const count = (keys[depth] ?? 0) + 1;
      const most = place.maxKeys(depth);
      if (count > most) throw new JsonLimitError(`an object in it has more than ${most} keys`);
      keys[depth] = count;
      place.key(depth, string);
    } else if (char === MINUS || isDigit(char)) {
      const end = endOf(NUMBER, text, at);
      if (place.isExact(depth) && !isHeld(text, at, end) && isValue(text, at, end)) {
        found.push([at, end]);
        if (found.length > MAX_NUMBERS) throw new JsonLimitError(TOO_MANY_NUMBERS);
      }
      if (end - at >= SURE_CHARS && ++numbers % NUMBERS_PER_STEP === 0) yield;
      at = end - 1;
    }
  }
  return found;
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
