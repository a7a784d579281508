import { closeSync, fstatSync, openSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parentPort, workerData } from "node:worker_threads";
import { Compression, Table, WriterPropertiesBuilder, writeParquet } from "parquet-wasm";
import type { ErrorKind } from "../errors.ts";
import type { WorkerReply } from "../run-worker.ts";
import {
  type ArrowField,
  ArrowFormatError,
  decompressMessage,
  readSchema,
  unpackedLength,
} from "./arrow-ipc-format.ts";
import { type IpcMessage, type LocatedMessage, readAt, readMessages, toStream } from "./arrow-ipc-reader.ts";
import type { sliceBatch } from "./arrow-ipc-slice.ts";
import { findUnsupported } from "./arrow-ipc-types.ts";
import { unpackLz4Frame } from "./lz4.ts";

/** What the worker gets as `workerData`. */
export interface ArrowTask {
  path: string;
  /** Where the Parquet files go. */
  folder: string;
  maxRows: number;
}

interface Converted {
  files: string[];
  fields: ArrowField[];
  rows: number;
}

type ArrowReply = WorkerReply<Converted>;

class Refusal extends Error {
  readonly kind: ErrorKind;
  readonly hint: string;

  constructor(kind: ErrorKind, message: string, hint: string) {
    super(message);
    this.kind = kind;
    this.hint = hint;
  }
}

/** Bytes of batches in one Parquet file: several of its copies are in memory at once. */
const GROUP_BYTES = 16 * 1024 ** 2;
/** Batches from here on are sliced. */
const SLICED_BYTES = 2 * GROUP_BYTES;
const MAX_BATCH_BYTES = 256 * 1024 ** 2;
const REWRITE = "Write it without compression or with LZ4, one dictionary per column, or as Parquet.";

try {
  reply({ done: await convert(workerData as ArrowTask) });
} catch (error) {
  reply({ failed: describe(error) });
}

async function convert({ path, folder, maxRows }: ArrowTask): Promise<Converted> {
  const fd = openSync(path, "r");
  try {
    const { size } = fstatSync(fd);
    const { fields, rows, largest } = survey(fd, size, maxRows);
    // apache-arrow takes a quarter of a second to load, and few files need it.
    const slice = largest > SLICED_BYTES ? (await import("./arrow-ipc-slice.ts")).sliceBatch : undefined;
    const files: string[] = [];
    for (const { stream, end } of groups(fd, size, slice)) {
      const file = join(folder, `arrow-${files.length}.parquet`);
      writeFileSync(file, toParquet(stream));
      files.push(file);
      reply({ progress: end / size });
    }
    return { files, fields, rows };
  } finally {
    closeSync(fd);
  }
}

/** Reads every header once, so that nothing is converted of a source that cannot be converted whole. */
function survey(fd: number, size: number, maxRows: number): { fields: ArrowField[]; rows: number; largest: number } {
  if (readAt(fd, 0, Math.min(4, size)).toString("latin1") === "FEA1") {
    throw new Refusal("invalid", "is a Feather version 1 file.", "Write it as Feather version 2 or Arrow IPC.");
  }
  let fields: ArrowField[] | undefined;
  let rows = 0;
  let largest = 0;
  for (const message of readMessages(fd, size)) {
    if (!fields && message.kind !== "schema") throw new ArrowFormatError("it does not begin with a schema");
    if (message.kind === "schema") {
      if (fields) throw new ArrowFormatError("it has two schemas");
      fields = readSchema(message.metadata);
      const unsupported = findUnsupported(fields);
      if (fields.length === 0) throw new Refusal("invalid", "has no columns.", "A dataset needs at least one column.");
      if (unsupported)
        throw new Refusal(
          "invalid",
          `: ${unsupported}.`,
          "Leave it out, or cast it (a duration to int64, say), before writing the file.",
        );
    }
    if (message.isDelta) throw new Refusal("invalid", "has dictionaries that grow (deltas).", REWRITE);
    if (message.compression === "zstd") {
      throw new Refusal("invalid", "has ZSTD-compressed buffers, which cannot be read.", REWRITE);
    }
    rows += message.kind === "batch" ? message.rows : 0;
    if (rows > maxRows) {
      throw new Refusal(
        "limit",
        `has more than ${maxRows} rows, the most one ingest may write.`,
        "Ingest part of it, or raise max_ingest_rows (LAKEHOUSE_MAX_INGEST_ROWS).",
      );
    }
    if (message.bodyLength > MAX_BATCH_BYTES) throw tooLarge();
    // Compressed ones may be any size.
    largest = Math.max(largest, message.compression === "none" ? message.bodyLength : MAX_BATCH_BYTES);
  }
  if (!fields) throw new ArrowFormatError("it has no schema");
  return { fields, rows, largest };
}

