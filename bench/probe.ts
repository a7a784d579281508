import { writeFileSync } from "node:fs";
import { watchLoop } from "./loop-delay.ts";

/** Preloaded into a process with `--import`: on SIGUSR2 it writes how late the event loop was since the last time. */

const file = process.env.BENCH_PROBE_FILE;

if (file !== undefined) {
  const delay = watchLoop();
  process.on("SIGUSR2", () => writeFileSync(file, `${JSON.stringify(delay())}\n`));
}
