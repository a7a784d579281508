import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { readdir, writeFile } from "node:fs/promises";
import { type IncomingMessage, request } from "node:http";
import { join } from "node:path";
import { json } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { expect, test } from "vitest";
import { openWorkspace, type Workspace } from "./process.ts";
import { connect, type Served, serve, TOKEN } from "./serve.ts";

const MIB = 2 ** 20;
const ROWS = 400_000;
const CSV = `id,name\n${Array.from({ length: ROWS }, (_, n) => `${n},name ${n}`).join("\n")}\n`;
const ENV = { LAKEHOUSE_HTTP_TOKEN: `ann:${TOKEN}` };

/** What README says to do: with curl, as a person or an agent with a shell would. */
async function curl(workspace: Workspace, ...args: string[]): Promise<{ code: number; output: string }> {
  const child = spawn("curl", ["-sS", "-H", `Authorization: Bearer ${TOKEN}`, ...args], { cwd: workspace.folder });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk) => {
      output += chunk;
    });
  }
  const [code] = await once(child, "close");
  return { code, output };
}

const uploadsOf = (served: Served): string => served.url.replace("/mcp", "/uploads");
const spoolOf = (workspace: Workspace): string => join(workspace.folder, "lake", ".spool", "uploads");

interface Listed {
  uploads: { upload: string; bytes: number; complete: boolean; sha256: string | null }[];
}

async function list(served: Served): Promise<Listed["uploads"]> {
  const response = await fetch(uploadsOf(served), { headers: { authorization: `Bearer ${TOKEN}` } });
  return ((await response.json()) as Listed).uploads;
}

test("curl sends a file, and an agent loads it", async () => {
  await using workspace = await openWorkspace();
  await writeFile(join(workspace.folder, "workers.csv"), CSV);
  const served = await serve(workspace, [], ENV);
  const sent = await curl(workspace, "-T", "workers.csv", `${uploadsOf(served)}?name=workers.csv`);
  expect(sent.code).toBe(0);
  const { upload } = JSON.parse(sent.output) as { upload: string };
  const client = await connect(served.url, "modern");
  const loaded = await client.callTool({ name: "ingest", arguments: { name: "workers", upload } });
  expect(loaded.structuredContent).toMatchObject({ rows: ROWS });
  await client.close();
  served.child.kill("SIGTERM");
  expect(await served.ended).toEqual([0, null]);
  expect(await readdir(spoolOf(workspace))).toEqual([]);
});

test("a server that is killed in the middle acknowledges nothing, and nothing of it is there after the next start", async () => {
  await using workspace = await openWorkspace();
  await writeFile(join(workspace.folder, "big.csv"), CSV);
  const first = await serve(workspace, [], ENV);
  const whole = await curl(workspace, "-T", "big.csv", `${uploadsOf(first)}?name=whole.csv`);
  expect(whole.code).toBe(0);

  const outgoing = request(`${uploadsOf(first)}?name=big.csv`, {
    method: "PUT",
    headers: { authorization: `Bearer ${TOKEN}`, "content-length": String(CSV.length) },
    agent: false,
  });
  const answered = new Promise<string>((resolve) => {
    outgoing.once("response", () => resolve("answered"));
    outgoing.once("error", () => resolve("cut"));
  });
  outgoing.write(CSV.slice(0, 1_000_000));
  await expect.poll(async () => (await list(first)).find(({ complete }) => !complete)?.bytes).toBe(1_000_000);
  first.child.kill("SIGKILL");
  expect(await first.ended).toEqual([null, "SIGKILL"]);
  expect(await answered).toBe("cut");

  const second = await serve(workspace, [], ENV);
  await expect.poll(() => readdir(spoolOf(workspace))).toHaveLength(1);
  const [complete, ...others] = await list(second);
  expect(others).toEqual([]);
  expect(complete).toMatchObject({
    bytes: CSV.length,
    complete: true,
    sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
  });
  const on = await curl(workspace, "-C", "1000000", "-T", "big.csv", `${uploadsOf(second)}?name=big.csv`);
  expect(on.output).toContain("sent whole");
  const again = await curl(workspace, "-T", "big.csv", `${uploadsOf(second)}?name=big.csv`);
  const { upload } = JSON.parse(again.output) as { upload: string };

  const client = await connect(second.url, "modern");
  const loaded = await client.callTool({ name: "ingest", arguments: { name: "big", upload } });
  expect(loaded.structuredContent).toMatchObject({ rows: ROWS });

  // A job that is killed leaves its upload.
  const started = await client.callTool({
    name: "ingest",
    arguments: { name: "whole", upload: complete?.upload, background: true },
  });
  const jobId = (started.structuredContent as { job_id: string }).job_id;
  await expect
    .poll(async () => (await readdir(join(spoolOf(workspace), String(complete?.upload)))).join())
    .toMatch(/hold/);
  second.child.kill("SIGKILL");
  await second.ended;
  await client.close().catch(() => {});

  const third = await serve(workspace, [], ENV);
  const other = await connect(third.url, "modern");
  const job = await other.callTool({ name: "job-status", arguments: { job_id: jobId } });
  expect(job.structuredContent).toMatchObject({ state: "interrupted" });
  const reloaded = await other.callTool({ name: "ingest", arguments: { name: "whole", upload: complete?.upload } });
  expect(reloaded.structuredContent).toMatchObject({ rows: ROWS });
  await other.close();
  third.child.kill("SIGTERM");
  expect(await third.ended).toEqual([0, null]);
});

test.runIf(process.platform === "linux")(
  "500 MB are received in less than 64 MiB of memory, and their digest is told",
  async () => {
    await using workspace = await openWorkspace();
    await using served = await serve(workspace, ["--max-ingest-bytes", "500MB", "--embed-provider", "builtin"], ENV);
    const pid = served.child.pid ?? 0;
    // What is loaded once is not what an upload takes.
    await expect.poll(served.stderr, { timeout: 60_000 }).toContain('"message":"embeddings"');
    expect((await send(served, MIB)).status).toBe(201);
    // From here on the highest is that of what follows: proc_pid_clear_refs(5).
    writeFileSync(`/proc/${pid}/clear_refs`, "5");
    const before = peakOf(pid);
    const { status, sha256, answer } = await send(served, 500_000_000);
    expect([status, answer]).toEqual([201, expect.objectContaining({ bytes: 500_000_000, complete: true, sha256 })]);
    expect((peakOf(pid) - before) / MIB).toBeLessThan(64);
  },
  120_000,
);

/** Uploads bytes that are made as they are sent. */
async function send(served: Served, bytes: number) {
  const hash = createHash("sha256");
  function* chunks() {
    for (let at = 0; at < bytes; at += MIB) {
      const chunk = Buffer.alloc(Math.min(MIB, bytes - at), `${at},a name\n`);
      hash.update(chunk);
      yield chunk;
    }
  }
  const headers = { authorization: `Bearer ${TOKEN}`, "content-length": String(bytes) };
  const outgoing = request(`${uploadsOf(served)}?name=big.csv`, { method: "PUT", headers, agent: false });
  const answered = once(outgoing, "response") as Promise<[IncomingMessage]>;
  await pipeline(chunks, outgoing);
  const [response] = await answered;
  const answer = (await json(response)) as Listed["uploads"][number];
  return { status: response.statusCode, sha256: hash.digest("hex"), answer };
}

/** The most memory that a process has had, in bytes. */
function peakOf(pid: number): number {
  const [, kib] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return Number(kib) * 1024;
}
