import { setTimeout as delay } from "node:timers/promises";
import { LakeError } from "../kernel/errors.ts";
import type { Clock, Log } from "../settings.ts";
import { cancellation, ended, interruption, jobError, type Outcome } from "./ending.ts";
import type { Records } from "./records.ts";
import type { JobRecord } from "./types.ts";
import type { Task } from "./work.ts";

export interface LiveParts {
  records: Records;
  clock: Clock;
  log: Log;
  /** Called when a job begins or ends. */
  onState: (record: JobRecord) => void;
  /** How often progress is saved and requests to cancel are looked for. */
  tickMs: number;
}

/** The jobs that this engine runs. */
export interface Live {
  /** Follows `task` to its end. Its record has to be saved already. */
  adopt(record: JobRecord, task: Task): void;
  /** The record as of now; undefined when the job does not run here. */
  get(id: string): JobRecord | undefined;
  /** Resolves when the job has ended; at once when it does not run here. */
  ended(id: string): Promise<void>;
  cancel(id: string): void;
  count(): number;
  /** Waits for jobs that were stopped, and records as interrupted those that do not end in time. */
  close(): Promise<void>;
}

interface Job {
  record: JobRecord;
  task: Task;
  ended: Promise<void>;
  cancelled: boolean;
  /** Its last record is being written, or could not be written yet. */
  ending: boolean;
  /** Another engine runs it now, or records its end: this one writes nothing more. */
  lost: boolean;
  savedAt: number;
  /** Writes of its record, one after the other. */
  saving: Promise<unknown>;
}

interface State extends LiveParts {
  jobs: Map<string, Job>;
  closing: boolean;
}

/** How often progress is saved at most, and a job without any at least. */
const PROGRESS_MS = 3_000;
const HEARTBEAT_MS = 30_000;
const CLOSE_GRACE_MS = 1_500;

export function openLive(parts: LiveParts): Live {
  const state: State = { ...parts, jobs: new Map(), closing: false };
  const { jobs, log } = state;
  const ticking = setInterval(() => {
    for (const job of jobs.values()) {
      job.saving = job.saving
        .then(() => refresh(state, job))
        .catch((error: unknown) => log("warn", "a job could not be looked after", { error: String(error) }));
    }
  }, parts.tickMs);
  ticking.unref();
  return {
    adopt: (record, task) => adopt(state, record, task),
    get: (id) => {
      const job = jobs.get(id);
      return job && current(job);
    },
    ended: async (id) => jobs.get(id)?.ended,
    cancel: (id) => {
      const job = jobs.get(id);
      if (job) cancel(job);
    },
    count: () => jobs.size,
    close: async () => {
      state.closing = true;
      clearInterval(ticking);
      const all = [...jobs.values()];
      const grace = delay(CLOSE_GRACE_MS, undefined, { ref: false });
      await Promise.race([Promise.all(all.map((job) => job.ended)), grace]);
      await Promise.all(all.map((job) => abandon(state, job)));
    },
  };
}

function adopt(state: State, record: JobRecord, task: Task): void {
  task.detach();
  const job: Job = {
    record,
    task,
    ended: Promise.resolve(),
    cancelled: false,
    ending: false,
    lost: false,
    savedAt: performance.now(),
    saving: Promise.resolve(),
  };
  state.jobs.set(record.id, job);
  state.onState(record);
  job.ended = task.done.then(
    (result) => end(state, job, { state: "done", result, progress: { fraction: 1, message: "done" } }),
    (thrown: unknown) => end(state, job, failure(state, job, thrown)),
  );
}

/** Saves progress, or that the job is still running, and looks whether somebody else wants it cancelled or runs it. */
async function refresh(state: State, job: Job): Promise<void> {
  const { records, clock, jobs } = state;
  const { id, owner } = job.record;
  if (job.ending) {
    if (job.record.state !== "running" && (await save(state, job.record))) jobs.delete(id);
    return;
  }
  if (await records.isAskedToCancel(id)) cancel(job);
  const progress = job.task.progress();
  const { fraction, message } = job.record.progress;
  const moved = progress.fraction !== fraction || progress.message !== message;
  if (performance.now() - job.savedAt < (moved ? PROGRESS_MS : HEARTBEAT_MS)) return;
  const stored = await records.load(id).catch(() => undefined);
  if (stored?.state === "running" && stored.owner.process !== owner.process) {
    job.lost = true;
    job.task.stop(new LakeError("unavailable", "Another server has taken the job over."));
    return;
  }
  if (job.ending) return;
  job.record = { ...job.record, progress, updated: clock.now().toISOString() } as JobRecord;
  job.savedAt = performance.now();
  await save(state, job.record);
}

async function end(state: State, job: Job, outcome: Outcome): Promise<void> {
  const { clock, jobs, onState } = state;
  job.ending = true;
  await job.saving;
  if (!job.lost) {
    const last = ended({ ...job.record, progress: job.task.progress() } as JobRecord, clock, outcome);
    const saved = await save(state, last);
    job.record = last;
    // This process remembers a record that it could not write, and tries again at every tick.
    if (!saved) return onState(last);
  }
  jobs.delete(job.record.id);
  if (!job.lost) onState(job.record);
}

/** Records a job that has not ended as interrupted, when the engine closes. */
async function abandon(state: State, job: Job): Promise<void> {
  if (job.ending) return job.ended;
  job.lost = true;
  await job.saving;
  job.record = ended(current(job), state.clock, failure(state, job, undefined));
  await save(state, job.record);
}

function failure({ closing, log }: State, { cancelled, record }: Job, thrown: unknown): Outcome {
  const { kind, resumed } = record;
  // First: a cancelled job must not be resumed by the next server.
  if (cancelled) return { state: "cancelled", error: jobError(kind, thrown ?? cancellation(), log) };
  if (closing || (thrown instanceof LakeError && thrown.kind === "closed")) {
    return { state: "interrupted", error: interruption(kind, "The server was closed before the job was done.") };
  }
  const error = jobError(kind, thrown, log);
  // A server that is started with the machine may be there before the embedding service is.
  return { state: resumed > 0 && error.kind === "unavailable" ? "interrupted" : "failed", error };
}

function cancel(job: Job): void {
  if (job.cancelled || job.ending) return;
  job.cancelled = true;
  job.task.stop(cancellation());
}

function current({ record, task }: Job): JobRecord {
  return record.state === "running" ? { ...record, progress: task.progress() } : record;
}

async function save({ records, log }: State, record: JobRecord): Promise<boolean> {
  try {
    await records.save(record);
    return true;
  } catch (error) {
    log("warn", "the record of a job could not be written", { job: record.id, error: String(error) });
    return false;
  }
}
