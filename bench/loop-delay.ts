import { openSync, readSync } from "node:fs";
import { percentile } from "./measure.ts";

/** How late an event loop was. Milliseconds. */
export interface LoopDelay {
  max: number;
  p99: number;
  /**
   * The longest delay without the time in which the thread was ready and the machine ran something else: what the
   * process did to its own loop. The same as `max` where the system does not tell (other than Linux).
   */
  blocked: number;
}

const EVERY_MS = 1;

/** Watches this process's event loop from now on; each call of what it returns tells about the time since the last. */
export function watchLoop(): () => LoopDelay {
  const waited = openWaitClock();
  let delays: number[] = [];
  let blocked = 0;
  let last = performance.now();
  let lastWaited = waited();
  const tick = (): void => {
    const now = performance.now();
    const nowWaited = waited();
    const delay = Math.max(0, now - last - EVERY_MS);
    delays.push(delay);
    blocked = Math.max(blocked, delay - (nowWaited - lastWaited));
    last = now;
    lastWaited = nowWaited;
  };
  setInterval(tick, EVERY_MS).unref();
  return () => {
    tick();
    const result = { max: percentile(delays, 100), p99: percentile(delays, 99), blocked };
    delays = [];
    blocked = 0;
    return result;
  };
}

/**
 * Milliseconds this thread has spent waiting for a CPU.
 * https://docs.kernel.org/scheduler/sched-stats.html#proc-pid-schedstat
 */
function openWaitClock(): () => number {
  try {
    const file = openSync(`/proc/self/task/${process.pid}/schedstat`, "r");
    const buffer = Buffer.alloc(128);
    return () => Number(buffer.toString("latin1", 0, readSync(file, buffer, 0, buffer.length, 0)).split(" ")[1]) / 1e6;
  } catch {
    return () => 0;
  }
}
