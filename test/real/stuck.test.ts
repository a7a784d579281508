import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { until } from "../support/vectors.ts";
import { MAIN, openWorkspace, type ServerProcess } from "./process.ts";

// Quadratic inside of one function call, which DuckDB does not interrupt.
const NEVER_ENDS = "SELECT repeat('a', 3000000) ILIKE '%a%a%b'";

test("the process ends when its client goes, whatever is still running", async () => {
  await using workspace = await openWorkspace();
  for (const stop of ["stdin", "SIGTERM"] as const) {
    const child = spawn(process.execPath, [MAIN, "--data", join(workspace.folder, "lake")], { cwd: workspace.folder });
    let answered = "";
    child.stdout.on("data", (chunk) => {
      answered += chunk;
    });
    const send = (message: object): void =>
      void child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
    const clientInfo = { name: "raw", version: "1" };
    send({ id: 1, method: "initialize", params: { protocolVersion: "2025-06-18", capabilities: {}, clientInfo } });
    send({ method: "notifications/initialized" });
    for (const id of [2, 3]) {
      send({ id, method: "tools/call", params: { name: "sql", arguments: { sql: NEVER_ENDS, timeout_ms: 500 } } });
    }
    // Both are answered in time; their processes are gone then.
    while (!(answered.includes('"id":2') && answered.includes('"id":3'))) await sleep(20);
    expect(answered.match(/timeout_ms/g)?.length).toBeGreaterThanOrEqual(2);
    const ended = once(child, "exit");
    if (stop === "stdin") child.stdin.end();
    else child.kill(stop);
    // An exit that waits for the statement would outlast the time a test may take.
    const [code, signal] = await ended;
    expect([code, signal], stop).toEqual([0, null]);
  }
});

const ITEMS = Array.from({ length: 5_000 }, (_, n) => ({
  id: `i${n}`,
  vector: Array.from({ length: 256 }, (__, at) => Math.sin((n + 1) * (at + 1))),
}));

const IN_SEGMENT = ["--import", fileURLToPath(new URL("../support/in-segment.mjs", import.meta.url))];

/** What is answered, or as a text why not. */
function upsert(server: ServerProcess): Promise<unknown> {
  return server.call("vector-upsert", { index: "things", items: ITEMS }).catch(String);
}

async function count(server: ServerProcess): Promise<unknown> {
  return (await server.call("sql", { sql: "SELECT count(*) FROM things" })).rows;
}

test.each([
  ["error", "nobody catches this"],
  ["null", "null"],
])("the process ends when it fails, by %s, while DuckDB reads a segment from it", async (FAIL_WITH, said) => {
  await using workspace = await openWorkspace();
  const server = await workspace.start({ nodeArgs: IN_SEGMENT, env: { FAIL_WITH } });
  await server.call("vector-index-create", { name: "things", dimension: 256 });
  expect(await upsert(server)).toEqual(expect.any(String));
  // An exit that waits for the thread would outlast the time a test may take.
  await ended(server.pid);
  expect(server.stderr()).toMatch(new RegExp(`"internal error".*${said}`));
  expect(await count(await workspace.start())).toEqual([[0]]);
});

test("the process ends in order when it is told to while DuckDB reads a segment from it", async () => {
  await using workspace = await openWorkspace();
  const server = await workspace.start({ nodeArgs: IN_SEGMENT });
  await server.call("vector-index-create", { name: "things", dimension: 256 });
  const upserting = upsert(server);
  await until(async () => server.stderr().includes("in a segment"));
  process.kill(server.pid, "SIGTERM");
  await ended(server.pid);
  expect(server.stderr()).toContain('"message":"closed"');
  const acknowledged = typeof (await upserting) !== "string";
  // What was not acknowledged is wholly there, or not at all.
  expect([...(acknowledged ? [] : [0]), ITEMS.length].map((n) => [[n]])).toContainEqual(
    await count(await workspace.start()),
  );
});

async function ended(pid: number): Promise<void> {
  for (;;) {
    try {
      process.kill(pid, 0);
    } catch {
      return;
    }
    await sleep(20);
  }
}
