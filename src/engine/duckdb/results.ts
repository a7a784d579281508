import type { DuckDBResult } from "@duckdb/node-api";
import { throwIfAborted } from "../kernel/abort.ts";
import { LakeError } from "../kernel/errors.ts";
import type { Json } from "../kernel/json.ts";
import { type CellReader, cellReaders, NoRoom, typeName } from "./values.ts";
import type { ZoneOffsets } from "./zone-offsets.ts";

export interface ResultLimits {
  /** Time zone in which moments are shown. Absent: UTC. */
  zone?: ZoneOffsets | undefined;
  maxRows: number;
  /** Of columns and rows as JSON text. */
  maxBytes: number;
  signal: AbortSignal;
}

export interface Collected {
  columns: { name: string; type: string }[];
  rows: Json[][];
  truncatedBy?: "max_rows" | "max_bytes";
  /** Of columns and rows as JSON text. */
  bytes: number;
}

/** Cells that are read without giving way to other work: some milliseconds. */
const CELLS_AT_ONCE = 4000;

/**
 * Reads rows while they fit into the limits, and tells whether there is one more. Holds at most one chunk besides.
 * Throws `limit` when the columns, or the first row, do not fit.
 */
export async function collect(result: DuckDBResult, limits: ResultLimits): Promise<Collected> {
  const types = result.columnTypes();
  const columns = columnsOf(result);
  const rows: Json[][] = [];
  const room = { left: limits.maxBytes - textBytes(columns) };
  if (room.left < 0) throw headerTooBig(columns.length, limits.maxBytes);
  const done = (truncatedBy?: Collected["truncatedBy"]): Collected => {
    return { columns, rows, bytes: limits.maxBytes - room.left, ...(truncatedBy !== undefined && { truncatedBy }) };
  };
  let cells = 0;
  for (;;) {
    throwIfAborted(limits.signal);
    const chunk = await result.fetchChunk();
    if (!chunk || chunk.rowCount === 0) return done();
    const readers = cellReaders(chunk, types, limits.zone);
    for (let row = 0; row < chunk.rowCount; row++) {
      if (rows.length >= limits.maxRows) return done("max_rows");
      const values = readRow(readers, row, room.left);
      if ("tooBig" in values) {
        if (rows.length > 0) return done("max_bytes");
        throw firstRowTooBig(columns[values.tooBig]?.name ?? "", limits.maxBytes);
      }
      rows.push(values.row);
      room.left -= values.bytes;
      cells += values.row.length;
      if (cells >= CELLS_AT_ONCE) {
        cells = 0;
        await new Promise(setImmediate);
        throwIfAborted(limits.signal);
      }
    }
  }
}

/** Takes some rows. The next ones are read when its promise resolves. */
export type RowSink = (rows: Json[][], columns: Collected["columns"]) => Promise<void>;

export interface Streamed {
  columns: Collected["columns"];
  count: number;
  truncatedBy?: "max_rows";
}

/** Text that is handed over at once, unless one row has more. */
const BATCH_BYTES = 256 * 1024;

/**
 * Reads any number of rows in bounded memory: `onRows` is called with some at a time, and at least once. `maxBytes` is
 * the limit of one row. Throws `limit` for a larger row.
 */
export async function streamRows(result: DuckDBResult, limits: ResultLimits, onRows: RowSink): Promise<Streamed> {
  const types = result.columnTypes();
  const columns = columnsOf(result);
  let count = 0;
  let batch: Json[][] = [];
  let bytes = 0;
  const handOver = async (): Promise<void> => {
    const rows = batch;
    batch = [];
    bytes = 0;
    await onRows(rows, columns);
    await new Promise(setImmediate);
    throwIfAborted(limits.signal);
  };
  for (;;) {
    throwIfAborted(limits.signal);
    const chunk = await result.fetchChunk();
    if (!chunk || chunk.rowCount === 0) {
      if (batch.length > 0 || count === 0) await handOver();
      return { columns, count };
    }
    const readers = cellReaders(chunk, types, limits.zone);
    for (let row = 0; row < chunk.rowCount; row++) {
      if (count >= limits.maxRows) {
        await handOver();
        return { columns, count, truncatedBy: "max_rows" };
      }
      const values = readRow(readers, row, limits.maxBytes);
      if ("tooBig" in values) throw rowTooBig(count + 1, columns[values.tooBig]?.name ?? "", limits.maxBytes);
      batch.push(values.row);
      count += 1;
      bytes += values.bytes;
      if (batch.length * columns.length >= CELLS_AT_ONCE || bytes >= BATCH_BYTES) await handOver();
    }
  }
}

function columnsOf(result: DuckDBResult): Collected["columns"] {
  const names = result.columnNames();
  return result.columnTypes().map((type, index) => ({ name: names[index] ?? "", type: typeName(type) }));
}

type Row = { row: Json[]; bytes: number } | { tooBig: number };

function readRow(readers: CellReader[], row: number, left: number): Row {
  const room = { left };
  const values: Json[] = [];
  for (const [column, read] of readers.entries()) {
    try {
      values.push(read(row, room));
    } catch (error) {
      if (error instanceof NoRoom) return { tooBig: column };
      throw error;
    }
  }
  const bytes = textBytes(values) + 1;
  return bytes <= left ? { row: values, bytes } : { tooBig: largest(values) };
}

function textBytes(value: Json): number {
  return Buffer.byteLength(JSON.stringify(value));
}

function largest(values: Json[]): number {
  const sizes = values.map(textBytes);
  return sizes.indexOf(Math.max(...sizes));
}

function headerTooBig(columns: number, maxBytes: number): LakeError {
  return new LakeError(
    "limit",
    `The names and types of ${columns} columns alone are larger than a result may be (${maxBytes} bytes).`,
    { hint: "Select fewer columns, or give them shorter names with AS.", facts: { limit: maxBytes } },
  );
}

function firstRowTooBig(column: string, maxBytes: number): LakeError {
  const name = JSON.stringify(column.slice(0, 100));
  const message = `The first row alone is larger than a result may be (${maxBytes} bytes), at column ${name}.`;
  return new LakeError("limit", message, {
    code: "row_too_large",
    hint: SMALLER_ROWS,
    facts: { column: column.slice(0, 100), limit: maxBytes },
  });
}

function rowTooBig(row: number, column: string, maxBytes: number): LakeError {
  const name = JSON.stringify(column.slice(0, 100));
  const message = `Row ${row} is larger than a row may be (${maxBytes} bytes), at column ${name}.`;
  return new LakeError("limit", message, {
    code: "row_too_large",
    hint: SMALLER_ROWS,
    facts: { column: column.slice(0, 100), limit: maxBytes },
  });
}

const SMALLER_ROWS = "Select fewer columns or a part of the value, as in left(column, 1000) or column[1:100].";
