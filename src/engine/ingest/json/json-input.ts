import { isAscii, isUtf8 } from "node:buffer";
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { Refusal } from "../../kernel/refusal.ts";
import { BadText, openDecoder, utf16Of } from "../encoding.ts";
import type { Encoding } from "../types.ts";
import { skipSpace, type Window } from "./json-tokens.ts";

/** A text file, read through a window of UTF-8 that moves over it. */
export interface Input {
  readonly window: Window;
  /** The next byte that is not whitespace; undefined at the end. */
  next(): number | undefined;
  peek(): number | undefined;
  /** Reads more, keeping the bytes from `window.at` on. */
  fill(): void;
  /** Moves to the next line break. */
  skipLine(): void;
  /** Share of the file that has been read. */
  fraction(): number;
}

export const MAX_RECORD_BYTES = 64 * 1024 ** 2;
const CHUNK_BYTES = 1024 ** 2;
const HEAD_BYTES = 64 * 1024;
const NEWLINE = 10;
/** Most bytes of UTF-8 that a byte of another encoding becomes. */
const GROWTH = 3;

export function openInput(fd: number, encoding: Encoding): Input {
  const { size } = fstatSync(fd);
  const window: Window = { bytes: Buffer.allocUnsafe(CHUNK_BYTES), at: 0, end: 0, final: false, line: 1, lineStart: 0 };
  let consumed = 0;
  const read = (into: Buffer, at: number, length: number): number => {
    const count = readSync(fd, into, at, length, null);
    consumed += count;
    return count;
  };
  const append = encoding === "utf-8" ? appendPlain(read) : appendDecoded(read, encoding);

  const fill = (): void => {
    const kept = window.end - window.at;
    if (kept > MAX_RECORD_BYTES) throw tooLong(window.line);
    // Doubled, so that reading an object from its start again after each fill costs no more than one more reading.
    const bytes = kept > window.bytes.length / 2 ? Buffer.allocUnsafe(window.bytes.length * 2) : window.bytes;
    window.bytes.copy(bytes, 0, window.at, window.end);
    window.lineStart -= window.at;
    window.bytes = bytes;
    window.at = 0;
    window.end = kept;
    while (window.end + GROWTH < bytes.length && !window.final) append(window);
  };
  const peek = (): number | undefined => {
    if (window.at >= window.end && !window.final) fill();
    return window.at < window.end ? window.bytes[window.at] : undefined;
  };
  const next = (): number | undefined => {
    for (;;) {
      skipSpace(window);
      if (window.at < window.end || window.final) return peek();
      fill();
    }
  };
  fill();
  if (window.bytes.subarray(0, Math.min(3, window.end)).equals(Buffer.from("\u{FEFF}"))) {
    window.at = 3;
    window.lineStart = 3;
  }
  return {
    window,
    next,
    peek,
    fill,
    skipLine() {
      for (;;) {
        const found = window.bytes.subarray(0, window.end).indexOf(NEWLINE, window.at);
        window.at = found === -1 ? window.end : found;
        if (found !== -1 || window.final) return;
        fill();
      }
    },
    fraction: () => (size === 0 ? 1 : consumed / size),
  };
}

type Read = (into: Buffer, at: number, length: number) => number;

function appendPlain(read: Read): (window: Window) => void {
  return (window) => {
    const count = read(window.bytes, window.end, window.bytes.length - window.end);
    window.end += count;
    window.final = count === 0;
  };
}

function appendDecoded(read: Read, encoding: Exclude<Encoding, "utf-8">): (window: Window) => void {
  const raw = Buffer.allocUnsafe(CHUNK_BYTES);
  const decoder = openDecoder(encoding, false);
  return (window) => {
    const room = Math.floor((window.bytes.length - window.end) / GROWTH);
    const count = read(raw, 0, Math.min(raw.length, room));
    window.final = count === 0;
    try {
      const text = window.final ? decoder.end() : decoder.decode(raw.subarray(0, count));
      window.end += window.bytes.write(text, window.end, "utf8");
    } catch (error) {
      if (!(error instanceof BadText)) throw error;
      const { line } = error;
      throw new Refusal(
        "invalid",
        `, line ${line}: bytes that are not ${encoding}, as the file seems to be.`,
        "Save it as UTF-8.",
        { line },
      );
    }
  };
}

export function sniffEncoding(path: string): Encoding {
  const fd = openSync(path, "r");
  try {
    const head = Buffer.alloc(HEAD_BYTES);
    return utf16Of(head.subarray(0, readSync(fd, head, 0, HEAD_BYTES, 0))) ?? "utf-8";
  } finally {
    closeSync(fd);
  }
}

/**
 * Whether a file that is not UTF-8 is Windows-1252. It is not when it has a byte that Windows-1252 does not define, or a
 * UTF-8 sequence for a character that Windows-1252 texts use (a letter with an accent, a quotation mark): then it is
 * damaged UTF-8. A few other sequences are chance, such as É before a quotation mark.
 */
export function isWindows1252(path: string): boolean {
  const fd = openSync(path, "r");
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  /** Bytes that are not part of a UTF-8 sequence, and sequences that may be chance. */
  let bad = 0;
  let chance = 0;
  try {
    for (let kept = 0; ; ) {
      const count = readSync(fd, buffer, kept, buffer.length - kept, null);
      const end = kept + count;
      // A sequence may lie across the end of what has been read.
      const last = count === 0 ? end : Math.max(0, end - 3);
      let at = 0;
      if (isAscii(buffer.subarray(0, last))) at = buffer.subarray(0, last).includes(0) ? -1 : last;
      while (at >= 0 && at < last) {
        const length = sequenceAt(buffer, at, end);
        const byte = buffer[at] as number;
        if (byte === 0 || (length > 1 && isTelling(byte, length)) || (length === 0 && isUndefined(byte))) return false;
        if (length === 0) bad += 1;
        else if (length > 1) chance += 1;
        at += Math.max(1, length);
      }
      if (at < 0) return false;
      if (count === 0) return bad > 10 * chance;
      buffer.copy(buffer, 0, at, end);
      kept = end - at;
    }
  } finally {
    closeSync(fd);
  }
}

/** Length of the UTF-8 sequence at `at`; 0 when there is none. */
function sequenceAt(bytes: Buffer, at: number, end: number): number {
  const lead = bytes[at] as number;
  if (lead < 0x80) return 1;
  const length = lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  return length > 0 && at + length <= end && isUtf8(bytes.subarray(at, at + length)) ? length : 0;
}

/** Whether a sequence encodes a character that is common in Windows-1252 texts. */
function isTelling(lead: number, length: number): boolean {
  return length > 2 || lead === 0xc2 || lead === 0xc3;
}

function isUndefined(byte: number): boolean {
  return byte === 0x81 || byte === 0x8d || byte === 0x8f || byte === 0x90 || byte === 0x9d;
}

export function tooLong(line: number): Refusal {
  return new Refusal(
    "limit",
    `has an object of more than ${MAX_RECORD_BYTES / 1024 ** 2} MiB at line ${line}.`,
    "Split it: each object becomes one row.",
  );
}
