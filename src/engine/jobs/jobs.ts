import type { Head } from "../catalog/types.ts";
import { lakehouseClosed } from "../kernel/errors.ts";
import type { Scope } from "../kernel/scope.ts";
import type { Clock, Log } from "../settings.ts";
import type { Store } from "../store/store.ts";
import { openLive } from "./live.ts";
import { type Lookup, openLookup } from "./lookup.ts";
import { openOwner } from "./owner.ts";
import { openPerformer, type Performer } from "./perform.ts";
import { openRecords } from "./records.ts";
import { openRecovery } from "./recovery.ts";
import type { JobRecord } from "./types.ts";
import { openWork, type Workers } from "./work.ts";

export interface JobParts {
  store: Store;
  workers: Workers;
  /** The newest version of a dataset, which may be a tombstone. */
  newest: (name: string) => Promise<Head | undefined>;
  clock: Clock;
  log: Log;
  /** Work that takes longer becomes a job. Default: 20 s. */
  afterMs?: number | undefined;
  /** How often running jobs save their progress and notice that another process cancelled them. Default: 2 s. */
  tickMs?: number | undefined;
}

export interface Jobs extends Lookup, Pick<Performer, "perform"> {
  /** Jobs that run in this engine. */
  running(): number;
  /** Index builds that wait for a place. */
  waiting(): number;
  /** Resolves when the jobs of servers that ended have been looked for, which begins with opening. */
  recovered(): Promise<void>;
  /** Stops running jobs, and records them as interrupted. */
  close(): Promise<void>;
}

const AFTER_MS = 20_000;
const TICK_MS = 2_000;

/** Resumes, or records as interrupted, the jobs of servers that ended before them. */
export function openJobs(scope: Scope, parts: JobParts, onState: (record: JobRecord) => void): Jobs {
  const { store, clock, log, afterMs = AFTER_MS, tickMs = TICK_MS, newest } = parts;
  const aborted = new AbortController();
  const closing = aborted.signal;
  const owner = openOwner(scope);
  const records = openRecords(store, log);
  const work = openWork(parts.workers);
  const live = openLive({ records, clock, log, onState, tickMs });
  // Only builds are resumed, and their records have the whole request.
  const run = (record: JobRecord): void => live.adopt(record, work.begin(record.kind, record.request as never, {}));
  const recovery = openRecovery({ records, owner, clock, log, newest, closing, run });
  const recovering = recovery.sweep();
  const performer = openPerformer({ records, work, live, owner, clock, log, afterMs, closing });
  let closed: Promise<void> | undefined;
  const closeAll = async (): Promise<void> => {
    const reason = lakehouseClosed();
    aborted.abort(reason);
    work.close(reason);
    await recovering;
    await live.close();
    await performer.settled();
  };
  const close = (): Promise<void> => (closed ??= closeAll());
  scope.defer(close);
  return {
    perform: performer.perform,
    ...openLookup({ records, live, recovery, clock, log, onState, closing }),
    running: live.count,
    waiting: work.waiting,
    recovered: () => recovering,
    close,
  };
}
