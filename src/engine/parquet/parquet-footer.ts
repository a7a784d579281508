import type { FileHandle } from "node:fs/promises";
import { setImmediate } from "node:timers/promises";
import { throwIfAborted } from "../kernel/abort.ts";
import { LakeError } from "../kernel/errors.ts";
import { PARQUET_LIMITS } from "./parquet-limits.ts";
import { columnName, openSchemaBuilder, PHYSICAL, type Schema, type SchemaNode } from "./parquet-schema.ts";
import { T, ThriftError, ThriftReader } from "./thrift-compact.ts";

/** What a Parquet file says about itself, checked against the file's size and against itself. */
export interface ParquetFooter extends Schema {
  rows: number;
  /** Of all column chunks, as the footer has it. */
  uncompressedBytes: number;
  /** A chunk for each leaf of each row group, in this order. */
  chunks: { start: number[]; values: number[]; codec: number[] };
  /** By leaf: smallest and largest value where the statistics of every row group tell; for whole numbers and decimals. */
  ranges: Range[];
  metadata: Map<string, string>;
  /** Who wrote the file, as it says; empty when it does not. */
  writer: string;
  /** The footer's own bytes. */
  bytes: Uint8Array;
  /** Where the footer begins: data lies before it. */
  end: number;
}

export interface Range {
  min: bigint | undefined;
  max: bigint | undefined;
  /** Every row group tells. */
  isKnown: boolean;
}

/** Gives way to other work of the event loop when the time since the last pause is up. */
export interface Pauses {
  isDue(): boolean;
  take(): Promise<void>;
}

const SLICE_MS = 10;
const TAIL_BYTES = 8;

export function openPauses(signal: AbortSignal | undefined): Pauses {
  let started = performance.now();
  return {
    isDue: () => performance.now() - started > SLICE_MS,
    async take() {
      await setImmediate();
      throwIfAborted(signal);
      started = performance.now();
    },
  };
}

/**
 * Reads and checks the footer of the file. Throws `invalid` for what is no Parquet, damaged, encrypted, or compressed in a
 * way that cannot be read; `limit` beyond `PARQUET_LIMITS`. `label` is the file's name in messages.
 */
export async function readFooter(
  handle: FileHandle,
  label: string,
  signal: AbortSignal | undefined,
): Promise<ParquetFooter> {
  const { bytes, end } = await footerBytes(handle, label);
  try {
    return await parseFooter(new ThriftReader(bytes), end, label, openPauses(signal));
  } catch (error) {
    if (!(error instanceof ThriftError)) throw error;
    throw damaged(label, `its footer cannot be read: ${error.message}`, error);
  }
}

export function damaged(label: string, what: string, cause?: unknown): LakeError {
  return new LakeError("invalid", `${label} is damaged: ${what}.`, { hint: "Write the file again and retry.", cause });
}

async function footerBytes(handle: FileHandle, label: string): Promise<{ bytes: Uint8Array; end: number }> {
  const { size } = await handle.stat();
  const head = await read(handle, 0, Math.min(4, size));
  const tail = await read(handle, Math.max(0, size - TAIL_BYTES), Math.min(TAIL_BYTES, size));
  const magic = tail.toString("latin1", tail.length - 4);
  if (size >= 4 + TAIL_BYTES && magic === "PARE") throw encrypted(label);
  if (size < 4 + TAIL_BYTES || magic !== "PAR1" || head.toString("latin1") !== "PAR1") {
    const which = magic === "PAR1" ? "first" : "last";
    throw new LakeError(
      "invalid",
      `${label} is not a Parquet file, or is cut short: its ${which} four bytes are not PAR1.`,
      { hint: "Check that it was copied completely, or pass the right `format`." },
    );
  }
  const length = tail.readUInt32LE(0);
  const end = size - TAIL_BYTES - length;
  if (length === 0 || end < 4) throw damaged(label, `its footer of ${length} bytes does not fit into ${size} bytes`);
  if (length > PARQUET_LIMITS.footerBytes) {
    throw new LakeError(
      "limit",
      `${label} has a footer of ${length} bytes; ${PARQUET_LIMITS.footerBytes} are the most.`,
      {
        hint: "Write fewer columns or larger row groups.",
      },
    );
  }
  return { bytes: await read(handle, end, length), end };
}

