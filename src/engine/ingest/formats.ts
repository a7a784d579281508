import { arrow } from "./arrow/format.ts";
import { csv, tsv } from "./csv/format.ts";
import { json, ndjson } from "./json/format.ts";
import { parquet } from "./parquet/format.ts";
import type { FormatSpec } from "./types.ts";

/** What can be loaded. Another format is a folder beside these, and a line here. */
export const FORMATS = { csv, tsv, json, ndjson, parquet, arrow } satisfies Record<string, FormatSpec>;

export type Format = keyof typeof FORMATS;

export const FORMAT_NAMES = Object.keys(FORMATS) as [Format, ...Format[]];

/** By name, with all fields that a format may have. */
export function formatSpec(format: Format): FormatSpec {
  return FORMATS[format];
}
