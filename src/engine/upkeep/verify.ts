import { createHash } from "node:crypto";
import { checkSnapshot } from "../ann/snapshot.ts";
import { isDataKey, manifestKey } from "../catalog/identity.ts";
import { decodeManifest } from "../catalog/manifest.ts";
import { isCorrupt } from "../catalog/versions.ts";
import { parseSnapshotKey } from "../index/snapshot-key.ts";
import { throwIfAborted } from "../kernel/abort.ts";
import { LakeError } from "../kernel/errors.ts";
import { mapAhead } from "../kernel/map-ahead.ts";
import type { Store, StoredObject } from "../store/store.ts";
import { dataPrefix, listDatasets, listVersions, ownerOf } from "./references.ts";
import type { StoredVersion } from "./retention.ts";
import type { Swept } from "./sweep.ts";

export interface VerifyOptions {
  /** Sizes only: data files and snapshots are not read. */
  quick?: boolean | undefined;
  signal?: AbortSignal | undefined;
  onProgress?: ((done: { datasets: number; bytes: number }) => void) | undefined;
}

export interface VerifyProblem {
  /** `gap`: a version between others is missing. */
  kind: "manifest" | "gap" | "missing" | "size" | "hash" | "snapshot" | "unreadable";
  dataset: string;
  key: string;
  what: string;
  /** Versions that refer to a data file: the first and the last. */
  versions?: [number, number];
}

export interface VerifyReport {
  ok: boolean;
  quick: boolean;
  datasets: number;
  manifests: number;
  files: number;
  bytes: number;
  snapshots: number;
  problems: VerifyProblem[];
  /** There are more than are listed. */
  problemsTotal: number;
  /** Data files that nothing refers to: harmless, and removed by gc when they are old. */
  unused: Swept;
}

/** A lake can be wholly damaged, and a report has to end somewhere. */
const MAX_PROBLEMS = 10_000;
const FILES_AHEAD = 4;
const PIECES_AHEAD = 2;
/** Hashed in one turn, in 5 ms. */
const PIECE_BYTES = 1024 * 1024;

/** See `Upkeep.verify`. Reads only, and what is committed or removed meanwhile does not count. */
export async function verify(store: Store, options: VerifyOptions = {}): Promise<VerifyReport> {
  const { quick = false, signal, onProgress } = options;
  const report: VerifyReport = {
    ok: true,
    quick,
    datasets: 0,
    manifests: 0,
    files: 0,
    bytes: 0,
    snapshots: 0,
    problems: [],
    problemsTotal: 0,
    unused: { files: 0, bytes: 0 },
  };
  const context: Context = {
    store,
    quick,
    signal,
    report,
    wrong: (problem) => {
      report.ok = false;
      report.problemsTotal++;
      if (report.problems.length < MAX_PROBLEMS) report.problems.push(problem);
    },
    tell: () => onProgress?.({ datasets: report.datasets, bytes: report.bytes }),
  };
  const names = new Set<string>();
  for await (const { name, versions } of listDatasets(store)) {
    names.add(name);
    await verifyDataset(context, name, versions);
    report.datasets++;
    context.tell();
  }
  for await (const object of store.list("data/")) {
    throwIfAborted(signal);
    if (!names.has(ownerOf(object.key))) count(report.unused, object);
  }
  await verifySnapshots(context);
  return report;
}

interface Context {
  store: Store;
  quick: boolean;
  signal: AbortSignal | undefined;
  report: VerifyReport;
  wrong(problem: VerifyProblem): void;
  tell(): void;
}

interface Expected {
  bytes: number;
  first: number;
  last: number;
}

async function verifyDataset(context: Context, name: string, versions: StoredVersion[]): Promise<void> {
  const { store, report, signal, wrong } = context;
  verifyNumbers(context, name, versions);
  const expected = new Map<string, Expected>();
  for (const { version } of versions) {
    throwIfAborted(signal);
    const manifest = await verifyManifest(context, name, version);
    for (const { key, bytes } of manifest?.files ?? []) {
      const known = expected.get(key);
      if (known) known.last = version;
      else expected.set(key, { bytes, first: version, last: version });
    }
  }
  // Files were stored before the manifests that were read, so what is not in this list is not there.
  const checks = mapAhead(store.list(dataPrefix(name)), FILES_AHEAD, async (object) => {
    throwIfAborted(signal);
    const wanted = expected.get(object.key);
    expected.delete(object.key);
    if (wanted) await verifyFile(context, name, object, wanted);
    else if (isDataKey(object.key, name)) count(report.unused, object);
  });
  for await (const _ of checks) context.tell();
  for (const [key, { first, last }] of expected) {
    // gc may have removed a version, and its files, since it was read.
    if (!(await isStillThere(store, name, last))) continue;
    const what = `${key} is missing.`;
    wrong({ kind: "missing", dataset: name, key, what, versions: [first, last] });
  }
}

