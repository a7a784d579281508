import { answer as plain } from "./answer.ts";
import type { Era, Lake } from "./lake.ts";
import { until } from "./vectors.ts";

export const ERAS: Era[] = ["legacy", "modern"];
export const ENDLESS = "SELECT count(*) AS n FROM range(1000000) a, range(1000000) b WHERE a.range * b.range = 7";
export const WORKERS = "worker_id,role\n1,driver\n2,line cook\n3,welder\n";
export const BUILD = { name: "roles", dataset: "workers", text: "role", id: "worker_id" };

/** The result, with ids of jobs made equal. */
export async function answer(lake: Lake, name: string, args: Record<string, unknown>) {
  const { structured, text } = await plain(lake, name, args);
  return { structured, text: text.replace(/[0-9a-f-]{36}/g, "JOB") };
}

export async function start(lake: Lake, tool: string, args: Record<string, unknown>): Promise<string> {
  return String((await answer(lake, tool, { ...args, background: true })).structured.job_id);
}

export async function running(lake: Lake, job_id: string): Promise<void> {
  await until(async () => (await lake.call("job-status", { job_id })).message === "converting");
}
