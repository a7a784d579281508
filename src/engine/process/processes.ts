import { randomUUID } from "node:crypto";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { serialize } from "node:v8";
import { cancelled, GRACE_MS, throwIfAborted } from "../kernel/abort.ts";
import { openFrames } from "./frames.ts";
import { launched } from "./launch.ts";
import { residentBytes, residentNow, watchMemory } from "./memory.ts";
import { errorOf, type Reply, type Request, replyIn } from "./messages.ts";

/** Why a process has ended: it was too large, it did not stop, it was not needed any more, or by itself. */
export type Ending = "memory" | "stuck" | "closed" | "crash";

/** A call that has no answer because its process has ended. Of the callers of one process, each gets one. */
export class ProcessEnded extends Error {
  readonly ending: Ending;
  /** What the system says: `SIGSEGV`, or `exit code 1`. */
  readonly how: string;

  constructor(ending: Ending, how: string, said: string) {
    super(`A worker process has ended (${ending}, ${how}). ${said}`);
    this.ending = ending;
    this.how = how;
  }
}

export interface CallOptions {
  signal?: AbortSignal | undefined;
  /** Takes what the call tells before its result. The next one comes when it is done. */
  onEvent?: ((event: unknown) => void | Promise<void>) | undefined;
}

/** A process that somebody works with. */
export interface WorkerProcess {
  readonly pid: number;
  /** A UUID; numbers of processes come again. */
  readonly id: string;
  /**
   * Runs `method` there. When `signal` aborts, the process is told, and a call that has not ended a second later ends the
   * process. Throws what the method throws, the cancellation, or `ProcessEnded`.
   */
  call<Result>(method: string, args: unknown, options?: CallOptions): Promise<Result>;
  /** Ends the process when it has more than so many bytes in memory, while it works. */
  limitMemory(maxBytes: number): void;
  isAlive(): boolean;
  /** Bytes that it has in memory, where the system tells at once. */
  residentBytes(): number | undefined;
  /** Ends it at once, whatever it does. */
  kill(ending: Ending): void;
  /** Whoever took it is done: it is kept for the same caller, unless it has become large or too many are kept. */
  giveBack(): Promise<void>;
}

/** A process that nobody needs ends after this long. */
const IDLE_MS = 60_000;
/** What one may keep in memory while nobody works with it. */
const IDLE_BYTES = 512 * 2 ** 20;
const SAID_CHARS = 2000;

type Kind = "statements" | "conversions";
const idle: Record<Kind, Running[]> = { statements: [], conversions: [] };

/** Of one kind that wait at most: with callers that never come again there could be any number. */
const MAX_IDLE = 4;

/**
 * A process for one at a time, started or kept from an earlier one of that kind and caller. A foreign file may have taken
 * over what read it: that runs no statements, and reads no other caller's files. Those that no token tells apart are one
 * caller.
 */
export async function takeProcess(
  kind: Kind,
  onEnd: OnEnd = () => undefined,
  caller?: string | undefined,
): Promise<WorkerProcess> {
  const kept = idle[kind].findLast((one) => one.caller === caller && one.isAlive());
  if (kept) {
    idle[kind] = idle[kind].filter((one) => one !== kept);
    kept.beginWork(onEnd);
    return kept;
  }
  const started = await start(kind, caller);
  started.beginWork(onEnd);
  return started;
}

/** Told when a process ends while somebody works with it. */
export type OnEnd = (ending: Ending, how: string) => void;

interface Running extends WorkerProcess {
  readonly caller: string | undefined;
  beginWork(onEnd: OnEnd): void;
}

interface Call {
  resolve(result: unknown): void;
  reject(error: unknown): void;
  onEvent: CallOptions["onEvent"];
}

