import type { ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { throwIfAborted } from "../kernel/abort.ts";
import { type CallOptions, openCalls } from "./calls.ts";
import { launched } from "./launch.ts";
import { residentBytes, residentNow, watchMemory } from "./memory.ts";

/**
 * Why a process has ended: it used too much memory, a call did not stop, it was not needed any more, or it ended by
 * itself.
 */
export type Ending = "memory" | "stuck" | "closed" | "crash";

/** A call has no answer because its process has ended. Every pending call of the process gets an instance of its own. */
export class ProcessEnded extends Error {
  readonly ending: Ending;
  /** As the system reports it: `SIGSEGV`, or `exit code 1`. */
  readonly how: string;

  constructor(ending: Ending, how: string, stderr: string) {
    super(`A worker process has ended (${ending}, ${how}). ${stderr}`);
    this.ending = ending;
    this.how = how;
  }
}

/** Called when a process ends while it is taken, other than by `kill("closed")`. */
export type OnEnd = (ending: Ending, how: string) => void;

/** A worker process that one caller has taken. */
export interface WorkerProcess {
  readonly pid: number;
  /** A UUID: the system reuses process numbers. */
  readonly id: string;
  /**
   * Runs `method` there. When `signal` aborts, the process is told, and a call that has not ended a second later ends the
   * process. Throws what the method throws, the cancellation, or `ProcessEnded`.
   */
  call<Result>(method: string, args: unknown, options?: CallOptions): Promise<Result>;
  /** Ends the process when it has more than `maxBytes` resident while a call runs. */
  limitMemory(maxBytes: number): void;
  isAlive(): boolean;
  /** Resident memory, where the system tells without delay (Linux). */
  residentBytes(): number | undefined;
  /** Ends it at once, whatever it does. */
  kill(ending: Ending): void;
  /** Returns the process to the pool, for its own kind and caller only. One that has grown large is ended instead. */
  giveBack(): Promise<void>;
}

interface PooledProcess extends WorkerProcess {
  readonly caller: string | undefined;
  beginWork(onEnd: OnEnd): void;
}

/** What the pool does with a process. */
interface Pool {
  add(idle: PooledProcess): void;
  remove(ended: PooledProcess): void;
}

/** An idle process ends after this long. */
const IDLE_MS = 60_000;
/** Most resident memory of an idle process. */
const IDLE_BYTES = 512 * 2 ** 20;
/** Idle processes of one kind. Without a limit, callers that never come again would leave any number. */
const MAX_IDLE = 4;
const STDERR_CHARS = 2000;

type Kind = "statements" | "conversions";
const idle: Record<Kind, PooledProcess[]> = { statements: [], conversions: [] };

/**
 * A process for one caller at a time: an idle one of this kind and caller, or a new one. A foreign file may have taken
 * over the process that read it, so such a process never runs statements, and never reads another caller's files.
 * Callers without a token count as one.
 */
export async function takeProcess(
  kind: Kind,
  onEnd: OnEnd = () => undefined,
  caller?: string | undefined,
): Promise<WorkerProcess> {
  const pool: Pool = {
    remove: (ended) => {
      idle[kind] = idle[kind].filter((one) => one !== ended);
    },
    add: (worker) => {
      idle[kind].push(worker);
      if (idle[kind].length > MAX_IDLE) idle[kind].shift()?.kill("closed");
    },
  };
  const reused = idle[kind].findLast((one) => one.caller === caller && one.isAlive());
  if (reused) pool.remove(reused);
  const taken = reused ?? (await start(caller, pool));
  taken.beginWork(onEnd);
  return taken;
}

async function start(caller: string | undefined, pool: Pool): Promise<PooledProcess> {
  const child = await launched();
  const exited = exitOf(child);
  const stderr = tailOf(child);
  const channel = (child.stdio as unknown as readonly (Duplex | null)[] | undefined)?.[3];
  // The system has no more processes or file descriptors.
  if (!channel) throw new ProcessEnded("crash", await exited, "");
  let alive = true;
  let ending: Ending | undefined;
  let maxBytes = Number.POSITIVE_INFINITY;
  let stopWatching: (() => void) | undefined;
  let idleTimer: NodeJS.Timeout | undefined;
  let onEnd: OnEnd | undefined;

  const kill = (why: Ending): void => {
    ending ??= why;
    child.kill("SIGKILL");
  };
  const calls = openCalls(channel, { onBroken: () => kill("crash"), onStuck: () => kill("stuck") });

  /** An idle process neither keeps this one from ending, nor is its memory watched. */
  function setBusy(busy: boolean): void {
    if (busy) {
      child.ref();
      (channel as Socket).ref();
      if (maxBytes < Number.POSITIVE_INFINITY) stopWatching ??= watchMemory(worker.pid, maxBytes, () => kill("memory"));
    } else {
      child.unref();
      for (const stream of [channel, child.stderr]) (stream as unknown as Socket).unref();
      stopWatching?.();
      stopWatching = undefined;
    }
  }

  const worker: PooledProcess = {
    caller,
    pid: child.pid ?? 0,
    id: randomUUID(),
    isAlive: () => alive && ending === undefined,
    residentBytes: () => residentNow(worker.pid),
    limitMemory: (bytes) => {
      maxBytes = bytes;
    },
    kill,
    beginWork: (listener) => {
      clearTimeout(idleTimer);
      onEnd = listener;
    },
    call: async <Result>(method: string, args: unknown, options: CallOptions = {}) => {
      throwIfAborted(options.signal);
      if (!alive) throw new ProcessEnded(ending ?? "crash", await exited, stderr());
      setBusy(true);
      try {
        return (await calls.run(method, args, options)) as Result;
      } finally {
        if (calls.pending() === 0) setBusy(false);
      }
    },
    giveBack: async () => {
      const bytes = await residentBytes(worker.pid);
      if (!worker.isAlive() || calls.pending() > 0 || (bytes ?? 0) > IDLE_BYTES) return kill("closed");
      maxBytes = Number.POSITIVE_INFINITY;
      onEnd = undefined;
      idleTimer = setTimeout(() => kill("closed"), IDLE_MS);
      idleTimer.unref();
      pool.add(worker);
    },
  };
  void exited.then((how) => {
    alive = false;
    stopWatching?.();
    clearTimeout(idleTimer);
    pool.remove(worker);
    if (ending !== "closed") onEnd?.(ending ?? "crash", how);
    calls.fail(() => new ProcessEnded(ending ?? "crash", how, stderr()));
  });
  setBusy(false);
  return worker;
}

/** How `child` ended, when it has. */
function exitOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("exit", (code, signal) => resolve(signal ?? `exit code ${code}`));
  });
}

/** The end of what `child` has written to stderr so far. */
function tailOf(child: ChildProcess): () => string {
  let tail = "";
  child.stderr?.on("data", (text: Buffer) => {
    tail = `${tail}${text.toString("utf8")}`.slice(-STDERR_CHARS);
  });
  return () => tail;
}
