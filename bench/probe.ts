import { writeFileSync } from "node:fs";
import { type LoopDelay, watchLoop } from "./loop-delay.ts";

/**
 * Preloaded into a process with `--import`: on SIGUSR2 it writes how late the event loop was since the last time, and
 * what memory is in use, with `--expose-gc` after collecting garbage.
 */
export interface ProbeAnswer extends LoopDelay {
  heap: number;
  rss: number;
}

const file = process.env.BENCH_PROBE_FILE;

if (file !== undefined) {
  const delay = watchLoop();
  process.on("SIGUSR2", () => {
    const seen = delay();
    globalThis.gc?.();
    const { heapUsed: heap, rss } = process.memoryUsage();
    const answer: ProbeAnswer = { ...seen, heap, rss };
    writeFileSync(file, `${JSON.stringify(answer)}\n`);
  });
}
