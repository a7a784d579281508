import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { MAIN, openWorkspace } from "./process.ts";

// Exponential in the number of wildcards, inside of one function call, which DuckDB does not interrupt.
const NEVER_ENDS =
  "SELECT levenshtein(repeat('a', 9999), repeat('b', 9999)) + max(levenshtein(repeat('a' , 9000 + i::INT), repeat('b', 9999))) FROM range(100000) t(i)";

test("the process ends when its client goes, whatever is still running", async () => {
  await using workspace = await openWorkspace();
  for (const stop of ["stdin", "SIGTERM"] as const) {
    const child = spawn(process.execPath, [MAIN, "--data", join(workspace.folder, "lake")], { cwd: workspace.folder });
    child.stdout.resume();
    const send = (message: object): void =>
      void child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
    const clientInfo = { name: "raw", version: "1" };
    send({ id: 1, method: "initialize", params: { protocolVersion: "2025-06-18", capabilities: {}, clientInfo } });
    send({ method: "notifications/initialized" });
    for (const id of [2, 3])
      send({ id, method: "tools/call", params: { name: "sql", arguments: { sql: NEVER_ENDS } } });
    send({ id: 4, method: "tools/call", params: { name: "ingest", arguments: { name: "t", sql: NEVER_ENDS } } });
    await sleep(1500);
    const ended = once(child, "exit");
    if (stop === "stdin") child.stdin.end();
    else child.kill(stop);
    // An exit that waits for the statement would outlast the time a test may take.
    const [code, signal] = await ended;
    expect([code, signal], stop).toEqual([null, "SIGKILL"]);
  }
});
