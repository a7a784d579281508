import { cancelled, type LakeError, throwIfAborted } from "./errors.ts";

export interface TurnLimits {
  maxRunning: number;
  maxWaiting: number;
  /** What a refused caller is told. */
  busy: () => LakeError;
}

/** Who is served, and who waits. */
export interface Occupancy {
  running: number;
  waiting: number;
}

export interface Turns {
  /** Waits for a place, in the order of the calls; the result gives it back. Throws `busy`, `closed`, or as `signal` says. */
  enter(signal: AbortSignal): Promise<() => void>;
  occupancy(): Occupancy;
  /** Refuses whoever waits and whoever comes. */
  close(error: LakeError): void;
}

/** A bounded number of places and a bounded first-come queue for them. */
export function openTurns(limits: TurnLimits): Turns {
  const waiting: { start: () => void; fail: (error: LakeError) => void }[] = [];
  let taken = 0;
  let closed: LakeError | undefined;

  function leave(): void {
    const next = waiting[0];
    if (next) next.start();
    else taken--;
  }

  function wait(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const forget = (): void => {
        const at = waiting.indexOf(place);
        if (at >= 0) waiting.splice(at, 1);
        signal.removeEventListener("abort", onAbort);
      };
      const onAbort = (): void => {
        forget();
        reject(cancelled(signal));
      };
      const place = {
        start: () => {
          forget();
          resolve();
        },
        fail: (error: LakeError) => {
          forget();
          reject(error);
        },
      };
      waiting.push(place);
      signal.addEventListener("abort", onAbort, { once: true });
    });
  }

  return {
    enter: async (signal) => {
      throwIfAborted(signal);
      if (closed) throw closed;
      if (taken < limits.maxRunning && waiting.length === 0) taken++;
      else if (waiting.length >= limits.maxWaiting) throw limits.busy();
      else await wait(signal);
      let left = false;
      return () => {
        if (!left) leave();
        left = true;
      };
    },
    occupancy: () => ({ running: taken, waiting: waiting.length }),
    close: (error) => {
      closed = error;
      for (const place of [...waiting]) place.fail(error);
    },
  };
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
