import type { Format } from "./formats.ts";
import type { CsvOptions, IngestNotes } from "./types.ts";

export type FileSource = { path: string } | { text: string } | { upload: string };

export interface IngestRequest {
  name: string;
  /** `upload` is the id of a complete upload of the caller. */
  source: FileSource | { sql: string };
  format?: Format | undefined;
  mode?: "replace" | "append" | "create" | undefined;
  schemaChange?: "refuse" | "allow" | undefined;
  onBadRows?: "fail" | "skip" | undefined;
  csv?: CsvOptions | undefined;
}

export interface IngestOptions {
  /** Folders that `path` may also lie in: the roots the client offered. Absolute. */
  roots?: string[] | undefined;
  /** Whose uploads may be used. */
  caller?: string | undefined;
  signal?: AbortSignal | undefined;
  /** `fraction` is 0 to 1. */
  onProgress?: ((fraction: number, message: string) => void) | undefined;
}

/** Field names are those of the tool's result. */
export interface IngestResult {
  dataset_id: string;
  name: string;
  version: number;
  /** Rows and bytes of the whole dataset at this version. */
  rows: number;
  bytes: number;
  schema_fingerprint: string;
  unchanged: boolean;
  columns: { name: string; type: string }[];
  /** Rows this call wrote; 0 when unchanged. */
  rows_written: number;
  /** Changes to the data that the caller may not expect. */
  notes: IngestNotes;
}
