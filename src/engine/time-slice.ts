import { setImmediate } from "node:timers/promises";

/**
 * Returns a function to await before each piece of synchronous work: it gives way to timers and I/O once the pieces
 * since it last did so have taken `ms`. Results of parallel reads come in bursts, which would otherwise be one long turn.
 */
export function openTimeSlice(ms: number): () => Promise<void> {
  let started = performance.now();
  let pause: Promise<void> | undefined;
  return async () => {
    // Whoever waited looks again: those resumed before it may have used the new slice up.
    while (performance.now() - started > ms) {
      pause ??= setImmediate().then(() => {
        started = performance.now();
        pause = undefined;
      });
      await pause;
    }
  };
}
