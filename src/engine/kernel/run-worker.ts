import { Worker } from "node:worker_threads";
import { cancelled, throwIfAborted } from "./abort.ts";
import type { ErrorCode, ErrorKind } from "./error-codes.ts";
import { type ErrorFacts, LakeError } from "./errors.ts";
import type { NextStep } from "./next-step.ts";
import { compiledFile } from "./package.ts";

/** What a worker sends: any number of `progress`, then `done` or `failed`. */
export type WorkerReply<Result> = { progress: number } | { done: Result } | { failed: WorkerFailure };

/** A `LakeError` of a worker that does not know the source's name; `message` follows the name. */
export interface WorkerFailure {
  kind: ErrorKind;
  message: string;
  hint: NextStep;
  code?: ErrorCode | undefined;
  facts?: ErrorFacts | undefined;
}

/**
 * Runs the worker `program`, a path within `src/engine`. `label` is the source it reads, as errors name it. Aborting
 * terminates it, also in the middle of a loop. Throws what the worker reports, else `internal`.
 */
export function runWorker<Result>(
  program: string,
  task: unknown,
  label: string,
  options: { signal?: AbortSignal | undefined; onProgress?: ((fraction: number) => void) | undefined },
): Promise<Result> {
  const { signal, onProgress } = options;
  throwIfAborted(signal);
  return new Promise((resolve, reject) => {
    const worker = new Worker(compiledFile(`${program}.js`), { workerData: task, stdout: true, stderr: true });
    const stop = (): void => {
      if (signal) reject(cancelled(signal));
      void worker.terminate();
    };
    signal?.addEventListener("abort", stop, { once: true });
    worker.on("message", (reply: WorkerReply<Result>) => {
      if ("progress" in reply) onProgress?.(reply.progress);
      else if ("done" in reply) resolve(reply.done);
      else {
        const { kind, message, ...options } = reply.failed;
        reject(new LakeError(kind, `${label}${/^[:,]/.test(message) ? "" : " "}${message}`, options));
      }
    });
    worker.on("error", (cause) =>
      reject(new LakeError("internal", `Reading ${label} failed unexpectedly.`, { cause })),
    );
    worker.on("exit", () => {
      signal?.removeEventListener("abort", stop);
      reject(new LakeError("internal", `Reading ${label} ended unexpectedly.`));
    });
  });
}
