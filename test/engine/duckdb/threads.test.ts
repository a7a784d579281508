import { readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openDuck } from "../../../src/engine/duckdb/duckdb.ts";
import { inScope } from "../../../src/engine/kernel/scope.ts";

/** By thread. https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html, field 19; the name may have spaces. */
function niceness(): Map<string, number> {
  return new Map(
    readdirSync("/proc/self/task").map((thread) => {
      const stat = readFileSync(`/proc/self/task/${thread}/stat`, "utf8");
      return [thread, Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[16])];
    }),
  );
}

test.skipIf(process.platform !== "linux")("DuckDB's own threads come after the event loop and the others", async () => {
  const tempFolder = await mkdtemp(join(tmpdir(), "lakehouse-duck-"));
  const before = niceness();
  await inScope(async (scope) => {
    scope.defer(() => rm(tempFolder, { recursive: true, force: true }));
    const threads = 4;
    const limits = { memoryBytes: 2 ** 28, maxTempBytes: 2 ** 28, threads };
    const duck = await openDuck(scope, { ...limits, tempFolder, folders: [tempFolder], behind: true });
    const after = niceness();
    const added = [...after].filter(([thread]) => !before.has(thread));
    expect(added).toHaveLength(threads - 1);
    expect(added.map(([, nice]) => nice)).toEqual(added.map(() => 8));
    for (const [thread, nice] of before) expect(after.get(thread) ?? nice).toBe(nice);
    const connection = await duck.connect();
    const rows = await connection.rows("SELECT count(*)::INT AS n FROM range(5000000) WHERE range % 3 = 0");
    expect(rows).toEqual([{ n: 1_666_667 }]);
    connection.close();
  });
});
