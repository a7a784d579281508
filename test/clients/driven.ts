import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { findNode22, install } from "../support/own-packages.ts";

export type Server =
  | { url: string; token: string }
  | { command: string; args: string[]; env: Record<string, string>; cwd: string };

/** What a model would be given; which of them, is the client's business. */
export interface Said {
  text?: string;
  structured?: unknown;
  error?: string;
}

export interface CallOptions {
  signal?: AbortSignal;
  onProgress?: (progress: unknown) => void;
}

/** A real client in a process of its own; see drive.mjs. */
export interface Driven extends AsyncDisposable {
  connect(server: Server): Promise<void>;
  /** Connects beside, makes one call, and leaves as this client leaves. */
  visit(server: Server): Promise<void>;
  list(): Promise<string[]>;
  call(tool: string, args: object, options?: CallOptions): Promise<Said>;
  resources(): Promise<string[]>;
  read(uri: string): Promise<string>;
  declared(): Promise<Record<string, object>>;
  /** What one driver alone can do. */
  ask(operation: string, given?: unknown): Promise<unknown>;
  close(): Promise<void>;
  /** The client goes away without a word. */
  kill(): Promise<void>;
  output(): string;
}

interface Answer {
  id: number;
  result?: unknown;
  error?: string;
  progress?: unknown;
}

interface Asked {
  answer(answer: Answer): void;
  onProgress?: CallOptions["onProgress"];
}

export interface Driver {
  /** The folder with its packages and its driver.mjs, beside this file. */
  folder: string;
  args?: string[];
  node22?: boolean;
}

export async function startDriver({ folder, args = [], node22 = false }: Driver): Promise<Driven> {
  const path = fileURLToPath(new URL(`./${folder}/`, import.meta.url));
  await install(path);
  const node = node22 ? await findNode22() : process.execPath;
  // Nothing of this machine: no keys, no telemetry, no configuration.
  const env = { PATH: process.env.PATH, HOME: join(path, "node_modules/.home"), MCP_USE_ANONYMIZED_TELEMETRY: "false" };
  const child = spawn(node, ["driver.mjs", ...args], { cwd: path, env, stdio: ["ignore", "pipe", "pipe", "ipc"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on("data", (chunk) => {
      output += chunk;
    });
  }
  return { ...asking(child, () => output), output: () => output };
}

function asking(child: ChildProcess, output: () => string): Omit<Driven, "output"> {
  let asked = 0;
  const waiting = new Map<number, Asked>();
  const ended = once(child, "close");
  child.on("message", (message: Answer) => {
    const waits = waiting.get(message.id);
    if ("progress" in message) return waits?.onProgress?.(message.progress);
    waiting.delete(message.id);
    waits?.answer(message);
  });
  child.once("close", (code) => {
    for (const [id, { answer }] of waiting) answer({ id, error: `The client ended with ${code}: ${output()}` });
  });
  const ask = (operation: string, given?: unknown, { signal, onProgress }: CallOptions = {}): Promise<unknown> => {
    const id = ++asked;
    signal?.addEventListener("abort", () => void child.send({ operation: "cancel", given: id }));
    return new Promise((resolve, reject) => {
      const answer = ({ result, error }: Answer) => (error === undefined ? resolve(result) : reject(new Error(error)));
      waiting.set(id, { answer, onProgress });
      child.send({ id, operation, given });
    });
  };
  const kill = async (): Promise<void> => {
    child.kill("SIGKILL");
    await ended;
  };
  return {
    connect: async (server) => void (await ask("connect", server)),
    visit: async (server) => void (await ask("visit", server)),
    list: () => ask("list") as Promise<string[]>,
    call: (tool, args, options) => ask("call", { tool, args }, options) as Promise<Said>,
    resources: () => ask("resources") as Promise<string[]>,
    read: (uri) => ask("read", uri) as Promise<string>,
    declared: () => ask("declared") as Promise<Record<string, object>>,
    ask: (operation, given) => ask(operation, given),
    close: async () => void (await ask("close")),
    kill,
    [Symbol.asyncDispose]: kill,
  };
}
