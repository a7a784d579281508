import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, inject, test } from "vitest";
import { inScope } from "../../src/engine/scope.ts";
import { PATIENCE, raceForRows } from "../support/races.ts";
import { s3Settings } from "../support/s3.ts";

const endpoint = inject("s3Endpoint");

test(
  "four processes append to one dataset in a bucket, fifty times each, and no row is lost or doubled",
  async () => {
    expect.hasAssertions();
    await inScope(async (scope) => {
      const folder = await mkdtemp(join(tmpdir(), "lakehouse-races-"));
      scope.defer(() => rm(folder, { recursive: true, force: true }));
      await raceForRows(scope, folder, await s3Settings(folder, endpoint, { timeoutMs: 30_000 }));
    });
  },
  PATIENCE,
);
