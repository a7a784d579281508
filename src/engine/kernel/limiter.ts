import { cancelled, throwIfAborted } from "./abort.ts";
import type { LakeError } from "./errors.ts";

export interface LimiterOptions {
  maxRunning: number;
  maxWaiting: number;
  /** What a refused caller is told. */
  busy: (full: FullQueue) => LakeError;
}

/** Why nobody more may wait. */
export interface FullQueue {
  waiting: number;
  /** All of them are the caller's, who may not have more of the queue. */
  own: boolean;
}

/** Who is served, and who waits. */
export interface Occupancy {
  running: number;
  waiting: number;
}

export interface Limiter {
  /**
   * Waits for a place; the result gives it back. Where there are several places, a caller with a name never has all of
   * them, nor more than half of the queue; of those who wait, the one whose caller has the fewest places is next, then
   * the one who came first. Throws `busy`, `closed`, or as `signal` says.
   */
  enter(signal: AbortSignal, caller?: string): Promise<() => void>;
  occupancy(): Occupancy;
  /** Refuses whoever waits and whoever comes. */
  close(error: LakeError): void;
}

interface Waiting {
  caller: string | undefined;
  start(): void;
  fail(error: LakeError): void;
}

/** A bounded number of places and a bounded queue for them, shared fairly between callers. */
export function openLimiter(limits: LimiterOptions): Limiter {
  const { maxRunning, maxWaiting } = limits;
  const share = Math.max(1, maxRunning - 1);
  const waitingShare = Math.max(1, Math.ceil(maxWaiting / 2));
  const waiting: Waiting[] = [];
  const placesOf = new Map<string, number>();
  let taken = 0;
  let closed: LakeError | undefined;

  const placesTaken = (caller: string | undefined): number => (caller === undefined ? 0 : (placesOf.get(caller) ?? 0));

  function count(caller: string | undefined, change: 1 | -1): void {
    taken += change;
    if (caller === undefined) return;
    const places = placesTaken(caller) + change;
    if (places === 0) placesOf.delete(caller);
    else placesOf.set(caller, places);
  }

  function startNext(): void {
    while (taken < maxRunning) {
      let next: Waiting | undefined;
      for (const one of waiting) {
        if (placesTaken(one.caller) >= share && one.caller !== undefined) continue;
        if (!next || placesTaken(one.caller) < placesTaken(next.caller)) next = one;
      }
      if (!next) return;
      count(next.caller, 1);
      next.start();
    }
  }

  function wait(signal: AbortSignal, caller: string | undefined): Promise<void> {
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
      const place: Waiting = {
        caller,
        start: () => {
          forget();
          resolve();
        },
        fail: (error) => {
          forget();
          reject(error);
        },
      };
      waiting.push(place);
      signal.addEventListener("abort", onAbort, { once: true });
      startNext();
    });
  }

  return {
    enter: async (signal, caller) => {
      throwIfAborted(signal);
      if (closed) throw closed;
      const mayStart = caller === undefined || placesTaken(caller) < share;
      if (taken < maxRunning && waiting.length === 0 && mayStart) count(caller, 1);
      else if (waiting.length >= maxWaiting) throw limits.busy({ waiting: maxWaiting, own: false });
      else if (isHalfOf(caller)) throw limits.busy({ waiting: waitingShare, own: true });
      else await wait(signal, caller);
      let left = false;
      return () => {
        if (left) return;
        left = true;
        count(caller, -1);
        startNext();
      };
    },
    occupancy: () => ({ running: taken, waiting: waiting.length }),
    close: (error) => {
      closed = error;
      for (const place of [...waiting]) place.fail(error);
    },
  };

  function isHalfOf(caller: string | undefined): boolean {
    return caller !== undefined && waiting.filter((one) => one.caller === caller).length >= waitingShare;
  }
}
