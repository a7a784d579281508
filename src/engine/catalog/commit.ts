import { randomInt, randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { throwIfAborted } from "../kernel/abort.ts";
import { LakeError } from "../kernel/errors.ts";
import type { Clock } from "../settings.ts";
import type { Store } from "../store/store.ts";
import { assertDatasetName, datasetId, manifestKey, schemaFingerprint } from "./identity.ts";
import { decodeHead, encodeManifest } from "./manifest.ts";
import type { Draft, Manifest } from "./types.ts";
import { isCorrupt } from "./versions.ts";

export type Decide = (current: Manifest | undefined) => Draft | undefined | Promise<Draft | undefined>;

export interface CommitContext {
  store: Store;
  clock: Clock;
  engineVersion: string;
  /** The newest manifest as of now, tombstones included. Throws `corrupt` when the newest cannot be read. */
  newest(name: string): Promise<Manifest | undefined>;
}

const MAX_ATTEMPTS = 400;
const MAX_BACKOFF_MS = 100;
/** From the attempt on with which a writer counts as one that was passed over. */
const IMPATIENT = 10;
/** When an attempt takes long, fewer of them are enough. */
const PATIENCE_MS = 60_000;

/** See `Catalog.commit`. Throws `conflict` when other writers always came first. */
export async function commit(
  context: CommitContext,
  name: string,
  decide: Decide,
  signal: AbortSignal | undefined,
): Promise<{ manifest: Manifest | undefined; committed: boolean }> {
  assertDatasetName(name);
  const begun = performance.now();
  let attempt = 1;
  for (; attempt <= MAX_ATTEMPTS; attempt++) {
    const tried = performance.now();
    if (attempt > MAX_ATTEMPTS / 10 && tried - begun > PATIENCE_MS) break;
    throwIfAborted(signal);
    const current = await readParent(context, name);
    const draft = await decide(current);
    throwIfAborted(signal);
    if (!draft) return { manifest: current, committed: false };
    const manifest = nextManifest(context, name, current, draft);
    if (await publish(context.store, manifest)) return { manifest, committed: true };
    // Another writer has this version. Waiting a random while keeps many of them from meeting again. Whoever wins has the
    // next version ready first, so one that lost often waits less: else two busy writers could keep a third out for good.
    const ofAttempt = Math.ceil((performance.now() - tried) / 2);
    await sleep(randomInt(Math.min(MAX_BACKOFF_MS, attempt < IMPATIENT ? 2 ** attempt : ofAttempt) + 1));
  }
  throw new LakeError("conflict", `Other writers committed to ${name} ${attempt - 1} times before this one could.`, {
    hint: "Nothing was changed. Try again when fewer are writing to this dataset.",
  });
}

/**
 * A parent that cannot be read stops every commit, a replace included: field ids, the date of creation and what the
 * writer wants to compare with are in it, and building on an older version would silently undo the unreadable one.
 */
async function readParent(context: CommitContext, name: string): Promise<Manifest | undefined> {
  try {
    return await context.newest(name);
  } catch (error) {
    if (!isCorrupt(error)) throw error;
    throw new LakeError(
      "corrupt",
      `Cannot commit to ${name}, because its newest version is unreadable: ${error.message}`,
      {
        hint: "Restore that file from a backup; or remove it, which takes the dataset back to the version before.",
        cause: error,
      },
    );
  }
}

function nextManifest(
  context: CommitContext,
  name: string,
  current: Manifest | undefined,
  { kind, dropped, columns, files, index, provenance }: Draft,
): Manifest {
  const now = context.clock.now().toISOString();
  return {
    formatVersion: 1,
    commitId: randomUUID(),
    version: (current?.version ?? 0) + 1,
    parent: current?.version ?? null,
    datasetId: datasetId(name),
    name,
    kind,
    dropped,
    columns,
    lastColumnId: columns.reduce((last, { id }) => Math.max(last, id), current?.lastColumnId ?? 0),
    schemaFingerprint: schemaFingerprint(columns),
    rows: files.reduce((sum, file) => sum + file.rows, 0),
    bytes: files.reduce((sum, file) => sum + file.bytes, 0),
    fileCount: files.length,
    // A dataset that comes back after a drop is a new one.
    createdAt: current && (dropped || !current.dropped) ? current.createdAt : now,
    updatedAt: now,
    ...(index && { index }),
    provenance: { ...provenance, engine: context.engineVersion },
    files,
  };
}

/** Whether `manifest` is now the version it says; false when another writer has it. Throws when neither is certain. */
async function publish(store: Store, manifest: Manifest): Promise<boolean> {
  const key = manifestKey(manifest.name, manifest.version);
  const bytes = await encodeManifest(manifest);
  let failure: unknown;
  // A put that failed may still have arrived, but may not stay: only a second one, which loses to it, makes it durable.
  for (let attempt = 1; attempt <= 2; attempt++) {
    failure = undefined;
    try {
      // THE COMMIT POINT: before this put nothing has changed for anybody, after it everything has.
      if (await store.put(key, bytes, { ifAbsent: true })) return true;
      break;
    } catch (error) {
      failure = error;
    }
  }
  // One that lost may have lost to its own first attempt. Only the commit id that is stored now tells.
  const stored = await store.get(key).catch((error: unknown) => {
    throw unknownOutcome(manifest, failure ?? error);
  });
  if (!stored) throw failure ?? unknownOutcome(manifest, undefined);
  if (decodeHead(stored, key).commitId !== manifest.commitId) return false;
  if (failure !== undefined) throw unknownOutcome(manifest, failure);
  return true;
}

function unknownOutcome({ name, version }: Manifest, cause: unknown): LakeError {
  return new LakeError(
    "unavailable",
    `The store failed while ${name}@${version} was committed; it may or may not be.`,
    {
      hint: `Look at ${name} with catalog-describe before you try again.`,
      cause,
    },
  );
}
