import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { quoted } from "../catalog/nearest.ts";
import { throwIfAborted } from "../kernel/abort.ts";
import { LakeError } from "../kernel/errors.ts";
import { next, setting } from "../kernel/next-step.ts";
import type { Scope } from "../kernel/scope.ts";
import { type OnEnd, ProcessEnded, takeProcess } from "../process/processes.ts";
import type { EngineSettings } from "../settings.ts";
import type { ConvertRequest, ConvertResult, OpenRequest } from "./conversion-calls.ts";
import type { Detected } from "./detect.ts";
import { type Format, formatSpec } from "./formats.ts";

/** A process that reads one source: its file, its folder, and nothing else. */
export interface Conversion {
  /** UUID of its process. */
  readonly id: string;
  /** Opens the file and detects its format. Throws `conflict` when another file has its name by now, and `invalid`. */
  open(request: OpenRequest, signal: AbortSignal): Promise<Detected>;
  /** Converts the opened file, or a query, to Parquet files in the folder. */
  convert(
    request: ConvertRequest,
    options: { signal: AbortSignal; onProgress: (fraction: number) => void },
  ): Promise<ConvertResult>;
}

/** Memory of a process that DuckDB does not count: the program, and the readers of JSON and Arrow. */
const BASE_BYTES = 768 * 2 ** 20;
/** DuckDB takes more than it counts. */
const COUNTED = 1.5;

/** Takes a worker process, which is given back with the scope. */
export async function openConversion(
  scope: Scope,
  caller: string | undefined,
  { ingestMemoryBytes: memoryBytes, log }: Pick<EngineSettings, "ingestMemoryBytes" | "log">,
): Promise<Conversion> {
  const onEnd: OnEnd = (ending, how) => log("warn", "a process of an ingest has ended", { ending, how });
  const worker = await takeProcess("conversions", onEnd, caller);
  worker.limitMemory(BASE_BYTES + COUNTED * memoryBytes);
  scope.defer(() => worker.giveBack());
  let file: OpenRequest | undefined;
  let format: Format | undefined;
  let label = "The query";
  return {
    id: worker.id,
    open: async (request, signal) => {
      file = request;
      ({ label } = request.file);
      const opening = worker.call<Detected>("ingest.open", request, { signal });
      const opened = await opening.catch((error: unknown) => {
        throw error instanceof ProcessEnded ? endedOn(label, error) : error;
      });
      format = opened.format;
      return opened;
    },
    convert: (request, { signal, onProgress }) => {
      const onEvent = (fraction: unknown): void => onProgress(Number(fraction));
      const converting = worker.call<ConvertResult>("ingest.convert", request, { signal, onEvent });
      return converting.catch(async (error: unknown) => {
        if (!(error instanceof ProcessEnded)) throw error;
        if (error.ending !== "crash" || !file) throw endedOn(label, error);
        const again = { caller, memoryBytes, file, request, signal };
        const column = format && formatSpec(format).isColumnar ? await columnAtFault(again) : undefined;
        throwIfAborted(signal);
        throw endedOn(label, error, format, column);
      });
    },
  };
}

/** Longest search for the column at fault, while the caller still waits for the error. */
const FIND_MS = 10_000;

interface SecondReading {
  caller: string | undefined;
  memoryBytes: number;
  file: OpenRequest;
  request: ConvertRequest;
  signal: AbortSignal;
}

/**
 * The column that crashes the process when it is read alone. Another process reads the file once more, column by column,
 * and names each before it reads it. Undefined: none crashes it alone, or the search took too long.
 */
async function columnAtFault({
  caller,
  memoryBytes,
  file,
  request,
  signal,
}: SecondReading): Promise<string | undefined> {
  const worker = await takeProcess("conversions", undefined, caller);
  let column: string | undefined;
  try {
    worker.limitMemory(BASE_BYTES + COUNTED * memoryBytes);
    const folder = join(request.folder, "again");
    await mkdir(folder);
    const options = { signal: AbortSignal.any([signal, AbortSignal.timeout(FIND_MS)]) };
    await worker.call("ingest.open", { ...file, folder }, options);
    const onEvent = (name: unknown): void => {
      column = typeof name === "string" ? name : undefined;
    };
    await worker.call("ingest.convert", { ...request, folder, eachColumn: true }, { ...options, onEvent });
    return undefined;
  } catch (error) {
    return error instanceof ProcessEnded && error.ending === "crash" ? column : undefined;
  } finally {
    worker.kill("closed");
  }
}

function endedOn(label: string, error: ProcessEnded, format?: Format, column?: string): LakeError {
  if (error.ending === "memory") return needsMemory(error);
  const what = column === undefined ? "it" : `its column ${quoted(column)}`;
  const reader = format === undefined ? "the reader" : `the reader of ${format}`;
  return new LakeError(
    "invalid",
    `${label} cannot be read: ${what} made ${reader} fail (${error.how}). Nothing was changed.`,
    {
      hint: "Write the file again with another tool, or in another format, and retry.",
      facts: { column },
      cause: error,
    },
  );
}

export function needsMemory(cause: unknown): LakeError {
  return new LakeError("limit", "The ingest needs more memory than it may use. Nothing was changed.", {
    code: "memory_limit",
    hint: next`Ingest fewer columns or shorter values, or raise ${setting("ingest_memory")}.`,
    facts: { setting: "ingest_memory" },
    cause,
  });
}
