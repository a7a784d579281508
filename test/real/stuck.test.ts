import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { MAIN, openWorkspace } from "./process.ts";

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
