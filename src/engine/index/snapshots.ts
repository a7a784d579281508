import { randomUUID } from "node:crypto";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { hasCode, LakeError } from "../kernel/errors.ts";
import { inScope } from "../kernel/scope.ts";
import type { VectorContext } from "./context.ts";
import { contentOf, type LoadedIndex, loadSnapshot, Stale, TooLarge } from "./loaded-index.ts";
import { isIndex } from "./segments.ts";
import { parseSnapshotKey, snapshotKey, snapshotPrefix } from "./snapshot-key.ts";
import type { IndexManifest } from "./types.ts";

/** Codes of errors that mean "not readable right now" rather than "damaged". */
const TEMPORARY = ["ENOSPC", "EDQUOT", "EMFILE", "ENFILE", "ENOMEM", "EACCES", "EPERM"];
/** At most, of a file's start, to see when it was saved. */
const HEAD_BYTES = 64 * 1024;

/** A saved index: a file that only `AnnEngine` knows how to read. */
export interface Snapshot {
  key: string;
  version: number;
  bytes: number;
}

/** The snapshots of an index, the newest first. */
export async function listSnapshots(context: Pick<VectorContext, "store">, name: string): Promise<Snapshot[]> {
  const found: Snapshot[] = [];
  for await (const { key, size } of context.store.list(snapshotPrefix(name))) {
    const parsed = parseSnapshotKey(key);
    if (parsed) found.push({ key, version: parsed.version, bytes: size });
  }
  return found.reverse();
}

/** Removes the snapshots of an index, or those of versions before `before`. */
export async function removeSnapshots(
  context: Pick<VectorContext, "store">,
  name: string,
  before = Infinity,
): Promise<void> {
  for (const { key, version } of await listSnapshots(context, name))
    if (version < before) await context.store.delete(key);
}

/**
 * Saves a loaded index, which has to be settled, and removes its older snapshots. Returns the version. Nothing depends on a
 * snapshot: it can be made again.
 */
export async function saveSnapshot(context: VectorContext, loaded: LoadedIndex): Promise<number> {
  const folder = join(await context.folder(), `save-${randomUUID()}`);
  await mkdir(folder);
  try {
    let { manifest } = loaded;
    const path = await loaded.ann.save(folder, context.settings.clock.now(), () => {
      manifest = loaded.manifest;
      return contentOf(manifest);
    });
    const { name, version } = manifest;
    await context.store.put(snapshotKey(name, version), { path });
    await removeSnapshots(context, name, version);
    return version;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/**
 * Loads the newest snapshot and applies the commits since. Undefined when there is none that can be used; one that never
 * can is removed.
 */
export async function restoreSnapshot(
  context: VectorContext,
  manifest: IndexManifest,
): Promise<LoadedIndex | undefined> {
  for (const snapshot of await listSnapshots(context, manifest.name)) {
    if (snapshot.version > manifest.version) continue;
    try {
      return await restore(context, manifest, snapshot);
    } catch (error) {
      if (!(error instanceof Stale || error instanceof TooLarge || isUnreadable(error))) throw error;
      const { key } = snapshot;
      const reason = error.message;
      if (isTemporary(error)) {
        context.settings.log("warn", "a saved vector index could not be read", { key, reason });
        return undefined;
      }
      context.settings.log("warn", "a saved vector index is of no use and was removed", { key, reason });
      await context.store.delete(key);
    }
  }
  return undefined;
}

const isUnreadable = (error: unknown): error is LakeError =>
  error instanceof LakeError && (error.kind === "corrupt" || error.kind === "unavailable");

const isTemporary = (error: Error): boolean =>
  hasCode(error.cause, ...TEMPORARY) || (error instanceof LakeError && error.kind === "unavailable");

async function restore(
  context: VectorContext,
  newest: IndexManifest,
  { version, key }: Snapshot,
): Promise<LoadedIndex> {
  const { name } = newest;
  const saved = version === newest.version ? newest : await context.catalog.load(name, version).catch(() => undefined);
  if (!isIndex(saved) || saved.createdAt !== newest.createdAt) {
    throw new LakeError("corrupt", "It is of another index of the name.");
  }
  // The pin keeps a copy of a file from a bucket until it is in memory.
  const loaded = await inScope(async (pins) => loadSnapshot(context, saved, await context.store.localPath(key, pins)));
  try {
    await loaded.advance(newest);
    return loaded;
  } catch (error) {
    await loaded.ann.close();
    throw error;
  }
}

/** When it was saved; undefined when that cannot be read. */
export async function snapshotTime(context: VectorContext, { key }: Snapshot): Promise<Date | undefined> {
  const head = await context.store.getRange(key, 0, HEAD_BYTES);
  return head && context.ann.savedAt(head);
}
