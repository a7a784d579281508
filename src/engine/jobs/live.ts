import { setTimeout as delay } from "node:timers/promises";
import { LakeError } from "../kernel/errors.ts";
import type { Clock, Log } from "../settings.ts";
import { cancellation, ended, interruption, jobError } from "./ending.ts";
import type { Records } from "./records.ts";
import type { JobRecord } from "./types.ts";
import type { Task } from "./work.ts";

export interface LiveParts {
  records: Records;
  clock: Clock;
  log: Log;
  /** A job began or ended. */
  onState: (record: JobRecord) => void;
  tickMs: number;
}

/** The jobs that this engine runs. */
export interface Live {
  /** Sees `task` through, whose record is saved already. */
  adopt(record: JobRecord, task: Task): void;
  /** As it is at this moment; undefined when it does not run here. */
  get(id: string): JobRecord | undefined;
  /** Resolves when it has ended; at once when it does not run here. */
  ended(id: string): Promise<void>;
  cancel(id: string): void;
  count(): number;
  /** Waits for what was stopped, and records as interrupted what does not end. */
  close(): Promise<void>;
}

interface Job {
  record: JobRecord;
  task: Task;
  ended: Promise<void>;
  cancelled: boolean;
  /** Its last record is being written, or waits for that to be possible. */
  ending: boolean;
  /** Another engine has it now, or its end is recorded by somebody else: nothing more is written. */
  lost: boolean;
  savedAt: number;
  saving: Promise<unknown>;
}

/** How often progress is written at most, and that it is still running at least. */
const PROGRESS_MS = 3_000;
const HEARTBEAT_MS = 30_000;
const CLOSE_GRACE_MS = 1_500;

export function openLive(parts: LiveParts): Live {
  const { records, clock, log, onState, tickMs } = parts;
  const jobs = new Map<string, Job>();
  let closing = false;
  const now = (): string => clock.now().toISOString();
  const snapshot = ({ record, task }: Job): JobRecord =>
    record.state === "running" ? { ...record, progress: task.progress() } : record;

  async function end(job: Job, outcome: Parameters<typeof ended>[2]): Promise<void> {
    job.ending = true;
    await job.saving;
    if (!job.lost) {
      const last = ended({ ...job.record, progress: job.task.progress() } as JobRecord, now(), outcome);
      const saved = await save(last, parts);
      job.record = last;
      // One that could not be written is known as long as this process lives, and written when that is possible.
      if (!saved) return onState(last);
    }
    jobs.delete(job.record.id);
    if (!job.lost) onState(job.record);
  }

  async function refresh(job: Job): Promise<void> {
    const { id, owner } = job.record;
    if (job.ending) {
      if (job.record.state !== "running" && (await save(job.record, parts))) jobs.delete(id);
      return;
    }
    if (await records.isAskedToCancel(id)) cancel(job);
    const current = job.task.progress();
    if (!isDue(job, current)) return;
    const stored = await records.load(id).catch(() => undefined);
    if (stored?.state === "running" && stored.owner.process !== owner.process) {
      job.lost = true;
      job.task.stop(new LakeError("unavailable", "Another server has taken the job over."));
      return;
    }
    if (job.ending) return;
    job.record = { ...job.record, progress: current, updated: now() } as JobRecord;
    job.savedAt = performance.now();
    await save(job.record, parts);
  }

  function cancel(job: Job): void {
    if (job.cancelled || job.ending) return;
    job.cancelled = true;
    job.task.stop(cancellation());
  }

  const ticking = setInterval(() => {
    for (const job of jobs.values()) {
      job.saving = job.saving
        .then(() => refresh(job))
        .catch((error: unknown) => log("warn", "a job could not be looked after", { error: String(error) }));
    }
  }, tickMs);
  ticking.unref();

  return {
    adopt: (record, task) => {
      const job = begun(record, task);
      jobs.set(record.id, job);
      onState(record);
      job.ended = task.done.then(
        (result) => end(job, { state: "done", result, progress: { fraction: 1, message: "done" } }),
        (thrown: unknown) => end(job, outcomeOf(job, thrown, { closing, log })),
      );
    },
    get: (id) => {
      const job = jobs.get(id);
      return job && snapshot(job);
    },
    ended: async (id) => jobs.get(id)?.ended,
    cancel: (id) => {
      const job = jobs.get(id);
      if (job) cancel(job);
    },
    count: () => jobs.size,
    close: async () => {
      closing = true;
      clearInterval(ticking);
      const all = [...jobs.values()];
      const gone = delay(CLOSE_GRACE_MS, undefined, { ref: false });
      await Promise.race([Promise.all(all.map((job) => job.ended)), gone]);
      await Promise.all(
        all.map(async (job) => {
          if (job.ending) return job.ended;
          job.lost = true;
          await job.saving;
          job.record = ended(snapshot(job), now(), outcomeOf(job, undefined, { closing, log }));
          await save(job.record, parts);
        }),
      );
    },
  };
}

function begun(record: JobRecord, task: Task): Job {
  task.detach();
  return {
    record,
    task,
    ended: Promise.resolve(),
    cancelled: false,
    ending: false,
    lost: false,
    savedAt: performance.now(),
    saving: Promise.resolve(),
  };
}

/** How a job has ended that gave no result. */
function outcomeOf(
  job: Job,
  thrown: unknown,
  { closing, log }: { closing: boolean; log: Log },
): Parameters<typeof ended>[2] {
  const { kind, resumed } = job.record;
  // First: what somebody cancelled does not go on with the next server.
  if (job.cancelled) return { state: "cancelled", error: jobError(kind, thrown ?? cancellation(), log) };
  if (closing || (thrown instanceof LakeError && thrown.kind === "closed")) {
    return { state: "interrupted", error: interruption(kind, "The server was closed before the job was done.") };
  }
  const error = jobError(kind, thrown, log);
  // Started again with the machine, it may be there before the embedding service is.
  return { state: resumed > 0 && error.kind === "unavailable" ? "interrupted" : "failed", error };
}

/** Whether the record could be written. */
async function save(record: JobRecord, { records, log }: Pick<LiveParts, "records" | "log">): Promise<boolean> {
  try {
    await records.save(record);
    return true;
  } catch (error) {
    log("warn", "the record of a job could not be written", { job: record.id, error: String(error) });
    return false;
  }
}

/** Whether the record has to be written: progress was made, or nothing was heard of the job for long. */
function isDue({ record, savedAt }: Job, current: JobRecord["progress"]): boolean {
  const { fraction, message } = record.progress;
  const moved = current.fraction !== fraction || current.message !== message;
  return performance.now() - savedAt >= (moved ? PROGRESS_MS : HEARTBEAT_MS);
}
