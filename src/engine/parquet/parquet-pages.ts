import type { FileHandle } from "node:fs/promises";
import { LakeError } from "../kernel/errors.ts";
import { damaged, openPauses, type ParquetFooter, type Pauses } from "./parquet-footer.ts";
import { PARQUET_LIMITS } from "./parquet-limits.ts";
import { columnName, type Physical, type SchemaNode } from "./parquet-schema.ts";
import { T, ThriftError, ThriftReader } from "./thrift-compact.ts";

/**
 * Goes from page header to page header of every column chunk, as a reader will, and refuses what a native reader might
 * take for lengths to copy: sizes beyond the file or the page, levels longer than their page, a page that says it is not
 * compressed and has two sizes, more values in a dictionary than bytes. Reads headers only. Throws `invalid` naming the
 * column, `limit` for a page beyond `PARQUET_LIMITS`.
 */
export async function checkPages(
  handle: FileHandle,
  footer: ParquetFooter,
  label: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { chunks, leaves } = footer;
  const window = openWindow(handle, footer.end);
  const walk: Walk = { window, label, pauses: openPauses(signal), walked: 0, end: footer.end };
  for (const [index, start] of chunks.start.entries()) {
    const leaf = leaves[index % leaves.length];
    const values = chunks.values[index] ?? 0;
    if (leaf && values > 0) await walkChunk(walk, leaf, start, values, chunks.codec[index] ?? 0);
  }
}

interface Walk {
  window: Window;
  label: string;
  pauses: Pauses;
  /** Bytes of pages so far: more than the file has means that chunks share pages, and checking them never ends. */
  walked: number;
  end: number;
}

async function walkChunk(walk: Walk, leaf: SchemaNode, start: number, values: number, codec: number): Promise<void> {
  const { window, label, pauses, end } = walk;
  let at = start;
  let pages = 0;
  for (let found = 0; found < values; pages++) {
    if (pauses.isDue()) await pauses.take();
    if (at >= end) throw damaged(label, `column ${columnName(leaf)} ends after ${found} of ${values} values`);
    const { header, length } = await readHeader(window, at, leaf, label);
    checkPage(header, leaf, label, codec, pages);
    const next = at + length + header.compressed;
    if (next > end) throw damaged(label, `column ${columnName(leaf)} has a page that is longer than the file`);
    walk.walked += next - at;
    if (walk.walked > end) throw damaged(label, `column ${columnName(leaf)} shares its pages with another`);
    found += header.type === PAGE.data || header.type === PAGE.dataV2 ? header.values : 0;
    if (found > values) throw damaged(label, `column ${columnName(leaf)} has more than its ${values} values`);
    at = next;
    window.expect(header.compressed);
  }
}

const PAGE = { data: 0, index: 1, dictionary: 2, dataV2: 3 } as const;

interface PageHeader {
  type: number;
  uncompressed: number;
  compressed: number;
  /** Which of the three headers it has, by field id. */
  body: number;
  values: number;
  nulls: number;
  encoding: number;
  definitionEncoding: number;
  repetitionEncoding: number;
  definitionBytes: number;
  repetitionBytes: number;
  isCompressed: boolean;
}

async function readHeader(
  window: Window,
  at: number,
  leaf: SchemaNode,
  label: string,
): Promise<{ header: PageHeader; length: number }> {
  for (let wanted = FIRST_HEADER_BYTES; ; wanted *= 8) {
    const bytes = await window.bytes(at, wanted);
    const reader = new ThriftReader(bytes);
    try {
      return { header: parseHeader(reader), length: reader.at };
    } catch (error) {
      if (!(error instanceof ThriftError)) throw error;
      const isAll = bytes.length < wanted || wanted >= PARQUET_LIMITS.pageHeaderBytes;
      if (!error.isShort || isAll) {
        throw damaged(
          label,
          `column ${columnName(leaf)} has a page header that cannot be read: ${error.message}`,
          error,
        );
      }
    }
  }
}

