import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { ColumnStats } from "../catalog/types.ts";
import { type Connection, identifier, literal } from "../duckdb/duckdb.ts";
import { LakeError } from "../errors.ts";
import { joinColumns } from "../parquet/parquet-join.ts";
import type { ConvertContext, ParquetFile } from "./types.ts";

export interface WriteOptions {
  /** Average bytes of a source row, where known: long rows make smaller row groups. */
  rowBytes?: number;
  /** More rows than the source can have: where so many are allowed, counting them is left out and saves memory. */
  atMostRows?: number;
  /** Largest Parquet file. */
  fileBytes?: number;
}

/** Means something to DuckDB among the field ids. */
const FIELD_ID_KEY = "__duckdb_field_id";
const FILE_BYTES = 512 * 1024 ** 2;
const GROUP_ROWS = 20_480;
const GROUP_COLUMNS = 64;
const GROUP_BYTES = 24 * 1024 ** 2;
const MIN_GROUP_ROWS = 128;
const DICTIONARY_BYTES = 32 * 1024 ** 2;
/**
 * Columns that one statement writes. DuckDB has room for 2,048 rows of each however few there are, some 100 kB for a text:
 * more columns go to files of their own, which are then joined. The same number everywhere, for the same bytes.
 */
const COLUMNS_AT_ONCE = 1024;

/**
 * Writes the rows of `select` (which yields `columns`, by name) to Parquet files in `context.folder`, in the order the
 * dataset wants them and with its field ids. The same rows give the same bytes on every machine and with any number of
 * threads. Throws `limit` beyond `context.maxRows`, and `conflict` when the dataset has another schema.
 */
export async function writeParquet(
  connection: Connection,
  select: string,
  columns: readonly { name: string; type: string }[],
  context: ConvertContext,
  options: WriteOptions = {},
): Promise<ParquetFile[]> {
  if (columns.some(({ name }) => name.toLowerCase() === FIELD_ID_KEY)) {
    throw new LakeError("invalid", `A column is called ${FIELD_ID_KEY}, which DuckDB keeps for itself.`, {
      hint: "Rename that column in the source.",
    });
  }
  const settled = context.target
    ? await context.target.settle(columns)
    : columns.map((column, index) => ({ id: index + 1, ...column }));
  const types = new Map(columns.map((column) => [column.name, column.type]));
  const projected = ({ name, type }: { name: string; type: string }): string => {
    if (!types.has(name)) return `CAST(NULL AS ${type}) AS ${identifier(name)}`;
    return types.get(name) === type ? identifier(name) : `CAST(${identifier(name)} AS ${type}) AS ${identifier(name)}`;
  };
  const copy = (
    selectOf: (some: readonly Settled[]) => string,
    name: string,
    onProgress?: (fraction: number) => void,
  ): Promise<ParquetFile> =>
    copyColumns(connection, context, { columns: settled, selectOf, name, rowBytes: options.rowBytes ?? 0, onProgress });

  const isShort = options.atMostRows !== undefined && options.atMostRows <= context.maxRows;
  const limit = isShort ? "" : ` LIMIT ${context.maxRows + 1}`;
  const whole = await copy(
    (some) => `SELECT ${some.map(projected).join(", ")} FROM (${select})${limit}`,
    "part-0.parquet",
    context.onProgress,
  );
  if (whole.rows > context.maxRows) {
    throw new LakeError("limit", `The source has more than ${context.maxRows} rows, the most one ingest may write.`, {
      hint: "Ingest part of it, or raise max_ingest_rows (LAKEHOUSE_MAX_INGEST_ROWS).",
    });
  }
  const parts = Math.ceil(whole.bytes / (options.fileBytes ?? FILE_BYTES));
  if (parts <= 1) return [whole];

  // DuckDB's own splitting (FILE_SIZE_BYTES) gives up the order of rows, and with it equal bytes for equal input.
  const files: ParquetFile[] = [];
  const step = Math.ceil(whole.rows / parts);
  for (let from = 0; from < whole.rows; from += step) {
    const rows = `read_parquet(${literal(whole.path)}, file_row_number = true)`;
    const range = `file_row_number >= ${from} AND file_row_number < ${from + step}`;
    files.push(
      await copy(
        (some) => `SELECT ${some.map(({ name }) => identifier(name)).join(", ")} FROM ${rows} WHERE ${range}`,
        `part-${files.length + 1}.parquet`,
      ),
    );
  }
  await rm(whole.path);
  return files;
}

