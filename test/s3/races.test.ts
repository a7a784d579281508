import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, inject, test } from "vitest";
import { inScope } from "../../src/engine/kernel/scope.ts";
import { PATIENCE, raceForItems, raceForRows } from "../support/races.ts";
import { s3Settings } from "../support/s3.ts";

const endpoint = inject("s3Endpoint");

test.each([
  ["append to one dataset", "no row", raceForRows],
  ["upsert into one vector index", "no item", raceForItems],
])(
  "four processes %s in a bucket, fifty times each, and %s is lost or doubled",
  async (_, __, race) => {
    expect.hasAssertions();
    await inScope(async (scope) => {
      const folder = await mkdtemp(join(tmpdir(), "lakehouse-races-"));
      scope.defer(() => rm(folder, { recursive: true, force: true }));
      await race(scope, folder, await s3Settings(folder, endpoint, { timeoutMs: 30_000 }));
    });
  },
  PATIENCE,
);
