import { constants, gunzipSync } from "node:zlib";
import { hasCode, LakeError } from "../kernel/errors.ts";
import { startOfZstd, zstdStart } from "./compression/zstd.ts";
import { foreignFormat, isBinary, textOf } from "./foreign.ts";
import { FORMAT_NAMES, type Format, formatSpec } from "./formats.ts";
import type { Compression } from "./types.ts";

/** How much of the start of a source is enough to tell its format. */
export const DETECT_BYTES = 64 * 1024;
/** Of a gzip file, which may hold a thousand times as much. */
const GZIP_BYTES = 4 * 1024;
const GZIP_OUTPUT_BYTES = 512 * 1024;

export interface Detected {
  format: Format;
  compression: Compression;
}

/**
 * What a source is, from its name, the format that was asked for, and its first `DETECT_BYTES`. Its content outdoes its
 * name; a format that was asked for has to agree with it. `isText`: the caller says in which encoding. Throws `invalid` for what is no table, whatever it is called.
 */
export function detect(
  label: string,
  asked: Format | undefined,
  head: Buffer,
  bytes: number,
  isText = false,
): Detected {
  const compression = detectCompression(head);
  const isWhole = bytes === head.length && (compression === "none" || bytes <= GZIP_BYTES);
  const start = startOf(head, compression, isWhole);
  if (start?.length === 0 && isWhole && bytes > 0) {
    throw new LakeError("invalid", `${label} holds nothing: it is an empty file, compressed with ${compression}.`, {
      hint: "A CSV file needs at least a header line.",
    });
  }
  return {
    format: formatOf(label, asked, { start: start ?? Buffer.alloc(0), compression, isWhole, isText }),
    compression,
  };
}

function formatOf(
  label: string,
  asked: Format | undefined,
  {
    start,
    compression,
    isWhole,
    isText,
  }: { start: Buffer; compression: Compression; isWhole: boolean; isText: boolean },
): Format {
  refuseForeign(label, start, compression, isWhole);
  const expected = asked ?? formatOfName(label);
  const found = formatOfBytes(start);
  const isBytes = expected !== undefined && formatSpec(expected).isStart !== undefined;
  if (found && asked && found !== asked) throw mismatch(label, asked, found);
  if (found) return found;
  if (start.length === 0) return expected ?? "csv";
  if (!isText && isBinary(start)) {
    // Arrow streams of old begin with a length, and a file that is damaged may begin with anything.
    if (isBytes) return expected;
    throw refused(label, { what: "binary data of a kind that is not known", hint: readable() }, compression);
  }
  const text = textOf(start);
  if (isBytes && asked) throw mismatch(label, asked, sniffText(text));
  if (!expected || isBytes) return sniffText(text);
  return asked ?? correctedByText(expected, text);
}

/** By magic bytes, because names lie: gzip is RFC 1952, zstd RFC 8878. */
export function detectCompression(head: Buffer): Compression {
  if (head[0] === 0x1f && head[1] === 0x8b) return "gzip";
  return zstdStart(head) === undefined ? "none" : "zstd";
}

/** By extension: `.csv`, `.csv.gz`. */
function formatOfName(name: string): Format | undefined {
  const [, extension = ""] = /\.([a-z0-9]+)(?:\.(?:gz|gzip|zst|zstd))?$/i.exec(name) ?? [];
  return FORMAT_NAMES.find((format) => formatSpec(format).extensions.includes(extension.toLowerCase()));
}

/** Decompressed; undefined for what is damaged: who reads all of it says how. */
function startOf(head: Buffer, compression: Compression, isWhole: boolean): Buffer | undefined {
  if (compression === "none") return head;
  try {
    if (compression === "zstd") return startOfZstd(head, DETECT_BYTES);
    const finishFlush = isWhole ? constants.Z_FINISH : constants.Z_SYNC_FLUSH;
    return startOfGzip(head, GZIP_BYTES, finishFlush) ?? startOfGzip(head, GZIP_BYTES / 16, constants.Z_SYNC_FLUSH);
  } catch {
    return undefined;
  }
}

/** Undefined when there is more than is wanted, which takes too long. */
function startOfGzip(head: Buffer, length: number, finishFlush: number): Buffer | undefined {
  try {
    const options = { finishFlush, maxOutputLength: GZIP_OUTPUT_BYTES };
    return gunzipSync(head.subarray(0, length), options).subarray(0, DETECT_BYTES);
  } catch (error) {
    if (hasCode(error, "ERR_BUFFER_TOO_LARGE")) return undefined;
    throw error;
  }
}

function formatOfBytes(start: Buffer): Format | undefined {
  return FORMAT_NAMES.find((format) => formatSpec(format).isStart?.(start));
}

function sniffText(text: string): Format {
  if (text.startsWith("[")) return "json";
  if (!text.startsWith("{")) return "csv";
  const [first = "", ...rest] = text.split(/\r?\n/);
  return isJson(first) && rest.some((line) => line.trim() !== "") ? "ndjson" : "json";
}

/** Only where the text leaves no doubt: a line that cannot be read may be one of the bad ones. */
function correctedByText(expected: Format, text: string): Format {
  if (expected === "json") return "json";
  if (/^\[\s*\{\s*(?:"(?:[^"\\]|\\.)*"\s*:|\})/.test(text) || /^\{\s*\n/.test(text)) return "json";
  if (expected === "ndjson" || !/^\{\s*"/.test(text)) return expected;
  const [first = "", ...rest] = text.split(/\r?\n/);
  return isJson(first) || (rest.length === 0 && /^\{\s*"(?:[^"\\]|\\.)*"\s*:/.test(text)) ? sniffText(text) : expected;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function refuseForeign(label: string, start: Buffer, compression: Compression, isWhole: boolean): void {
  const foreign = foreignFormat(start, isWhole);
  if (foreign) throw refused(label, foreign, compression);
}

function refused(label: string, { what, hint }: { what: string; hint: string }, compression: Compression): LakeError {
  const wrapped = compression === "none" ? what : `${what}, compressed with ${compression}`;
  return new LakeError("invalid", `${label} is ${wrapped}, which cannot be loaded. Nothing was ingested.`, { hint });
}

function mismatch(label: string, asked: Format, found: Format): LakeError {
  return new LakeError(
    "invalid",
    `${label} is not ${formatSpec(asked).title}: its content is ${formatSpec(found).title}.`,
    {
      hint: `Pass format: "${found}", or leave format out.`,
    },
  );
}

function readable(): string {
  return `What can be loaded: ${FORMAT_NAMES.map((format) => formatSpec(format).title).join(", ")}.`;
}
