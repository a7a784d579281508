import { setTimeout as delay } from "node:timers/promises";
import type { IngestRequest } from "../ingest/request.ts";
import { cancelled, throwIfAborted } from "../kernel/abort.ts";
import { LakeError } from "../kernel/errors.ts";
import { action, next } from "../kernel/next-step.ts";
import type { Clock, Log } from "../settings.ts";
import type { Live } from "./live.ts";
import { newId, recordedIngest } from "./record.ts";
import type { Records } from "./records.ts";
import { KEPT_MS, KEPT_RECORDS } from "./recovery.ts";
import type { JobKind, JobOptions, JobOwner, JobRecord, JobWork, Performed } from "./types.ts";
import { type Task, WAITING, type Work } from "./work.ts";

export interface PerformerParts {
  records: Records;
  work: Work;
  live: Live;
  owner: JobOwner;
  clock: Clock;
  log: Log;
  afterMs: number;
  closing: AbortSignal;
}

/** Begins work, and makes jobs of it. */
export interface Performer {
  /**
   * Does the work while the caller waits. It becomes a job, which the caller's signal no longer stops, at once with
   * `background`, else when it takes long. Throws what the work throws.
   */
  perform<Kind extends JobKind>(
    kind: Kind,
    request: JobWork[Kind]["request"],
    options?: JobOptions,
  ): Promise<Performed<Kind>>;
  /** Resolves when no old records are being removed. */
  settled(): Promise<void>;
}

/** Jobs of one engine. More work is done while its caller waits. */
const MAX_JOBS = 64;
/** Old records are removed after so many new ones. */
const PRUNE_EVERY = 100;

export function openPerformer(parts: PerformerParts): Performer {
  const { records, work, live, clock, log, afterMs, closing } = parts;
  let saved = 0;
  let pruning = Promise.resolve();

  async function createRecord(kind: JobKind, request: unknown): Promise<JobRecord> {
    const now = clock.now();
    const record = newRecord(kind, request, parts.owner, now);
    await records.save(record);
    saved++;
    if (saved % PRUNE_EVERY === 0) {
      pruning = records.prune(KEPT_RECORDS, now.getTime() - KEPT_MS).catch(() => undefined);
    }
    return record;
  }

  return {
    perform: async (kind, request, { background = false, signal, ...options } = {}) => {
      throwIfAborted(closing);
      throwIfAborted(signal);
      if (background) {
        if (live.count() >= MAX_JOBS) throw tooMany();
        const record = await createRecord(kind, request);
        live.adopt(record, work.begin(kind, request, options));
        return { jobId: record.id };
      }
      const task = work.begin(kind, request, options);
      const release = stopWith(signal, task);
      try {
        if ((await endsWithin(task.done, afterMs)) || live.count() >= MAX_JOBS) return { result: await task.done };
        // From here on the caller may leave without stopping the work.
        release();
        const record = await createRecord(kind, request).catch((error: unknown) => {
          log("warn", "a long call could not become a job", { error: String(error) });
        });
        if (record) {
          live.adopt(record, task);
          return { jobId: record.id };
        }
        return { result: await task.done.finally(stopWith(signal, task)) };
      } finally {
        release();
      }
    },
    settled: () => pruning,
  };
}

function newRecord(kind: JobKind, request: unknown, owner: JobOwner, now: Date): JobRecord {
  return {
    format: 1,
    id: newId(now.getTime()),
    kind,
    request: kind === "ingest" ? recordedIngest(request as IngestRequest) : request,
    owner,
    state: "running",
    progress: WAITING,
    resumed: 0,
    created: now.toISOString(),
    updated: now.toISOString(),
    finished: null,
  } as JobRecord;
}

/** The caller's signal stops the task, until the returned function is called. */
function stopWith(signal: AbortSignal | undefined, task: Task): () => void {
  if (!signal) return () => undefined;
  const stop = (): void => task.stop(cancelled(signal));
  if (signal.aborted) stop();
  signal.addEventListener("abort", stop, { once: true });
  return () => signal.removeEventListener("abort", stop);
}

/** Whether `work` ends within `ms`, with a result or an error. */
async function endsWithin(work: Promise<unknown>, ms: number): Promise<boolean> {
  const over = new AbortController();
  const ended = work.then(
    () => true,
    () => true,
  );
  const late = delay(ms, false, { signal: over.signal }).catch(() => false);
  const inTime = await Promise.race([ended, late]);
  over.abort();
  return inTime;
}

function tooMany(): LakeError {
  return new LakeError("unavailable", `${MAX_JOBS} jobs are running or waiting already.`, {
    code: "queue_full",
    facts: { limit: MAX_JOBS },
    hint: next`Try again when some are done, or stop one with ${action("cancelJob")}.`,
  });
}
