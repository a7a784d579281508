import { type ChildProcess, execFile, spawn } from "node:child_process";
import { tmpdir } from "node:os";
import { fileURLToPath } from "node:url";
import { compiledFile } from "../kernel/package.ts";

/** Most that the heap of JavaScript may grow to; what DuckDB takes is apart from it. */
const HEAP_MIB = 512;
/** Threads that wait for files and for DuckDB: one statement, and what it leaves behind when it is interrupted. */
const POOL_THREADS = 8;
const PROBE_MS = 2_000;

/**
 * Starts the program that runs statements and conversions, with as few rights as the system lets one process give another:
 * none of this one's environment, no core dump, and no network, where the system has namespaces (Linux). Messages go
 * over file descriptor 3.
 */
export async function launch(): Promise<ChildProcess> {
  const program = fileURLToPath(compiledFile("process/main.js"));
  const node = [process.execPath, `--max-old-space-size=${HEAP_MIB}`, program];
  const [command, ...rest] = [...(await wrapper()), ...node];
  const child = spawn(command as string, rest, {
    stdio: ["ignore", "ignore", "pipe", "pipe"],
    cwd: tmpdir(),
    env: environment(),
  });
  // Told to whoever waits for it; an error that nobody listens to would end this process.
  child.on("error", () => undefined);
  return child;
}

/** Where the system's libraries are found; nothing that says who runs this or what it may use. */
const KEPT_VARIABLES = ["LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SystemRoot", "TMPDIR", "TEMP", "TMP"];

function environment(): NodeJS.ProcessEnv {
  const kept = KEPT_VARIABLES.flatMap((name) => {
    // biome-ignore lint/style/noProcessEnv: a child gets what the system needs to start it, and nothing else
    const value = process.env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  return { ...Object.fromEntries(kept), TZ: "UTC", LC_ALL: "C", UV_THREADPOOL_SIZE: String(POOL_THREADS) };
}

let early: Promise<ChildProcess> | undefined;

/** Launches a process for the next call of `launched`, so that it starts while this process still loads libraries. */
export function launchEarly(): void {
  early ??= launch();
  // The next `launched` tries again, and reports it.
  early.catch(() => undefined);
}

/** The process that was launched early, if it still runs, or a new one. */
export async function launched(): Promise<ChildProcess> {
  const child = await early?.catch(() => undefined);
  early = undefined;
  return child && child.exitCode === null && child.signalCode === null ? child : launch();
}

const NO_CORE = ["/bin/sh", "-c", 'ulimit -c 0; exec "$0" "$@"'];
let known: Promise<string[]> | undefined;

/** What stands in front of the program. Found out once: a container may forbid namespaces. */
function wrapper(): Promise<string[]> {
  if (process.platform === "win32") return Promise.resolve([]);
  known ??= namespaces().then((prefix) => [...prefix, ...NO_CORE]);
  return known;
}

/**
 * Without a network. Root keeps its rights to files that way; anybody else needs a namespace of users for it, in which
 * they stay who they are. unshare(1), user_namespaces(7).
 */
async function namespaces(): Promise<string[]> {
  if (process.platform !== "linux") return [];
  const isRoot = process.getuid?.() === 0;
  const prefix = isRoot ? ["unshare", "--net"] : ["unshare", "--user", "--map-current-user", "--net"];
  const [command, ...flags] = prefix as [string, ...string[]];
  const works = await new Promise<boolean>((resolve) => {
    execFile(command, [...flags, "true"], { timeout: PROBE_MS }, (error) => resolve(error === null));
  });
  return works ? prefix : [];
}

/** Whether processes are kept off the network. */
export async function areOffline(): Promise<boolean> {
  return (await wrapper())[0] === "unshare";
}
