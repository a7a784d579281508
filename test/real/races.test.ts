import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { inScope } from "../../src/engine/kernel/scope.ts";
import { PATIENCE, raceForItems, raceForRows } from "../support/races.ts";

test.each([
  ["append to one dataset", "no row", raceForRows],
  ["upsert into one vector index", "no item", raceForItems],
])(
  "four processes %s, fifty times each, and %s is lost or doubled",
  async (_, __, race) => {
    expect.hasAssertions();
    await inScope(async (scope) => {
      const folder = await mkdtemp(join(tmpdir(), "lakehouse-races-"));
      scope.defer(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }));
      await race(scope, folder);
    });
  },
  PATIENCE,
);
