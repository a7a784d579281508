import { type ChildProcess, execFile, spawn } from "node:child_process";
import { tmpdir } from "node:os";
import { fileURLToPath } from "node:url";
import { compiledFile } from "../kernel/package.ts";

/** Limit of the JavaScript heap; memory of DuckDB is not part of it. */
const HEAP_MIB = 512;
/** Threads of libuv, which wait for files and for DuckDB: an interrupted statement may still occupy some. */
const POOL_THREADS = 8;
const PROBE_MS = 2_000;

/**
 * Starts the program that runs statements and conversions, with as few rights as the system allows: without this
 * process's environment, core dumps, and, where the system has namespaces (Linux), a network. Messages go over file
 * descriptor 3.
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
  // The caller listens, too; but an error event before it does would end this process.
  child.on("error", () => undefined);
  return child;
}

/** Needed to find the system's libraries and temporary folder. No variable here may identify the user or hold a secret. */
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
let determined: Promise<string[]> | undefined;

/** The command that runs the program. Determined once, by a try: a container may forbid namespaces. */
function wrapper(): Promise<string[]> {
  if (process.platform === "win32") return Promise.resolve([]);
  determined ??= namespaces().then((prefix) => [...prefix, ...NO_CORE]);
  return determined;
}

/**
 * The command that runs another without a network, or nothing where that does not work. Root needs no user namespace,
 * and keeps its rights to files without one; for other users one is required, and maps them to themselves. unshare(1),
 * user_namespaces(7).
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

/** Whether worker processes are started without a network. */
export async function areOffline(): Promise<boolean> {
  return (await wrapper())[0] === "unshare";
}
