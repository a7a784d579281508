import { isAscii, isUtf8 } from "node:buffer";
import { createReadStream } from "node:fs";
import { LakeError } from "../kernel/errors.ts";
import type { Encoding } from "./types.ts";

/** The characters of bytes 0x80 to 0x9f. https://encoding.spec.whatwg.org/index-windows-1252.txt */
const WINDOWS_1252 = "€\u0081‚ƒ„…†‡ˆ‰Š‹Œ\u008dŽ\u008f\u0090‘’“”•–—˜™š›œ\u009džŸ";
/** Bytes that it leaves undefined, and other encodings use. */
const UNDEFINED_IN_1252 = /[\x81\x8d\x8f\x90\x9d]/;

/** By byte order mark or zero bytes: every delimiter and line end of UTF-16 has one. Throws `invalid` for UTF-32. */
export function detectEncoding(head: Buffer, label: string): Encoding {
  if (head.length >= 4 && ["fffe0000", "0000feff"].includes(head.toString("hex", 0, 4))) {
    throw new LakeError("invalid", `${label} is text in UTF-32, which cannot be loaded. Nothing was ingested.`, {
      code: "unsupported_format",
      hint: "Save it as UTF-8.",
    });
  }
  return utf16Of(head) ?? "utf-8";
}

export function utf16Of(head: Buffer): "utf-16le" | "utf-16be" | undefined {
  const [first, second] = [head[0], head[1]];
  if (first === 0xff && second === 0xfe) return "utf-16le";
  if (first === 0xfe && second === 0xff) return "utf-16be";
  if (!head.includes(0)) return undefined;
  // JSON begins with a character of ASCII: RFC 4627, section 3.
  if (isJsonStart(first) && second === 0) return "utf-16le";
  if (first === 0 && isJsonStart(second)) return "utf-16be";
  if (looksLikeUtf16(head, 1)) return "utf-16le";
  return looksLikeUtf16(head, 0) ? "utf-16be" : undefined;
}

function isJsonStart(byte: number | undefined): boolean {
  return byte === 0x5b || byte === 0x7b;
}

/** `zero`: index, in a pair of bytes, of the zero of characters below U+0100. Few others have one at the other index. */
function looksLikeUtf16(head: Buffer, zero: 0 | 1): boolean {
  const pairs = Math.floor(head.length / 2);
  let zeros = 0;
  let others = 0;
  let lineEnds = 0;
  let singleLineEnds = 0;
  for (let pair = 0; pair < pairs; pair++) {
    const [high, low] = [head[2 * pair + zero], head[2 * pair + 1 - zero]];
    if (high === 0) zeros++;
    if (low === 0) others++;
    const isEnd = low === 0x0a || low === 0x0d;
    if (high === 0 && isEnd) lineEnds++;
    else if (isEnd || high === 0x0a || high === 0x0d) singleLineEnds++;
  }
  if (others * 2 >= zeros) return false;
  return zeros > pairs * 0.4 || (zeros >= 4 && lineEnds > singleLineEnds);
}

export interface Decoder {
  /** Throws `BadText`. */
  decode(chunk: Buffer): string;
  end(): string;
}

/** Bytes that are not of the encoding that was detected or named. */
export class BadText extends Error {
  readonly line: number;

  constructor(line: number) {
    super("bad text");
    this.line = line;
  }
}

/** `strict`: the encoding is a guess, so a byte that it leaves undefined is an error. */
export function openDecoder(encoding: Encoding, strict: boolean): Decoder {
  if (encoding === "windows-1252") return open1252(strict);
  if (encoding === "utf-8") throw new LakeError("internal", "UTF-8 needs no decoding.");
  return openUtf16(encoding === "utf-16be");
}

/** Not by TextDecoder, which reads windows-1252 as latin1 in some releases of Node, and loses 27 characters. */
function open1252(strict: boolean): Decoder {
  let lines = 1;
  return {
    decode: (chunk) => {
      const text = chunk.toString("latin1");
      const bad = strict ? text.search(UNDEFINED_IN_1252) : -1;
      if (bad >= 0) throw new BadText(lines + countLines(text.slice(0, bad)));
      if (strict) lines += countLines(text);
      return isAscii(chunk)
        ? text
        : text.replace(/[\x80-\x9f]/g, (char) => WINDOWS_1252[char.charCodeAt(0) - 0x80] ?? char);
    },
    end: () => "",
  };
}

/** Half a surrogate pair, or half a character at the end, is an error, not a replacement character. */
function openUtf16(bigEndian: boolean): Decoder {
  let rest: Buffer = Buffer.alloc(0);
  let held = "";
  let lines = 1;
  let started = false;
  const checked = (text: string): string => {
    const bad = text.search(/\p{Surrogate}/u);
    if (bad >= 0) throw new BadText(lines + countLines(text.slice(0, bad)));
    lines += countLines(text);
    return text;
  };
  return {
    decode: (chunk) => {
      const bytes = Buffer.concat([rest, chunk]);
      const even = Buffer.from(bytes.subarray(0, bytes.length & ~1));
      rest = bytes.subarray(even.length);
      let text = held + (bigEndian ? even.swap16() : even).toString("utf16le");
      held = /[\ud800-\udbff]$/.test(text) ? text.slice(-1) : "";
      text = text.slice(0, text.length - held.length);
      if (!started && text !== "") {
        started = true;
        text = text.replace(/^\ufeff/, "");
      }
      return checked(text);
    },
    end: () => {
      if (rest.length > 0) throw new BadText(lines);
      return checked(held);
    },
  };
}

function countLines(text: string): number {
  let lines = 0;
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) lines++;
  return lines;
}

/**
 * Whether no byte above 127 of a file is part of a valid UTF-8 sequence. Then the file is in another encoding; with valid
 * sequences in it, a byte that is not UTF-8 is damage.
 */
export async function isNeverUtf8(path: string, signal: AbortSignal | undefined): Promise<boolean> {
  let highBytes = false;
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of createReadStream(path, { signal, highWaterMark: 1024 * 1024 })) {
    const bytes = rest.length > 0 ? Buffer.concat([rest, chunk as Buffer]) : (chunk as Buffer);
    rest = bytes.subarray(Math.max(0, bytes.length - 3));
    if (isAscii(bytes)) continue;
    highBytes = true;
    if (bytes.includes(0) || hasUtf8Sequence(bytes)) return false;
  }
  return highBytes;
}

function hasUtf8Sequence(bytes: Buffer): boolean {
  for (let at = 0; at < bytes.length; at++) {
    const lead = bytes[at] ?? 0;
    if (lead < 0xc2 || lead > 0xf4) continue;
    const length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (at + length <= bytes.length && isUtf8(bytes.subarray(at, at + length))) return true;
  }
  return false;
}

/** Whether the head of a file is UTF-8; unless it is complete, it may end inside a character. */
export function isUtf8Head(head: Buffer, complete: boolean): boolean {
  const cuts = complete ? [0] : [0, 1, 2, 3];
  return cuts.some((cut) => isUtf8(head.subarray(0, Math.max(0, head.length - cut))));
}
