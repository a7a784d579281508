import { readFile, rm } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import type { ProbeAnswer } from "./probe.ts";

export function median(values: number[]): number {
  return percentile(values, 50);
}

/** The smallest value that `percent` of the values do not exceed. */
export function percentile(values: number[], percent: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil((sorted.length * percent) / 100) - 1)] ?? Number.NaN;
}

/** Milliseconds that `work` takes. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return performance.now() - started;
}

/** Runs the works in turn, the order reversed every other round, so that a slow spell of the machine meets them all. */
export async function alternate(rounds: number, works: (() => Promise<void>)[]): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    for (const work of round % 2 === 0 ? works : works.toReversed()) await work();
  }
}

/** Runs `work` for 0 up to `count`, `width` at a time. */
export async function inParallel(count: number, width: number, work: (at: number) => Promise<void>): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: width }, lane));
}

/** Resident memory of a process in bytes, now and at its highest. Linux only: NaN elsewhere. */
export async function memoryOf(pid: number): Promise<{ now: number; peak: number }> {
  const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
  const field = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1]) * 1024;
  return { now: field("VmRSS"), peak: field("VmHWM") };
}

/** Asks `probe.ts` in process `pid`, which writes its answer to `file`. */
export async function askProbe(pid: number, file: string): Promise<ProbeAnswer> {
  await rm(file, { force: true });
  process.kill(pid, "SIGUSR2");
  for (let tries = 0; tries < 500; tries++) {
    const text = await readFile(file, "utf8").catch(() => "");
    if (text.endsWith("\n")) return JSON.parse(text) as ProbeAnswer;
    await sleep(10);
  }
  throw new Error("The event loop probe does not answer");
}
