/** A number of places. */
export interface Places {
  /** Takes `count` places, or as many as there are in all. Undefined when they are not free; else the way to give them back. */
  take(count?: number): (() => void) | undefined;
  readonly taken: number;
  /** Resolves when none is taken, or after `ms`. */
  empty(ms: number): Promise<void>;
}

export function openPlaces(most: number): Places {
  let taken = 0;
  const waiting = new Set<() => void>();
  return {
    take: (count = 1) => {
      const wanted = Math.min(count, most);
      if (taken + wanted > most) return undefined;
      taken += wanted;
      let held = true;
      return () => {
        if (!held) return;
        held = false;
        taken -= wanted;
        if (taken === 0) for (const wake of waiting) wake();
      };
    },
    get taken() {
      return taken;
    },
    empty: (ms) =>
      new Promise((resolve) => {
        if (taken === 0) return resolve();
        const wake = (): void => {
          clearTimeout(timer);
          waiting.delete(wake);
          resolve();
        };
        const timer = setTimeout(wake, ms);
        waiting.add(wake);
      }),
  };
}
