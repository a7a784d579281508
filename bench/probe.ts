import { writeFileSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";

/** Preloaded into a process with `--import`: on SIGUSR2 writes how late its event loop was since the last time. */

const RESOLUTION_MS = 1;
const file = process.env.BENCH_PROBE_FILE;

if (file !== undefined) {
  const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  histogram.enable();
  process.on("SIGUSR2", () => {
    // The histogram holds whole intervals, in nanoseconds: the wait that was asked for is no delay.
    const delay = (nanoseconds: number): number => Math.max(0, nanoseconds / 1e6 - RESOLUTION_MS);
    writeFileSync(file, `${JSON.stringify({ max: delay(histogram.max), p99: delay(histogram.percentile(99)) })}\n`);
    histogram.reset();
  });
}