async function read(handle: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await handle.read(buffer, 0, length, position);
  return buffer.subarray(0, bytesRead);
}

function encrypted(label: string): LakeError {
  return new LakeError("invalid", `${label} is an encrypted Parquet file.`, {
    hint: "Write it again without encryption.",
  });
}

async function parseFooter(reader: ThriftReader, end: number, label: string, pauses: Pauses): Promise<ParquetFooter> {
  let schema: Schema | undefined;
  let rows = 0;
  let isEncrypted = false;
  let groups: Groups | undefined;
  let metadata = new Map<string, string>();
  let writer = "";
  for (let field = reader.field(0); field; field = reader.field(field.id)) {
    const { id, type } = field;
    if (id === 2 && type === T.list) schema = await readSchema(reader, label, pauses);
    else if (id === 3 && type === T.i64) rows = reader.int();
    else if (id === 4 && type === T.list) {
      if (!schema) throw new ThriftError("row groups come before the schema");
      groups = await readGroups(reader, schema, { label, end, pauses });
    } else if (id === 5 && type === T.list) metadata = readMetadata(reader);
    else if (id === 6 && type === T.binary) writer = Buffer.from(reader.binary()).toString();
    else {
      isEncrypted ||= id === 8;
      reader.skip(type);
    }
  }
  if (isEncrypted) throw encrypted(label);
  if (!schema) throw damaged(label, "its footer has no schema");
  if (!groups) throw damaged(label, "its footer has no row groups");
  if (rows !== groups.rows) throw damaged(label, `its footer says ${rows} rows, its row groups have ${groups.rows}`);
  return { ...schema, ...groups, rows, metadata, writer, bytes: reader.bytes, end };
}

async function readSchema(reader: ThriftReader, label: string, pauses: Pauses): Promise<Schema> {
  const { type, count } = reader.list();
  if (type !== T.struct && count > 0) throw new ThriftError("its schema is no list of elements");
  const builder = openSchemaBuilder(label, count);
  for (let index = 0; index < count; index++) {
    builder.add(reader);
    if (pauses.isDue()) await pauses.take();
  }
  return builder.finish();
}

/** Notes that writers left, such as their own schema; later ones win. */
function readMetadata(reader: ThriftReader): Map<string, string> {
  const found = new Map<string, string>();
  const { type, count } = reader.list();
  for (let index = 0; index < count; index++) {
    if (type !== T.struct) {
      reader.skipElement(type, 1);
      continue;
    }
    let key = "";
    let value = new Uint8Array();
    reader.struct((id, fieldType) => {
      if (fieldType !== T.binary || id > 2) return false;
      if (id === 1) key = Buffer.from(reader.binary()).toString();
      else value = new Uint8Array(reader.binary());
      return true;
    });
    if (key === "ARROW:schema" || key === "geo") found.set(key, Buffer.from(value).toString());
  }
  return found;
}

interface Groups {
  rows: number;
  uncompressedBytes: number;
  chunks: ParquetFooter["chunks"];
  ranges: Range[];
}

interface Around {
  label: string;
  end: number;
  pauses: Pauses;
}

