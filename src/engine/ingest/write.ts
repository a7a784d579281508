import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { Column, ColumnStats } from "../catalog/types.ts";
import { type Connection, identifier, literal } from "../duckdb/duckdb.ts";
import { foldedName } from "../duckdb/folded-name.ts";
import { LakeError } from "../kernel/errors.ts";
import { joinColumns } from "../parquet/parquet-join.ts";
import { FEWER_ROWS } from "./budget.ts";
import { assertNameable, assertReadable } from "./readable.ts";
import type { ConvertContext, ParquetFile } from "./types.ts";

export interface WriteOptions {
  /** Average bytes of a source row, where known; row groups have fewer rows where rows are long. */
  rowBytes?: number;
  /** Upper bound of the source's rows. A source that cannot exceed `maxRows` is not limited, which saves memory. */
  atMostRows?: number;
  /** Largest Parquet file, by default 512 MiB. */
  fileBytes?: number;
}

/** A key with a meaning of its own in DuckDB's FIELD_IDS. */
const FIELD_ID_KEY = "__duckdb_field_id";
const FILE_BYTES = 512 * 1024 ** 2;
const GROUP_ROWS = 20_480;
const GROUP_COLUMNS = 64;
const GROUP_BYTES = 24 * 1024 ** 2;
const MIN_GROUP_ROWS = 128;
const DICTIONARY_BYTES = 32 * 1024 ** 2;
/** Most columns of one COPY: DuckDB takes some 100 KiB for each, however few the rows are. */
const COPIED_COLUMNS = 1000;

/**
 * Writes the rows of `select` (which yields `columns`, by name) to Parquet files in `context.folder`, in the order the
 * dataset wants them and with its field ids. The same rows give the same bytes on every machine and with any number of
 * threads. A `select` that takes names can be run for some of the columns at a time, which gives the same rows each time:
 * then wide tables are written in pieces. Throws `limit` beyond `context.maxRows`, and `conflict` when the dataset has
 * another schema.
 */
export async function writeParquet(
  connection: Connection,
  select: string | ((names: ReadonlySet<string>) => string),
  columns: readonly { name: string; type: string }[],
  context: ConvertContext,
  options: WriteOptions = {},
): Promise<ParquetFile[]> {
  if (columns.some(({ name }) => name.toLowerCase() === FIELD_ID_KEY)) {
    throw new LakeError("invalid", `A column is called ${FIELD_ID_KEY}, which DuckDB keeps for itself.`, {
      hint: "Rename that column in the source.",
      facts: { column: FIELD_ID_KEY },
    });
  }
  const settled = context.target
    ? await context.target.settle(columns)
    : columns.map((column, index) => ({ id: index + 1, ...column }));
  await assertNameable(connection, settled);
  const incoming = new Map(columns.map((column) => [foldedName(column.name), column]));
  const project = ({ name, type }: Column): string => {
    const from = incoming.get(foldedName(name));
    if (from?.name === name && from.type === type) return identifier(name);
    return `CAST(${from === undefined ? "NULL" : identifier(from.name)} AS ${type}) AS ${identifier(name)}`;
  };
  const leaves = settled.reduce((sum, { type }) => sum + leavesOf(type), 0);
  const copyOptions = (written: readonly Column[]): string =>
    [
      "FORMAT parquet",
      "COMPRESSION zstd",
      `ROW_GROUP_SIZE ${groupRows(leaves, options.rowBytes ?? 0)}`,
      ...dictionaryOptions(leaves),
      ...geometryOptions(settled),
      `FIELD_IDS {${written.map(({ id, name }) => `${identifier(name)}: ${id}`).join(", ")}}`,
      "RETURN_STATS",
    ].join(", ");
  const copy = async (
    from: string,
    name: string,
    written: readonly Column[],
    onProgress?: (fraction: number) => void,
  ): Promise<ParquetFile> => {
    const path = join(context.folder, name);
    const [row] = await connection.rows<CopyRow>(`COPY (${from}) TO ${literal(path)} (${copyOptions(written)})`, {
      signal: context.signal,
      onProgress: onProgress && ((percent) => onProgress(percent / 100)),
    });
    if (!row) throw new LakeError("internal", "DuckDB wrote a file and did not say so.");
    const stats = columnStats(
      row,
      written.map(({ name: column }) => column),
    );
    return { path, bytes: Number(row.file_size_bytes), rows: Number(row.count), stats };
  };

  const isShort = options.atMostRows !== undefined && options.atMostRows <= context.maxRows;
  const limit = isShort ? "" : ` LIMIT ${context.maxRows + 1}`;
  const from = (written: readonly Column[]): string => {
    const rows = typeof select === "string" ? select : select(new Set(written.map(({ name }) => name)));
    return `SELECT ${written.map(project).join(", ")} FROM (${rows})${limit}`;
  };
  const whole =
    typeof select === "string" || settled.length <= COPIED_COLUMNS
      ? await copy(from(settled), "part-0.parquet", settled, context.onProgress)
      : await copyInPieces(settled, (piece, name) => copy(from(piece), name, piece), context);
  if (whole.rows > context.maxRows) {
    throw new LakeError("limit", `The source has more than ${context.maxRows} rows, the most one ingest may write.`, {
      hint: FEWER_ROWS,
      facts: { limit: context.maxRows, setting: "max_ingest_rows" },
    });
  }
  await assertReadable(connection, whole.path, settled);
  const parts = Math.ceil(whole.bytes / (options.fileBytes ?? FILE_BYTES));
  if (parts <= 1) return [whole];

  // DuckDB's own splitting (FILE_SIZE_BYTES) does not keep the order of rows, and so not equal bytes for equal input.
  const files: ParquetFile[] = [];
  const step = Math.ceil(whole.rows / parts);
  for (let start = 0; start < whole.rows; start += step) {
    const rows = `SELECT * EXCLUDE (file_row_number) FROM read_parquet(${literal(whole.path)}, file_row_number = true)`;
    files.push(
      await copy(
        `${rows} WHERE file_row_number >= ${start} AND file_row_number < ${start + step}`,
        `part-${files.length + 1}.parquet`,
        settled,
      ),
    );
  }
  await rm(whole.path);
  return files;
}

