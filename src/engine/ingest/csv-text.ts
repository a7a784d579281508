import { isAscii, isUtf8 } from "node:buffer";
import { createReadStream, createWriteStream } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { Transform, type TransformCallback } from "node:stream";
import { pipeline } from "node:stream/promises";
import { hasCode, LakeError } from "../errors.ts";
import { decompress } from "./decompress.ts";
import type { ConvertContext, Source } from "./types.ts";

export type Encoding = "utf-8" | "utf-16le" | "utf-16be" | "windows-1252";

/** A text that DuckDB reads best: a plain file in UTF-8. */
export interface PlainText {
  path: string;
  /** What the source was written in. */
  encoding: Encoding;
  /** Whether CR LF became LF, because the file mixed both. */
  newlines: "kept" | "lf";
}

const HEAD_BYTES = 64 * 1024;
/** What the bytes 0x80 to 0x9f stand for. https://encoding.spec.whatwg.org/index-windows-1252.txt */
const WINDOWS_1252 = "€\u0081‚ƒ„…†‡ˆ‰Š‹Œ\u008dŽ\u008f\u0090‘’“”•–—˜™š›œ\u009džŸ";

/**
 * The source itself when it is plain UTF-8, else a decompressed, decoded copy of it in `context.folder`. Throws
 * `invalid` for a broken archive.
 */
export async function openPlainText(source: Source, context: ConvertContext): Promise<PlainText> {
  const path = await decompress(source, context);
  const encoding = detectEncoding(await readHead(path, HEAD_BYTES));
  const plain: PlainText = { path, encoding: "utf-8", newlines: "kept" };
  return encoding === "utf-8" ? plain : recode(plain, encoding, source, context);
}

/** Another way to read a text that made no sense as UTF-8 with one kind of line ends, if there is one. */
export async function reread(
  text: PlainText,
  problem: string,
  source: Source,
  context: ConvertContext,
): Promise<PlainText | undefined> {
  if (text.encoding === "utf-8" && text.newlines === "kept" && (await isNeverUtf8(text.path, context.signal))) {
    return recode(text, "windows-1252", source, context);
  }
  return text.newlines === "kept" && problem.includes("invalid state") ? unifyNewlines(text, context) : undefined;
}

async function recode(
  text: PlainText,
  encoding: Encoding,
  source: Source,
  context: ConvertContext,
): Promise<PlainText> {
  const path = join(context.folder, `${encoding}.csv`);
  const decode = decoderOf(encoding);
  const convert = new Transform({
    transform: (chunk: Buffer, _, done) => attempt(done, () => decode(chunk)),
    flush: (done) => attempt(done, () => decode()),
  });
  try {
    await copyThrough(text.path, convert, path, context);
  } catch (error) {
    if (!hasCode(error, "ERR_ENCODING_INVALID_ENCODED_DATA")) throw error;
    throw new LakeError("invalid", `${source.label} starts like ${encoding} and is not valid ${encoding}.`, {
      hint: "Save it as UTF-8.",
      cause: error,
    });
  }
  return { ...text, path, encoding };
}

/** Node's own decoder for windows-1252 takes it for latin1 in some releases, and loses 27 characters. */
function decoderOf(encoding: Encoding): (chunk?: Buffer) => string {
  if (encoding === "windows-1252") {
    return (chunk) =>
      (chunk?.toString("latin1") ?? "").replace(
        /[\x80-\x9f]/g,
        (char) => WINDOWS_1252[char.charCodeAt(0) - 0x80] ?? char,
      );
  }
  const decoder = new TextDecoder(encoding, { fatal: true });
  return (chunk) => (chunk ? decoder.decode(chunk, { stream: true }) : decoder.decode());
}

function attempt(done: TransformCallback, work: () => string): void {
  let text: string;
  try {
    text = work();
  } catch (error) {
    done(error as Error);
    return;
  }
  done(null, text);
}

/** DuckDB reads one kind of line ends per file. Byte by byte, so that damage elsewhere is still found. */
async function unifyNewlines(text: PlainText, context: ConvertContext): Promise<PlainText> {
  const path = join(context.folder, "lf.csv");
  let held = "";
  const convert = new Transform({
    transform(chunk: Buffer, _, done) {
      const bytes = held + chunk.toString("latin1");
      held = bytes.endsWith("\r") ? "\r" : "";
      done(null, Buffer.from(bytes.slice(0, bytes.length - held.length).replaceAll("\r\n", "\n"), "latin1"));
    },
    flush: (done) => done(null, held),
  });
  await copyThrough(text.path, convert, path, context);
  return { ...text, path, newlines: "lf" };
}

async function copyThrough(from: string, convert: Transform, to: string, context: ConvertContext): Promise<void> {
  const write = createWriteStream(to, { mode: 0o600 });
  await pipeline(createReadStream(from), convert, write, { signal: context.signal });
}

/**
 * Whether a file that is not valid UTF-8 is no UTF-8 at all: none of its bytes above 127 is part of a valid sequence.
 * One bad byte among good ones is damage; none good is another encoding.
 */
async function isNeverUtf8(path: string, signal: AbortSignal | undefined): Promise<boolean> {
  let highBytes = false;
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of createReadStream(path, { signal })) {
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

/** By byte order mark, or by where the zeros are, since text in Latin letters as UTF-16 is every other byte zero. */
export function detectEncoding(head: Buffer): Encoding {
  if (head[0] === 0xff && head[1] === 0xfe) return "utf-16le";
  if (head[0] === 0xfe && head[1] === 0xff) return "utf-16be";
  const pairs = Math.floor(head.length / 2);
  let even = 0;
  let odd = 0;
  for (let pair = 0; pair < pairs; pair++) {
    if (head[2 * pair] === 0) even++;
    if (head[2 * pair + 1] === 0) odd++;
  }
  if (odd > pairs * 0.4 && even < pairs * 0.05) return "utf-16le";
  if (even > pairs * 0.4 && odd < pairs * 0.05) return "utf-16be";
  return "utf-8";
}

export async function readHead(path: string, length: number): Promise<Buffer> {
  const file = await open(path, "r");
  try {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(length), 0, length, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}
