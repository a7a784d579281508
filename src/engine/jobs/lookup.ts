import { setTimeout as delay } from "node:timers/promises";
import { throwIfAborted } from "../kernel/abort.ts";
import { LakeError } from "../kernel/errors.ts";
import { MAX_WAIT_MS } from "../kernel/limits.ts";
import type { Clock, Log } from "../settings.ts";
import { cancellation, ended, jobError } from "./ending.ts";
import type { Live } from "./live.ts";
import { isGone } from "./owner.ts";
import { ID, isEnded } from "./record.ts";
import type { Records } from "./records.ts";
import type { Recovery } from "./recovery.ts";
import type { JobRecord, StatusOptions } from "./types.ts";

export interface LookupParts {
  records: Records;
  live: Live;
  recovery: Recovery;
  clock: Clock;
  log: Log;
  /** Called when a job ends that no engine runs. */
  onState: (record: JobRecord) => void;
  closing: AbortSignal;
}

/** Jobs whichever engine runs them. */
export interface Lookup {
  /** Throws `not_found` with the ids of recent jobs, `corrupt` for a record that cannot be read. */
  status(id: string, options?: StatusOptions): Promise<JobRecord>;
  /** Stops a job, and waits a few seconds for its end. A job that has ended does not change. Throws as `status`. */
  cancel(id: string): Promise<JobRecord>;
  /** The newest `limit`, newest first. */
  list(limit: number): Promise<JobRecord[]>;
}

/** How often the record of a job of another engine is read while somebody waits for it. */
const POLL_MS = 500;
/** How long `cancel` waits for the end of the job. */
const CANCEL_MS = 5_000;
const RECENT = 5;

export function openLookup(parts: LookupParts): Lookup {
  const { records, live, recovery, clock, log, onState, closing } = parts;

  async function find(id: string): Promise<JobRecord> {
    const known = ID.test(id) ? (live.get(id) ?? (await records.load(id))) : undefined;
    return known ?? Promise.reject(unknownJob(id, await records.newest(RECENT)));
  }

  async function settled(record: JobRecord): Promise<JobRecord> {
    return isEnded(record) || live.get(record.id) ? record : recovery.settle(record);
  }

  const status: Lookup["status"] = async (id, { waitMs = 0, signal, onProgress } = {}) => {
    const until = performance.now() + Math.min(waitMs, MAX_WAIT_MS);
    let record = await settled(await find(id));
    for (;;) {
      const left = until - performance.now();
      if (isEnded(record) || left <= 0) return record;
      onProgress?.(record.progress.fraction, record.progress.message);
      await pause(record.id, Math.min(left, POLL_MS), signal);
      record = await settled(await find(id));
    }
  };

  /** Waits `ms`, or until the job ends here. Throws when the caller leaves, and for a job of another engine, at closing. */
  async function pause(id: string, ms: number, signal: AbortSignal | undefined): Promise<void> {
    const runsHere = live.get(id) !== undefined;
    const over = new AbortController();
    // A job that runs here is recorded as interrupted at closing, which the caller is then told.
    const signals = [over.signal, ...(signal ? [signal] : []), ...(runsHere ? [] : [closing])];
    const waiting = delay(ms, undefined, { signal: AbortSignal.any(signals) }).catch(() => undefined);
    await (runsHere ? Promise.race([live.ended(id), waiting]) : waiting);
    over.abort();
    throwIfAborted(signal);
    if (!runsHere) throwIfAborted(closing);
  }

  return {
    status,
    cancel: async (id) => {
      const record = await find(id);
      if (live.get(id) && !isEnded(record)) {
        live.cancel(id);
        await Promise.race([live.ended(id), delay(CANCEL_MS, undefined, { ref: false })]);
        return find(id);
      }
      // An interrupted build would be resumed by the next server.
      if (isEnded(record) && (record.state !== "interrupted" || record.kind === "ingest")) return record;
      // First the mark, which an engine that resumes the job at this moment finds.
      await records.askToCancel(id);
      if (!isEnded(record) && !isGone(record.owner, record.updated, clock.now().getTime())) {
        return status(id, { waitMs: CANCEL_MS });
      }
      const error = jobError(record.kind, cancellation(), log);
      const last = ended(record, clock, { state: "cancelled", error });
      await records.save(last);
      onState(last);
      return last;
    },
    list: async (limit) => {
      const found = await records.newest(limit);
      return Promise.all(found.map((record) => settled(live.get(record.id) ?? record)));
    },
  };
}

function unknownJob(id: string, recent: readonly JobRecord[]): LakeError {
  const shown = recent.map((each) => `${each.id} (${each.kind}, ${each.state})`);
  return new LakeError("not_found", `There is no job ${JSON.stringify(id.slice(0, 100))}.`, {
    facts: { argument: "job_id" },
    hint: shown.length > 0 ? `Recent jobs: ${shown.join(", ")}.` : "No job was started on this lake recently.",
  });
}
