import { JsonLimitError } from "./json-limit-error.ts";

/** A place before a comma where a text of JSON is cut, inside of the containers that are open there, outermost first. */
export interface Cut {
  at: number;
  open: readonly OpenContainer[];
}

/** For an object, where the last of its keys begins, and where its colon is. */
export type OpenContainer = "list" | readonly [start: number, colon: number];

/** A longer list, of more than anything takes, cannot grow in a few milliseconds. */
const MAX_ITEMS = 2 ** 21;
/** Takes a fraction of a millisecond to parse. */
const PIECE_CHARS = 2 ** 16;

export interface Cutter {
  readonly cuts: readonly Cut[];
  begin(depth: number, isList: boolean): void;
  key(depth: number, start: number, colon: number): void;
  comma(depth: number, at: number): void;
}

/** Chooses cuts, told of what is in a text from its begin to its end. */
export function openCutter(text: string, pieceChars = PIECE_CHARS): Cutter {
  const cuts: Cut[] = [];
  const isList: boolean[] = [];
  const starts: number[] = [];
  const colons: number[] = [];
  let next = pieceChars;
  return {
    cuts,
    begin: (depth, list) => {
      isList[depth] = list;
    },
    key: (depth, start, colon) => {
      starts[depth] = start;
      colons[depth] = colon;
    },
    comma: (depth, at) => {
      if (at < next || depth === 0 || !isAfterValue(text, at)) return;
      next = at + pieceChars;
      const open = Array.from(
        { length: depth },
        (_, level): OpenContainer => (isList[level + 1] ? "list" : [starts[level + 1] ?? 0, colons[level + 1] ?? 0]),
      );
      cuts.push({ at, open });
    },
  };
}

function isAfterValue(text: string, at: number): boolean {
  let before = at - 1;
  while (" \t\r\n".includes(text.charAt(before)) && before > 0) before--;
  return !"[{".includes(text.charAt(before));
}

/**
 * What `JSON.parse` makes of `text`, made piece by piece, with a pause after each. `read` gives the text between two
 * places; `key` stands for what earlier pieces hold, and must be no key in the text. Throws `SyntaxError` for the same
 * texts: each piece begins in the state that the one before it ended in, after a value in the same containers. So a cut
 * never follows an opening bracket.
 */
export function* parseInPieces(
  text: string,
  cuts: readonly Cut[],
  read: (from: number, to: number) => string,
  key: string,
  finish: (piece: object) => void,
): Generator<undefined, unknown> {
  const holder: { root?: unknown } = {};
  let from = 0;
  let open: readonly OpenContainer[] = [];
  let containers: object[] = [];
  for (const cut of [...cuts, { at: text.length, open: [] }]) {
    const piece = { root: JSON.parse(`${opening(open, key)}${read(from, cut.at)}${closing(cut.open)}`) as unknown };
    finish(piece);
    if (from === 0) holder.root = piece.root;
    let added = piece.root;
    for (const container of containers) added = append(container, added as object, key);
    containers = openIn(holder.root, cut.open, text);
    from = cut.at;
    open = cut.open;
    yield;
  }
  return holder.root;
}

/** The same containers with one value in each: the next one, or any. */
function opening(open: readonly OpenContainer[], key: string): string {
  if (open.length === 0) return "";
  return `${open.map((each) => (each === "list" ? "[" : `{${JSON.stringify(key)}:`)).join("")}0`;
}

function closing(open: readonly OpenContainer[]): string {
  return open.map((each) => (each === "list" ? "]" : "}")).reduceRight((text, end) => text + end, "");
}

/** Returns what stands for the next container. */
function append(container: object, added: object, key: string): unknown {
  if (Array.isArray(container)) {
    const items = added as unknown[];
    if (container.length + items.length > MAX_ITEMS) {
      throw new JsonLimitError(`a list in it has more than ${MAX_ITEMS} values`);
    }
    for (let at = 1; at < items.length; at++) container.push(items[at]);
    return items[0];
  }
  const fields = added as Record<string, unknown>;
  for (const name of Object.keys(fields)) {
    if (name !== key) setOwn(container, name, fields[name]);
  }
  return fields[key];
}

/** Unlike an assignment it makes an own property of `__proto__`. */
export function setOwn(container: object, name: PropertyKey, value: unknown): void {
  if (name !== "__proto__") (container as Record<PropertyKey, unknown>)[name] = value;
  else Object.defineProperty(container, name, { writable: true, enumerable: true, configurable: true, value });
}

function openIn(root: unknown, open: readonly OpenContainer[], text: string): object[] {
  const found: object[] = [];
  let value = root;
  for (const each of open) {
    found.push(value as object);
    value =
      each === "list"
        ? (value as unknown[]).at(-1)
        : (value as Record<string, unknown>)[JSON.parse(text.slice(...each)) as string];
  }
  return found;
}
