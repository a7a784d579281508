import { LakeError } from "../errors.ts";
import { ProcessEnded, takeProcess } from "../process/processes.ts";
import type { Scope } from "../scope.ts";
import type { EngineSettings } from "../settings.ts";
import type { ConvertRequest, ConvertResult, OpenRequest } from "./conversion-calls.ts";
import type { Source } from "./types.ts";

/** A process that reads one source: its file, its folder, and nothing else. */
export interface Conversion {
  /** Of its process, a UUID. */
  readonly id: string;
  /** Opens the file and tells what it is. Throws `conflict` when its name leads elsewhere by now, `invalid`. */
  open(request: OpenRequest, signal: AbortSignal): Promise<Pick<Source, "format" | "compression">>;
  /** Turns what was opened, or a query, into Parquet files in the folder. */
  convert(
    request: ConvertRequest,
    options: { signal: AbortSignal; onProgress: (fraction: number) => void },
  ): Promise<ConvertResult>;
}

/** What a process has besides what DuckDB counts: the program, and what reads JSON and Arrow. */
const BASE_BYTES = 768 * 2 ** 20;
const COUNTED = 1.5;

/** The process goes back with the scope. */
export async function openConversion(
  scope: Scope,
  { ingestMemoryBytes: memoryBytes, log }: Pick<EngineSettings, "ingestMemoryBytes" | "log">,
): Promise<Conversion> {
  const worker = await takeProcess("conversions", (ending, how) => {
    log("warn", "a process of an ingest has ended", { ending, how });
  });
  worker.limitMemory(BASE_BYTES + COUNTED * memoryBytes);
  scope.defer(() => worker.giveBack());
  let label = "The query";
  const explained = (error: unknown): never => {
    throw error instanceof ProcessEnded ? endedOn(label, error) : error;
  };
  return {
    id: worker.id,
    open: (request, signal) => {
      label = request.file.label;
      return worker.call<Pick<Source, "format" | "compression">>("ingest.open", request, { signal }).catch(explained);
    },
    convert: (request, { signal, onProgress }) =>
      worker
        .call<ConvertResult>("ingest.convert", request, {
          signal,
          onEvent: (fraction) => onProgress(Number(fraction)),
        })
        .catch(explained),
  };
}

function endedOn(label: string, error: ProcessEnded): LakeError {
  if (error.ending === "memory") return needsMemory(error);
  return new LakeError(
    "invalid",
    `${label} cannot be read: it made the reader fail (${error.how}). Nothing was changed.`,
    {
      hint: "Write the file again with another tool, or in another format, and retry.",
      cause: error,
    },
  );
}

export function needsMemory(cause: unknown): LakeError {
  return new LakeError("limit", "The ingest needs more memory than it may use. Nothing was changed.", {
    hint: "Ingest fewer columns or shorter values, or raise ingest_memory (LAKEHOUSE_INGEST_MEMORY).",
    cause,
  });
}
