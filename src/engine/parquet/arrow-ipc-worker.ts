import { closeSync, fstatSync, openSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parentPort, workerData } from "node:worker_threads";
import { Compression, Table, WriterPropertiesBuilder, writeParquet } from "parquet-wasm";
import type { ErrorKind } from "../kernel/error-codes.ts";
import { type NextStep, next, setting } from "../kernel/next-step.ts";
import { Refusal } from "../kernel/refusal.ts";
import type { WorkerReply } from "../kernel/run-worker.ts";
import { NoMemory } from "./arrow-column.ts";
import { ArrowFormatError } from "./arrow-errors.ts";
import { isBigEndian, readSchema } from "./arrow-ipc-format.ts";
import { readAt, readMessages } from "./arrow-ipc-reader.ts";
import { type Planned, planColumns } from "./arrow-plan.ts";
import type { Told } from "./arrow-planning.ts";
import { MAX_BATCH_BYTES, openRewriter, type Piece, type Rewriter } from "./arrow-rewrite.ts";
import type { FlatTable } from "./flatbuffer.ts";

/** What the worker gets as `workerData`. */
export interface ArrowTask {
  path: string;
  /** Where the Parquet files go. */
  folder: string;
  maxRows: number;
}

/** Parquet files with the columns of the source, which are to be cast where `cast` says so. */
export interface ArrowRewritten extends Told {
  files: string[];
  fields: { name: string; cast: string | undefined; isZonedNanos: boolean }[];
  rows: number;
}

type ArrowReply = WorkerReply<ArrowRewritten>;

/** Bytes of batches in one Parquet file: several of its copies are in memory at once. */
const GROUP_BYTES = 16 * 1024 ** 2;

try {
  reply({ done: await convert(workerData as ArrowTask) });
} catch (error) {
  reply({ failed: describe(error) });
}

async function convert({ path, folder, maxRows }: ArrowTask): Promise<ArrowRewritten> {
  const fd = openSync(path, "r");
  try {
    const { size } = fstatSync(fd);
    const { planned, rows } = survey(fd, size, maxRows);
    const rewriter = openRewriter(planned);
    const files: string[] = [];
    for (const { pieces, end } of groups(fd, size, rewriter)) {
      const file = join(folder, `arrow-${files.length}.parquet`);
      writeFileSync(file, toParquet(rewriter, pieces));
      files.push(file);
      reply({ progress: end / size });
    }
    const fields = planned.plans.map(({ name, cast, isZonedNanos = false }) => ({ name, cast, isZonedNanos }));
    return { files, fields, rows, ...planned.told };
  } finally {
    closeSync(fd);
  }
}

/** Reads every header once, so that nothing is converted of a source that cannot be converted whole. */
function survey(fd: number, size: number, maxRows: number): { planned: Planned; rows: number } {
  if (readAt(fd, 0, Math.min(4, size)).toString("latin1") === "FEA1") {
    throw new Refusal("invalid", "is a Feather version 1 file.", "Write it as Feather version 2 or Arrow IPC.");
  }
  let planned: Planned | undefined;
  let rows = 0;
  for (const message of readMessages(fd, size)) {
    if (!planned && message.kind !== "schema") throw new ArrowFormatError("it does not begin with a schema");
    if (message.kind === "schema") {
      if (planned) throw new ArrowFormatError("it has two schemas");
      planned = plan(message.schema);
    }
    if ("batch" in message && message.batch.compression === "zstd") {
      throw new Refusal(
        "invalid",
        "has ZSTD-compressed buffers, which cannot be read.",
        "Write it without compression or with LZ4, or as Parquet.",
      );
    }
    rows += message.kind === "batch" ? message.batch.rows : 0;
    if (rows > maxRows) {
      throw new Refusal(
        "limit",
        `has more than ${maxRows} rows, the most one ingest may write.`,
        next`Ingest part of it, or raise ${setting("max_ingest_rows")}.`,
      );
    }
    if (message.bodyLength > MAX_BATCH_BYTES) throw new NoMemory();
  }
  if (!planned) throw new ArrowFormatError("it has no schema");
  return { planned, rows };
}

function plan(schema: FlatTable): Planned {
  const fields = readSchema(schema);
  if (isBigEndian(schema)) {
    throw new Refusal(
      "invalid",
      "holds big-endian numbers.",
      "Write it again on a little-endian machine, or as Parquet.",
    );
  }
  if (fields.length === 0) throw new Refusal("invalid", "has no columns.", "A dataset needs at least one column.");
  return planColumns(fields);
}

/** Batches in pieces of about `GROUP_BYTES`, each of which goes with the dictionaries as they were. */
function* groups(fd: number, size: number, rewriter: Rewriter): Generator<{ pieces: Piece[]; end: number }> {
  let pieces: Piece[] = [];
  let bytes = 0;
  let written = 0;
  const flush = (end: number): { pieces: Piece[]; end: number } => {
    const flushed = { pieces, end };
    pieces = [];
    bytes = 0;
    written += 1;
    return flushed;
  };
  for (const message of readMessages(fd, size)) {
    if (!("batch" in message)) continue;
    const { bodyOffset, bodyLength } = message;
    const body = readAt(fd, bodyOffset, bodyLength);
    if (message.kind === "dictionary") {
      // A dictionary that comes again is another one for the batches after it.
      if (pieces.length > 0) yield flush(bodyOffset);
      rewriter.dictionary(message, body);
      continue;
    }
    for (const piece of rewriter.batch(message.batch, body, GROUP_BYTES)) {
      pieces.push(piece);
      bytes += piece.bytes;
      if (bytes >= GROUP_BYTES) yield flush(bodyOffset);
    }
  }
  if (pieces.length > 0 || written === 0) yield flush(size);
}

function toParquet(rewriter: Rewriter, pieces: readonly Piece[]): Uint8Array {
  const properties = (): ReturnType<WriterPropertiesBuilder["build"]> =>
    new WriterPropertiesBuilder().setCompression(Compression.SNAPPY).build();
  try {
    return writeParquet(Table.fromIPCStream(rewriter.stream(pieces)), properties());
  } catch (error) {
    // The native code does not say which column it dislikes: that is found by asking it about each.
    for (const [column, name] of rewriter.names.entries()) {
      try {
        writeParquet(Table.fromIPCStream(rewriter.stream(pieces, column)), properties());
      } catch (cause) {
        throw new ArrowFormatError(`column ${JSON.stringify(name)}: ${damage(cause)}`);
      }
    }
    throw error;
  }
}

function describe(error: unknown): { kind: ErrorKind; message: string; hint: NextStep } {
  if (error instanceof Refusal) return { kind: error.kind, message: error.message, hint: error.hint };
  if (error instanceof NoMemory) {
    const most = MAX_BATCH_BYTES / 1024 ** 2;
    return {
      kind: "limit",
      message: `has a record batch of more than ${most} MiB.`,
      hint: "Write it in batches of fewer rows.",
    };
  }
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
