import type { Caller } from "./gates/caller.ts";

/** As often as a file of tokens is looked at. */
const LOOK_MS = 1_000;

/** Looks after what goes on without new requests, which would be refused: streams, and sessions that nobody can use. */
export interface TokenWatch {
  /** Calls `end` once when the token would be refused. Returns the way to stop watching. */
  watch(token: Pick<Caller, "expires" | "isRemoved">, end: () => void): () => void;
  close(): void;
}

export function openTokenWatch(): TokenWatch {
  const watched = new Set<() => void>();
  const timer = setInterval(() => {
    for (const look of watched) look();
  }, LOOK_MS);
  timer.unref();
  return {
    watch: ({ expires, isRemoved }, end) => {
      if (expires === undefined && isRemoved === undefined) return () => {};
      const look = (): void => {
        if (!(expires !== undefined && Date.now() >= expires) && !isRemoved?.()) return;
        watched.delete(look);
        end();
      };
      watched.add(look);
      return () => void watched.delete(look);
    },
    close: () => {
      clearInterval(timer);
      watched.clear();
    },
  };
}
