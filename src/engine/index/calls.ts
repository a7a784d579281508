import { cancelled, throwIfAborted } from "../kernel/abort.ts";

/** Calls that are under way, and end when the lake is closed. */
export interface Calls {
  track<Result>(work: Promise<Result>): Promise<Result>;
  /** Runs `work` while the lake is open. */
  whileOpen<Result>(work: () => Promise<Result>): Promise<Result>;
  /** Runs `work` until the caller or the lake stops it. */
  during<Result>(
    caller: { signal?: AbortSignal | undefined },
    work: (signal: AbortSignal) => Promise<Result>,
  ): Promise<Result>;
  /** Resolves when all have ended, in whatever way. */
  settled(): Promise<unknown>;
}

export function openCalls(closing: AbortSignal): Calls {
  const underWay = new Set<Promise<unknown>>();

  function track<Result>(work: Promise<Result>): Promise<Result> {
    underWay.add(work);
    const end = (): void => void underWay.delete(work);
    work.then(end, end);
    return work;
  }

  function whileOpen<Result>(work: () => Promise<Result>): Promise<Result> {
    throwIfAborted(closing);
    return track(
      work().catch((error: unknown) => {
        // What was closed under it fails in ways of its own.
        throw closing.aborted ? cancelled(closing) : error;
      }),
    );
  }

  function during<Result>(
    { signal }: { signal?: AbortSignal | undefined },
    work: (signal: AbortSignal) => Promise<Result>,
  ): Promise<Result> {
    const either = signal ? AbortSignal.any([signal, closing]) : closing;
    return whileOpen(async () => {
      throwIfAborted(either);
      return work(either);
    });
  }

  return { track, whileOpen, during, settled: () => Promise.allSettled(underWay) };
}
