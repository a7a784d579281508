import { DATASET_NAME } from "../catalog/identity.ts";
import { parseSnapshotKey } from "../index/snapshot-key.ts";
import { openRecords } from "../jobs/records.ts";
import { KEPT_MS, KEPT_RECORDS } from "../jobs/recovery.ts";
import { spoolOf, staleFolders } from "../kernel/spool-folders.ts";
import type { StoredObject } from "../store/store.ts";
import type { Context } from "./gc-context.ts";
import type { Swept } from "./sweep.ts";

/** What is left behind beside data files. */
export interface Left {
  /** Saved graphs of indexes that are gone or have been saved again since. */
  snapshots: Swept;
  /** Records of ended jobs. */
  jobs: number;
  /** Work in progress of processes that are gone. */
  spool: Swept;
}

/** The versions there are of an index; `none` for what is no index, `unknown` where the newest cannot be read. */
export type SnapshotFacts = { oldest: number; newest: number } | "none" | "unknown";

/** Work in progress of another machine that nobody has touched for so long is of nobody any more. */
const FOREIGN_MS = 7 * 86_400_000;

export async function removeLeftovers(context: Context, facts: ReadonlyMap<string, SnapshotFacts>): Promise<Left> {
  return {
    snapshots: await removeSnapshots(context, facts),
    jobs: await removeJobs(context),
    spool: await removeSpool(context),
  };
}

/** All of them could be made again, so there is no more to be careful about than that somebody may be reading one. */
async function removeSnapshots(context: Context, facts: ReadonlyMap<string, SnapshotFacts>): Promise<Swept> {
  const { store, now, retention } = context;
  const removed: Swept = { files: 0, bytes: 0 };
  const judge = async (object: StoredObject, later: StoredObject | undefined): Promise<void> => {
    const parsed = parseSnapshotKey(object.key);
    if (!parsed || !DATASET_NAME.test(parsed.name) || now - object.modified < retention.graceMs) return;
    const of = facts.get(parsed.name) ?? "none";
    if (of === "unknown") return;
    const next = later && parseSnapshotKey(later.key);
    const isCurrent = of !== "none" && parsed.version >= of.oldest && parsed.version <= of.newest;
    if (isCurrent && next?.name !== parsed.name) return;
    if (context.delete) await store.delete(object.key);
    removed.files++;
    removed.bytes += object.size;
  };
  let previous: StoredObject | undefined;
  for await (const object of store.list("vectors/")) {
    context.signal?.throwIfAborted();
    if (previous) await judge(previous, object);
    previous = object;
  }
  if (previous) await judge(previous, undefined);
  return removed;
}

async function removeJobs({ store, log, clock, delete: deletes }: Context): Promise<number> {
  const records = openRecords(store, log);
  const before = clock.now().getTime() - KEPT_MS;
  const stale = await records.stale(KEPT_RECORDS, before);
  if (deletes) await records.prune(KEPT_RECORDS, before);
  return stale.length;
}

async function removeSpool({ store, clock, delete: deletes }: Context): Promise<Swept> {
  const removed: Swept = { files: 0, bytes: 0 };
  for (const folder of await staleFolders(spoolOf(store.localRoot), clock.now().getTime() - FOREIGN_MS)) {
    if (deletes) await folder.remove();
    removed.files++;
    removed.bytes += folder.bytes;
  }
  return removed;
}
