import { arrow } from "./arrow/format.ts";
import { csv, tsv } from "./csv/format.ts";
import { json, ndjson } from "./json/format.ts";
import { parquet } from "./parquet/format.ts";
import type { FormatSpec } from "./types.ts";

/**
 * The formats that can be loaded. Another format is a folder beside these, and a line here: detection, the tool, the
 * command and their descriptions follow from this table.
 */
export const FORMATS = { csv, tsv, json, ndjson, parquet, arrow } satisfies Record<string, FormatSpec>;

export type Format = keyof typeof FORMATS;

export const FORMAT_NAMES = Object.keys(FORMATS) as [Format, ...Format[]];

/** By name, with all fields that a format may have. */
export function formatSpec(format: Format): FormatSpec {
  return FORMATS[format];
}

const titlesOf = (formats: readonly Format[]): string => formats.map((format) => FORMATS[format].title).join(", ");

/** For messages: `CSV, TSV, Parquet`. */
export const FORMAT_TITLES = titlesOf(FORMAT_NAMES);

/** For descriptions: `CSV, TSV, also .gz and .zst; Parquet`. Only text formats may be compressed as a whole. */
export const LOADABLE = [
  `${titlesOf(FORMAT_NAMES.filter((format) => !formatSpec(format).isStart))}, also .gz and .zst`,
  titlesOf(FORMAT_NAMES.filter((format) => formatSpec(format).isStart)),
].join("; ");

/** The format that a file's name tells, and the name without its extensions: `csv` and `sales` for `sales.csv.gz`. */
export function parseFileName(name: string): { format: Format | undefined; stem: string } {
  const plain = name.replace(/\.(?:gz|gzip|zst|zstd)$/i, "");
  const [, stem, extension = ""] = /^(.*)\.([a-z0-9]+)$/is.exec(plain) ?? [];
  const format = FORMAT_NAMES.find((each) => formatSpec(each).extensions.includes(extension.toLowerCase()));
  return { format, stem: (format && stem) || plain };
}
