import { setImmediate } from "node:timers/promises";
import { ARRAY, BOOLEAN, DuckDBDataChunk, FLOAT, VARCHAR } from "@duckdb/node-api";
import bindings from "@duckdb/node-bindings";
import { LakeError, throwIfAborted } from "../errors.ts";
import { type Connection, identifier } from "./duckdb.ts";

/** A row of a segment of a vector index. A tombstone has no vector. */
export interface SegmentRow {
  id: string;
  vector: Float32Array | undefined;
  text: string | null;
  /** JSON. */
  metadata: string | null;
  fromDataset: boolean;
}

/** Rows of one chunk of a result, back to back. */
export interface VectorRows {
  ids: string[];
  /** `ids.length` × dimension values; where a row has no vector, whatever was there. */
  vectors: Float32Array;
  metadata: (string | null)[];
  deleted: boolean[];
}

const FLOAT_BYTES = 4;
/** Values of one chunk that is written: 3 to 5 ms of work on the thread of the event loop. */
const CHUNK_VALUES = 64 * 768;
const CHUNK_ROWS = 1024;

/** The columns of a segment, for `CREATE TABLE`. */
export function segmentColumns(dimension: number): string {
  return `id VARCHAR, vector FLOAT[${dimension}], text VARCHAR, metadata VARCHAR, deleted BOOLEAN, from_dataset BOOLEAN`;
}

/** Puts rows into a temporary table of `segmentColumns`, many values at a time, which a parameter each would not do. */
export async function appendRows(
  connection: Connection,
  table: string,
  dimension: number,
  rows: readonly SegmentRow[],
  signal?: AbortSignal,
): Promise<void> {
  const appender = await connection.raw.createAppender(table, "main", "temp");
  const types = [VARCHAR, ARRAY(FLOAT, dimension), VARCHAR, VARCHAR, BOOLEAN, BOOLEAN];
  const step = Math.max(1, Math.min(CHUNK_ROWS, Math.floor(CHUNK_VALUES / dimension)));
  try {
    for (let from = 0; from < rows.length; from += step) {
      throwIfAborted(signal);
      const part = rows.slice(from, from + step);
      const chunk = DuckDBDataChunk.create(types, part.length);
      const texts = (of: (row: SegmentRow) => string | null): (string | null)[] => part.map(of);
      chunk.setColumnValues(
        0,
        texts((row) => row.id),
      );
      setVectors(chunk, 1, dimension, part);
      chunk.setColumnValues(
        2,
        texts((row) => row.text),
      );
      chunk.setColumnValues(
        3,
        texts((row) => row.metadata),
      );
      chunk.setColumnValues(
        4,
        part.map((row) => row.vector === undefined),
      );
      chunk.setColumnValues(
        5,
        part.map((row) => row.fromDataset),
      );
      appender.appendDataChunk(chunk);
      // Left to the end, all of it would move into the table at once, on this thread: 85 ms for 10,000 × 768.
      appender.flushSync();
      await setImmediate();
    }
  } finally {
    appender.closeSync();
  }
}

function setVectors(chunk: DuckDBDataChunk, column: number, dimension: number, rows: readonly SegmentRow[]): void {
  const vector = bindings.data_chunk_get_vector(chunk.chunk, column);
  const child = bindings.array_vector_get_child(vector);
  // One bit a row, in words of 64, the least significant first.
  const valid = new Uint8Array(Math.ceil(rows.length / 64) * 8);
  for (const [index, { vector: values }] of rows.entries()) {
    if (!values) continue;
    valid[index >> 3] = (valid[index >> 3] ?? 0) | (1 << (index & 7));
    const at = index * dimension * FLOAT_BYTES;
    bindings.copy_data_to_vector(child, at, values.buffer as ArrayBuffer, values.byteOffset, values.byteLength);
  }
  bindings.vector_ensure_validity_writable(vector);
  bindings.copy_data_to_vector_validity(vector, 0, valid.buffer, 0, valid.byteLength);
}

/**
 * Streams rows of `sql`, which yields id VARCHAR, vector FLOAT[dimension], metadata VARCHAR and deleted BOOLEAN, a chunk
 * of at most 2,048 at a time. Throws `corrupt` when it yields anything else.
 */
export async function* readVectors(
  connection: Connection,
  sql: string,
  dimension: number,
  signal?: AbortSignal,
): AsyncGenerator<VectorRows> {
  const result = await connection.raw.stream(sql);
  for (;;) {
    throwIfAborted(signal);
    const chunk = await result.fetchChunk();
    const rows = chunk?.rowCount ?? 0;
    if (!chunk || rows === 0) return;
    const bytes = rows * dimension * FLOAT_BYTES;
    const vector = bindings.data_chunk_get_vector(chunk.chunk, 1);
    const values = bindings.vector_get_data(bindings.array_vector_get_child(vector), bytes);
    // Each takes some milliseconds, and so does what is then done with them.
    await setImmediate();
    const ids = chunk.getColumnValues(0);
    if (ids.includes(null)) throw new LakeError("corrupt", "A segment has a row without an id.");
    const metadata = chunk.getColumnValues(2) as (string | null)[];
    await setImmediate();
    yield {
      ids: ids as string[],
      // A copy already.
      vectors: new Float32Array(values.buffer, values.byteOffset, rows * dimension),
      metadata,
      deleted: chunk.getColumnValues(3).map((value) => value === true),
    };
  }
}

/** Streams the one text column of `sql`, a chunk at a time. */
export async function* readTexts(connection: Connection, sql: string, signal?: AbortSignal): AsyncGenerator<string[]> {
  const result = await connection.raw.stream(sql);
  for (;;) {
    throwIfAborted(signal);
    const chunk = await result.fetchChunk();
    if (!chunk || chunk.rowCount === 0) return;
    yield chunk.getColumnValues(0).flatMap((value) => (typeof value === "string" ? [value] : []));
  }
}

/** Creates, or empties, a temporary table for `appendRows`. */
export async function createSegmentTable(connection: Connection, table: string, dimension: number): Promise<void> {
  await connection.run(`CREATE OR REPLACE TEMP TABLE ${identifier(table)} (${segmentColumns(dimension)})`);
}