/** Number of Parquet columns that a type becomes: one for each plain type inside structs and lists. */
function leavesOf(type: string): number {
  return type
    .replace(/"(?:[^"]|"")*"/g, "")
    .replace(/\(\d[\d, ]*\)/g, "")
    .split(",").length;
}

/** Writes some columns at a time to files, and joins those into one. */
async function copyInPieces(
  columns: readonly Column[],
  copy: (piece: readonly Column[], name: string) => Promise<ParquetFile>,
  { folder, onProgress }: ConvertContext,
): Promise<ParquetFile> {
  const pieces: ParquetFile[] = [];
  for (let at = 0; at < columns.length; at += COPIED_COLUMNS) {
    pieces.push(await copy(columns.slice(at, at + COPIED_COLUMNS), `columns-${pieces.length}.parquet`));
    onProgress?.(at / columns.length);
  }
  const path = join(folder, "part-0.parquet");
  const paths = pieces.map((piece) => piece.path);
  const bytes = await joinColumns(paths, path);
  for (const piece of paths) await rm(piece);
  return { path, bytes, rows: pieces[0]?.rows ?? 0, stats: Object.assign({}, ...pieces.map(({ stats }) => stats)) };
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

/** With the default, GeoParquet, geometries with M, nested ones and columns of NULLs are read back as bytes. */
function geometryOptions(columns: readonly { type: string }[]): string[] {
  return columns.some(({ type }) => type.includes("GEOMETRY")) ? ["GEOPARQUET_VERSION 'NONE'"] : [];
}

/** DuckDB keeps a dictionary of up to 1 MB in memory for every column of a row group, unless a limit is set. */
function dictionaryOptions(columns: number): string[] {
  if (columns <= GROUP_COLUMNS) return [];
  return [`STRING_DICTIONARY_PAGE_SIZE_LIMIT ${Math.floor(DICTIONARY_BYTES / columns)}`];
}

/** Statistics of top-level columns that are not nested: those of a nested column are per leaf. */
function columnStats(row: CopyRow, names: string[]): Record<string, ColumnStats> {
  const byKey = new Map(
    (row.column_statistics ?? []).map(({ key, value }) => [
      key,
      new Map(value.map((entry) => [entry.key, entry.value])),
    ]),
  );
  const stats: Record<string, ColumnStats> = {};
  for (const name of names) {
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
