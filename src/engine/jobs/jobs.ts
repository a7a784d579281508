import { setTimeout as delay } from "node:timers/promises";
import type { Head } from "../catalog/types.ts";
import { cancelled, throwIfAborted } from "../kernel/abort.ts";
import { LakeError } from "../kernel/errors.ts";
import { action, next } from "../kernel/next-step.ts";
import type { Scope } from "../kernel/scope.ts";
import type { Clock, Log } from "../settings.ts";
import type { Store } from "../store/store.ts";
import { openLive } from "./live.ts";
import { type Lookup, openLookup } from "./lookup.ts";
import { openOwner } from "./owner.ts";
import { newRecord } from "./record.ts";
import { openRecords } from "./records.ts";
import { KEPT_MS, KEPT_RECORDS, openRecovery } from "./recovery.ts";
import type { JobKind, JobOptions, JobRecord, JobWork, Performed } from "./types.ts";
import { openWork, type Task, type Workers } from "./work.ts";

export interface JobParts {
  store: Store;
  workers: Workers;
  /** The newest version of a dataset, a tombstone too. */
  newest: (name: string) => Promise<Head | undefined>;
  clock: Clock;
  log: Log;
  /** Work that takes longer becomes a job. Default 20 s. */
  afterMs?: number | undefined;
  /** How often the wishes of other processes are looked at. Default 2 s. */
  tickMs?: number | undefined;
}

export interface Jobs extends Lookup {
  /**
   * Does the work while the caller waits. It becomes a job, which the caller's signal no longer stops, at once with
   * `background`, else when it takes long. Throws what the work throws.
   */
  perform<Kind extends JobKind>(
    kind: Kind,
    request: JobWork[Kind]["request"],
    options?: JobOptions,
  ): Promise<Performed<Kind>>;
  /** Jobs that run here. */
  running(): number;
  /** Index builds that wait for their turn. */
  waiting(): number;
  /** Looks for jobs that servers have left behind, which also happens by itself. */
  recovered(): Promise<void>;
  /** Stops what runs, and records it as interrupted. */
  close(): Promise<void>;
}

const AFTER_MS = 20_000;
const TICK_MS = 2_000;
const MAX_JOBS = 64;
const PRUNE_EVERY = 100;

/** Jobs that servers have left behind are taken care of right after opening. */
export function openJobs(scope: Scope, parts: JobParts, onState: (record: JobRecord) => void): Jobs {
  const { store, clock, log, afterMs = AFTER_MS, tickMs = TICK_MS, newest } = parts;
  const closing = new AbortController();
  const owner = openOwner(scope);
  const records = openRecords(store, log);
  const work = openWork(parts.workers);
  const live = openLive({ records, clock, log, onState, tickMs });
  const recovery = openRecovery({
    records,
    owner,
    clock,
    log,
    newest,
    closing: closing.signal,
    // Only builds are resumed, and their requests are kept whole.
    run: (record) => live.adopt(record, work.begin(record.kind, record.request as never, {})),
  });
  const recovering = recovery.sweep();
  let started = 0;
  let pruning = Promise.resolve();
  let closed: Promise<void> | undefined;

  const close = (): Promise<void> => {
    closed ??= (async () => {
      const reason = new LakeError("closed", "The lakehouse is closed.", { hint: "Start it again." });
      closing.abort(reason);
      work.close(reason);
      await recovering;
      await live.close();
      await pruning;
    })();
    return closed;
  };
  scope.defer(close);

  async function recordOf(kind: JobKind, request: unknown): Promise<JobRecord> {
    const now = clock.now();
    const record = newRecord(kind, request, owner, now);
    await records.save(record);
    if (++started % PRUNE_EVERY === 0) {
      pruning = records.prune(KEPT_RECORDS, now.getTime() - KEPT_MS).catch(() => undefined);
    }
    return record;
  }

  async function perform<Kind extends JobKind>(
    kind: Kind,
    request: JobWork[Kind]["request"],
    { background = false, signal, ...options }: JobOptions = {},
  ): Promise<Performed<Kind>> {
    throwIfAborted(closing.signal);
    throwIfAborted(signal);
    if (background) {
      if (live.count() >= MAX_JOBS) throw tooMany();
      const record = await recordOf(kind, request);
      live.adopt(record, work.begin(kind, request, options));
      return { jobId: record.id };
    }
    const task = work.begin(kind, request, options);
    const release = follow(signal, task);
    try {
      if ((await within(task.done, afterMs)) || live.count() >= MAX_JOBS) {
        return { result: await task.done };
      }
      // From here on the caller may leave: the work is its job.
      release();
      const record = await recordOf(kind, request).catch((error: unknown) => {
        log("warn", "a long call could not become a job", { error: String(error) });
      });
      if (record) {
        live.adopt(record, task);
        return { jobId: record.id };
      }
      const follows = follow(signal, task);
      return { result: await task.done.finally(follows) };
    } finally {
      release();
    }
  }

  return {
    perform,
    ...openLookup({ records, live, recovery, clock, log, onState, closing: closing.signal }),
    running: () => live.count(),
    waiting: work.waiting,
    recovered: () => recovering,
    close,
  };
}

/** The caller's signal stops the task, until the returned function is called. */
function follow(signal: AbortSignal | undefined, task: Task): () => void {
  if (!signal) return () => undefined;
  const stop = (): void => task.stop(cancelled(signal));
  if (signal.aborted) stop();
  signal.addEventListener("abort", stop, { once: true });
  return () => signal.removeEventListener("abort", stop);
}

/** Whether `work` ends, in whatever way, within `ms`. */
async function within(work: Promise<unknown>, ms: number): Promise<boolean> {
  const over = new AbortController();
  const settled = work.then(
    () => true,
    () => true,
  );
  const late = delay(ms, false, { signal: over.signal }).catch(() => false);
  const inTime = await Promise.race([settled, late]);
  over.abort();
  return inTime;
}

function tooMany(): LakeError {
  return new LakeError("unavailable", `${MAX_JOBS} jobs are running or waiting already.`, {
    hint: next`Try again when some are done, or stop one with ${action("cancelJob")}.`,
  });
}
