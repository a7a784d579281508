import { setImmediate } from "node:timers/promises";

/** One message of each caller per turn of the event loop, so that many messages of one do not delay those of others. */
export interface LoopTurns {
  /** Resolves at once for the caller's first message of a turn, and one turn later for each further one. */
  take(caller: string): Promise<void>;
}

export function openLoopTurns(): LoopTurns {
  /** By caller: resolves when the next message may follow. */
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
