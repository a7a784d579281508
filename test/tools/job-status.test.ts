import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { start, WORKERS } from "../support/job-tools.ts";
import { openLake } from "../support/lake.ts";

test("an unknown job is answered with the recent ones, a damaged one with what to do", async () => {
  await using lake = await openLake();
  const job_id = await start(lake, "ingest", { name: "workers", text: WORKERS });
  await lake.call("job-status", { job_id, wait_ms: 30_000 });
  for (const tool of ["job-status", "job-cancel"]) {
    const told = await lake.refused(tool, { job_id: "nope" });
    expect(told).toBe(`not_found: There is no job "nope".\nNext: Recent jobs: ${job_id} (ingest, done).`);
  }
  const path = join(lake.folder, "lake", "jobs", `${job_id}.json`);
  await writeFile(path, JSON.stringify({ ...(await lake.engine.jobStatus(job_id)), result: { version: 1 } }));
  expect(await lake.refused("job-status", { job_id })).toMatch(/^corrupt: The result of job .* cannot be read/);
  await writeFile(path, "{");
  expect(await lake.refused("job-status", { job_id })).toMatch(/^corrupt: The record of job .* cannot be read/);
});
