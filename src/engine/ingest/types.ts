import type { Column, ColumnStats } from "../catalog/types.ts";
import type { Duck } from "../duckdb/duckdb.ts";

export type Compression = "none" | "gzip" | "zstd";

export type Encoding = "utf-8" | "utf-16le" | "utf-16be" | "windows-1252";

/** How a CSV or TSV file is written, where the caller knows better than its first lines tell. */
export interface CsvOptions {
  /** Whether the first line has the names of the columns. */
  header?: boolean | undefined;
  /** Lines before it. */
  skipLines?: number | undefined;
  /** One character; `\\t` stands for a tab. */
  delimiter?: string | undefined;
  /** An `Encoding`, or latin1, which is read as windows-1252. */
  encoding?: Encoding | "latin1" | undefined;
  /** Texts that are NULL in every column, besides the empty one. */
  nullValues?: string[] | undefined;
  /** Types of columns by name; anything but texts is refused. */
  types?: Readonly<Record<string, unknown>> | undefined;
}

/** Checked, and in one spelling. */
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
  /** Set when the source was not UTF-8. */
  encoding: string | null;
  /** Columns, or fields inside of them as a path, kept as another type than the source has, or without its meaning. */
  converted: { column: string; from: string; to: string; reason: string }[];
  /** For CSV and TSV. */
  dialect: CsvDialect | null;
}

export interface CsvDialect {
  delimiter: string;
  quote: string;
  header: boolean;
  /** Where the header is, null when there is none. */
  header_line: number | null;
  /** The names as they are written there, the first 100. */
  header_names: string[];
  /** Lines before the header or the first row that were left out, and the first that are not blank. */
  skipped_lines: { count: number; lines: { line: number; text: string }[] } | null;
  /** What is likely wrong with the outcome. */
  warning: string | null;
}

/** A source as a finished local file that only this ingest reads. */
export interface Source {
  /** Absolute. */
  path: string;
  /** As the caller named it; the only name that may appear in messages. */
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
  /** What may separate values in it. Absent: what usually does. */
  delimiters?: readonly string[] | undefined;
  maxRows: number;
  /** Absent: a new dataset, with field ids 1 to n. `writeParquet` asks it; converters that infer types may look. */
  target?: Target | undefined;
  signal?: AbortSignal | undefined;
  onProgress?: ((fraction: number) => void) | undefined;
  /** Present: nothing is to be written, see `readEachColumn`. Told the column that is read next, and null at the end. */
  onColumn?: ((name: string | null) => Promise<void>) | undefined;
}

/** The dataset that the converted rows are for. */
export interface Target {
  /** Its columns as of now: a converter that infers types tries these first, by name. Empty for a new dataset. */
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

/** Limiter one source into Parquet files in `context.folder`. Throws `LakeError`; then the folder's contents are garbage. */
export type Converter = (source: Source, context: ConvertContext) => Promise<Converted>;

/** One kind of file that can be loaded. */
export interface FormatSpec {
  /** As people call it. */
  title: string;
  /** Of file names, in lower case. */
  extensions: readonly string[];
  /** Whether a source that begins like this is of the format. Absent for text. */
  isStart?: (start: Buffer) => boolean;
  /** Types of columns are found from their values, and not declared. */
  isInferred: boolean;
  /** `CsvOptions` say how it is read. */
  takesCsvOptions: boolean;
  /** One column can be read without the others. */
  isColumnar: boolean;
  /**
   * Equal input gives equal bytes on any machine. DuckDB cuts row groups of CSV as its threads happen to run, so that gets
   * one, which is as fast, since most of the work is one pipeline; other sources only differ between one and several.
   */
  isOneThread: boolean;
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
