import { createRequire } from "node:module";
import type { RecordBatch, Vector } from "apache-arrow";
import { T, ThriftReader } from "./thrift-compact.ts";

type ParquetWasm = typeof import("parquet-wasm");
type Arrow = typeof import("apache-arrow");

const require = createRequire(import.meta.url);

/** A data file of a manifest. */
export interface FileRow {
  key: string;
  bytes: number;
  rows: number;
  sourceHash: string;
  /** By column; as text, null when the column has no value or no order. */
  stats: Record<string, { min: string | null; max: string | null; nulls: number }>;
}

/** Loads both libraries, about 0.2 s. */
export async function warm(): Promise<void> {
  parquetWasm();
  await arrow();
}

/** One row per file, uncompressed so that small manifests stay small and fast, and `metadata` as key-value metadata. */
export async function writeTable(metadata: Map<string, string>, files: FileRow[]): Promise<Uint8Array> {
  const ipc = toIpc(await arrow(), files);
  return withWasm((wasm) => {
    const large = ipc.length > COMPRESS_ABOVE_BYTES;
    // The builder is consumed by each call and the table by the write: nothing is left to free.
    const properties = new wasm.WriterPropertiesBuilder()
      .setCompression(large ? wasm.Compression.ZSTD : wasm.Compression.UNCOMPRESSED)
      .setStatisticsEnabled(wasm.EnabledStatistics.None)
      .setKeyValueMetadata(metadata)
      .build();
    return wasm.writeParquet(wasm.Table.fromIPCStream(ipc), properties);
  });
}

const COMPRESS_ABOVE_BYTES = 64 * 1024;

/**
 * Only the key-value metadata. Read here and not by parquet-wasm, which would be loaded for it and take five times as
 * long: a catalog is opened by reading those of all datasets. Throws whatever is wrong.
 */
export function readMetadata(parquet: Uint8Array): Map<string, string> {
  const tail = parquet.length - TAIL_BYTES;
  const length = new DataView(parquet.buffer, parquet.byteOffset).getUint32(tail, true);
  const reader = new ThriftReader(parquet.subarray(tail - length, tail));
  const found = new Map<string, string>();
  for (let field = reader.field(0); field; field = reader.field(field.id)) {
    if (field.id !== METADATA_FIELD || field.type !== T.list) {
      reader.skip(field.type);
      continue;
    }
    const { type, count } = reader.list();
    if (type !== T.struct) throw new TypeError("the metadata is no list of entries");
    for (let index = 0; index < count; index++) {
      const entry = ["", ""];
      reader.struct((id, fieldType) => {
        if (fieldType !== T.binary || id > 2) return false;
        entry[id - 1] = TEXT.decode(reader.binary());
        return true;
      });
      found.set(...(entry as [string, string]));
    }
  }
  return found;
}

/** The footer's length and the magic. https://parquet.apache.org/docs/file-format/ */
const TAIL_BYTES = 8;
/** `key_value_metadata` of `FileMetaData`. */
const METADATA_FIELD = 5;
const TEXT = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The rows; more than `limit` of them are not read. Throws whatever is wrong. */
export async function readFiles(parquet: Uint8Array, limit: number): Promise<FileRow[]> {
  const { tableFromIPC } = await arrow();
  const ipc = withWasm((wasm) => wasm.readParquet(parquet, { limit }).intoIPCStream());
  return tableFromIPC(ipc).batches.flatMap(readBatch);
}

let loaded: ParquetWasm | undefined;

function parquetWasm(): ParquetWasm {
  loaded ??= require("parquet-wasm") as ParquetWasm;
  return loaded;
}

/**
 * A panic in WebAssembly leaves its stack pointer where it was; after some 500 of them on crafted files every later call
 * fails too (measured). So the instance that panicked is thrown away, and the next call loads another, in 10 ms.
 */
function withWasm<T>(work: (wasm: ParquetWasm) => T): T {
  try {
    return work(parquetWasm());
  } catch (error) {
    // What parquet-wasm reports itself is a plain Error.
    if (!(error instanceof Error) || error.name !== "Error") {
      loaded = undefined;
      delete require.cache[require.resolve("parquet-wasm")];
    }
    throw error;
  }
}

function arrow(): Promise<Arrow> {
  return import("apache-arrow");
}

