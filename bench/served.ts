import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { SERVER } from "../demo/server.ts";
import { probed } from "./context.ts";

/** A process that listens on a port of this machine. */
export interface Served {
  url: string;
  pid: number;
  /** Where it writes what `askProbe` asks; empty without a probe. */
  probe: string;
  close(): Promise<void>;
}

/** The built server over HTTP, over the lake in `data`; with `probe` it can be asked, see `askProbe`. */
export function serveLake(data: string, flags: string[], probe = ""): Promise<Served> {
  return serveBare([SERVER, "serve", "--http", "127.0.0.1:0", "--data", data, ...flags], probe);
}

/** A script that says where it listens, as the server does. A probe takes a tenth of a small call's time. */
export async function serveBare(args: string[], probe = ""): Promise<Served> {
  const child = spawn(process.execPath, [...(probe === "" ? [] : probed()), ...args], {
    env: { PATH: process.env.PATH, BENCH_PROBE_FILE: probe },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let log = "";
  let address: string | undefined;
  child.stderr.on("data", (chunk: Buffer) => {
    // What it logs of every call is taken, and not kept.
    if (address !== undefined) return;
    log += chunk.toString();
    address = /"message":"listening","address":"([^"]+)"/.exec(log)?.[1];
  });
  const ended = once(child, "close");
  while (address === undefined) {
    if (child.exitCode !== null) throw new Error(`The server did not start: ${log}`);
    await sleep(20);
  }
  const close = async (): Promise<void> => {
    child.kill("SIGTERM");
    await ended;
  };
  return { url: `http://${address}`, pid: child.pid ?? 0, probe, close };
}
