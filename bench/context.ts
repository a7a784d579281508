import { mkdtemp, rm } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { type Server, startServer } from "../demo/server.ts";
import { writeWorkers } from "../demo/workers.ts";

export interface Context {
  rows: number;
  quick: boolean;
  /** Tells what is going on, apart from the results. */
  say(text: string): void;
  /** A new empty folder; everything in it is gone at the end. */
  folder(): Promise<string>;
  /** The workers table as CSV, made once. */
  workers(): Promise<{ path: string; bytes: number }>;
}

/** The server's defaults, which the bare library gets too: `queryMemory` is what one statement may have. */
export const SETTINGS = {
  threads: String(availableParallelism()),
  ingestMemory: "256MiB",
  queryMemory: "512MiB",
} as const;

/** Node's flags for a process that `askProbe` can ask. */
export function probed(): string[] {
  return ["--import", pathToFileURL(script("probe")).href];
}

/** A compiled script of this folder. */
export function script(name: string): string {
  return join(dirname(fileURLToPath(import.meta.url)), `${name}.js`);
}

export function openContext(root: string, rows: number, quick: boolean, say: (text: string) => void): Context {
  let workers: Promise<{ path: string; bytes: number }> | undefined;
  const folder = (): Promise<string> => mkdtemp(join(root, "b-"));
  const generate = async (): Promise<{ path: string; bytes: number }> => {
    say(`generating ${rows} workers`);
    const path = join(await folder(), "workers.csv");
    return { path, bytes: await writeWorkers(path, { rows }) };
  };
  return {
    rows,
    quick,
    say,
    folder,
    workers: () => (workers ??= generate()),
  };
}

/** Runs `work` against a new server in a new data folder; both are gone afterwards. */
export async function withServer<T>(
  context: Context,
  options: { allow?: string[]; env?: Record<string, string>; nodeFlags?: string[] },
  work: (server: Server, data: string) => Promise<T>,
): Promise<T> {
  const folder = await context.folder();
  const data = join(folder, "lake");
  const server = await startServer({ data, ...options });
  try {
    await server.client.listTools();
    return await work(server, data);
  } finally {
    await server.close();
    await rm(folder, { recursive: true, force: true });
  }
}

/** Calls a tool and returns its structured result. Throws with the server's words when it refuses. */
export async function callTool<T>(server: Server, name: string, args: Record<string, unknown>): Promise<T> {
  const result = await server.client.callTool({ name, arguments: args }, { timeout: 600_000 });
  if (result.isError === true) {
    const text = result.content.map((part) => (part.type === "text" ? part.text : "")).join("\n");
    throw new Error(
      `${name} failed: ${text}\nThe server's log ends:\n${server.log().split("\n").slice(-4).join("\n")}`,
    );
  }
  return result.structuredContent as T;
}

/** The environment and arguments that let the server take the workers file. */
export async function ingestOptions(context: Context): Promise<{ allow: string[]; env: Record<string, string> }> {
  const { path, bytes } = await context.workers();
  return { allow: [dirname(path)], env: { LAKEHOUSE_MAX_INGEST_BYTES: String(bytes + 1) } };
}
