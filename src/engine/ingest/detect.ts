import { constants, gunzipSync } from "node:zlib";
import { hasCode, LakeError } from "../kernel/errors.ts";
import { argument, next } from "../kernel/next-step.ts";
import { startOfZstd, zstdStart } from "./compression/zstd.ts";
import { type Foreign, foreignFormat, isBinary, textOf } from "./foreign.ts";
import { FORMAT_NAMES, FORMAT_TITLES, type Format, formatSpec, parseFileName } from "./formats.ts";
import type { Compression } from "./types.ts";

/** Bytes at the start of a file that tell its format. */
export const DETECT_BYTES = 64 * 1024;
/** Bytes of a gzip file that are decompressed for that; they may become a thousand times as many. */
const GZIP_BYTES = 4 * 1024;
const GZIP_OUTPUT_BYTES = 512 * 1024;

export interface Detected {
  format: Format;
  compression: Compression;
}

/**
 * Detects format and compression of a file of `bytes` bytes from its name, the requested format, and `head`, its first
 * `DETECT_BYTES`. The content takes precedence over the name; a requested format has to agree with it. `isText`: the
 * caller named an encoding. Throws `invalid` for files that are no table, whatever their name.
 */
export function detect(
  label: string,
  requested: Format | undefined,
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
    format: formatOf(label, requested, { bytes: start ?? Buffer.alloc(0), compression, isWhole, isText }),
    compression,
  };
}

/** The start of a file, for telling its format. */
interface Start {
  /** Decompressed; empty when that failed. */
  bytes: Buffer;
  compression: Compression;
  /** These are all bytes of the file. */
  isWhole: boolean;
  /** The caller named an encoding, so that it is text. */
  isText: boolean;
}

function formatOf(label: string, requested: Format | undefined, start: Start): Format {
  const found = FORMAT_NAMES.find((format) => formatSpec(format).isStart?.(start.bytes));
  if (found && requested && found !== requested) throw mismatch(label, requested, found);
  if (found) return found;
  const foreign = foreignFormat(start.bytes, start.isWhole);
  if (foreign) throw unsupported(label, foreign, start.compression);
  const expected = requested ?? parseFileName(label).format;
  if (start.bytes.length === 0) return expected ?? "csv";
  const isBytes = expected !== undefined && formatSpec(expected).isStart !== undefined;
  if (!start.isText && isBinary(start.bytes)) {
    // Old Arrow streams begin with a length, and a damaged file may begin with anything.
    if (isBytes) return expected;
    throw unsupported(label, UNKNOWN, start.compression);
  }
  const text = textOf(start.bytes);
  if (isBytes && requested) throw mismatch(label, requested, formatOfText(text, undefined));
  return requested ?? formatOfText(text, isBytes ? undefined : expected);
}

function formatOfText(text: string, named: Format | undefined): Format {
  return FORMAT_NAMES.find((format) => format !== named && formatSpec(format).claims?.(text, named)) ?? named ?? "csv";
}

/** By magic bytes, whatever the name: gzip is RFC 1952, zstd RFC 8878. */
export function detectCompression(head: Buffer): Compression {
  if (head[0] === 0x1f && head[1] === 0x8b) return "gzip";
  return zstdStart(head) === undefined ? "none" : "zstd";
}

/** The first bytes decompressed; undefined when they are damaged, which the converter reports in detail. */
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

/** Undefined when the output is too long. */
function startOfGzip(head: Buffer, length: number, finishFlush: number): Buffer | undefined {
  try {
    const options = { finishFlush, maxOutputLength: GZIP_OUTPUT_BYTES };
    return gunzipSync(head.subarray(0, length), options).subarray(0, DETECT_BYTES);
  } catch (error) {
    if (hasCode(error, "ERR_BUFFER_TOO_LARGE")) return undefined;
    throw error;
  }
}

const UNKNOWN = {
  what: "binary data of a kind that is not known",
  hint: `Files that can be loaded: ${FORMAT_TITLES}.`,
};

function unsupported(label: string, { what, hint }: Foreign, compression: Compression): LakeError {
  const wrapped = compression === "none" ? what : `${what}, compressed with ${compression}`;
  return new LakeError("invalid", `${label} is ${wrapped}, which cannot be loaded. Nothing was ingested.`, {
    code: "unsupported_format",
    hint,
  });
}

function mismatch(label: string, requested: Format, found: Format): LakeError {
  return new LakeError(
    "invalid",
    `${label} is not ${formatSpec(requested).title}: its content is ${formatSpec(found).title}.`,
    {
      hint: next`Pass ${argument("format", found)}, or leave ${argument("format")} out.`,
      facts: { argument: "format" },
    },
  );
}
