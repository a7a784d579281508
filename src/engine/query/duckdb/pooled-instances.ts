import { setTimeout as delay } from "node:timers/promises";
import type { RemoteConnection } from "../../duckdb/remote.ts";
import { cancelled, GRACE_MS } from "../../kernel/abort.ts";
import { closedError } from "./query-errors.ts";

/** A locked DuckDB in a worker process of its own, which runs one statement at a time. */
export interface PooledInstance {
  connection: RemoteConnection;
  /** The views of the connection: relation name → stamp of what it stands for. */
  shown: Map<string, string>;
  isAlive(): boolean;
  /** Whether earlier statements have left too much in memory for another one. */
  isFull(): boolean;
  /** Replaces the connection by a new one, which has no views. */
  renew(): Promise<void>;
  /** `now`: without waiting for the statement that it runs. */
  close(now: boolean): Promise<void>;
}

export interface PooledInstances {
  /**
   * The first instance that is free; a new one is opened when none is and there may be more. Throws as `signal` says.
   */
  acquire(signal: AbortSignal): Promise<PooledInstance>;
  /** Never throws. `sound`: the connection can be used again. */
  release(instance: PooledInstance, sound: boolean): Promise<void>;
  /** Ends the process at once. Never throws. */
  end(instance: PooledInstance): Promise<void>;
  /** Ends all of them, and refuses callers that wait for one. */
  close(): Promise<void>;
}

/** Views that an instance may gather before its connection is renewed. */
const MAX_SHOWN = 500;
/** All instances but one are closed when they have not been used for this long. */
const IDLE_MS = 60_000;

export function openPooledInstances(maxOpen: number, open: () => Promise<PooledInstance>): PooledInstances {
  const idle: { instance: PooledInstance; since: number }[] = [];
  const all = new Set<PooledInstance>();
  const queue = openQueue<PooledInstance>();
  let opening = 0;
  let closed = false;
  const shrink = setInterval(() => {
    const before = performance.now() - IDLE_MS;
    while (all.size > 1 && idle[0] && idle[0].since < before) {
      const [{ instance }] = idle.splice(0, 1) as [(typeof idle)[number]];
      void remove(instance, false);
    }
  }, IDLE_MS);
  shrink.unref();

  async function remove(instance: PooledInstance, now: boolean): Promise<void> {
    all.delete(instance);
    // A folder for temporary files that stays behind is the system's to sweep.
    await instance.close(now).catch(() => undefined);
  }

  function offer(instance: PooledInstance): void {
    if (!queue.give(instance)) idle.push({ instance, since: performance.now() });
  }

  function grow(): void {
    if (all.size + opening >= maxOpen) return;
    opening++;
    open()
      .finally(() => opening--)
      .then((instance) => {
        if (closed) return remove(instance, true);
        all.add(instance);
        return offer(instance);
      }, queue.failNext);
  }

  return {
    acquire: (signal) => {
      for (let free = idle.pop(); free; free = idle.pop()) {
        if (free.instance.isAlive()) return Promise.resolve(free.instance);
        void remove(free.instance, true);
      }
      const next = queue.next(signal);
      grow();
      return next;
    },
    release: async (instance, sound) => {
      if (closed) return;
      try {
        if (!instance.isAlive() || instance.isFull()) throw new Error("It cannot be used again.");
        if (!sound || instance.shown.size >= MAX_SHOWN) await instance.renew();
        offer(instance);
      } catch {
        await remove(instance, true);
        if (queue.size() > 0) grow();
      }
    },
    end: (instance) => remove(instance, true),
    close: async () => {
      closed = true;
      clearInterval(shrink);
      while (queue.size() > 0) queue.failNext(closedError());
      const ending = [...all].map((instance) => remove(instance, !idle.some((free) => free.instance === instance)));
      await Promise.race([Promise.allSettled(ending), delay(GRACE_MS, undefined, { ref: false })]);
    },
  };
}

interface Queue<Item> {
  /** Waits for an item. Throws as `signal` says, and what `failNext` was given. */
  next(signal: AbortSignal): Promise<Item>;
  /** Whether there was somebody to give it to. */
  give(item: Item): boolean;
  failNext(error: unknown): void;
  size(): number;
}

/** First come, first served. */
function openQueue<Item>(): Queue<Item> {
  const waiting: { resolve(item: Item): void; reject(error: unknown): void; forget(): void }[] = [];
  const first = () => {
    const place = waiting.shift();
    place?.forget();
    return place;
  };
  return {
    next: (signal) =>
      new Promise((resolve, reject) => {
        const leave = (): void => {
          waiting.splice(waiting.indexOf(place), 1);
          reject(cancelled(signal));
        };
        const place = { resolve, reject, forget: () => signal.removeEventListener("abort", leave) };
        waiting.push(place);
        signal.addEventListener("abort", leave, { once: true });
      }),
    give: (item) => {
      const place = first();
      place?.resolve(item);
      return place !== undefined;
    },
    failNext: (error) => first()?.reject(error),
    size: () => waiting.length,
  };
}
