import { setTimeout as delay } from "node:timers/promises";
import type { Head } from "../catalog/types.ts";
import type { IngestRequest } from "../ingest/request.ts";
import { throwIfAborted } from "../kernel/abort.ts";
import { LakeError } from "../kernel/errors.ts";
import { MAX_WAIT_MS } from "../kernel/limits.ts";
import type { Scope } from "../kernel/scope.ts";
import type { Clock, Log } from "../settings.ts";
import type { Store } from "../store/store.ts";
import { cancellation, ended, jobError } from "./ending.ts";
import { openLive } from "./live.ts";
import { isGone, openOwner } from "./owner.ts";
import { ID, isEnded, keptIngest, newId } from "./record.ts";
import { openRecords } from "./records.ts";
import { KEPT_MS, KEPT_RECORDS, openRecovery } from "./recovery.ts";
import type { JobKind, JobOptions, JobRecord, JobWork, Performed, StatusOptions } from "./types.ts";
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

export interface Jobs {
  /**
   * Does the work while the caller waits. It becomes a job, which the caller's signal no longer stops, at once with
   * `background`, else when it takes long. Throws what the work throws.
   */
  perform<Kind extends JobKind>(
    kind: Kind,
    request: JobWork[Kind]["request"],
    options?: JobOptions,
  ): Promise<Performed<Kind>>;
  /** Throws `not_found` with the ids of recent jobs, `corrupt` for a record that cannot be read. */
  status(id: string, options?: StatusOptions): Promise<JobRecord>;
  /** Stops a job, and waits a little for that. One that has ended stays as it is. Throws as `status`. */
  cancel(id: string): Promise<JobRecord>;
  /** The newest `limit`, newest first. */
  list(limit: number): Promise<JobRecord[]>;
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
const POLL_MS = 500;
const CANCEL_MS = 5_000;
const MAX_JOBS = 64;
const PRUNE_EVERY = 100;
const RECENT = 5;

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
    const record = {
      format: 1,
      id: newId(now.getTime()),
      kind,
      request: kind === "ingest" ? keptIngest(request as IngestRequest) : request,
      owner,
      state: "running",
      progress: { fraction: 0, message: "waiting for its turn" },
      resumed: 0,
      created: now.toISOString(),
      updated: now.toISOString(),
      finished: null,
    } as JobRecord;
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

  async function find(id: string): Promise<JobRecord> {
    const known = ID.test(id) ? (live.get(id) ?? (await records.load(id))) : undefined;
    if (known) return known;
    const recent = (await records.newest(RECENT)).map((each) => `${each.id} (${each.kind}, ${each.state})`);
    throw new LakeError("not_found", `There is no job ${JSON.stringify(id.slice(0, 100))}.`, {
      hint: recent.length > 0 ? `Recent jobs: ${recent.join(", ")}.` : "No job was started on this lake recently.",
    });
  }

  async function settled(record: JobRecord): Promise<JobRecord> {
    return isEnded(record) || live.get(record.id) ? record : recovery.settle(record);
  }

  async function status(id: string, { waitMs = 0, signal, onProgress }: StatusOptions = {}): Promise<JobRecord> {
    const until = performance.now() + Math.min(waitMs, MAX_WAIT_MS);
    let record = await settled(await find(id));
    for (;;) {
      const left = until - performance.now();
      if (isEnded(record) || left <= 0) return record;
      onProgress?.(record.progress.fraction, record.progress.message);
      await pause(record, Math.min(left, POLL_MS), signal);
      record = await settled(await find(id));
    }
  }

  /** Until the job ends here, or `ms` are over. */
  async function pause({ id }: JobRecord, ms: number, signal: AbortSignal | undefined): Promise<void> {
    const here = live.get(id) !== undefined;
    const over = new AbortController();
    const signals = [over.signal, ...(signal ? [signal] : []), ...(here ? [] : [closing.signal])];
    const waiting = delay(ms, undefined, { signal: AbortSignal.any(signals) }).catch(() => undefined);
    await (here ? Promise.race([live.ended(id), waiting]) : waiting);
    over.abort();
    throwIfAborted(signal);
    // One that runs here is told as interrupted.
    if (!here) throwIfAborted(closing.signal);
  }

  async function cancel(id: string): Promise<JobRecord> {
    const record = await find(id);
    if (live.get(id) && !isEnded(record)) {
      live.cancel(id);
      await Promise.race([live.ended(id), delay(CANCEL_MS, undefined, { ref: false })]);
      return find(id);
    }
    // An interrupted build would go on by itself.
    if (isEnded(record) && (record.state !== "interrupted" || record.kind === "ingest")) return record;
    // First the mark: whoever takes the job up at this moment finds it.
    await records.askToCancel(id);
    if (isEnded(record) || isGone(record.owner, record.updated, clock.now().getTime())) {
      const error = jobError(record.kind, cancellation(), log);
      const last = ended(record, clock.now().toISOString(), { state: "cancelled", error });
      await records.save(last);
      onState(last);
      return last;
    }
    return status(id, { waitMs: CANCEL_MS });
  }

  return {
    perform,
    status,
    cancel,
    list: async (limit) => {
      const found = await records.newest(limit);
      return Promise.all(found.map((record) => settled(live.get(record.id) ?? record)));
    },
    running: () => live.count(),
    waiting: work.waiting,
    recovered: () => recovering,
    close,
  };
}

/** The caller's signal stops the task, until the returned function is called. */
function follow(signal: AbortSignal | undefined, task: Task): () => void {
  if (!signal) return () => undefined;
  const stop = (): void => task.stop(leftBy(signal));
  if (signal.aborted) stop();
  signal.addEventListener("abort", stop, { once: true });
  return () => signal.removeEventListener("abort", stop);
}

function leftBy(signal: AbortSignal): LakeError {
  return signal.reason instanceof LakeError
    ? signal.reason
    : new LakeError("unavailable", "The call was cancelled.", { hint: "Nothing was changed. Call again to retry." });
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
    hint: "Try again when some are done, or stop one with job-cancel.",
  });
}
