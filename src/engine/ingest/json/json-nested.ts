import { type Copy, EXAMPLE_BYTES, type Example, example, quoteNumber, space, startsWith } from "./json-copy.ts";
import { KIND } from "./json-kinds.ts";
import { MAX_TYPE_DEPTH, SEEN, type Shape, type Shapes } from "./json-shape.ts";
import {
  CLOSE_LIST,
  CLOSE_OBJECT,
  COLON,
  COMMA,
  expect,
  fault,
  OPEN_LIST,
  OPEN_OBJECT,
  peek,
  QUOTE,
  skipScalar,
  skipString,
  type Window,
} from "./json-tokens.ts";

/** Contents of one nested value that affect its type. */
export interface Nested {
  /** Whether there is an integer that DOUBLE would round. */
  bigint: boolean;
  /** The first number that had to become a string. */
  number: Example | null;
  /** The first key that occurs twice in its object. */
  key: Example | null;
}

/** An object or list that is open. */
interface Level {
  /** The byte that closes it. */
  close: number;
  /** Undefined where no type is inferred. */
  shape: Shape | undefined;
  /** Shape of the next value inside. */
  inside: Shape | undefined;
  /** Number of the object. */
  object: number;
  /** Index of the field that most likely comes next. */
  guess: number;
}

const MAX_DEPTH = 200;

/** Moves over an object or list of any depth, and adds the kinds of its values to `shape`. */
export function skimNested(
  window: Window,
  copy: Copy,
  oneLine: boolean,
  shape: Shape | undefined,
  shapes: Shapes,
): Nested {
  const nested: Nested = { bigint: false, number: null, key: null };
  const open: Level[] = [];
  let inside = shape;
  for (let expectsValue = true; ; ) {
    const byte = peek(window);
    const level = open.at(-1);
    if (expectsValue) {
      expectsValue = false;
      if (byte === OPEN_OBJECT || byte === OPEN_LIST) {
        const opened = openLevel(window, byte, inside, shapes, open.length);
        open.push(opened);
        space(window, copy, oneLine);
        if (peek(window) === opened.close) continue;
        if (byte === OPEN_OBJECT) readKey(window, copy, oneLine, opened, shapes, nested);
        else opened.inside = opened.shape && shapes.itemOf(opened.shape);
        inside = opened.inside;
        expectsValue = true;
        continue;
      }
      if (byte === QUOTE) {
        skipString(window);
        if (inside) shapes.mark(inside, SEEN.VARCHAR);
      } else skimScalar(window, copy, nested, inside, shapes);
    } else if (byte === level?.close) {
      window.at += 1;
      open.pop();
      if (open.length === 0) return nested;
    } else {
      if (byte !== COMMA) {
        throw fault(window, `"," or "${level?.close === CLOSE_LIST ? "]" : "}"}" after a value is expected`);
      }
      window.at += 1;
      space(window, copy, oneLine);
      if (level?.close === CLOSE_OBJECT) readKey(window, copy, oneLine, level, shapes, nested);
      inside = level?.inside;
      expectsValue = true;
      continue;
    }
    space(window, copy, oneLine);
  }
}

function openLevel(window: Window, byte: number, inside: Shape | undefined, shapes: Shapes, depth: number): Level {
  if (depth >= MAX_DEPTH) throw fault(window, `it nests deeper than ${MAX_DEPTH} levels`);
  window.at += 1;
  const isList = byte === OPEN_LIST;
  if (inside) shapes.mark(inside, isList ? SEEN.LIST : SEEN.OBJECT);
  return {
    close: isList ? CLOSE_LIST : CLOSE_OBJECT,
    // Deeper levels become JSON, which also keeps a key that occurs twice.
    shape: depth <= MAX_TYPE_DEPTH ? inside : undefined,
    inside: undefined,
    object: isList ? 0 : shapes.nextObject(),
    guess: 0,
  };
}

/** Moves over a key and its colon. Most objects have their keys in the same order, so the next field is tried first. */
function readKey(window: Window, copy: Copy, oneLine: boolean, level: Level, shapes: Shapes, nested: Nested): void {
  const expected = level.shape?.fields[level.guess];
  if (expected && startsWith(window, expected.written)) {
    window.at += expected.written.length;
    noteField(window, level, level.guess, nested);
  } else {
    if (peek(window) !== QUOTE) throw fault(window, "a key in double quotes is expected");
    const start = window.at;
    skipString(window);
    if (level.shape) noteField(window, level, findField(window, start, level.shape, shapes), nested);
  }
  space(window, copy, oneLine);
  expect(window, COLON, '":" after a key');
  space(window, copy, oneLine);
}

function findField(window: Window, start: number, shape: Shape, shapes: Shapes): number | undefined {
  const written = window.bytes.subarray(start, window.at);
  const key = String(JSON.parse(written.toString("utf8")));
  return shape.byKey.get(key) ?? shapes.addField(shape, key, Buffer.from(written));
}

function noteField(window: Window, level: Level, index: number | undefined, nested: Nested): void {
  const field = index === undefined ? undefined : level.shape?.fields[index];
  level.inside = field?.shape;
  if (!field || index === undefined) return;
  if (field.object === level.object) {
    nested.key ??= { line: window.line, value: field.key.slice(0, EXAMPLE_BYTES) };
  }
  field.object = level.object;
  level.guess = index + 1;
}

function skimScalar(window: Window, copy: Copy, nested: Nested, inside: Shape | undefined, shapes: Shapes): void {
  const start = window.at;
  const kind = skipScalar(window);
  if (kind === undefined) return;
  if (kind === KIND.BIGINT) nested.bigint = true;
  if (kind === KIND.NUMBER) {
    nested.number ??= { line: window.line, value: example(window, start) };
    quoteNumber(window, copy, start);
  }
  if (inside) shapes.mark(inside, bitOf(kind));
}

function bitOf(kind: number): number {
  if (kind === KIND.BOOLEAN) return SEEN.BOOLEAN;
  if (kind === KIND.NUMBER) return SEEN.VARCHAR;
  return kind === KIND.DOUBLE ? SEEN.DOUBLE : SEEN.INTEGER;
}
