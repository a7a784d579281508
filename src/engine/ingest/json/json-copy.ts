import { skipSpace, type Window } from "./json-tokens.ts";

/** A value of the source, for a note. */
export interface Example {
  line: number;
  value: string;
}

/** A growing buffer of bytes to write. A shorter `length` takes bytes back. */
export interface Output {
  bytes: Buffer;
  length: number;
  /** Appends ASCII text. */
  text(text: string): void;
  copy(from: Buffer, start: number, end: number): void;
}

/** Copying a record with edits: the bytes between two edits are copied at once. */
export interface Copy {
  output: Output;
  /** Index in the window behind the last byte that was copied or replaced. */
  copied: number;
}

export const EXAMPLE_BYTES = 80;

export function createOutput(): Output {
  const reserve = (count: number): void => {
    if (output.length + count <= output.bytes.length) return;
    const grown = Buffer.allocUnsafe(Math.max(output.bytes.length * 2, output.length + count));
    output.bytes.copy(grown, 0, 0, output.length);
    output.bytes = grown;
  };
  const output: Output = {
    bytes: Buffer.allocUnsafe(2 * 1024 ** 2),
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
  return output;
}

/** Moves over whitespace. Line breaks become spaces, since each record gets one line for DuckDB. */
export function space(window: Window, copy: Copy, oneLine: boolean): void {
  if (window.at < window.end && (window.bytes[window.at] as number) > 32) return;
  const start = window.at;
  const { line } = window;
  skipSpace(window, oneLine);
  if (window.line !== line) replace(window, copy, start, " ");
}

/** Makes a string of the number that begins at `start`, so that DuckDB does not round it. */
export function quoteNumber(window: Window, copy: Copy, start: number): void {
  replace(window, copy, start, `"${window.bytes.toString("latin1", start, window.at)}"`);
}

/** Replaces the bytes since `start` by `text`. */
export function replace(window: Window, copy: Copy, start: number, text: string): void {
  copy.output.copy(window.bytes, copy.copied, start);
  copy.output.text(text);
  copy.copied = window.at;
}

export function startsWith({ bytes, at, end }: Window, expected: Buffer): boolean {
  const { length } = expected;
  if (at + length > end || length === 0) return false;
  for (let index = length - 1; index >= 0; index -= 1) if (bytes[at + index] !== expected[index]) return false;
  return true;
}

/** The value since `start`, cut and without its quotes, for a note. */
export function example(window: Window, start: number): string {
  const text = window.bytes.subarray(start, Math.min(window.at, start + EXAMPLE_BYTES)).toString("utf8");
  return text.replace(/^"(.*?)"?$/s, "$1");
}