async function readGroups(reader: ThriftReader, { leaves }: Schema, around: Around): Promise<Groups> {
  const { label, pauses } = around;
  const { type, count } = reader.list();
  if (type !== T.struct && count > 0) throw new ThriftError("its row groups are no list of row groups");
  if (count * leaves.length > PARQUET_LIMITS.chunks) {
    throw new LakeError(
      "limit",
      `${label} has ${count} row groups of ${leaves.length} columns; ${PARQUET_LIMITS.chunks} of both multiplied are the most.`,
      { hint: "Write larger row groups." },
    );
  }
  const groups: Groups = {
    rows: 0,
    uncompressedBytes: 0,
    chunks: { start: [], values: [], codec: [] },
    ranges: leaves.map(() => ({ min: undefined, max: undefined, isKnown: true })),
  };
  for (let group = 0; group < count; group++) {
    const chunks: Chunk[] = [];
    let rows = -1;
    for (let field = reader.field(0); field; field = reader.field(field.id)) {
      if (field.id === 3 && field.type === T.i64) rows = reader.int();
      else if (field.id === 1 && field.type === T.list) {
        chunks.length = 0;
        const columns = reader.list();
        if (columns.type !== T.struct && columns.count > 0) throw new ThriftError("a row group has no columns");
        if (columns.count !== leaves.length) {
          throw damaged(label, `row group ${group} has ${columns.count} columns, its schema ${leaves.length}`);
        }
        for (let column = 0; column < columns.count; column++) {
          chunks.push(readChunk(reader));
          if (pauses.isDue()) await pauses.take();
        }
      } else reader.skip(field.type);
    }
    if (!(rows >= 0 && Number.isSafeInteger(rows))) throw damaged(label, `row group ${group} has no number of rows`);
    if (rows > 0 && chunks.length !== leaves.length) throw damaged(label, `row group ${group} has no columns`);
    groups.rows += rows;
    for (const [index, chunk] of chunks.entries()) addChunk(groups, chunk, index, leaves[index], rows, around);
    if (pauses.isDue()) await pauses.take();
  }
  return groups;
}

interface Chunk {
  hasFile: boolean;
  isEncrypted: boolean;
  hasData: boolean;
  type: number;
  codec: number;
  values: number;
  uncompressed: number;
  compressed: number;
  dataOffset: number;
  indexOffset: number | undefined;
  dictionaryOffset: number | undefined;
  nulls: number | undefined;
  min: Uint8Array | undefined;
  max: Uint8Array | undefined;
}

function readChunk(reader: ThriftReader): Chunk {
  const chunk: Chunk = {
    hasFile: false,
    isEncrypted: false,
    hasData: false,
    type: -1,
    codec: -1,
    values: -1,
    uncompressed: -1,
    compressed: -1,
    dataOffset: -1,
    indexOffset: undefined,
    dictionaryOffset: undefined,
    nulls: undefined,
    min: undefined,
    max: undefined,
  };
  reader.struct((id, type) => {
    if (id === 3 && type === T.struct) {
      chunk.hasData = true;
      readChunkData(reader, chunk);
      return true;
    }
    chunk.hasFile ||= id === 1;
    chunk.isEncrypted ||= id === 8 || id === 9;
    return false;
  });
  return chunk;
}

function readChunkData(reader: ThriftReader, chunk: Chunk): void {
  reader.struct((id, type) => {
    if (type === T.i32 && id === 1) chunk.type = reader.int();
    else if (type === T.i32 && id === 4) chunk.codec = reader.int();
    else if (type === T.struct && id === 12) readStatistics(reader, chunk);
    else if (type !== T.i64) return false;
    else if (id === 5) chunk.values = reader.int();
    else if (id === 6) chunk.uncompressed = reader.int();
    else if (id === 7) chunk.compressed = reader.int();
    else if (id === 9) chunk.dataOffset = reader.int();
    else if (id === 10) chunk.indexOffset = reader.int();
    else if (id === 11) chunk.dictionaryOffset = reader.int();
    else return false;
    return true;
  });
}

/** `min` and `max` are what old writers have; `min_value` and `max_value` come after and win. */
function readStatistics(reader: ThriftReader, chunk: Chunk): void {
  reader.struct((id, type) => {
    if (id === 3 && type === T.i64) chunk.nulls = reader.int();
    else if (type !== T.binary) return false;
    else if (id === 1 || id === 5) chunk.max = reader.binary();
    else if (id === 2 || id === 6) chunk.min = reader.binary();
    else return false;
    return true;
  });
}