async function start(kind: Kind, caller: string | undefined): Promise<Running> {
  const child = await launched();
  const gone = new Promise<string>((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("exit", (code, signal) => resolve(signal ?? `exit code ${code}`));
  });
  const streams = child.stdio as unknown as readonly (Duplex | null)[] | undefined;
  const channel = streams?.[3];
  // The system has no more processes or file descriptors.
  if (!channel) throw new ProcessEnded("crash", await gone, "");
  const calls = new Map<number, Call>();
  let made = 0;
  let maxBytes = Number.POSITIVE_INFINITY;
  let stopWatching: (() => void) | undefined;
  let ending: Ending | undefined;
  let said = "";
  let timer: NodeJS.Timeout | undefined;
  let tell: OnEnd | undefined;
  child.stderr?.on("data", (text: Buffer) => {
    said = `${said}${text.toString("utf8")}`.slice(-SAID_CHARS);
  });

  let alive = true;
  void gone.then((how) => {
    alive = false;
    stopWatching?.();
    clearTimeout(timer);
    idle[kind] = idle[kind].filter((other) => other !== running);
    if (ending !== "closed") tell?.(ending ?? "crash", how);
    for (const call of calls.values()) call.reject(new ProcessEnded(ending ?? "crash", how, said));
    calls.clear();
  });

  const send = (request: Request): Promise<void> => frames.send(serialize(request));
  /** What is no reply ends the process that sent it: it may be a foreign file's by now. */
  const onFrame = (body: Buffer): void => {
    let reply: Reply;
    try {
      reply = replyIn(body);
    } catch {
      kill("crash");
      return;
    }
    const call = calls.get(reply.id);
    if (!call) return;
    if ("event" in reply) void useEvent(reply.id, call, reply.event);
    else if ("error" in reply) call.reject(errorOf(reply.error));
    else call.resolve(reply.result);
  };
  async function useEvent(id: number, call: Call, event: unknown): Promise<void> {
    try {
      await call.onEvent?.(event);
      await send({ id, more: true });
    } catch (error) {
      call.reject(error);
      await send({ id, abort: true });
    }
  }
  const frames = openFrames(channel, onFrame, () => kill("crash"));

  function kill(why: Ending): void {
    ending ??= why;
    child.kill("SIGKILL");
  }
  /** A process that does nothing keeps nobody from ending; nor is it looked at. */
  function setBusy(busy: boolean): void {
    if (busy) {
      child.ref();
      (channel as Socket).ref();
      if (maxBytes < Number.POSITIVE_INFINITY)
        stopWatching ??= watchMemory(running.pid, maxBytes, () => kill("memory"));
    } else {
      child.unref();
      for (const stream of [channel, child.stderr]) (stream as unknown as Socket).unref();
      stopWatching?.();
      stopWatching = undefined;
    }
  }

  const running: Running = {
    caller,
    pid: child.pid ?? 0,
    id: randomUUID(),
    isAlive: () => alive && ending === undefined,
    residentBytes: () => residentNow(running.pid),
    limitMemory: (bytes) => {
      maxBytes = bytes;
    },
    kill,
    beginWork: (onEnd) => {
      clearTimeout(timer);
      tell = onEnd;
    },
    call: async <Result>(method: string, args: unknown, { signal, onEvent }: CallOptions = {}) => {
      throwIfAborted(signal);
      if (!alive) throw new ProcessEnded(ending ?? "crash", await gone, said);
      const id = made++;
      const answer = new Promise<unknown>((resolve, reject) => calls.set(id, { resolve, reject, onEvent }));
      // It may be refused while the message is still on its way.
      answer.catch(() => undefined);
      let stuck: NodeJS.Timeout | undefined;
      const onAbort = (): void => {
        void send({ id, abort: true });
        stuck = setTimeout(() => kill("stuck"), GRACE_MS);
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      setBusy(true);
      try {
        await send({ id, method, args });
        return (await answer) as Result;
      } catch (error) {
        throw signal?.aborted ? cancelled(signal) : error;
      } finally {
        clearTimeout(stuck);
        signal?.removeEventListener("abort", onAbort);
        calls.delete(id);
        if (calls.size === 0) setBusy(false);
      }
    },
    giveBack: async () => {
      const bytes = await residentBytes(running.pid);
      if (!running.isAlive() || calls.size > 0 || (bytes ?? 0) > IDLE_BYTES) return kill("closed");
      maxBytes = Number.POSITIVE_INFINITY;
      tell = undefined;
      timer = setTimeout(() => kill("closed"), IDLE_MS);
      timer.unref();
      idle[kind].push(running);
      if (idle[kind].length > MAX_IDLE) idle[kind].shift()?.kill("closed");
    },
  };
  setBusy(false);
  return running;
}
