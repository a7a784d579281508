import type { Head } from "../catalog/types.ts";
import { action, next } from "../kernel/next-step.ts";
import type { Clock, Log } from "../settings.ts";
import { cancellation, ended, interruption, jobError, type Outcome, recordedHint } from "./ending.ts";
import { isGone } from "./owner.ts";
import type { Records } from "./records.ts";
import type { JobError, JobOwner, JobRecord } from "./types.ts";

export interface RecoveryParts {
  records: Records;
  owner: JobOwner;
  clock: Clock;
  log: Log;
  /** The newest version of a dataset, a tombstone too. */
  newest: (name: string) => Promise<Head | undefined>;
  /** Runs a job whose record, saved already, says that it is this engine's. */
  run: (record: JobRecord) => void;
  closing: AbortSignal;
}

export interface Recovery {
  /**
   * `record` as it is once a job that nobody runs any more was taken care of: an index build goes on here, unless
   * another engine has taken it; an ingest was interrupted.
   */
  settle(record: JobRecord): Promise<JobRecord>;
  /** Does so for all, and removes old records. Never throws. */
  sweep(): Promise<void>;
}

/** Ended jobs that are remembered, and for how long. */
export const KEPT_RECORDS = 1_000;
export const KEPT_MS = 7 * 86_400_000;
/** A build that takes the server down with it must not do so for ever. */
const MAX_RESUMES = 10;
const ENDED = "The server ended before the job was done.";

export function openRecovery(parts: RecoveryParts): Recovery {
  const { records, owner, clock, log, newest, closing } = parts;
  const now = (): string => clock.now().toISOString();
  const nobodyRuns = (who: JobOwner, heard: string): boolean => isGone(who, heard, clock.now().getTime());

  async function finish(record: JobRecord, outcome: Outcome): Promise<JobRecord> {
    const last = ended(record, clock, outcome);
    await records.save(last);
    log("info", "a job was left behind by a server that ended", { job: record.id, state: last.state });
    return last;
  }

  const interrupt = (record: JobRecord, why: string): Promise<JobRecord> =>
    finish(record, { state: "interrupted", error: interruption(record.kind, why) });

  const cancel = (record: JobRecord, why: unknown = cancellation()): Promise<JobRecord> =>
    finish(record, { state: "cancelled", error: jobError(record.kind, why, log) });

  const settling = new Map<string, Promise<JobRecord>>();

  function settle(record: JobRecord): Promise<JobRecord> {
    const { id } = record;
    if (closing.aborted || !nobodyRuns(record.owner, record.updated)) return Promise.resolve(record);
    // The sweep may be about it just now.
    const settled = settling.get(id) ?? settleOnce(id, record).finally(() => settling.delete(id));
    settling.set(id, settled);
    return settled;
  }

  async function settleOnce(id: string, seen: JobRecord): Promise<JobRecord> {
    const record = (await records.load(id)) ?? seen;
    if (!isSame(record, seen)) return record;
    if (record.kind === "ingest") return record.state === "running" ? interrupt(record, ENDED) : record;
    if (await records.isAskedToCancel(record.id)) return cancel(record);
    if (record.resumed < MAX_RESUMES) return resume(record);
    return record.state === "interrupted"
      ? record
      : finish(record, { state: "failed", error: resumedTooOften(record.resumed) });
  }

  async function resume(record: JobRecord): Promise<JobRecord> {
    const attempt = await claim(record);
    if (attempt === undefined) return record;
    // What was read may be older than the claim of an engine that has come and gone since.
    const current = await records.load(record.id);
    if (!current || !isSame(current, record)) return current ?? record;
    const head = await newest(record.request.name);
    if (head?.dropped && Date.parse(head.updatedAt) > Date.parse(record.created)) {
      return finish(record, { state: "cancelled", error: droppedSince(head.name) });
    }
    const { error: _, ...rest } = record;
    const progress = { fraction: record.progress.fraction, message: "going on where it was broken off" };
    const resumed = { ...rest, state: "running", owner, resumed: attempt, updated: now(), finished: null, progress };
    await records.save(resumed as JobRecord);
    if (closing.aborted) return record;
    log("info", "a job goes on", { job: record.id, resumed: attempt });
    parts.run(resumed as JobRecord);
    return resumed as JobRecord;
  }

  /** The number of the attempt that this engine may make; undefined when another is making it. */
  async function claim({ id, resumed }: JobRecord): Promise<number | undefined> {
    for (let attempt = resumed + 1; attempt <= MAX_RESUMES; attempt++) {
      const claimed = await records.claim(id, attempt, owner, now());
      if (claimed.won) return attempt;
      if (claimed.owner && !nobodyRuns(claimed.owner, claimed.at)) return undefined;
    }
    return undefined;
  }

  return {
    settle,
    sweep: async () => {
      const attended = async (work: () => Promise<unknown>): Promise<void> => {
        await work().catch((error: unknown) => {
          if (!closing.aborted) log("warn", "jobs could not be recovered", { error: String(error) });
        });
      };
      await attended(async () => {
        for (const record of await records.newest(KEPT_RECORDS)) {
          if (closing.aborted) return;
          const open = record.state === "running" || (record.state === "interrupted" && record.kind !== "ingest");
          if (open) await attended(() => settle(record));
        }
        if (!closing.aborted) await records.prune(KEPT_RECORDS, clock.now().getTime() - KEPT_MS);
      });
    },
  };
}

function isSame(a: JobRecord, b: JobRecord): boolean {
  return a.owner.process === b.owner.process && a.state === b.state && a.resumed === b.resumed;
}

function resumedTooOften(resumed: number): JobError {
  const hint = next`Look at the server's log for why it ends. ${action("createIndex")} with the same arguments goes on.`;
  const message = `${ENDED} It was resumed ${resumed} times, and is not any more.`;
  return { kind: "unavailable", message, ...recordedHint(hint) };
}

function droppedSince(name: string): JobError {
  const hint = next`Call ${action("createIndex")} to build the index again.`;
  const message = `${ENDED} ${name} was dropped since, so the job does not go on.`;
  return { kind: "conflict", message, ...recordedHint(hint) };
}
