import { randomInt, randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { throwIfAborted } from "../kernel/abort.ts";
import { LakeError } from "../kernel/errors.ts";
import { action, next } from "../kernel/next-step.ts";
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
/** From this attempt on, a writer waits less. */
const HURRIED_ATTEMPT = 10;
/** After this time, a tenth of the attempts is enough. */
const MAX_MS = 60_000;

/** See `Catalog.commit`. Throws `conflict` when other writers were always first. */
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
    if (attempt > MAX_ATTEMPTS / 10 && tried - begun > MAX_MS) break;
    throwIfAborted(signal);
    const current = await readParent(context, name);
    const draft = await decide(current);
    throwIfAborted(signal);
    if (!draft) return { manifest: current, committed: false };
    const manifest = nextManifest(context, name, current, draft);
    if (await publish(context.store, manifest)) return { manifest, committed: true };
    // Another writer has this version. A random wait keeps writers from colliding again. The winner is also the first to
    // have its next version ready, so a writer that lost often waits less: else two busy ones could starve a third.
    const ofAttempt = Math.ceil((performance.now() - tried) / 2);
    await sleep(randomInt(Math.min(MAX_BACKOFF_MS, attempt < HURRIED_ATTEMPT ? 2 ** attempt : ofAttempt) + 1));
  }
  throw new LakeError("conflict", `Other writers committed to ${name} ${attempt - 1} times before this one could.`, {
    hint: "Nothing was changed. Try again when fewer are writing to this dataset.",
  });
}

/**
 * An unreadable parent stops every commit, even a replace: it has the field ids and the date of creation, and a commit on
 * top of an older version would silently undo the unreadable one.
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
    // A dataset that is created again after a drop is a new one.
    createdAt: current && (dropped || !current.dropped) ? current.createdAt : now,
    updatedAt: now,
    ...(index && { index }),
    provenance: { ...provenance, engine: context.engineVersion },
    files,
  };
}

/** False when another writer has this version. Throws `unavailable` when it is not certain who has. */
async function publish(store: Store, manifest: Manifest): Promise<boolean> {
  const key = manifestKey(manifest.name, manifest.version);
  const bytes = await encodeManifest(manifest);
  let failure: unknown;
  // A failed put may have arrived without being durable: a second one, which loses to it, makes it so.
  for (let attempt = 1; attempt <= 2; attempt++) {
    failure = undefined;
    try {
      // THE COMMIT POINT: this put makes the change visible to everybody.
      if (await store.put(key, bytes, { ifAbsent: true })) return true;
      break;
    } catch (error) {
      failure = error;
    }
  }
  // It may have lost to its own first attempt: the stored commit id tells.
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
      code: "commit_unknown",
      hint: next`Look at ${name} with ${action("describe")} before you try again.`,
      cause,
    },
  );
}
