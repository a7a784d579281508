import { assertParamsSize } from "../../duckdb/params-size.ts";
import { throwIfAborted } from "../../kernel/abort.ts";
import type { Occupancy } from "../../kernel/limiter.ts";
import { openScope, type Scope } from "../../kernel/scope.ts";
import type { QueryParts } from "../parts.ts";
import type { QueryOptions } from "../types.ts";
import { openShared, type Shared } from "./instance.ts";
import { closedError, explained, timedOut, tooPatient } from "./query-errors.ts";
import { runWithInputs, type StatementInputs } from "./run-with-inputs.ts";
import type { QuerySession } from "./session.ts";

type Limits = Pick<QueryOptions, "signal" | "timeoutMs" | "params">;

export interface StatementRunner {
  /** Runs `work` with the deadline and the caller's cancellation as one signal, and words what DuckDB throws. */
  inTime<Result>(limits: Limits, work: (shared: Shared, signal: AbortSignal) => Promise<Result>): Promise<Result>;
  /** The same on an instance of the pool; see `runWithInputs`. */
  onSession<Result>(
    statement: StatementInputs & Limits,
    work: (session: QuerySession) => Promise<Result>,
  ): Promise<Result>;
  occupancy(): Occupancy;
  /** Opens the pool now rather than with the first statement. */
  warm(): Promise<void>;
}

/** Closing the scope ends all statements. */
export function openStatementRunner(scope: Scope, parts: QueryParts): StatementRunner {
  const { settings, store } = parts;
  const running = new Set<AbortController>();
  const own = openScope();
  let opening: Promise<Shared> | undefined;
  let opened: Shared | undefined;
  let closed = false;
  scope.defer(async () => {
    closed = true;
    for (const statement of running) statement.abort(closedError());
    await own.close();
  });

  const open = async (): Promise<Shared> => {
    if (closed) throw closedError();
    opening ??= openShared(own, parts);
    const attempt = opening;
    try {
      opened = await attempt;
      return opened;
    } catch (error) {
      // The next statement tries again.
      if (opening === attempt) opening = undefined;
      throw error;
    }
  };

  async function inTime<Result>(
    { signal: cancellation, timeoutMs, params }: Limits,
    work: (shared: Shared, signal: AbortSignal) => Promise<Result>,
  ): Promise<Result> {
    throwIfAborted(cancellation);
    const { maxQueryTimeoutMs = Number.POSITIVE_INFINITY, queryTimeoutMs } = settings;
    if (timeoutMs !== undefined && timeoutMs > maxQueryTimeoutMs) throw tooPatient(timeoutMs, maxQueryTimeoutMs);
    if (params !== undefined) assertParamsSize(params);
    const stop = new AbortController();
    // Not a listener that aborts the next: however signals are nested, these end together and without recursion.
    const signal = cancellation ? AbortSignal.any([cancellation, stop.signal]) : stop.signal;
    running.add(stop);
    let timer: NodeJS.Timeout | undefined;
    try {
      const shared = await open();
      const allowedMs = timeoutMs ?? queryTimeoutMs;
      timer = setTimeout(() => stop.abort(timedOut(allowedMs)), allowedMs);
      return await work(shared, signal);
    } catch (error) {
      throw explained(error, store.localRoot);
    } finally {
      clearTimeout(timer);
      running.delete(stop);
    }
  }

  return {
    inTime,
    onSession: (statement, work) =>
      inTime(statement, (shared, signal) => runWithInputs(parts, shared, signal, statement, work)),
    occupancy: () => opened?.pool.occupancy() ?? { running: 0, waiting: 0 },
    warm: async () => {
      await open();
    },
  };
}