/** Codecs by number, as the format has them; undefined for those that DuckDB cannot read. */
const CODECS = ["UNCOMPRESSED", "SNAPPY", "GZIP", undefined, "BROTLI", undefined, "ZSTD", "LZ4_RAW"];
const UNREAD_CODECS: Record<number, string> = { 3: "LZO", 5: "LZ4 of Hadoop" };

function addChunk(
  groups: Groups,
  chunk: Chunk,
  index: number,
  leaf: SchemaNode | undefined,
  rows: number,
  { label, end }: Around,
): void {
  if (!leaf) return;
  const column = columnName(leaf);
  const refuse = (what: string, hint: string): LakeError =>
    new LakeError("invalid", `${label}: column ${column} ${what}.`, { hint });
  if (chunk.isEncrypted) throw refuse("is encrypted", "Write it again without encryption.");
  if (chunk.hasFile) throw refuse("is kept in another file", "Write all columns into one file.");
  if (!chunk.hasData) throw damaged(label, `column ${column} has no metadata`);
  if (PHYSICAL[chunk.type] !== leaf.physical) throw damaged(label, `column ${column} has two types`);
  if (CODECS[chunk.codec] === undefined) {
    throw refuse(
      `is compressed with ${UNREAD_CODECS[chunk.codec] ?? `codec ${chunk.codec}`}, which cannot be read`,
      "Write it with ZSTD, SNAPPY, GZIP, BROTLI, LZ4_RAW or uncompressed.",
    );
  }
  const isFlat = leaf.maxRepetition === 0;
  if (!Number.isSafeInteger(chunk.values) || (isFlat ? chunk.values !== rows : chunk.values < rows)) {
    throw damaged(label, `column ${column} has ${chunk.values} values in a row group of ${rows} rows`);
  }
  // Some old writers give 0 for a dictionary that is not there, or the dictionary's offset for the data's.
  const hasDictionary = chunk.dictionaryOffset !== undefined && chunk.dictionaryOffset >= 4;
  const start = hasDictionary ? (chunk.dictionaryOffset ?? 0) : chunk.dataOffset;
  const offsets = [start, chunk.dataOffset, chunk.dictionaryOffset ?? 0, chunk.indexOffset ?? 0];
  if (chunk.values > 0) {
    const outside = start < 4 || offsets.some((offset) => !(offset >= 0 && offset < end));
    if (outside || chunk.uncompressed < 0 || !(chunk.compressed >= 0 && chunk.compressed <= end)) {
      throw damaged(label, `column ${column} has pages that lie outside of the file`);
    }
  }
  groups.chunks.start.push(start);
  groups.chunks.values.push(chunk.values);
  groups.chunks.codec.push(chunk.codec);
  groups.uncompressedBytes += Math.max(0, chunk.uncompressed);
  const range = groups.ranges[index];
  if (range?.isKnown) widen(range, chunk, leaf);
}

function widen(range: Range, { values, nulls, min, max }: Chunk, leaf: SchemaNode): void {
  if (nulls === values) return;
  const least = wholeNumber(leaf, min);
  const most = wholeNumber(leaf, max);
  if (least === undefined || most === undefined) {
    range.isKnown = false;
    return;
  }
  if (range.min === undefined || least < range.min) range.min = least;
  if (range.max === undefined || most > range.max) range.max = most;
}

/** Of plainly encoded statistics: little-endian for integers, big-endian for decimals in bytes. */
function wholeNumber({ physical, logical }: SchemaNode, bytes: Uint8Array | undefined): bigint | undefined {
  if (!bytes || !logical) return undefined;
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (physical === "INT32") return bytes.length === 4 ? BigInt(buffer.readInt32LE()) : undefined;
  if (physical === "INT64") return bytes.length === 8 ? buffer.readBigInt64LE() : undefined;
  if (logical.kind !== "DECIMAL" || bytes.length === 0 || bytes.length > 32) return undefined;
  return BigInt.asIntN(8 * bytes.length, BigInt(`0x${buffer.toString("hex")}`));
}
