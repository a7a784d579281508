import * as z from "zod";
import { jobId, jobOutput, jobText, viewOf } from "./job-view.ts";
import { defineTool } from "./tool.ts";

export const jobCancel = defineTool({
  name: "job-cancel",
  title: "Stop a job",
  effect: "write",
  idempotent: true,
  description:
    "Stop a running job. An ingest leaves its dataset as it was; an index keeps what was embedded already, and building it again goes on from there. A job that has ended stays as it is.",
  input: z.strictObject({ job_id: jobId }),
  output: jobOutput,
  run: async ({ job_id }, { engine }) => viewOf(await engine.cancelJob(job_id), engine),
  text: (job) => (job.state === "running" ? `It was asked to stop, and has not yet. ${jobText(job)}` : jobText(job)),
});
