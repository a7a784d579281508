import { setImmediate } from "node:timers/promises";

/** Limiter of the event loop, one a caller each: what many messages of one caller take is not waited for by others. */
export interface LoopTurns {
  /** Resolves at once for the caller's first message of a turn, and in later turns for those that come behind it. */
  take(caller: string): Promise<void>;
}

export function openLoopTurns(): LoopTurns {
  /** The end of the turn of whoever came last. */
  const last = new Map<string, Promise<void>>();
  return {
    take: async (caller) => {
      const before = last.get(caller);
      const end = (before ?? Promise.resolve()).then(() => setImmediate());
      last.set(caller, end);
      void end.then(() => {
        if (last.get(caller) === end) last.delete(caller);
      });
      await before;
    },
  };
}
