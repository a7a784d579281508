import { setImmediate } from "node:timers/promises";
import {
  ARRAY,
  BOOLEAN,
  type DuckDBDataChunk,
  DuckDBTableFunction,
  type DuckDBType,
  FLOAT,
  INTEGER,
  VARCHAR,
} from "@duckdb/node-api";
import bindings from "@duckdb/node-bindings";
import { throwIfAborted } from "../kernel/abort.ts";
import { LakeError } from "../kernel/errors.ts";
import type { LocalConnection } from "./duckdb.ts";

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
  /** `ids.length` × dimension values; undefined ones where a row has no vector. */
  vectors: Float32Array;
  metadata: (string | null)[];
  deleted: boolean[];
}

const FLOAT_BYTES = 4;
/** Limits of one chunk that is handed to DuckDB: some milliseconds of work on the thread of the event loop. */
const CHUNK_VALUES = 256 * 768;
const CHUNK_ROWS = 1024;
const CHUNK_CHARS = 512 * 1024;
const ROWS_FUNCTION = "rows_in_memory";

/** Lets statements of one instance read rows that are in the memory of this thread. */
export interface RowSource {
  /**
   * Runs `work` with the SQL of a table that has these rows, in their order, and the columns of a segment. DuckDB's
   * threads take some rows at a time: an appender would work on this thread (57 ms for 1,000 × 768 rather than 7).
   */
  withRows<Result>(feed: Feed, work: (table: string) => Promise<Result>): Promise<Result>;
  /**
   * Whether a statement is reading. Its threads wait for this one, so a process that exits meanwhile would never end.
   */
  feeding(): boolean;
}

export interface Feed {
  dimension: number;
  rows: readonly SegmentRow[];
}

interface Feeding extends Feed {
  /** The error of this thread, which DuckDB reports as a mistake in the statement. */
  error?: unknown;
}

/** Registers a table function in the instance of `connection`, for as long as the instance is open. */
export function openRowSource(connection: LocalConnection): RowSource {
  const feeds = new Map<number, Feeding>();
  let made = 0;
  const withFeed = (key: number, work: (feed: Feed) => void): void => {
    const feed = feeds.get(key);
    if (!feed) throw new Error("A statement reads rows that are not there.");
    try {
      work(feed);
    } catch (error) {
      feed.error = error;
      throw error;
    }
  };
  connection.raw.registerTableFunction(
    DuckDBTableFunction.create({
      name: ROWS_FUNCTION,
      parameterTypes: [INTEGER],
      bindFunction: (info) => {
        const key = Number(info.getParameter(0));
        withFeed(key, ({ dimension, rows }) => {
          for (const [name, type] of segmentColumns(dimension)) info.addResultColumn(name, type);
          info.setCardinality(rows.length, true);
          info.setBindData({ key });
        });
      },
      initFunction: (info) => {
        info.setInitData({ at: 0 });
        info.setMaxThreads(1);
      },
      mainFunction: (info, output) => {
        const { key } = info.getBindData() as { key: number };
        const position = info.getInitData() as { at: number };
        withFeed(key, (feed) => {
          const part = partOf(feed, position.at);
          position.at += part.length;
          output.rowCount = part.length;
          if (part.length > 0) setRows(output, feed.dimension, part);
        });
      },
    }),
  );
  return {
    withRows: async (rows, work) => {
      const key = made++;
      const feed: Feeding = { ...rows };
      feeds.set(key, feed);
      try {
        return await work(`${ROWS_FUNCTION}(${key})`);
      } catch (error) {
        if (feed.error === undefined) throw error;
        throw new LakeError("internal", "Rows could not be handed to DuckDB.", { cause: feed.error });
      } finally {
        feeds.delete(key);
      }
    },
    feeding: () => feeds.size > 0,
  };
}

function segmentColumns(dimension: number): [string, DuckDBType][] {
  return [
    ["id", VARCHAR],
    ["vector", ARRAY(FLOAT, dimension)],
    ["text", VARCHAR],
    ["metadata", VARCHAR],
    ["deleted", BOOLEAN],
    ["from_dataset", BOOLEAN],
  ];
}

/** The rows of the next chunk. */
function partOf({ dimension, rows }: Feed, from: number): readonly SegmentRow[] {
  const most = Math.max(1, Math.min(CHUNK_ROWS, Math.floor(CHUNK_VALUES / dimension)));
  const end = Math.min(rows.length, from + most);
  let chars = 0;
  for (let at = from; at < end; at++) {
    const { id, text, metadata } = rows[at] as SegmentRow;
    chars += id.length + (text?.length ?? 0) + (metadata?.length ?? 0);
    if (chars > CHUNK_CHARS) return rows.slice(from, Math.max(at, from + 1));
  }
  return rows.slice(from, end);
}

function setRows(chunk: DuckDBDataChunk, dimension: number, rows: readonly SegmentRow[]): void {
  const set = (column: number, of: (row: SegmentRow) => string | boolean | null): void =>
    chunk.setColumnValues(column, rows.map(of));
  set(0, (row) => row.id);
  setVectors(chunk, 1, dimension, rows);
  set(2, (row) => row.text);
  set(3, (row) => row.metadata);
  set(4, (row) => row.vector === undefined);
  set(5, (row) => row.fromDataset);
}

function setVectors(chunk: DuckDBDataChunk, column: number, dimension: number, rows: readonly SegmentRow[]): void {
  const vector = bindings.data_chunk_get_vector(chunk.chunk, column);
  const child = bindings.array_vector_get_child(vector);
  // One bit a row, in words of 64, the least significant first.
  const valid = new Uint8Array(Math.ceil(rows.length / 64) * 8);
  for (const [index, { vector: values }] of rows.entries()) {
    if (!values) continue;
    // The copy below checks no lengths.
    if (values.length !== dimension) throw new Error(`A vector has ${values.length} values in place of ${dimension}.`);
    valid[index >> 3] = (valid[index >> 3] ?? 0) | (1 << (index & 7));
    const at = index * dimension * FLOAT_BYTES;
    bindings.copy_data_to_vector(child, at, values.buffer as ArrayBuffer, values.byteOffset, values.byteLength);
  }
  bindings.vector_ensure_validity_writable(vector);
  bindings.copy_data_to_vector_validity(vector, 0, valid.buffer, 0, valid.byteLength);
}

/**
 * Streams the rows of `sql`, whose columns are id VARCHAR, vector FLOAT[dimension], metadata VARCHAR and deleted
 * BOOLEAN, in chunks of at most 2,048. Throws `corrupt` for a row without an id.
 */
export async function* readVectors(
  connection: LocalConnection,
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
    // Each column takes some milliseconds: other work runs in between.
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
export async function* readTexts(
  connection: LocalConnection,
  sql: string,
  signal?: AbortSignal,
): AsyncGenerator<string[]> {
  const result = await connection.raw.stream(sql);
  for (;;) {
    throwIfAborted(signal);
    const chunk = await result.fetchChunk();
    if (!chunk || chunk.rowCount === 0) return;
    yield chunk.getColumnValues(0).flatMap((value) => (typeof value === "string" ? [value] : []));
  }
}
