import { skipSpace, type Window } from "./json-tokens.ts";

export interface Example {
  line: number;
  value: string;
}

/** Bytes on their way to a file, with the means to take back the last of them. */
export interface Output {
  bytes: Buffer;
  length: number;
  /** ASCII only. */
  text(text: string): void;
  copy(from: Buffer, start: number, end: number): void;
}

/** What of the input has been dealt with. Whatever lies between two edits is copied at once. */
export interface Copy {
  output: Output;
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

/** Moves over whitespace; line breaks become spaces, because what DuckDB reads has one record a line. */
export function space(window: Window, copy: Copy, oneLine: boolean): void {
  if (window.at < window.end && (window.bytes[window.at] as number) > 32) return;
  const start = window.at;
  const { line } = window;
  skipSpace(window, oneLine);
  if (window.line !== line) replace(window, copy, start, " ");
}

export function quoteNumber(window: Window, copy: Copy, start: number): void {
  replace(window, copy, start, `"${window.bytes.toString("latin1", start, window.at)}"`);
}

/** Puts `text` in the place of what was read since `start`. */
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

export function example(window: Window, start: number): string {
  const text = window.bytes.subarray(start, Math.min(window.at, start + EXAMPLE_BYTES)).toString("utf8");
  return text.replace(/^"(.*?)"?$/s, "$1");
}
