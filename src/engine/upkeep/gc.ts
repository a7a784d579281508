import { SWEEPS } from "../catalog/data-files.ts";
import { manifestKey } from "../catalog/identity.ts";
import type { Manifest } from "../catalog/types.ts";
import { isCorrupt } from "../catalog/versions.ts";
import { throwIfAborted } from "../kernel/abort.ts";
import { LakeError } from "../kernel/errors.ts";
import { mapAhead } from "../kernel/map-ahead.ts";
import { next, setting } from "../kernel/next-step.ts";
import type { Store } from "../store/store.ts";
import type { Context, GcOptions, GcParts } from "./gc-context.ts";
import { type Left, removeLeftovers, type SnapshotFacts } from "./leftovers.ts";
import { listDatasets, ownerOf, readManifests } from "./references.ts";
import { expiredVersions, type StoredVersion } from "./retention.ts";
import { type Swept, sweepDataset } from "./sweep.ts";

/** What is done to a dataset, or would be. */
export interface GcDataset {
  name: string;
  /** Old versions that are removed. */
  versions: { from: number; to: number; count: number } | null;
  /** Data files that are deleted now. */
  files: number;
  bytes: number;
  /** Data files that a later gc deletes, because of versions that are removed now. */
  laterFiles: number;
  laterBytes: number;
  /** Until when files of versions removed before wait for statements that may still read them. ISO 8601. */
  waitsUntil: string | null;
}

export interface GcReport extends Left {
  deleted: boolean;
  datasets: number;
  /** Those about which there is something to say, in name order. */
  changes: GcDataset[];
  versions: number;
  files: number;
  bytes: number;
  laterFiles: number;
  laterBytes: number;
  /** Datasets that are left as they are, because something of them cannot be read. */
  kept: { name: string; reason: string }[];
}

const DATASETS_AHEAD = 2;
const RUN_KEY = "gc/run.json";

/** See `Upkeep.gc`. Any number may run beside each other and beside writers; one that is stopped anywhere does no harm. */
export async function collectGarbage(parts: GcParts, options: GcOptions): Promise<GcReport> {
  const { store } = parts;
  const { retention, ingestTimeoutMs, signal, onProgress } = options;
  if (retention.graceMs <= ingestTimeoutMs) throw graceTooShort(retention.graceMs, ingestTimeoutMs);
  const context: Context = { ...parts, ...options, now: await timeOf(parts, options.delete === true) };
  const report: GcReport = {
    deleted: options.delete === true,
    datasets: 0,
    changes: [],
    versions: 0,
    files: 0,
    bytes: 0,
    laterFiles: 0,
    laterBytes: 0,
    kept: [],
    snapshots: { files: 0, bytes: 0 },
    jobs: 0,
    spool: { files: 0, bytes: 0 },
  };
  const add = (change: GcDataset): void => {
    report.versions += change.versions?.count ?? 0;
    for (const sum of ["files", "bytes", "laterFiles", "laterBytes"] as const) report[sum] += change[sum];
    if (change.versions || change.files > 0 || change.waitsUntil !== null) report.changes.push(change);
  };

  const facts = new Map<string, SnapshotFacts>();
  const datasets: { name: string; versions: StoredVersion[] }[] = [];
  for await (const dataset of listDatasets(store)) datasets.push(dataset);
  const collected = mapAhead(datasets, DATASETS_AHEAD, async ({ name, versions }) => {
    throwIfAborted(signal);
    return { name, outcome: await collect(context, name, versions) };
  });
  for await (const { name, outcome } of collected) {
    facts.set(name, outcome.snapshots);
    if (outcome.kept !== undefined) report.kept.push({ name, reason: outcome.kept });
    if (outcome.change) add(outcome.change);
    report.datasets++;
    onProgress?.(report.datasets);
  }
  for (const change of await collectUnknown(context, facts)) add(change);
  report.changes.sort((a, b) => (a.name < b.name ? -1 : 1));
  Object.assign(report, await removeLeftovers(context, facts));
  if (context.delete) await removeDeadSweeps(context);
  return report;
}

interface Outcome {
  change?: GcDataset;
  /** Why it is left as it is. */
  kept?: string;
  snapshots: SnapshotFacts;
}

/** First what an earlier run let go of, then the versions that have expired since; see `removeVersions` for why. */
async function collect(context: Context, name: string, versions: StoredVersion[]): Promise<Outcome> {
  const { retention, now } = context;
  try {
    const newest = await readNewest(context, name, versions);
    const expired = expiredVersions(versions, { dropped: newest.dropped, now }, retention);
    const { used, later } = await referencesOf(context, name, versions, expired.length);
    // After the list of versions: then it tells of whatever is missing in that.
    const waitsUntil = await waitingUntil(context, name);
    const swept: Swept = waitsUntil
      ? { files: 0, bytes: 0 }
      : await sweepDataset(
          { ...context, delete: context.delete === true, before: now - retention.graceMs },
          {
            name,
            used,
            newest: newest.version,
          },
        );
    const removed = waitsUntil ? [] : expired;
    if (context.delete && removed.length > 0) await removeVersions(context, name, removed);
    const [first] = removed;
    const change: GcDataset = {
      name,
      versions: first ? { from: first.version, to: removed.at(-1)?.version ?? 0, count: removed.length } : null,
      ...swept,
      laterFiles: first ? later.size : 0,
      laterBytes: first ? [...later.values()].reduce((sum, bytes) => sum + bytes, 0) : 0,
      waitsUntil: waitsUntil ? new Date(waitsUntil).toISOString() : null,
    };
    const isIndex = newest.kind === "vectors" && !newest.dropped;
    const oldest = versions[removed.length]?.version ?? newest.version;
    return { change, snapshots: isIndex ? { oldest, newest: newest.version } : "none" };
  } catch (error) {
    if (!isCorrupt(error)) throw error;
    // It may refer to any file of the dataset, and it may be the base of a repair.
    return { kept: error.message, snapshots: "unknown" };
  }
}

