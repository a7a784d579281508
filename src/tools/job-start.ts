import * as z from "zod";
import { JOB_KINDS } from "../engine/jobs/types.ts";

export const background = z
  .boolean()
  .optional()
  .describe(
    "true: return a job_id at once, for job-status, and go on without the caller; a call that takes long does so by itself.",
  );

const jobShape = {
  job_id: z.string().optional().describe("It goes on as this job; its result comes from job-status."),
  state: z.enum(["running"]).optional().describe("Of that job."),
};

/** The output of a tool whose work can become a job: all fields of `done`, or `job_id` and `state` only. */
export function orJob<Shape extends z.ZodRawShape>(done: z.ZodObject<Shape>) {
  return done.partial().extend(jobShape);
}

export function started(jobId: string): { job_id: string; state: "running" } {
  return { job_id: jobId, state: "running" };
}

/** The id of the job that the call has become, if it has. */
export function startedJob({ name }: { name: string }, result: Record<string, unknown>): string | undefined {
  const jobs: readonly string[] = JOB_KINDS;
  return jobs.includes(name) && typeof result.job_id === "string" ? result.job_id : undefined;
}

export function startedText(jobId: string): string {
  return `It goes on as job ${jobId}, also without you. Wait for it with ${waitWith(jobId)}; stop it with job-cancel.`;
}

/** The call that waits for a job, for less time than clients wait for an answer. */
export function waitWith(jobId: string): string {
  return `job-status ${JSON.stringify({ job_id: jobId, wait_ms: 30_000 })}`;
}
