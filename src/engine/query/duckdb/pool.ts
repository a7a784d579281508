import { setTimeout as delay } from "node:timers/promises";
import type { RemoteConnection } from "../../duckdb/remote.ts";
import { cancelled, GRACE_MS, throwIfAborted } from "../../kernel/abort.ts";
import { LakeError } from "../../kernel/errors.ts";
import { type FullQueue, type Occupancy, openLimiter } from "../../kernel/limiter.ts";

/** A worker process that runs one statement at a time, with an instance of its own. */
export interface Session {
  connection: RemoteConnection;
  /** What the connection sees: relation name → what it stands for. */
  shown: Map<string, string>;
  isAlive(): boolean;
  /** Whether earlier statements have left too much in memory for another one. */
  isFull(): boolean;
  /** Gives it a new connection, which sees nothing. */
  renew(): Promise<void>;
  /** `now`: whatever it does. */
  close(now: boolean): Promise<void>;
}

export interface PoolLimits {
  maxRunning: number;
  maxWaiting: number;
}

export interface Pool {
  /**
   * Runs `work` on a session of its own, in the order of the calls; `caller` never has all sessions. When a statement
   * does not stop within a second of `signal`, its process is ended.
   */
  run<Result>(
    signal: AbortSignal,
    caller: string | undefined,
    work: (session: Session) => Promise<Result>,
  ): Promise<Result>;
  occupancy(): Occupancy;
  /** Ends what runs, refuses whoever waits and whoever comes. */
  close(): Promise<void>;
}

/** Views a session may gather before a new one takes its place. */
const MAX_SHOWN = 500;
/** More sessions than one end when they have not been used for so long. */
const IDLE_MS = 60_000;

/** `isBroken` tells of errors after which DuckDB refuses every statement. */
export function openPool(
  limits: PoolLimits,
  open: () => Promise<Session>,
  isBroken: (error: unknown) => boolean,
): Pool {
  const idle: { session: Session; since: number }[] = [];
  const all = new Set<Session>();
  /** Whoever has a place and no session yet. */
  const wanting: { take(session: Session): void; fail(error: unknown): void }[] = [];
  const turns = openLimiter({ ...limits, busy: (full) => busy(limits, full) });
  let opening = 0;
  let closed = false;
  const shrink = setInterval(() => {
    const before = performance.now() - IDLE_MS;
    while (all.size > 1 && idle[0] && idle[0].since < before)
      void remove((idle.shift() as { session: Session }).session);
  }, IDLE_MS);
  shrink.unref();

  async function remove(session: Session, now = false): Promise<void> {
    all.delete(session);
    // What stays of its folder for temporary files is the system's to sweep.
    await session.close(now).catch(() => undefined);
  }

  function offer(session: Session): void {
    const next = wanting.shift();
    if (next) next.take(session);
    else idle.push({ session, since: performance.now() });
  }

  /** The first session that is free, which may be another than the one that is opened meanwhile. */
  function acquire(signal: AbortSignal): Promise<Session> {
    for (let free = idle.pop(); free; free = idle.pop()) {
      if (free.session.isAlive()) return Promise.resolve(free.session);
      void remove(free.session, true);
    }
    const free = new Promise<Session>((resolve, reject) => {
      const settled = (): void => signal.removeEventListener("abort", leave);
      const want = {
        take: (session: Session) => {
          settled();
          resolve(session);
        },
        fail: (error: unknown) => {
          settled();
          reject(error);
        },
      };
      const leave = (): void => {
        wanting.splice(wanting.indexOf(want), 1);
        reject(cancelled(signal));
      };
      wanting.push(want);
      signal.addEventListener("abort", leave, { once: true });
    });
    if (all.size + opening < limits.maxRunning) grow();
    return free;
  }

  function grow(): void {
    opening++;
    open()
      .finally(() => opening--)
      .then(
        (session) => {
          if (closed) return remove(session, true);
          all.add(session);
          offer(session);
          return undefined;
        },
        (error: unknown) => wanting.shift()?.fail(error),
      );
  }

  /** Never throws. */
  async function release(session: Session, sound: boolean): Promise<void> {
    if (closed) return;
    try {
      if (!session.isAlive() || session.isFull()) throw new Error("It is of no use any more.");
      if (!sound || session.shown.size >= MAX_SHOWN) await session.renew();
      offer(session);
    } catch {
      await remove(session, true);
      // Somebody may be waiting for just this one.
      if (wanting.length > 0 && all.size + opening < limits.maxRunning) grow();
    }
  }

  async function attempt<Result>(signal: AbortSignal, work: (session: Session) => Promise<Result>): Promise<Result> {
    const session = await acquire(signal);
    let sound = false;
    try {
      throwIfAborted(signal);
      const result = await work(session);
      sound = true;
      return result;
    } catch (error) {
      if (isBroken(error)) await remove(session, true);
      // A refusal leaves the connection as it was; after anything else a new one is cheaper than a doubt.
      sound = error instanceof LakeError && !signal.aborted && REFUSALS.has(error.kind);
      throw error;
    } finally {
      void release(session, sound);
    }
  }

  return {
    run: async (signal, caller, work) => {
      const leave = await turns.enter(signal, caller);
      try {
        return await attempt(signal, work);
      } finally {
        leave();
      }
    },
    occupancy: turns.occupancy,
    close: async () => {
      closed = true;
      clearInterval(shrink);
      turns.close(closedError());
      for (const { fail } of wanting.splice(0)) fail(closedError());
      const ending = [...all].map((session) => remove(session, !idle.some((free) => free.session === session)));
      await Promise.race([Promise.allSettled(ending), delay(GRACE_MS, undefined, { ref: false })]);
    },
  };
}

const REFUSALS = new Set(["invalid", "denied", "not_found"]);

function busy({ maxRunning, maxWaiting }: PoolLimits, full: FullQueue): LakeError {
  return new LakeError(
    "unavailable",
    full.own
      ? `This caller has ${full.waiting} statements waiting, the most of the queue of ${maxWaiting} that one caller may have.`
      : `${maxRunning} statements are running and ${full.waiting} are waiting already.`,
    {
      code: "queue_full",
      hint: `Try again when ${full.own ? "some" : "they"} are done, or raise ${full.own ? "max_queued_queries" : "max_concurrent_queries"}.`,
    },
  );
}

function closedError(): LakeError {
  return new LakeError("closed", "The lakehouse is closed.", { hint: "Start it again." });
}
