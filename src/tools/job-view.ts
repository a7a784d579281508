import * as z from "zod";
import type { Engine } from "../engine/engine.ts";
import { JOB_KINDS, JOB_STATES, type JobKind, type JobRecord } from "../engine/jobs/types.ts";
import { LakeError } from "../engine/kernel/errors.ts";
import { errorText, viewOfJobError } from "./error-text.ts";
import { ingested, ingestedText, viewOfIngest } from "./ingest.ts";
import { waitWith } from "./job-start.ts";
import { built, builtText, viewOfBuild } from "./vector-index-create.ts";

export const jobId = z.string().min(1).max(100).describe("As ingest or vector-index-create returned it.");

export const jobOutput = z.object({
  job_id: z.string(),
  kind: z.enum(JOB_KINDS).describe("The tool whose work it does."),
  name: z.string().describe("The dataset or index it is about."),
  state: z
    .enum(JOB_STATES)
    .describe("interrupted: the server ended first. An index build then goes on when one starts."),
  progress: z.number().describe("0 to 1."),
  message: z.string().describe("What it is doing."),
  created_at: z.string(),
  updated_at: z.string(),
  finished_at: z.string().nullable(),
  resumed: z.int().describe("How often it went on after a server had ended."),
  result: z.looseObject({}).optional().describe("When it is done: what the tool would have returned."),
  error: z
    .object({ kind: z.string(), message: z.string(), hint: z.string().nullable() })
    .optional()
    .describe("Why it ended without a result."),
});

type JobView = z.input<typeof jobOutput>;

/** The fields that every view of a job has, in the names of the tools. */
export function progressView(record: JobRecord) {
  return {
    job_id: record.id,
    kind: record.kind,
    name: record.request.name,
    state: record.state,
    progress: record.progress.fraction,
    message: record.progress.message,
    created_at: record.created,
    updated_at: record.updated,
    finished_at: record.finished,
    resumed: record.resumed,
  };
}

/** Throws `corrupt` when the result in the record cannot be read. */
export function viewOf(record: JobRecord, engine: Engine): JobView {
  return {
    ...progressView(record),
    ...(record.result && { result: resultOf(record, engine) }),
    ...(record.error && { error: viewOfJobError(record.error) }),
  };
}

export function jobText(job: JobView): string {
  const { job_id, kind, name, state, progress, message, error } = job;
  const title = `Job ${job_id}, ${kind} of ${name},`;
  if (job.result) return `${title} is done.\n${outcomeText(kind, job.result)}`;
  if (state === "running") {
    const percent = Math.floor(progress * 100);
    return `${title} is running: ${percent} %, ${message}. Wait with ${waitWith(job_id)}; stop it with job-cancel.`;
  }
  const ended = `${title} ${state === "failed" ? "has failed" : `was ${state}`}.`;
  return error ? `${ended}\n${errorText(error)}` : ended;
}

/** The text that the tool itself makes of `result`. */
export function outcomeText(kind: JobKind, result: Record<string, unknown>): string {
  return kind === "ingest" ? ingestedText(viewOfIngest(ingested.parse(result))) : builtText(built.parse(result), true);
}

function resultOf(record: JobRecord, engine: Engine): Record<string, unknown> | undefined {
  if (record.kind === "ingest") {
    const { success, data } = ingested.safeParse(record.result);
    if (success) return viewOfIngest(data);
  } else {
    const { success, data } = built.safeParse(record.result && viewOfBuild(record.result, engine));
    if (success) return data;
  }
  throw new LakeError("corrupt", `The result of job ${record.id} cannot be read.`, {
    hint: `Look at ${record.request.name.slice(0, 100)} with catalog-describe: the job is done.`,
  });
}