/**
 * Batches in streams of about `GROUP_BYTES`, each complete with the schema and the dictionaries it needs. A batch much
 * larger than that comes in slices, as far as its types allow.
 */
function* groups(
  fd: number,
  size: number,
  slice: typeof sliceBatch | undefined,
): Generator<{ stream: Uint8Array; end: number }> {
  let schema: IpcMessage = { metadata: new Uint8Array(), body: new Uint8Array() };
  const dictionaries = new Map<string, IpcMessage>();
  let batches: IpcMessage[] = [];
  let bytes = 0;
  let written = 0;
  const flush = (): Uint8Array => {
    const stream = toStream([schema, ...dictionaries.values(), ...batches]);
    batches = [];
    bytes = 0;
    written += 1;
    return stream;
  };
  for (const message of readMessages(fd, size)) {
    const { kind, bodyOffset, bodyLength } = message;
    const end = bodyOffset + bodyLength;
    if (kind === "schema") schema = load(fd, message);
    if (kind === "dictionary") {
      // A dictionary that comes again replaces the earlier one for the batches after it.
      if (batches.length > 0) yield { stream: flush(), end };
      dictionaries.set(message.dictionaryId, load(fd, message));
    }
    if (kind !== "batch") continue;
    const batch = load(fd, message);
    const rows = Math.ceil((message.rows * GROUP_BYTES) / batch.body.length);
    const slices =
      batch.body.length > SLICED_BYTES ? slice?.([schema, ...dictionaries.values()], batch, rows) : undefined;
    if (slices) {
      if (batches.length > 0) yield { stream: flush(), end: bodyOffset };
      for (const stream of slices) yield { stream, end: bodyOffset };
      written += 1;
      continue;
    }
    batches.push(batch);
    bytes += batch.body.length;
    if (bytes >= GROUP_BYTES) yield { stream: flush(), end };
  }
  if (batches.length > 0 || written === 0) yield { stream: flush(), end: size };
}

function load(fd: number, { metadata, bodyOffset, bodyLength, compression }: LocatedMessage): IpcMessage {
  const body = readAt(fd, bodyOffset, bodyLength);
  if (compression === "none") return { metadata, body };
  if (unpackedLength(metadata, body) > MAX_BATCH_BYTES) throw tooLarge();
  return decompressMessage(metadata, body, unpackLz4Frame);
}

function tooLarge(): Refusal {
  const most = MAX_BATCH_BYTES / 1024 ** 2;
  return new Refusal("limit", `has a record batch of more than ${most} MiB.`, "Write it in batches of fewer rows.");
}

function toParquet(stream: Uint8Array): Uint8Array {
  const properties = new WriterPropertiesBuilder().setCompression(Compression.SNAPPY).build();
  return writeParquet(Table.fromIPCStream(stream), properties);
}

function describe(error: unknown): { kind: ErrorKind; message: string; hint: string } {
  if (error instanceof Refusal) return { kind: error.kind, message: error.message, hint: error.hint };
  return {
    kind: "invalid",
    message: `is not an Arrow IPC file or stream, or is damaged: ${damage(error)}.`,
    hint: "Write the file again, or pass the right `format`.",
  };
}

/** What is wrong with the file; rethrows what is wrong with us. */
function damage(error: unknown): string {
  if (error instanceof ArrowFormatError) return error.message;
  if (!(error instanceof Error)) return "its contents contradict each other";
  // The native code names what it dislikes in such words, or gives up with a trap.
  if (/^[A-Z][\w ]+ error: /.test(error.message)) return error.message;
  if (error instanceof RangeError || error.name === "RuntimeError") return "its contents contradict each other";
  throw error;
}

function reply(message: ArrowReply): void {
  parentPort?.postMessage(message);
}
