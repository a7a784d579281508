/** A counting semaphore that never waits. */
export interface Places {
  /** Takes `count` places, or all for a larger count, and returns their release. Undefined when they are not free. */
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

/** Places of which one caller may take a limited number. */
export interface SharedPlaces extends Pick<Places, "taken" | "empty"> {
  /** As `Places.take`. Instead of undefined, it returns whose limit is reached. */
  take(caller: string, count?: number): (() => void) | "caller" | "all";
}

/**
 * The most places that one caller may take: a quarter is always left to others. `maxPerCaller` is infinite where callers
 * have no names.
 */
export function shareOf(most: number, maxPerCaller: number): number {
  if (maxPerCaller === Number.POSITIVE_INFINITY) return maxPerCaller;
  return Math.min(maxPerCaller, Math.max(1, Math.floor(most * 0.75)));
}

export function openSharedPlaces(most: number, each: number): SharedPlaces {
  const all = openPlaces(most);
  const shares = new Map<string, Places>();
  return {
    take: (caller, count) => {
      const share = shares.get(caller) ?? openPlaces(each);
      const leaveShare = share.take(count);
      if (!leaveShare) return "caller";
      const leaveAll = all.take(count);
      if (!leaveAll) {
        leaveShare();
        return "all";
      }
      shares.set(caller, share);
      return () => {
        leaveAll();
        leaveShare();
        if (share.taken === 0) shares.delete(caller);
      };
    },
    get taken() {
      return all.taken;
    },
    empty: all.empty,
  };
}
