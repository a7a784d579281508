import { throwIfAborted } from "../../kernel/abort.ts";
import { LakeError } from "../../kernel/errors.ts";
import { type FullQueue, type Occupancy, openLimiter } from "../../kernel/limiter.ts";
import { next, setting } from "../../kernel/next-step.ts";
import { openPooledInstances, type PooledInstance } from "./pooled-instances.ts";
import { closedError } from "./query-errors.ts";

export interface PoolLimits {
  maxRunning: number;
  maxWaiting: number;
}

export interface Pool {
  /**
   * Runs `work` with an instance that nobody else uses meanwhile, in the order of the calls; one `caller` never has all
   * instances. When a statement does not stop within a second of `signal`, its process is ended.
   */
  run<Result>(
    signal: AbortSignal,
    caller: string | undefined,
    work: (instance: PooledInstance) => Promise<Result>,
  ): Promise<Result>;
  occupancy(): Occupancy;
  /** Ends the statements that run, and refuses callers that wait or come later. */
  close(): Promise<void>;
}

/** `isBroken` recognises errors after which DuckDB refuses every statement. */
export function openPool(
  limits: PoolLimits,
  open: () => Promise<PooledInstance>,
  isBroken: (error: unknown) => boolean,
): Pool {
  const instances = openPooledInstances(limits.maxRunning, open);
  const limiter = openLimiter({ ...limits, busy: (full) => busy(limits, full) });

  async function attempt<Result>(
    signal: AbortSignal,
    work: (instance: PooledInstance) => Promise<Result>,
  ): Promise<Result> {
    const instance = await instances.acquire(signal);
    let sound = false;
    try {
      throwIfAborted(signal);
      const result = await work(instance);
      sound = true;
      return result;
    } catch (error) {
      if (isBroken(error)) await instances.end(instance);
      // A refusal leaves the connection as it was; after any other error a new connection is the safe choice.
      sound = error instanceof LakeError && !signal.aborted && REFUSALS.has(error.kind);
      throw error;
    } finally {
      void instances.release(instance, sound);
    }
  }

  return {
    run: async (signal, caller, work) => {
      const leave = await limiter.enter(signal, caller);
      try {
        return await attempt(signal, work);
      } finally {
        leave();
      }
    },
    occupancy: limiter.occupancy,
    close: async () => {
      limiter.close(closedError());
      await instances.close();
    },
  };
}

const REFUSALS = new Set(["invalid", "denied", "not_found"]);

function busy({ maxRunning, maxWaiting }: PoolLimits, { waiting, own }: FullQueue): LakeError {
  const code = "queue_full";
  if (own) {
    return new LakeError(
      "unavailable",
      `This caller has ${waiting} statements waiting, the most of the queue of ${maxWaiting} that one caller may have.`,
      {
        code,
        hint: next`Try again when some are done, or raise ${setting("max_queued_queries")}.`,
        facts: { limit: waiting, setting: "max_queued_queries" },
      },
    );
  }
  return new LakeError("unavailable", `${maxRunning} statements are running and ${waiting} are waiting already.`, {
    code,
    hint: next`Try again when they are done, or raise ${setting("max_concurrent_queries")}.`,
    facts: { limit: maxRunning, setting: "max_concurrent_queries" },
  });
}
