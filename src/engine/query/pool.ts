import { setTimeout as delay } from "node:timers/promises";
import type { Connection } from "../duckdb/duckdb.ts";
import { cancelled, LakeError, throwIfAborted } from "../errors.ts";

export interface Session {
  connection: Connection;
  /** What the connection sees: relation name → what it stands for. */
  shown: Map<string, string>;
  parse?: (sql: string) => Promise<string>;
}

export interface PoolLimits {
  maxRunning: number;
  maxWaiting: number;
}

export interface Pool {
  /**
   * Runs `work` on a session of its own, in the order of the calls. `signal` interrupts it; when DuckDB does not stop
   * within a second, the caller is answered and the session's place stays taken until it does.
   */
  run<Result>(signal: AbortSignal, work: (session: Session) => Promise<Result>): Promise<Result>;
  /** Refuses whoever waits and whoever comes, and waits a second for what runs. */
  close(): Promise<void>;
}

const INTERRUPT_EVERY_MS = 25;
const GRACE_MS = 1000;
/** Views a session may gather before a new one takes its place. */
const MAX_SHOWN = 500;

export function openPool(limits: PoolLimits, connect: () => Promise<Connection>): Pool {
  const idle: Session[] = [];
  const waiting: { start: () => void; fail: (error: LakeError) => void }[] = [];
  const running = new Set<Promise<unknown>>();
  let taken = 0;
  let closed = false;

  function enter(signal: AbortSignal): Promise<void> {
    if (closed) return Promise.reject(closedError());
    if (taken < limits.maxRunning && waiting.length === 0) {
      taken++;
      return Promise.resolve();
    }
    if (waiting.length >= limits.maxWaiting) return Promise.reject(busy(limits));
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        const at = waiting.indexOf(place);
        if (at >= 0) waiting.splice(at, 1);
        signal.removeEventListener("abort", onAbort);
      };
      const onAbort = (): void => {
        leave();
        reject(cancelled(signal));
      };
      const place = {
        start: () => {
          leave();
          resolve();
        },
        fail: (error: LakeError) => {
          leave();
          reject(error);
        },
      };
      waiting.push(place);
      signal.addEventListener("abort", onAbort, { once: true });
    });
  }

  function exit(): void {
    const next = waiting[0];
    if (next) next.start();
    else taken--;
  }

  async function attempt<Result>(signal: AbortSignal, work: (session: Session) => Promise<Result>): Promise<Result> {
    const session: Session = idle.pop() ?? { connection: await connect(), shown: new Map() };
    const stopInterrupting = interruptOn(signal, session.connection);
    let sound = false;
    try {
      throwIfAborted(signal);
      const result = await work(session);
      sound = true;
      return result;
    } catch (error) {
      // A refusal leaves the connection as it was; after anything else a new one is cheaper than a doubt.
      sound = error instanceof LakeError && !signal.aborted && REFUSALS.has(error.kind);
      throw error;
    } finally {
      stopInterrupting();
      if (sound && !closed && session.shown.size < MAX_SHOWN) idle.push(session);
      else session.connection.close();
    }
  }

  return {
    run: async (signal, work) => {
      throwIfAborted(signal);
      await enter(signal);
      const settled = attempt(signal, work);
      running.add(settled);
      const leave = (): void => {
        running.delete(settled);
        exit();
      };
      settled.then(leave, leave);
      return answeredInTime(settled, signal);
    },
    close: async () => {
      closed = true;
      for (const place of [...waiting]) place.fail(closedError());
      // What cannot be interrupted must not keep the process from ending.
      await Promise.race([Promise.allSettled(running), delay(GRACE_MS, undefined, { ref: false })]);
      for (const session of idle.splice(0)) session.connection.close();
    },
  };
}

const REFUSALS = new Set(["invalid", "denied", "not_found"]);

/** One interrupt can fall between two steps and be lost, so it is repeated until the work has ended. */
function interruptOn(signal: AbortSignal, connection: Connection): () => void {
  let timer: NodeJS.Timeout | undefined;
  const interrupt = (): void => connection.raw.interrupt();
  const start = (): void => {
    interrupt();
    timer = setInterval(interrupt, INTERRUPT_EVERY_MS);
  };
  if (signal.aborted) start();
  else signal.addEventListener("abort", start, { once: true });
  return () => {
    clearInterval(timer);
    signal.removeEventListener("abort", start);
  };
}

function answeredInTime<Result>(work: Promise<Result>, signal: AbortSignal): Promise<Result> {
  return new Promise((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined;
    const onAbort = (): void => {
      timer = setTimeout(() => reject(cancelled(signal)), GRACE_MS);
    };
    signal.addEventListener("abort", onAbort, { once: true });
    work
      .then(resolve, (error: unknown) => reject(signal.aborted ? cancelled(signal) : error))
      .finally(() => {
        clearTimeout(timer);
        signal.removeEventListener("abort", onAbort);
      });
  });
}

function busy(limits: PoolLimits): LakeError {
  return new LakeError(
    "unavailable",
    `${limits.maxRunning} statements are running and ${limits.maxWaiting} are waiting already.`,
    { hint: "Try again when they are done, or raise max_concurrent_queries." },
  );
}

function closedError(): LakeError {
  return new LakeError("closed", "The lakehouse is closed.", { hint: "Start it again." });
}
