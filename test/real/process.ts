import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import type { Era } from "../support/lake.ts";

export const MAIN = fileURLToPath(new URL("../../dist/main.js", import.meta.url));

export interface ServerProcess extends AsyncDisposable {
  client: Client;
  pid: number;
  stderr: () => string;
  call(tool: string, args?: Record<string, unknown>): Promise<Record<string, unknown>>;
}

export interface Workspace extends AsyncDisposable {
  folder: string;
  file(name: string, content: string): Promise<string>;
  start(options?: StartOptions): Promise<ServerProcess>;
}

export interface StartOptions {
  era?: Era;
  args?: string[];
  env?: Record<string, string>;
  /** Another copy of the built server. */
  main?: string;
  nodeArgs?: string[];
}

/** A folder with an inbox and a lake, in which built servers are started as a client starts them. */
export async function openWorkspace(): Promise<Workspace> {
  const folder = await mkdtemp(join(tmpdir(), "lakehouse-real-"));
  await mkdir(join(folder, "inbox"));
  const running: ServerProcess[] = [];
  return {
    folder,
    file: async (name, content) => {
      const path = join(folder, "inbox", name);
      await writeFile(path, content);
      return path;
    },
    start: async (options = {}) => {
      const server = await start(folder, options);
      running.push(server);
      return server;
    },
    [Symbol.asyncDispose]: async () => {
      for (const server of running) await server[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function start(
  folder: string,
  { era = "modern", args = [], env = {}, main = MAIN, nodeArgs = [] }: StartOptions,
): Promise<ServerProcess> {
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: [...nodeArgs, main, "--data", join(folder, "lake"), "--allow", join(folder, "inbox"), ...args],
    env,
    cwd: folder,
    stderr: "pipe",
  });
  let stderr = "";
  transport.stderr?.on("data", (chunk) => {
    stderr += chunk;
  });
  const client = new Client(
    { name: "test", version: "1" },
    era === "modern" ? { versionNegotiation: { mode: { pin: "2026-07-28" } } } : {},
  );
  await client.connect(transport);
  return {
    client,
    pid: transport.pid ?? 0,
    stderr: () => stderr,
    call: async (name, args_ = {}) => {
      const result = await client.callTool({ name, arguments: args_ }, { timeout: 120_000 });
      if (result.isError) throw new Error(JSON.stringify(result.content));
      return result.structuredContent as Record<string, unknown>;
    },
    [Symbol.asyncDispose]: () => client.close(),
  };
}
