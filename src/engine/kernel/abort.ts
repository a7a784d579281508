import { LakeError } from "./errors.ts";

/** Throws the caller's cancellation as a `LakeError`, so that it travels like every other error. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw cancelled(signal);
}

/** What `work` gives, or the caller's cancellation when that is first; the work goes on for others who wait for it. */
export function untilAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work;
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(cancelled(signal));
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}

/** The error for work stopped by its caller, or by the deadline the signal carries. */
export function cancelled(signal: AbortSignal): LakeError {
  return signal.reason instanceof LakeError
    ? signal.reason
    : new LakeError("unavailable", "The call was cancelled.", {
        code: "cancelled",
        hint: "Nothing was changed. Call again to retry.",
      });
}

/** DuckDB stops within milliseconds, or, inside of some functions, not at all. */
export const GRACE_MS = 1000;

/** `work`, or when it does not end within a second of `signal`, the answer that it was cancelled; it goes on unheard. */
export function answeredInTime<Result>(work: Promise<Result>, signal: AbortSignal): Promise<Result> {
  return new Promise((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined;
    const onAbort = (): void => {
      timer = setTimeout(() => reject(cancelled(signal)), GRACE_MS);
    };
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
    work
      .then(resolve, (error: unknown) => reject(signal.aborted ? cancelled(signal) : error))
      .finally(() => {
        clearTimeout(timer);
        signal.removeEventListener("abort", onAbort);
      });
  });
}
