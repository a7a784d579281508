import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { MAIN, type Workspace } from "./process.ts";

export const TOKEN = "0123456789abcdef-the-secret";

export interface Served extends AsyncDisposable {
  child: ChildProcess;
  stderr: () => string;
  stdout: () => string;
  /** Exit code and signal. */
  ended: Promise<unknown[]>;
  url: string;
}

/** Starts the built server over HTTP, with the lake in the workspace. */
export function spawnServe(
  workspace: Workspace,
  args: string[],
  env: Record<string, string> = {},
): Omit<Served, "url"> {
  const child = spawn(process.execPath, [MAIN, "serve", "--data", join(workspace.folder, "lake"), ...args], {
    cwd: workspace.folder,
    env: { PATH: process.env.PATH, ...env },
  });
  let stderr = "";
  let stdout = "";
  child.stderr.on("data", (chunk) => {
    stderr += chunk;
  });
  child.stdout.on("data", (chunk) => {
    stdout += chunk;
  });
  const ended = once(child, "close");
  return {
    child,
    stderr: () => stderr,
    stdout: () => stdout,
    ended,
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGKILL");
      await ended;
    },
  };
}

/** The same on a free port, once it listens. */
export async function serve(
  workspace: Workspace,
  args: string[] = [],
  env: Record<string, string> = {},
): Promise<Served> {
  const served = spawnServe(workspace, ["--http", "127.0.0.1:0", ...args], env);
  for (;;) {
    const address = /"listening","address":"([^"]+)"/.exec(served.stderr())?.[1];
    if (address !== undefined) return { ...served, url: `http://${address}/mcp` };
    if (served.child.exitCode !== null) throw new Error(`The server ended: ${served.stderr()}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export async function connect(url: string, era: "legacy" | "modern", token = TOKEN): Promise<Client> {
  const versions = era === "legacy" ? {} : { versionNegotiation: { mode: { pin: "2026-07-28" } } };
  const client = new Client({ name: "test", version: "1" }, versions);
  const requestInit = { headers: { authorization: `Bearer ${token}` } };
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
  return client;
}
