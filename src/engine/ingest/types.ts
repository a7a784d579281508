import type { Column, ColumnStats } from "../catalog/types.ts";
import type { Duck } from "../duckdb/duckdb.ts";

export type Compression = "none" | "gzip" | "zstd";

export type Encoding = "utf-8" | "utf-16le" | "utf-16be" | "windows-1252";

/** How a CSV or TSV file is written; what is absent is detected. */
export interface CsvOptions {
  /** Whether the first line is the header. */
  header?: boolean | undefined;
  /** Lines to leave out before the header. */
  skipLines?: number | undefined;
  /** One character; `\\t` stands for a tab. */
  delimiter?: string | undefined;
  /** An `Encoding`, or latin1, which is read as windows-1252. */
  encoding?: Encoding | "latin1" | undefined;
  /** Texts that are NULL in every column, besides the empty one. */
  nullValues?: string[] | undefined;
  /** SQL types by column name. Values that are not strings are refused. */
  types?: Readonly<Record<string, unknown>> | undefined;
}

/** Checked options in one spelling. */
export interface KnownCsvOptions extends Omit<CsvOptions, "encoding" | "types"> {
  encoding?: Encoding | undefined;
  types?: Record<string, string> | undefined;
}

export interface IngestNotes {
  /** Columns kept as text because not every value fits the type most of them have. */
  kept_as_text: { column: string; inferred: string; line: number | null; value: string; reason: string }[];
  /** With `on_bad_rows: "skip"`: how many rows were left out, and the first lines. */
  skipped_rows: { count: number; lines: { line: number; reason: string }[] } | null;
  /** Header names that had to change because they were empty or repeated. */
  renamed_columns: { from: string; to: string }[];
  /** The encoding, when it was not UTF-8. */
  encoding: string | null;
  /** Columns, or fields inside them as a path, stored as another type than the source has, or without its meaning. */
  converted: { column: string; from: string; to: string; reason: string }[];
  /** For CSV and TSV. */
  dialect: CsvDialect | null;
}

export interface CsvDialect {
  delimiter: string;
  quote: string;
  header: boolean;
  /** Line of the header, from 1; null when there is none. */
  header_line: number | null;
  /** The first 100 names as the file spells them. */
  header_names: string[];
  /** Lines left out before the header or the first row: how many, and the first that are not blank. */
  skipped_lines: { count: number; lines: { line: number; text: string }[] } | null;
  /** A likely mistake in how the file was read. */
  warning: string | null;
}

/** A local file that does not change while this ingest reads it. */
export interface Source {
  /** Absolute. */
  path: string;
  /** The caller's name for it; the only one that may appear in messages. */
  label: string;
  compression: Compression;
  bytes: number;
}

export interface ConvertContext {
  /** Locked: reads the source and `folder`, writes `folder`. */
  duck: Duck;
  /** Empty folder for intermediate files and the Parquet files to commit. */
  folder: string;
  onBadRows: "fail" | "skip";
  /** As `readCsvOptions` gives them. */
  csv?: KnownCsvOptions | undefined;
  /** Delimiters that are tried. Absent: the usual ones. */
  delimiters?: readonly string[] | undefined;
  maxRows: number;
  /** Absent: a new dataset, with field ids 1 to n. `writeParquet` settles it; converters that infer types may read it. */
  target?: Target | undefined;
  signal?: AbortSignal | undefined;
  onProgress?: ((fraction: number) => void) | undefined;
  /** Present: nothing is written, see `readEachColumn`, which calls it with each column it reads, and with null at the end. */
  onColumn?: ((name: string | null) => Promise<void>) | undefined;
}

/** The dataset that the converted rows are for. */
export interface Target {
  /** Its columns now. A converter that infers types tries these first, by name. Empty for a new dataset. */
  columns: readonly Column[];
  /**
   * The columns to write for a source with `columns`: field ids by name (never one used before), and for an append the
   * dataset's order and types. Throws `conflict` when the schema differs in a way the caller did not allow.
   */
  settle(columns: readonly { name: string; type: string }[]): Promise<Column[]>;
}

export interface ParquetFile {
  path: string;
  bytes: number;
  rows: number;
  stats: Record<string, ColumnStats>;
}

export interface Converted {
  columns: { name: string; type: string }[];
  files: ParquetFile[];
  rows: number;
  notes: IngestNotes;
}

/** Converts one source to Parquet files in `context.folder`. Throws `LakeError`; then the folder's contents are garbage. */
export type Converter = (source: Source, context: ConvertContext) => Promise<Converted>;

/** One format of files that can be loaded. */
export interface FormatSpec {
  /** As people call it, in messages and in the descriptions of tools and commands. */
  title: string;
  /** Of file names, in lower case. */
  extensions: readonly string[];
  /** Whether a file that begins with these bytes, decompressed, is of the format. Absent for text formats. */
  isStart?: (start: Buffer) => boolean;
  /**
   * Text formats: whether text is of the format although the file's name says `named`, another format, or nothing. What
   * no format claims is of the format named, else CSV.
   */
  claims?: (text: string, named: string | undefined) => boolean;
  /** The types of columns are inferred from their values, not declared. */
  isInferred: boolean;
  /** `CsvOptions` apply to it. */
  takesCsvOptions: boolean;
  /** One column can be read without the others. */
  isColumnar: boolean;
  /**
   * Converted with one thread, so that equal input gives equal bytes on any machine: DuckDB cuts row groups of CSV as its
   * threads happen to run. That is as fast, since most of the work is one pipeline.
   */
  isOneThread: boolean;
  /** Loads the converter, with the libraries that it needs. */
  converter(): Promise<Converter>;
}

export const NO_NOTES: IngestNotes = {
  kept_as_text: [],
  skipped_rows: null,
  renamed_columns: [],
  converted: [],
  encoding: null,
  dialect: null,
};
