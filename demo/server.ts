import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Client } from "@modelcontextprotocol/client";
import { getDefaultEnvironment, StdioClientTransport } from "@modelcontextprotocol/client/stdio";

/** Where package.json lies: these scripts run from a build folder of their own. */
export const ROOT = packageRoot(dirname(fileURLToPath(import.meta.url)));
export const SERVER = join(ROOT, "dist", "main.js");

export interface ServerOptions {
  data: string;
  /** Folders that `ingest` may read. */
  allow?: string[];
  env?: Record<string, string>;
  /** Flags for Node itself, before the script. */
  nodeFlags?: string[];
  /** Another script than the built server. */
  script?: string;
}

export interface Server {
  client: Client;
  pid: number;
  /** What the server has logged so far. */
  log(): string;
  close(): Promise<void>;
}

/** Starts the built server over stdio and connects the official client to it, in the current protocol revision. */
export async function startServer(options: ServerOptions): Promise<Server> {
  const { data, allow = [], env = {}, nodeFlags = [], script = SERVER } = options;
  if (!existsSync(script)) throw new Error(`${script} does not exist: run npm run build first`);
  const transport = new StdioClientTransport({
    command: process.execPath,
    // Its steps want their results, however slow the machine.
    args: [
      ...nodeFlags,
      script,
      "--data",
      data,
      "--job-after",
      "1h",
      ...allow.flatMap((folder) => ["--allow", folder]),
    ],
    cwd: dirname(data),
    env: { ...getDefaultEnvironment(), ...env },
    stderr: "pipe",
  });
  let log = "";
  transport.stderr?.on("data", (chunk: Buffer) => {
    log += chunk.toString();
  });
  const client = new Client(
    { name: "lakehouse-tour", version: "1.0.0" },
    { versionNegotiation: { mode: { pin: "2026-07-28" } } },
  );
  try {
    await client.connect(transport);
  } catch (error) {
    await transport.close();
    throw new Error(`The server did not start: ${error instanceof Error ? error.message : String(error)}\n${log}`);
  }
  return { client, pid: transport.pid ?? 0, log: () => log, close: () => client.close() };
}

export async function packageVersion(): Promise<string> {
  const { version } = JSON.parse(await readFile(join(ROOT, "package.json"), "utf8")) as { version: string };
  return version;
}

function packageRoot(folder: string): string {
  if (existsSync(join(folder, "package.json"))) return folder;
  const parent = dirname(folder);
  if (parent === folder) throw new Error("No package.json above this script");
  return packageRoot(parent);
}