interface Copy {
  columns: readonly Settled[];
  /** SQL of the rows with these columns. */
  selectOf(some: readonly Settled[]): string;
  /** Of the file, in the ingest's folder. */
  name: string;
  rowBytes: number;
  onProgress: ((fraction: number) => void) | undefined;
}

type Settled = { id: number; name: string; type: string };

/** Writes one file, `COLUMNS_AT_ONCE` columns at a time. */
async function copyColumns(
  connection: Connection,
  { folder, signal }: ConvertContext,
  { columns, selectOf, name, rowBytes, onProgress }: Copy,
): Promise<ParquetFile> {
  const path = join(folder, name);
  const parts: ParquetFile[] = [];
  for (let at = 0; at < columns.length; at += COLUMNS_AT_ONCE) {
    const some = columns.slice(at, at + COLUMNS_AT_ONCE);
    const to = some.length === columns.length ? path : join(folder, `columns-${parts.length}.parquet`);
    const settings = copyOptions(some, columns.length, rowBytes);
    const [row] = await connection.rows<CopyRow>(`COPY (${selectOf(some)}) TO ${literal(to)} (${settings})`, {
      signal,
      onProgress: onProgress && ((percent) => onProgress((at + (some.length * percent) / 100) / columns.length)),
    });
    if (!row) throw new LakeError("internal", "DuckDB wrote a file and did not say so.");
    const stats = columnStats(row, some);
    parts.push({ path: to, bytes: Number(row.file_size_bytes), rows: Number(row.count), stats });
  }
  const [first] = parts;
  if (!first) throw new LakeError("internal", "A table has no columns.");
  if (parts.length === 1) return first;
  const paths = parts.map((part) => part.path);
  const bytes = await joinColumns(paths, path);
  await Promise.all(paths.map((part) => rm(part)));
  return { path, bytes, rows: first.rows, stats: Object.assign({}, ...parts.map(({ stats }) => stats)) };
}

/** For the columns `some` of a table of `columns`. */
function copyOptions(some: readonly { id: number; name: string }[], columns: number, rowBytes: number): string {
  return [
    "FORMAT parquet",
    "COMPRESSION zstd",
    `ROW_GROUP_SIZE ${groupRows(columns, rowBytes)}`,
    ...dictionaryOptions(columns),
    `FIELD_IDS {${some.map(({ id, name }) => `${identifier(name)}: ${id}`).join(", ")}}`,
    "RETURN_STATS",
  ].join(", ");
}

interface CopyRow {
  count: string;
  file_size_bytes: string;
  column_statistics: { key: string; value: { key: string; value: string }[] }[] | null;
}

/** Row groups small enough that a few of them fit in memory, whatever the width and length of rows. */
function groupRows(columns: number, rowBytes: number): number {
  const byColumns = (GROUP_ROWS * GROUP_COLUMNS) / Math.max(columns, GROUP_COLUMNS);
  const byBytes = rowBytes > 0 ? GROUP_BYTES / rowBytes : GROUP_ROWS;
  return Math.max(MIN_GROUP_ROWS, Math.floor(Math.min(GROUP_ROWS, byColumns, byBytes)));
}

/** Every column of a row group has its dictionary in memory, up to 1 MB of it unless told otherwise. */
function dictionaryOptions(columns: number): string[] {
  if (columns <= GROUP_COLUMNS) return [];
  return [`STRING_DICTIONARY_PAGE_SIZE_LIMIT ${Math.floor(DICTIONARY_BYTES / columns)}`];
}

/** Statistics of top-level columns; nested columns have theirs per leaf, which says nothing about the column. */
function columnStats(row: CopyRow, columns: readonly { name: string }[]): Record<string, ColumnStats> {
  const byKey = new Map(
    (row.column_statistics ?? []).map(({ key, value }) => [
      key,
      new Map(value.map((entry) => [entry.key, entry.value])),
    ]),
  );
  const stats: Record<string, ColumnStats> = {};
  for (const { name } of columns) {
    const found = byKey.get(identifier(name));
    if (found) {
      stats[name] = {
        min: found.get("min") ?? null,
        max: found.get("max") ?? null,
        nulls: Number(found.get("null_count") ?? 0),
      };
    }
  }
  return stats;
}
