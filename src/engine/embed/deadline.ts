import { cancelled, type LakeError } from "../errors.ts";

export interface Deadline extends Disposable {
  /** Aborts with the caller's signal, or with `late` when the time is up. */
  signal: AbortSignal;
}

export function openDeadline(ms: number, signal: AbortSignal | undefined, late: LakeError): Deadline {
  const stop = new AbortController();
  const onAbort = (): void => stop.abort(signal && cancelled(signal));
  const timer = setTimeout(() => stop.abort(late), ms);
  signal?.addEventListener("abort", onAbort, { once: true });
  if (signal?.aborted) onAbort();
  return {
    signal: stop.signal,
    [Symbol.dispose]: () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
    },
  };
}