function parseHeader(reader: ThriftReader): PageHeader {
  const header: PageHeader = {
    type: -1,
    uncompressed: -1,
    compressed: -1,
    body: -1,
    values: -1,
    nulls: 0,
    encoding: -1,
    definitionEncoding: -1,
    repetitionEncoding: -1,
    definitionBytes: 0,
    repetitionBytes: 0,
    isCompressed: true,
  };
  reader.struct((id, type) => {
    if (type === T.struct && (id === 5 || id === 7 || id === 8)) {
      header.body = id;
      readBody(reader, header, id);
    } else if (type !== T.i32) return false;
    else if (id === 1) header.type = reader.int();
    else if (id === 2) header.uncompressed = reader.int();
    else if (id === 3) header.compressed = reader.int();
    else return false;
    return true;
  });
  return header;
}

/** `DataPageHeader` (5), `DictionaryPageHeader` (7) or `DataPageHeaderV2` (8). */
function readBody(reader: ThriftReader, header: PageHeader, body: number): void {
  const fields: (keyof PageHeader)[] =
    body === 8
      ? ["values", "nulls", "body", "encoding", "definitionBytes", "repetitionBytes"]
      : ["values", "encoding", "definitionEncoding", "repetitionEncoding"];
  reader.struct((id, type) => {
    if (body === 8 && id === 7 && (type === T.true || type === T.false)) header.isCompressed = type === T.true;
    else if (type !== T.i32) return false;
    else {
      const field = fields[id - 1];
      const value = reader.int();
      if (field !== undefined && field !== "isCompressed" && field !== "body") header[field] = value;
      return true;
    }
    return true;
  });
}

function checkPage(header: PageHeader, leaf: SchemaNode, label: string, codec: number, pages: number): void {
  const column = `column ${columnName(leaf)}`;
  const { type, compressed, uncompressed, values } = header;
  if (!isSize(compressed) || !isSize(uncompressed)) throw damaged(label, `${column} has a page without a size`);
  if (Math.max(uncompressed, compressed) > PARQUET_LIMITS.pageBytes) {
    throw new LakeError(
      "limit",
      `${label}: ${column} has a page of ${uncompressed} bytes; ${PARQUET_LIMITS.pageBytes} are the most.`,
      {
        hint: "Write it with smaller pages or shorter values.",
      },
    );
  }
  if (type !== PAGE.data && type !== PAGE.dataV2 && type !== PAGE.dictionary) return;
  if (header.body !== (type === PAGE.data ? 5 : type === PAGE.dictionary ? 7 : 8)) {
    throw damaged(label, `${column} has a page with the header of another kind`);
  }
  if (!isSize(values)) throw damaged(label, `${column} has a page without a number of values`);
  const copied = codec === 0 || (type === PAGE.dataV2 && !header.isCompressed);
  if (copied && compressed !== uncompressed) {
    throw damaged(label, `${column} has a page of ${compressed} bytes that is not compressed and says ${uncompressed}`);
  }
  const most = MOST_UNPACKED[codec];
  if (most !== undefined && uncompressed > most * compressed + UNPACKED_SLACK) {
    throw damaged(label, `${column} has a page of ${compressed} bytes that says it unpacks to ${uncompressed}`);
  }
  if (type === PAGE.dictionary) {
    if (pages > 0) throw damaged(label, `${column} has a dictionary after its first page`);
    if (values * leastBytes(leaf) > uncompressed) {
      throw damaged(label, `${column} has a dictionary of ${values} values in ${uncompressed} bytes`);
    }
  }
  if (type === PAGE.dataV2) {
    const levels = header.definitionBytes + header.repetitionBytes;
    const inside = isSize(header.definitionBytes) && isSize(header.repetitionBytes);
    if (!inside || levels > compressed || levels > uncompressed) {
      throw damaged(label, `${column} has a page whose levels are longer than the page`);
    }
    if (!isSize(header.nulls) || header.nulls > values) throw damaged(label, `${column} has more NULLs than values`);
  }
  checkEncoding(header, leaf, label);
}

/**
 * How many bytes one may become, by codec: Snappy's longest copy is 64 of 3, LZ4's 255 of 1, and deflate's 1,032 of 1. Brotli
 * and Zstandard have no bound. A reader has room for what the header says before it unpacks.
 */
const MOST_UNPACKED: Record<number, number> = { 1: 22, 2: 1033, 7: 256 };
const UNPACKED_SLACK = 1024;

