import { closeSync, fstatSync, openSync, readSync, writeSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { openXxh64 } from "../../kernel/hash.ts";
import type { WorkerReply } from "../../kernel/run-worker.ts";
import { cutShort, decodeZstd, type ReadBytes } from "./zstd.ts";
import { ZstdFault, ZstdLimit } from "./zstd-tables.ts";

export interface ZstdTask {
  from: string;
  /** Path of the decompressed file. */
  to: string;
}

type ZstdReply = WorkerReply<null>;

const READ_BYTES = 1024 ** 2;
const WRITE_BYTES = 1024 ** 2;

const checksum = await openXxh64();
try {
  unpack(workerData as ZstdTask);
  parentPort?.postMessage({ done: null } satisfies ZstdReply);
} catch (error) {
  if (!(error instanceof ZstdFault)) throw error;
  const isLimit = error instanceof ZstdLimit;
  const failed = {
    kind: "invalid",
    message: `is a ${isLimit ? "zstd file that cannot be read" : "damaged zstd file"}: ${error.message}.`,
    hint: isLimit ? "Ingest the uncompressed file." : "Compress it again, or ingest the uncompressed file.",
  } as const;
  parentPort?.postMessage({ failed } satisfies ZstdReply);
}

function unpack({ from, to }: ZstdTask): void {
  const source = openSync(from, "r");
  const target = openSync(to, "w", 0o600);
  const pending = Buffer.allocUnsafe(WRITE_BYTES);
  let length = 0;
  const flush = (): void => {
    for (let at = 0; at < length; ) at += writeSync(target, pending, at, length - at);
    length = 0;
  };
  try {
    const { size } = fstatSync(source);
    for (const content of decodeZstd(openReader(source, size), size, { checksum })) {
      if (length + content.length > pending.length) flush();
      pending.set(content, length);
      length += content.length;
    }
    flush();
  } finally {
    closeSync(source);
    closeSync(target);
  }
}

function openReader(fd: number, size: number): ReadBytes {
  const buffer = Buffer.allocUnsafe(READ_BYTES);
  let from = 0;
  let end = 0;
  return (at, length) => {
    if (at + length > size) throw cutShort();
    if (at < from || at + length > end) {
      from = at;
      end = at;
      while (end < at + length) {
        const count = readSync(fd, buffer, end - from, buffer.length - (end - from), end);
        if (count === 0) throw cutShort();
        end += count;
      }
    }
    return buffer.subarray(at - from, at - from + length);
  };
}