function toIpc(lib: Arrow, files: FileRow[]): Uint8Array {
  const { Field, Int64, List, makeData, RecordBatch, Schema, Struct, Table, tableToIPC, Utf8 } = lib;

  const text = (values: (string | null)[]) => {
    const bytes = Buffer.allocUnsafe(values.reduce((sum, value) => sum + 3 * (value?.length ?? 0), 0));
    const offsets = new Int32Array(values.length + 1);
    const valid = new Uint8Array(Math.ceil(values.length / 8));
    let end = 0;
    let nullCount = 0;
    for (const [i, value] of values.entries()) {
      if (value === null) nullCount++;
      else {
        end += bytes.write(value, end);
        valid[i >> 3] = (valid[i >> 3] ?? 0) | (1 << (i & 7));
      }
      offsets[i + 1] = end;
    }
    const data = bytes.subarray(0, end);
    return makeData({
      type: new Utf8(),
      length: values.length,
      nullCount,
      nullBitmap: valid,
      valueOffsets: offsets,
      data,
    });
  };
  const whole = (values: number[]) => makeData({ type: new Int64(), data: BigInt64Array.from(values, BigInt) });

  const stats = files.map((file) => Object.entries(file.stats));
  const entries = stats.flat();
  const statsFields = [
    new Field("column", new Utf8(), false),
    new Field("min", new Utf8(), true),
    new Field("max", new Utf8(), true),
    new Field("nulls", new Int64(), false),
  ];
  const element = new Field("element", new Struct(statsFields), false);
  const offsets = new Int32Array(files.length + 1);
  for (const [i, list] of stats.entries()) offsets[i + 1] = (offsets[i] ?? 0) + list.length;
  const statsData = makeData({
    type: new List(element),
    length: files.length,
    nullCount: 0,
    valueOffsets: offsets,
    child: makeData({
      type: element.type,
      length: entries.length,
      nullCount: 0,
      children: [
        text(entries.map(([column]) => column)),
        text(entries.map(([, { min }]) => min)),
        text(entries.map(([, { max }]) => max)),
        whole(entries.map(([, { nulls }]) => nulls)),
      ],
    }),
  });

  const children = [
    text(files.map((file) => file.key)),
    whole(files.map((file) => file.bytes)),
    whole(files.map((file) => file.rows)),
    text(files.map((file) => file.sourceHash)),
    statsData,
  ];
  const fields = [
    new Field("key", new Utf8(), false),
    new Field("bytes", new Int64(), false),
    new Field("rows", new Int64(), false),
    new Field("source_hash", new Utf8(), false),
    new Field("stats", statsData.type, false),
  ];
  const data = makeData({ type: new Struct(fields), length: files.length, nullCount: 0, children });
  return tableToIPC(new Table([new RecordBatch(new Schema(fields), data)]), "stream");
}

function readBatch(batch: RecordBatch): FileRow[] {
  const column = (name: string): Vector => {
    const found = batch.getChild(name);
    if (!found) throw new TypeError(`column ${name} is missing`);
    return found;
  };
  const key = column("key");
  const bytes = column("bytes");
  const rows = column("rows");
  const sourceHash = column("source_hash");
  const stats = column("stats");
  return Array.from({ length: batch.numRows }, (_, i) => ({
    key: asText(key.get(i)),
    bytes: asCount(bytes.get(i)),
    rows: asCount(rows.get(i)),
    sourceHash: asText(sourceHash.get(i)),
    stats: readStats(stats.get(i)),
  }));
}

function readStats(list: Vector): FileRow["stats"] {
  const child = (name: string): Vector => {
    const found = list.getChild(name);
    if (!found) throw new TypeError(`stats.${name} is missing`);
    return found;
  };
  const [column, min, max, nulls] = [child("column"), child("min"), child("max"), child("nulls")];
  // Not by assignment: a column may be called __proto__.
  return Object.fromEntries(
    Array.from({ length: list.length }, (_, i) => [
      asText(column.get(i)),
      { min: asTextOrNull(min.get(i)), max: asTextOrNull(max.get(i)), nulls: asCount(nulls.get(i)) },
    ]),
  );
}

function asText(value: unknown): string {
  if (typeof value !== "string") throw new TypeError("text expected");
  return value;
}

function asTextOrNull(value: unknown): string | null {
  return value === null ? null : asText(value);
}

function asCount(value: unknown): number {
  const count = typeof value === "bigint" ? Number(value) : Number.NaN;
  if (!Number.isSafeInteger(count) || count < 0) throw new TypeError("count expected");
  return count;
}