function isSize(value: number): boolean {
  return value >= 0 && value < 2 ** 31;
}

/** What a value takes at least where it is written plainly; a bit of BOOLEAN counts for nothing. */
function leastBytes({ physical, length }: SchemaNode): number {
  switch (physical) {
    case "INT32":
    case "FLOAT":
    case "BYTE_ARRAY":
      return 4;
    case "INT64":
    case "DOUBLE":
      return 8;
    case "INT96":
      return 12;
    case "FIXED_LEN_BYTE_ARRAY":
      return length;
    default:
      return 0.125;
  }
}

/** By number, and the types that DuckDB reads them for. */
const ENCODINGS: { name: string; types: readonly Physical[] }[] = [
  {
    name: "PLAIN",
    types: ["BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE", "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY"],
  },
  { name: "GROUP_VAR_INT", types: [] },
  {
    name: "PLAIN_DICTIONARY",
    types: ["INT32", "INT64", "INT96", "FLOAT", "DOUBLE", "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY"],
  },
  { name: "RLE", types: ["BOOLEAN"] },
  { name: "BIT_PACKED", types: [] },
  { name: "DELTA_BINARY_PACKED", types: ["INT32", "INT64"] },
  { name: "DELTA_LENGTH_BYTE_ARRAY", types: ["BYTE_ARRAY"] },
  { name: "DELTA_BYTE_ARRAY", types: ["BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY"] },
  {
    name: "RLE_DICTIONARY",
    types: ["INT32", "INT64", "INT96", "FLOAT", "DOUBLE", "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY"],
  },
  { name: "BYTE_STREAM_SPLIT", types: ["FLOAT", "DOUBLE"] },
];
const RLE = 3;

function checkEncoding(header: PageHeader, leaf: SchemaNode, label: string): void {
  const refuse = (encoding: string): LakeError =>
    new LakeError(
      "invalid",
      `${label}: column ${columnName(leaf)} (${leaf.physical}) is encoded as ${encoding}, which cannot be read.`,
      {
        hint: "Write it with the encoding PLAIN or a dictionary.",
      },
    );
  if (header.type === PAGE.dictionary) {
    if (header.encoding !== 0 && header.encoding !== 2) throw refuse(`a dictionary in encoding ${header.encoding}`);
    return;
  }
  const encoding = ENCODINGS[header.encoding];
  if (!encoding || leaf.physical === undefined || !encoding.types.includes(leaf.physical)) {
    throw refuse(encoding?.name ?? `encoding ${header.encoding}`);
  }
  if (header.type !== PAGE.data) return;
  // Levels of the first version of the format, which a reader of RLE would take for something else.
  const isOld =
    (leaf.maxDefinition > 0 && header.definitionEncoding !== RLE) ||
    (leaf.maxRepetition > 0 && header.repetitionEncoding !== RLE);
  if (isOld) throw refuse("BIT_PACKED levels");
}

/** Enough for a header with statistics of numbers. */
const FIRST_HEADER_BYTES = 256;
const SMALL_READ = 8 * 1024;
const LARGE_READ = 256 * 1024;
/** Where pages are smaller, reading all of them costs less than a read for each. */
const SMALL_PAGE = 32 * 1024;

interface Window {
  /** The bytes at `at`: `wanted` of them, or fewer where the pages end. Valid until the next call. */
  bytes(at: number, wanted: number): Promise<Uint8Array>;
  /** How long the page is that will be passed next. */
  expect(page: number): void;
}

function openWindow(handle: FileHandle, end: number): Window {
  let buffer = Buffer.alloc(LARGE_READ);
  let from = 0;
  let to = 0;
  let ahead = LARGE_READ;
  return {
    async bytes(at, wanted) {
      const until = Math.min(end, at + wanted);
      if (at < from || until > to) {
        const length = Math.min(end - at, Math.max(wanted, ahead));
        if (length > buffer.length) buffer = Buffer.alloc(length);
        const { bytesRead } = await handle.read(buffer, 0, length, at);
        from = at;
        to = at + bytesRead;
      }
      return buffer.subarray(at - from, Math.min(until, to) - from);
    },
    expect(page) {
      ahead = page < SMALL_PAGE ? LARGE_READ : SMALL_READ;
    },
  };
}
