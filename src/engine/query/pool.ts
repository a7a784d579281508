import { setTimeout as delay } from "node:timers/promises";
import type { Connection } from "../duckdb/duckdb.ts";
import { openStatements, type Statements } from "../duckdb/statements.ts";
import { LakeError, throwIfAborted } from "../errors.ts";
import { answeredInTime, GRACE_MS, type Occupancy, openTurns } from "../turns.ts";

export interface Session {
  connection: Connection;
  /** What the connection sees: relation name → what it stands for. */
  shown: Map<string, string>;
  parse?: (sql: string) => Promise<string>;
  statements: Statements;
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
  occupancy(): Occupancy;
  /** Refuses whoever waits and whoever comes, and waits a second for what runs. */
  close(): Promise<void>;
}

const INTERRUPT_EVERY_MS = 25;
/** Views a session may gather before a new one takes its place. */
const MAX_SHOWN = 500;

export function openPool(limits: PoolLimits, connect: () => Promise<Connection>): Pool {
  const idle: Session[] = [];
  const turns = openTurns({ ...limits, busy: () => busy(limits) });
  const running = new Set<Promise<unknown>>();
  let closed = false;

  async function attempt<Result>(signal: AbortSignal, work: (session: Session) => Promise<Result>): Promise<Result> {
    const session: Session = idle.pop() ?? {
      connection: await connect(),
      shown: new Map(),
      statements: openStatements(),
    };
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
      else end(session);
    }
  }

  return {
    run: async (signal, work) => {
      const exit = await turns.enter(signal);
      const settled = attempt(signal, work);
      running.add(settled);
      const leave = (): void => {
        running.delete(settled);
        exit();
      };
      settled.then(leave, leave);
      return answeredInTime(settled, signal);
    },
    occupancy: turns.occupancy,
    close: async () => {
      closed = true;
      turns.close(closedError());
      // What cannot be interrupted must not keep the process from ending.
      await Promise.race([Promise.allSettled(running), delay(GRACE_MS, undefined, { ref: false })]);
      for (const session of idle.splice(0)) end(session);
    },
  };
}

function end({ connection, statements }: Session): void {
  statements.close();
  connection.close();
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
