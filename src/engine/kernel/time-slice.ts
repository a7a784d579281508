import { setImmediate } from "node:timers/promises";

/** What `work` makes of each, as with `openTimeSlice`, without waiting for each where all of it is short. */
export async function mapInSlices<Each, Made>(
  items: Iterable<Each>,
  ms: number,
  work: (item: Each) => Made,
): Promise<Made[]> {
  const made: Made[] = [];
  let started = performance.now();
  for (const item of items) {
    made.push(work(item));
    if (performance.now() - started < ms) continue;
    await setImmediate();
    started = performance.now();
  }
  return made;
}

/**
 * Returns a function that runs short synchronous work, and gives way to timers and I/O first when what it ran since the
 * last time took `ms`. Results of parallel reads come in bursts, which would otherwise be one long turn.
 */
export function openTimeSlice(ms: number): <T>(work: () => T) => Promise<T> {
  let started = performance.now();
  let pause: Promise<void> | undefined;
  return async (work) => {
    // Whoever waited looks again: those resumed before it may have used the new slice up.
    while (performance.now() - started > ms) {
      pause ??= setImmediate().then(() => {
        started = performance.now();
        pause = undefined;
      });
      await pause;
    }
    return work();
  };
}