async function readNewest({ store }: Context, name: string, versions: StoredVersion[]): Promise<Manifest> {
  for await (const manifest of readManifests(store, name, versions.slice(-1))) return manifest;
  throw new LakeError("corrupt", `${name} is being removed by somebody else.`);
}

/** Keys in all manifests, and those that only the first `expired` of them have, with their sizes. */
async function referencesOf(
  { store, signal }: Context,
  name: string,
  versions: StoredVersion[],
  expired: number,
): Promise<{ used: Set<string>; later: Map<string, number> }> {
  const used = new Set<string>();
  const later = new Map<string, number>();
  const kept = versions[expired]?.version ?? 0;
  for await (const { version, files } of readManifests(store, name, versions)) {
    throwIfAborted(signal);
    for (const { key, bytes } of files) {
      used.add(key);
      if (version < kept) later.set(key, bytes);
      else later.delete(key);
    }
  }
  return { used, later };
}

/**
 * Removes manifests, the oldest first, so that what is left has no gap wherever this stops. A statement may just have
 * read one of them and be about to read its files: so these stay, for the grace period from now, which the mark says.
 */
async function removeVersions({ store, signal, log }: Context, name: string, expired: StoredVersion[]): Promise<void> {
  const mark = (): Promise<boolean> => store.put(markKey(name), Buffer.from("{}"));
  await mark();
  try {
    for (const { version } of expired) {
      throwIfAborted(signal);
      await store.delete(manifestKey(name, version));
    }
  } finally {
    await mark();
  }
  log("info", "old versions were removed", { dataset: name, from: expired[0]?.version, to: expired.at(-1)?.version });
}

function markKey(name: string): string {
  return `gc/removed.${name}.json`;
}

async function waitingUntil({ store, retention, now }: Context, name: string): Promise<number | undefined> {
  const removed = await modifiedOf(store, markKey(name));
  const until = (removed ?? 0) + retention.graceMs;
  return removed !== undefined && until > now ? until : undefined;
}

/** Data files of names that have no manifest: of an ingest that was broken off before its first commit. */
async function collectUnknown(context: Context, known: ReadonlyMap<string, unknown>): Promise<GcDataset[]> {
  // Data without any catalog is more likely a catalog that was lost, or is mounted elsewhere.
  if (known.size === 0) return [];
  const names = new Set<string>();
  for await (const { key } of context.store.list("data/")) {
    throwIfAborted(context.signal);
    if (!known.has(ownerOf(key))) names.add(ownerOf(key));
  }
  const changes: GcDataset[] = [];
  for (const name of names) {
    const before = context.now - context.retention.graceMs;
    const sweeping = { ...context, delete: context.delete === true, before };
    const swept = await sweepDataset(sweeping, { name, used: new Set(), newest: 0 }).catch((error: unknown) => {
      if (!isCorrupt(error)) throw error;
      return { files: 0, bytes: 0 };
    });
    changes.push({ name, versions: null, ...swept, laterFiles: 0, laterBytes: 0, waitsUntil: null });
  }
  return changes;
}

/** Announcements of processes that ended before their sweep did; writers no longer wait for them. */
async function removeDeadSweeps({ store, now, retention }: Context): Promise<void> {
  for await (const { key, modified } of store.list(SWEEPS)) {
    if (now - modified > retention.graceMs) await store.delete(key);
  }
}

async function timeOf({ store, clock }: GcParts, deletes: boolean): Promise<number> {
  const here = clock.now().getTime();
  if (!deletes) return here;
  await store.put(RUN_KEY, Buffer.from(JSON.stringify({ at: new Date(here).toISOString() })));
  return (await modifiedOf(store, RUN_KEY)) ?? here;
}

async function modifiedOf(store: Store, key: string): Promise<number | undefined> {
  for await (const object of store.list(key)) if (object.key === key) return object.modified;
  return undefined;
}

function graceTooShort(graceMs: number, ingestTimeoutMs: number): LakeError {
  return new LakeError(
    "invalid",
    `The grace period of ${graceMs} ms is not longer than the ${ingestTimeoutMs} ms an ingest may take: files of a running ingest could be deleted.`,
    {
      facts: { setting: "gc_grace", limit: ingestTimeoutMs },
      hint: next`Raise ${setting("gc_grace")}, or lower ${setting("ingest_timeout")}.`,
    },
  );
}
