import { constants, gunzipSync } from "node:zlib";
import { LakeError } from "../errors.ts";
import type { Compression, Format } from "./types.ts";

/** How much of the start of a source is enough to tell its format. */
export const DETECT_BYTES = 64 * 1024;

const EXTENSIONS: Record<string, Format> = {
  csv: "csv",
  tsv: "tsv",
  tab: "tsv",
  json: "json",
  jsonl: "ndjson",
  ndjson: "ndjson",
  parquet: "parquet",
  arrow: "arrow",
  feather: "arrow",
  ipc: "arrow",
};

/** By magic bytes, because names lie: gzip is RFC 1952, zstd RFC 8878. */
export function detectCompression(head: Buffer): Compression {
  if (head[0] === 0x1f && head[1] === 0x8b) return "gzip";
  return head.length >= 4 && head.readUInt32LE(0) === 0xfd2fb528 ? "zstd" : "none";
}

/** By extension (`.csv`, `.csv.gz`), else by content. Throws `invalid` when the content does not tell either. */
export function detectFormat(name: string, head: Buffer, compression: Compression): Format {
  const [, extension = ""] = /\.([a-z0-9]+)(?:\.(?:gz|gzip|zst|zstd))?$/i.exec(name) ?? [];
  const known = EXTENSIONS[extension.toLowerCase()];
  if (known) return known;
  if (compression === "zstd") {
    throw new LakeError("invalid", `The name of ${name} does not tell its format, and it is compressed.`, {
      hint: "Name the format: csv, tsv, json, ndjson, parquet or arrow.",
    });
  }
  return sniffFormat(compression === "gzip" ? startOfGzip(head) : head);
}

function sniffFormat(head: Buffer): Format {
  const magic = head.toString("latin1", 0, 6);
  if (magic.startsWith("PAR1")) return "parquet";
  // An Arrow stream starts with a continuation marker instead of a name.
  if (magic === "ARROW1" || head.toString("hex", 0, 4) === "ffffffff") return "arrow";
  const text = new TextDecoder().decode(head).trimStart();
  if (text.startsWith("[")) return "json";
  if (!text.startsWith("{")) return "csv";
  const [first = "", ...rest] = text.split(/\r?\n/);
  return isJson(first) && rest.some((line) => line.trim() !== "") ? "ndjson" : "json";
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function startOfGzip(head: Buffer): Buffer {
  try {
    return gunzipSync(head, { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength: 4 * DETECT_BYTES });
  } catch {
    return Buffer.alloc(0);
  }
}
