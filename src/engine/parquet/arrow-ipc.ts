import { runWorker } from "../kernel/run-worker.ts";
import type { ArrowRewritten, ArrowTask } from "./arrow-ipc-worker.ts";

/**
 * Rewrites an Arrow IPC file or stream as Parquet files in `folder`, in a worker thread, a group of record batches at a
 * time. `label` names the source in errors: `invalid` for what is damaged or has no Parquet form, `limit` beyond
 * `maxRows`. Aborting stops the worker.
 */
export function arrowToParquet(
  task: ArrowTask,
  label: string,
  options: { signal?: AbortSignal | undefined; onProgress?: ((fraction: number) => void) | undefined },
): Promise<ArrowRewritten> {
  return runWorker("parquet/arrow-ipc-worker", task, label, options);
}
