import { runWorker } from "../run-worker.ts";
import type { ArrowField } from "./arrow-ipc-format.ts";
import type { ArrowTask } from "./arrow-ipc-worker.ts";

/**
 * Rewrites an Arrow IPC file or stream as Parquet files in `folder`, in a worker thread, a group of record batches at a
 * time. `label` names the source in errors: `invalid` for what is damaged or has no Parquet form, `limit` beyond
 * `maxRows`. Aborting stops the worker.
 */
export function arrowToParquet(
  task: ArrowTask,
  label: string,
  options: { signal?: AbortSignal | undefined; onProgress?: ((fraction: number) => void) | undefined },
): Promise<{ files: string[]; fields: ArrowField[]; rows: number }> {
  return runWorker(import.meta.url, "arrow-ipc-worker", task, label, options);
}
