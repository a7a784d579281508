import { createReadStream, createWriteStream } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { Transform, type TransformCallback } from "node:stream";
import { pipeline } from "node:stream/promises";
import { LakeError } from "../../kernel/errors.ts";
import { argument, next } from "../../kernel/next-step.ts";
import { decompress } from "../compression/decompress.ts";
import { BadText, detectEncoding, isNeverUtf8, isUtf8Head, openDecoder } from "../encoding.ts";
import type { ConvertContext, Encoding, Source } from "../types.ts";
import type { Dialect } from "./csv-lines.ts";

/** An uncompressed file in UTF-8, for DuckDB. */
export interface PlainText {
  path: string;
  /** Encoding of the source. */
  encoding: Encoding;
  /** `lf`: every record ends in LF, in a copy of a file that mixed line ends. */
  newlines: "kept" | "lf";
  /** The line of the source on which the file starts. */
  firstLine: number;
}

const HEAD_BYTES = 64 * 1024;
const CHUNK_BYTES = 1024 * 1024;
const [LF, CR, SPACE] = [0x0a, 0x0d, 0x20];

/**
 * The source itself when it is uncompressed UTF-8, else a decompressed and decoded copy in `context.folder`. Throws
 * `invalid` for a damaged archive, and for text that is not in the encoding detected or named.
 */
export async function openPlainText(source: Source, context: ConvertContext): Promise<PlainText> {
  const path = await decompress(source, context);
  const plain: PlainText = { path, encoding: "utf-8", newlines: "kept", firstLine: 1 };
  const named = context.csv?.encoding;
  if (named !== undefined) return named === "utf-8" ? plain : recode(plain, named, source, context);
  const head = await readHead(path, HEAD_BYTES);
  const encoding = detectEncoding(head, source.label);
  if (encoding !== "utf-8") return recode(plain, encoding, source, context);
  // A byte beyond the head that is not UTF-8 is found when rows are read.
  return isUtf8Head(head, head.length < HEAD_BYTES)
    ? plain
    : ((await recodeUnlessUtf8(plain, source, context)) ?? plain);
}

/** Decodes the text as windows-1252 when it cannot be UTF-8; undefined when it can, and when the caller named an encoding. */
export async function recodeUnlessUtf8(
  text: PlainText,
  source: Source,
  context: ConvertContext,
): Promise<PlainText | undefined> {
  if (text.encoding !== "utf-8" || text.newlines !== "kept" || context.csv?.encoding !== undefined) return undefined;
  return (await isNeverUtf8(text.path, context.signal)) ? recode(text, "windows-1252", source, context) : undefined;
}

async function recode(
  text: PlainText,
  encoding: Encoding,
  source: Source,
  context: ConvertContext,
): Promise<PlainText> {
  const path = join(context.folder, `${encoding}.csv`);
  const decoder = openDecoder(encoding, context.csv?.encoding === undefined);
  const convert = new Transform({
    transform: (chunk: Buffer, _, done) => attempt(done, () => decoder.decode(chunk)),
    flush: (done) => attempt(done, () => decoder.end()),
  });
  try {
    await copyThrough(text.path, convert, path, context);
  } catch (error) {
    if (!(error instanceof BadText)) throw error;
    const is1252 = encoding === "windows-1252";
    const what = is1252 ? "neither UTF-8 nor windows-1252" : `not ${encoding}, as the file seems to be`;
    throw new LakeError(
      "invalid",
      `${source.label}, line ${error.line}: bytes that are ${what}. Nothing was ingested.`,
      {
        hint: is1252 ? "Save it as UTF-8." : next`Save it as UTF-8, or give ${argument("encoding", "utf-8")}.`,
        facts: { line: error.line },
        cause: error,
      },
    );
  }
  return { ...text, path, encoding };
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

/** Copies the text from byte `offset` on, which starts `line`. */
export async function textFrom(
  text: PlainText,
  offset: number,
  line: number,
  context: ConvertContext,
): Promise<PlainText> {
  const path = join(context.folder, `${text.encoding}-rows.csv`);
  const write = createWriteStream(path, { mode: 0o600 });
  await pipeline(createReadStream(text.path, { start: offset }), write, { signal: context.signal });
  return { ...text, path, firstLine: text.firstLine + line - 1 };
}

/** Whether a file may mix line ends: without CR it has one kind. */
export async function hasCarriageReturns(path: string, signal: AbortSignal | undefined): Promise<boolean> {
  for await (const chunk of createReadStream(path, { signal, highWaterMark: CHUNK_BYTES })) {
    if ((chunk as Buffer).includes(CR)) return true;
  }
  return false;
}

/**
 * Copies the text so that every record ends in LF: DuckDB reads one kind of line ends per file. Quoted line ends stay.
 * Other bytes are not checked, so that DuckDB still finds damage in them.
 */
export async function unifyRecordEnds(text: PlainText, dialect: Dialect, context: ConvertContext): Promise<PlainText> {
  const path = join(context.folder, `${text.encoding}-lf.csv`);
  const rewrite = openRecordEnds(dialect);
  const convert = new Transform({
    transform: (chunk: Buffer, _, done) => done(null, rewrite(chunk)),
  });
  await copyThrough(text.path, convert, path, context);
  return { ...text, path, newlines: "lf" };
}

/** Replaces CR and CR LF outside of quotes by LF, in place. Quotes may span chunks. */
function openRecordEnds(dialect: Dialect): (chunk: Buffer) => Buffer {
  const [quote, escapedBy] = [dialect.quote.charCodeAt(0), dialect.escapedBy.charCodeAt(0)];
  const delimiter = dialect.delimiter.charCodeAt(0);
  let state: "start" | "plain" | "quoted" | "escaped" | "closed" = "start";
  let endedByCr = false;
  return (chunk) => {
    let to = 0;
    for (let at = 0; at < chunk.length; at++) {
      const byte = chunk[at] ?? 0;
      const followsCr = endedByCr;
      endedByCr = false;
      if (state === "escaped") state = "quoted";
      else if (state === "quoted") {
        if (byte === quote) state = "closed";
        else if (byte === escapedBy) state = "escaped";
      } else if (byte === LF && followsCr) continue;
      else if (byte === LF || byte === CR) {
        endedByCr = byte === CR;
        state = "start";
        chunk[to++] = LF;
        continue;
      } else if (byte === delimiter) state = "start";
      else if (byte === quote && (state === "start" || state === "closed")) state = "quoted";
      else if (byte !== SPACE || state !== "start") state = "plain";
      chunk[to++] = byte;
    }
    return chunk.subarray(0, to);
  };
}

async function copyThrough(from: string, convert: Transform, to: string, context: ConvertContext): Promise<void> {
  const write = createWriteStream(to, { mode: 0o600 });
  await pipeline(createReadStream(from), convert, write, { signal: context.signal });
}

export async function readHead(path: string, length: number, from = 0): Promise<Buffer> {
  const file = await open(path, "r");
  try {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(length), 0, length, from);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}