function verifyNumbers({ wrong }: Context, name: string, versions: StoredVersion[]): void {
  for (const [at, { version }] of versions.entries()) {
    const before = versions[at - 1]?.version;
    if (before === undefined || before === version - 1) continue;
    const key = manifestKey(name, before + 1);
    wrong({ kind: "gap", dataset: name, key, what: `Version ${before + 1} of ${name} is missing between others.` });
  }
}

async function verifyManifest({ store, report, wrong }: Context, name: string, version: number) {
  const key = manifestKey(name, version);
  try {
    const bytes = await store.get(key);
    if (!bytes) return undefined;
    report.manifests++;
    return await decodeManifest(bytes, key);
  } catch (error) {
    if (!(error instanceof LakeError) || error.kind === "closed") throw error;
    wrong({ kind: isCorrupt(error) ? "manifest" : "unreadable", dataset: name, key, what: error.message });
    return undefined;
  }
}

async function verifyFile(context: Context, name: string, object: StoredObject, wanted: Expected): Promise<void> {
  const { store, quick, report, signal, wrong } = context;
  const { key, size } = object;
  const versions: [number, number] = [wanted.first, wanted.last];
  report.files++;
  if (size !== wanted.bytes) {
    const what = `${key} has ${size} bytes instead of ${wanted.bytes}.`;
    wrong({ kind: "size", dataset: name, key, what, versions });
    return;
  }
  if (quick) return;
  try {
    const hash = await hashOf(context, object);
    if (hash !== undefined && !key.endsWith(`/${hash}.parquet`)) {
      wrong({ kind: "hash", dataset: name, key, what: `${key} has another content than its name says.`, versions });
    }
  } catch (error) {
    throwIfAborted(signal);
    if (!(error instanceof LakeError) || error.kind === "closed") throw error;
    wrong({ kind: "unreadable", dataset: name, key, what: error.message, versions });
  }
  if (!(await store.has(key)) && (await isStillThere(store, name, wanted.last))) {
    wrong({ kind: "missing", dataset: name, key, what: `${key} is missing.`, versions });
  }
}

/** Of the object as the store has it, not of a copy that may be kept for queries; undefined when it is gone. */
async function hashOf({ store, signal, report }: Context, { key, size }: StoredObject): Promise<string | undefined> {
  const hash = createHash("sha256");
  const starts = function* (): Generator<number> {
    for (let start = 0; start < size; start += PIECE_BYTES) yield start;
  };
  const pieces = mapAhead(starts(), PIECES_AHEAD, (start) => store.getRange(key, start, PIECE_BYTES));
  for await (const piece of pieces) {
    throwIfAborted(signal);
    if (!piece) return undefined;
    hash.update(piece);
    report.bytes += piece.length;
  }
  return hash.digest("hex");
}

async function verifySnapshots({ store, quick, report, signal, wrong }: Context): Promise<void> {
  for await (const { key } of store.list("vectors/")) {
    throwIfAborted(signal);
    const parsed = parseSnapshotKey(key);
    if (!parsed) continue;
    report.snapshots++;
    if (quick) continue;
    try {
      await checkSnapshot(await store.localPath(key));
    } catch (error) {
      // One that was saved again meanwhile has gone.
      if (!(error instanceof LakeError) || error.kind === "closed") throw error;
      if (!(await store.has(key))) continue;
      wrong({ kind: "snapshot", dataset: parsed.name, key, what: `${key}: ${error.message}` });
    }
  }
}

async function isStillThere(store: Store, name: string, version: number): Promise<boolean> {
  return (await listVersions(store, name, version - 1))[0]?.version === version;
}

function count(sum: Swept, { size }: StoredObject): void {
  sum.files++;
  sum.bytes += size;
}
