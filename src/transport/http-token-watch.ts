import type { Caller } from "./gates/caller.ts";

/** As often as the file of tokens is checked. */
const LOOK_MS = 1_000;

/** Ends streams and sessions after their token: they go on without requests, which would be refused. */
export interface TokenWatch {
  /** Calls `end` once when the token has expired or was removed. Returns a function that stops watching. */
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
