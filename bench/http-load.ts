import { spawn } from "node:child_process";
import { json } from "node:stream/consumers";
import { script } from "./context.ts";

/** Calls of one tool, from several connections at once. */
export interface Load {
  url: string;
  tool: string;
  /** Arguments of the calls, in turn. */
  args: Record<string, unknown>[];
  connections: number;
  /** How many calls, or for how long. */
  calls?: number;
  ms?: number;
  /** So many times, with a moment in between. Default 1. */
  bursts?: number;
}

export interface Loaded {
  /** Milliseconds of every call. */
  times: number[];
  /** All together. */
  ms: number;
  failed: number;
  /** The first failure. */
  problem?: string;
}

/** Made in a process of its own, so that what measures and what is measured do not share an event loop. */
export async function loadOverHttp(load: Load, signal?: AbortSignal): Promise<Loaded> {
  const child = spawn(process.execPath, [script("http-client")], { stdio: ["pipe", "pipe", "inherit"] });
  signal?.addEventListener("abort", () => child.kill());
  child.stdin.end(JSON.stringify(load));
  const loaded = (await json(child.stdout)) as Loaded;
  if (loaded.failed > 0) throw new Error(`${load.tool}: ${loaded.failed} calls failed: ${loaded.problem}`);
  return loaded;
}
