import { expect, test } from "vitest";
import { answer, BUILD, ENDLESS, running, start } from "../support/job-tools.ts";
import { openLake } from "../support/lake.ts";

test("a job is stopped, and what was stopped or failed is told as that", async () => {
  await using lake = await openLake();
  await lake.client.listTools();
  const job_id = await start(lake, "ingest", { name: "endless", sql: ENDLESS });
  await running(lake, job_id);
  const stopped = await answer(lake, "job-cancel", { job_id });
  expect(stopped.structured).toMatchObject({ state: "cancelled", error: { kind: "unavailable" } });
  expect(stopped.structured).not.toHaveProperty("result");
  expect(stopped.text).toMatchInlineSnapshot(`
    "Job JOB, ingest of endless, was cancelled.
    unavailable: The job was cancelled.
    Next: Call ingest again to start over."
  `);
  const failing = await start(lake, "vector-index-create", { ...BUILD, dataset: "nope" });
  const { structured, text } = await answer(lake, "job-status", { job_id: failing, wait_ms: 30_000 });
  expect(structured).toMatchObject({ state: "failed", error: { kind: "not_found" } });
  expect(text).toMatch(/^Job JOB, vector-index-create of roles, has failed\.\nnot_found: .*nope.*\nNext: /);
});
