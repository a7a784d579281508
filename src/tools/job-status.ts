import * as z from "zod";
import { MAX_WAIT_MS } from "../engine/kernel/limits.ts";
import { jobId, jobOutput, jobText, viewOf } from "./job-view.ts";
import { defineTool } from "./tool.ts";

export const jobStatus = defineTool({
  name: "job-status",
  title: "Look at a job",
  effect: "read",
  description:
    "How a job of ingest or vector-index-create is going, and its result when it is done. wait_ms waits for it to end, and returns as soon as it has. Jobs are remembered for a week.",
  input: z.strictObject({
    job_id: jobId,
    wait_ms: z
      .int()
      .min(0)
      .max(MAX_WAIT_MS)
      .default(0)
      .describe("Wait so long at most; stay below your own limit for a call."),
  }),
  output: jobOutput,
  run: async ({ job_id, wait_ms }, { engine, signal, progress }) =>
    viewOf(await engine.jobStatus(job_id, { waitMs: wait_ms, signal, onProgress: progress }), engine),
  text: jobText,
});
