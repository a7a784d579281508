import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
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
    // Both are answered in time, and go on.
    while (!(answered.includes('"id":2') && answered.includes('"id":3'))) await sleep(20);
    expect(answered.match(/timeout_ms/g)?.length).toBeGreaterThanOrEqual(2);
    const ended = once(child, "exit");
    if (stop === "stdin") child.stdin.end();
    else child.kill(stop);
    // An exit that waits for the statement would outlast the time a test may take.
    const [code, signal] = await ended;
    expect([code, signal], stop).toEqual([null, "SIGKILL"]);
  }
});

const ITEMS = Array.from({ length: 5_000 }, (_, n) => ({
  id: `i${n}`,
  vector: Array.from({ length: 256 }, (__, at) => Math.sin((n + 1) * (at + 1))),
}));

/** What is answered, or as a text why not. */
async function upsert(server: ServerProcess, index: string): Promise<unknown> {
  try {
    await server.call("vector-index-create", { name: index, dimension: 256 });
    return await server.call("vector-upsert", { index, items: ITEMS });
  } catch (error) {
    return String(error);
  }
}

test("the process ends when it fails while DuckDB reads a segment from it, and nothing of that is there", async () => {
  await using workspace = await openWorkspace();
  const nodeArgs = ["--import", fileURLToPath(new URL("../support/fail-in-segment.mjs", import.meta.url))];
  const server = await workspace.start({ nodeArgs });
  const answer = await upsert(server, "things");
  expect(server.stderr()).toContain("nobody catches this");
  expect(answer).toEqual(expect.any(String));
  // An exit that waits for the thread would outlast the time a test may take.
  await ended(server.pid);
  const again = await workspace.start();
  expect(await again.call("sql", { sql: "SELECT count(*) FROM things" })).toMatchObject({ rows: [[0]] });
});

test("the process ends in order when it is told to in the middle of an upsert, which is there or is not", async () => {
  await using workspace = await openWorkspace();
  const answers: [string, unknown][] = [];
  for (const ms of [400, 600, 800]) {
    const server = await workspace.start();
    await server.call("catalog-list");
    const upserting = upsert(server, `after_${ms}`);
    await sleep(ms);
    process.kill(server.pid, "SIGTERM");
    await ended(server.pid);
    expect(server.stderr()).toContain('"message":"closed"');
    answers.push([`after_${ms}`, await upserting]);
  }
  const again = await workspace.start();
  for (const [index, answer] of answers) {
    const found = again.call("sql", { sql: `SELECT count(*) FROM ${index}` }) as Promise<{ rows: number[][] }>;
    const count = await found.then(
      ({ rows }) => rows[0]?.[0],
      () => 0,
    );
    if (typeof answer === "string") expect([0, ITEMS.length]).toContain(count);
    else expect(count).toBe(ITEMS.length);
  }
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
