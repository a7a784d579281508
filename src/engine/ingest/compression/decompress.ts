import { createReadStream, createWriteStream } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { hasCode, LakeError } from "../../kernel/errors.ts";
import { runWorker } from "../../kernel/run-worker.ts";
import type { ConvertContext, Source } from "../types.ts";
import type { ZstdTask } from "./zstd-worker.ts";

/** Path of the source itself, or of a decompressed copy in `context.folder`. Throws `invalid` when it is damaged. */
export async function decompress(source: Source, context: Pick<ConvertContext, "folder" | "signal">): Promise<string> {
  if (source.compression === "none") return source.path;
  const path = join(context.folder, "plain");
  if (source.compression === "gzip") await gunzip(source, path, context.signal);
  else {
    const task: ZstdTask = { from: source.path, to: path };
    await runWorker("ingest/compression/zstd-worker", task, source.label, { signal: context.signal });
  }
  return path;
}

async function gunzip(source: Source, path: string, signal: AbortSignal | undefined): Promise<void> {
  const write = createWriteStream(path, { mode: 0o600 });
  const unzip = createGunzip();
  try {
    await pipeline(createReadStream(source.path), unzip, write, { signal });
  } catch (error) {
    if (!hasCode(error, "Z_DATA_ERROR", "Z_BUF_ERROR")) throw error;
    throw new LakeError("invalid", `${source.label} is a damaged gzip file: ${(error as Error).message}.`, {
      hint: "Compress it again, or ingest the uncompressed file.",
      cause: error,
    });
  }
}
