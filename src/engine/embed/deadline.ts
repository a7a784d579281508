import { cancelled } from "../kernel/abort.ts";
import type { LakeError } from "../kernel/errors.ts";

export interface Deadline {
  /** Aborts with the caller's signal, or with `late` when the time is up. */
  signal: AbortSignal;
  /** The work is done: nothing aborts any more. */
  end(): void;
}

export function openDeadline(ms: number, signal: AbortSignal | undefined, late: LakeError): Deadline {
  const stop = new AbortController();
  const onAbort = (): void => stop.abort(signal && cancelled(signal));
  const timer = setTimeout(() => stop.abort(late), ms);
  signal?.addEventListener("abort", onAbort, { once: true });
  if (signal?.aborted) onAbort();
  return {
    signal: stop.signal,
    end: () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
    },
  };
}
