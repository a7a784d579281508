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

export interface Lookup {
  /** Throws `not_found` with the ids of recent jobs, `corrupt` for a record that cannot be read. */
  status(id: string, options?: StatusOptions): Promise<JobRecord>;
  /** Stops a job, and waits a little for that. One that has ended stays as it is. Throws as `status`. */
  cancel(id: string): Promise<JobRecord>;
  /** The newest `limit`, newest first. */
  list(limit: number): Promise<JobRecord[]>;
}

interface LookupParts {
  records: Records;
  live: Live;
  recovery: Recovery;
  clock: Clock;
  log: Log;
  onState: (record: JobRecord) => void;
  closing: AbortSignal;
}

const POLL_MS = 500;
const CANCEL_MS = 5_000;
const RECENT = 5;

/** Jobs by their ids, whichever process runs them. */
export function openLookup(parts: LookupParts): Lookup {
  const { records, live, recovery, clock, log, onState, closing } = parts;

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
    const signals = [over.signal, ...(signal ? [signal] : []), ...(here ? [] : [closing])];
    const waiting = delay(ms, undefined, { signal: AbortSignal.any(signals) }).catch(() => undefined);
    await (here ? Promise.race([live.ended(id), waiting]) : waiting);
    over.abort();
    throwIfAborted(signal);
    // One that runs here is told as interrupted.
    if (!here) throwIfAborted(closing);
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
    status,
    cancel,
    list: async (limit) => {
      const found = await records.newest(limit);
      return Promise.all(found.map((record) => settled(live.get(record.id) ?? record)));
    },
  };
}
