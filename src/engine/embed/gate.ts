import { cancelled, throwIfAborted } from "../kernel/abort.ts";

export interface Gate {
  /** Runs work when fewer than `limit` others run, in the order of the calls. Aborting gives up the place in the queue. */
  run<Result>(signal: AbortSignal, work: () => Promise<Result>): Promise<Result>;
  waiting(): number;
}

export function openGate(limit: number): Gate {
  const waiting: (() => void)[] = [];
  let running = 0;

  function enter(signal: AbortSignal): Promise<void> {
    if (running < limit) {
      running++;
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      const start = (): void => {
        signal.removeEventListener("abort", onAbort);
        resolve();
      };
      const onAbort = (): void => {
        waiting.splice(waiting.indexOf(start), 1);
        reject(cancelled(signal));
      };
      waiting.push(start);
      signal.addEventListener("abort", onAbort, { once: true });
    });
  }

  return {
    run: async (signal, work) => {
      throwIfAborted(signal);
      await enter(signal);
      try {
        return await work();
      } finally {
        const next = waiting.shift();
        if (next) next();
        else running--;
      }
    },
    waiting: () => waiting.length,
  };
}
