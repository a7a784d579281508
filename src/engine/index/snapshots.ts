import { randomUUID } from "node:crypto";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import type { ShardPool } from "../ann/shards.ts";
import { partPieces, readSnapshot, writeSnapshot } from "../ann/snapshot.ts";
import { hasCode, LakeError } from "../kernel/errors.ts";
import { inScope } from "../kernel/scope.ts";
import type { VectorContext } from "./context.ts";
import { type LoadedIndex, restoreIndex, Stale, TooLarge } from "./loaded-index.ts";
import { isIndex } from "./segments.ts";
import { parseSnapshotKey, snapshotKey, snapshotPrefix } from "./snapshot-key.ts";
import type { IndexManifest } from "./types.ts";

/** What keeps a file from being read, and says nothing about it. */
const NOT_ITS_FAULT = ["ENOSPC", "EDQUOT", "EMFILE", "ENFILE", "ENOMEM", "EACCES", "EPERM"];

const fieldsSchema = z.object({
  index: z.string(),
  version: z.int().positive(),
  commitId: z.uuid(),
  dimension: z.int().positive(),
  metric: z.enum(["cosine", "ip", "l2"]),
  count: z.int().nonnegative(),
  slots: z.int().nonnegative(),
  shards: z.int().min(1).max(64),
  savedAt: z.iso.datetime(),
});

export interface Saved {
  key: string;
  version: number;
  bytes: number;
}

/** `vectors/<name>/<version>.lhv1` */
/** What is saved of an index, the newest first. */
export async function listSnapshots(context: Pick<VectorContext, "store">, name: string): Promise<Saved[]> {
  const found: Saved[] = [];
  for await (const { key, size } of context.store.list(snapshotPrefix(name))) {
    const parsed = parseSnapshotKey(key);
    if (parsed) found.push({ key, version: parsed.version, bytes: size });
  }
  return found.reverse();
}

/** Removes what is saved of an index, or what is older than `before`. */
export async function removeSnapshots(
  context: Pick<VectorContext, "store">,
  name: string,
  before = Infinity,
): Promise<void> {
  for (const { key, version } of await listSnapshots(context, name))
    if (version < before) await context.store.delete(key);
}

/**
 * Saves graphs, items and which version they are of, and then removes older ones. Everything in it can be made again, so
 * nothing depends on it. All vectors have to be in the graphs.
 */
export async function saveIndex(context: VectorContext, resident: LoadedIndex): Promise<number> {
  const folder = join(await context.folder(), `save-${randomUUID()}`);
  await mkdir(folder);
  try {
    // Of the moment at which the shards are asked: later changes are in neither.
    let taken = takenNow(resident);
    const graphs = await resident.shards.save(folder, () => {
      taken = takenNow(resident);
    });
    const { manifest, slots, items } = taken;
    const { name, version, commitId, index } = manifest;
    const path = join(folder, "snapshot");
    const { dimension, metric, count } = index;
    const savedAt = context.settings.clock.now().toISOString();
    const fields = {
      index: name,
      version,
      commitId,
      dimension,
      metric,
      count,
      slots,
      shards: graphs.length,
      savedAt,
    };
    await writeSnapshot(path, fields, [items, ...graphs.map((graph) => ({ path: graph }))]);
    await context.store.put(snapshotKey(name, version), { path });
    await removeSnapshots(context, name, version);
    return version;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function takenNow(resident: LoadedIndex) {
  return { manifest: resident.manifest, slots: resident.items.slots, items: resident.items.save() };
}

/**
 * The index as it was saved last, at whatever version that was, or undefined when nothing of use is saved. What cannot
 * be read is removed and logged: the segments hold all of it.
 */
export async function restoreSnapshot(
  context: VectorContext,
  pool: ShardPool,
  manifest: IndexManifest,
): Promise<LoadedIndex | undefined> {
  for (const saved of await listSnapshots(context, manifest.name)) {
    if (saved.version > manifest.version) continue;
    try {
      // Held until it is in memory: a copy from a bucket may go otherwise.
      return await inScope(async (held) =>
        restore(context, pool, manifest, saved, await context.store.localPath(saved.key, held)),
      );
    } catch (error) {
      const unreadable = error instanceof LakeError && (error.kind === "corrupt" || error.kind === "unavailable");
      // Of another version, or with places of items that have gone, it may be too large where the segments are not.
      if (!unreadable && !(error instanceof Stale || error instanceof TooLarge)) throw error;
      const { message: reason, cause } = error;
      if (hasCode(cause, ...NOT_ITS_FAULT) || (error instanceof LakeError && error.kind === "unavailable")) {
        context.settings.log("warn", "a saved vector index could not be read", { key: saved.key, reason });
        return undefined;
      }
      context.settings.log("warn", "a saved vector index is of no use and was removed", { key: saved.key, reason });
      await context.store.delete(saved.key);
    }
  }
  return undefined;
}

async function restore(
  context: VectorContext,
  pool: ShardPool,
  newest: IndexManifest,
  saved: Saved,
  path: string,
): Promise<LoadedIndex> {
  const { name, version, index } = newest;
  const { fields, sections } = await readSnapshot(path, fieldsSchema);
  const of =
    saved.version === version ? newest : await context.catalog.load(name, saved.version).catch(() => undefined);
  const fits =
    isIndex(of) &&
    of.createdAt === newest.createdAt &&
    fields.index === name &&
    fields.version === of.version &&
    fields.commitId === of.commitId &&
    fields.dimension === index.dimension &&
    fields.metric === index.metric &&
    fields.count === of.index.count &&
    sections.length === fields.shards + 1;
  const [items, ...graphs] = sections;
  if (!fits || items === undefined) throw new LakeError("corrupt", "It is of another version or another index.");
  const resident = await restoreIndex(context, pool, of, { graphs, slots: fields.slots, items: partPieces(items) });
  try {
    await resident.advance(newest);
    return resident;
  } catch (error) {
    await resident.shards.close();
    throw error;
  }
}

/** When the newest of what is saved was saved; null when that cannot be read. */
export async function snapshotTime(context: VectorContext, saved: Saved): Promise<number | null> {
  const bytes = await context.store.getRange(saved.key, 0, 64 * 1024);
  const [, time] = /"savedAt":"([0-9T:.Z-]{20,30})"/.exec(Buffer.from(bytes ?? []).toString("latin1")) ?? [];
  return time === undefined ? null : Date.parse(time);
}
