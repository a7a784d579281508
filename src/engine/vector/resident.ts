import type { Metric } from "../catalog/types.ts";
import { literalList } from "../duckdb/duckdb.ts";
import { readVectors, type VectorRows } from "../duckdb/vectors.ts";
import { LakeError } from "../errors.ts";
import { onWholeCopies } from "../query/damaged-copies.ts";
import { inScope, type Scope } from "../scope.ts";
import { openTimeSlice } from "../time-slice.ts";
import { giveBack } from "./give-back.ts";
import { openIdMap } from "./id-map.ts";
import type { Room } from "./room.ts";
import { isIndex, pathsOf, selectItems } from "./segments.ts";
import type { ShardedIndex, ShardPool } from "./shards.ts";
import type { FilePart } from "./snapshot.ts";
import type { IndexManifest } from "./types.ts";

/** An item's place in the shards. It is never used again, so that an answer under way still finds what it was about. */
export type Slot = number;

export interface SavedItem {
  slot: Slot;
  id: string;
  metadata: string | null;
}

/** One index in memory: vectors in the shards, ids and metadata here. */
export interface Resident {
  /** The version it holds. */
  readonly manifest: IndexManifest;
  readonly shards: ShardedIndex;
  idOf(slot: Slot): string;
  /** JSON. */
  metadataOf(slot: Slot): string | null;
  /** Of an item there is now. */
  slotOf(id: string): Slot | undefined;
  readonly slots: number;
  /** Places of items that were changed or deleted since. */
  readonly dead: number;
  /** Memory of ids and metadata. */
  readonly itemBytes: number;
  /** Reads what was committed since, up to this version. Throws `Stale` when it has to be read anew. */
  advance(to: IndexManifest): Promise<void>;
  /** The items of this moment, in the order of their places, to be read later. */
  items(): Iterable<SavedItem>;
}

/** There is no way from what is in memory to the version that is wanted, or none that is worth it. */
export class Stale extends Error {
  override name = "Stale";
}

const MAX_VERSIONS_BEHIND = 200;
/** What a string and a place in a map take besides their characters, about. */
const ITEM_BYTES = 150;
/** Head, links on layer 0, layers above and a place, about. */
const SLOT_OVERHEAD = 220;
const ITEM_OVERHEAD = 400;
/** What an index takes with next to nothing in it. */
export const PART_LEAST = 1024 ** 2;
/** What one part may begin with: its memory ends at 4 GiB. */
const PART_BYTES = 2 * 1024 ** 3;
const SLICE_MS = 5;

/** Estimate of what an index takes in memory. */
export function sizeOf({ index }: IndexManifest): number {
  return PART_LEAST + index.count * (bytesOfSlot(index) + ITEM_OVERHEAD);
}

/** Of a vector, which is kept in 24 bits a coordinate, or in 8 and float32, with its links and place. */
export function bytesOfSlot({ dimension, metric }: { dimension: number; metric: Metric }): number {
  const padded = Math.ceil(dimension / 32) * 32;
  return padded * { cosine: 3, ip: 5, l2: 4 }[metric] + SLOT_OVERHEAD;
}

/** An index in memory with nothing in it yet: `load` or `restore` fill it. */
function openItems(manifest: IndexManifest, shards: ShardedIndex) {
  const ids: string[] = [];
  const metadata: (string | null)[] = [];
  const slotOf = openIdMap<Slot>();
  /** A one for every place with an item that there is now. */
  let alive = new Uint8Array(1024);
  let itemBytes = 0;

  /** Takes over what was committed. Searches see all of it, in the shards and here, or nothing. */
  async function apply(batches: readonly VectorRows[], onPublish?: () => void): Promise<void> {
    const { dimension } = manifest.index;
    const next = new Map<string, Slot | undefined>();
    const inserts: { id: string; json: string | null }[] = [];
    const first = ids.length;
    const added = batches.map((rows) => {
      const live = rows.deleted.reduce((count, deleted) => count + (deleted ? 0 : 1), 0);
      const slots = new Uint32Array(live);
      const vectors = live === rows.ids.length ? rows.vectors : new Float32Array(live * dimension);
      let at = 0;
      for (const [row, id] of rows.ids.entries()) {
        const deleted = rows.deleted[row] === true;
        next.set(id, deleted ? undefined : first + inserts.length);
        if (deleted) continue;
        if (vectors !== rows.vectors) {
          vectors.set(rows.vectors.subarray(row * dimension, (row + 1) * dimension), at * dimension);
        }
        slots[at++] = first + inserts.length;
        inserts.push({ id, json: rows.metadata[row] ?? null });
      }
      return { slots, vectors };
    });
    const removed = [...next.keys()].flatMap((id) => slotOf.get(id) ?? []);
    await shards.change(added, Uint32Array.from(removed), () => {
      for (const slot of removed) alive[slot] = 0;
      for (const [id, slot] of next) if (slot === undefined) slotOf.delete(id);
      for (const { id, json } of inserts) insert(id, json);
      onPublish?.();
    });
  }

  function insert(id: string, json: string | null): Slot {
    const slot = ids.length;
    ids.push(id);
    metadata.push(json);
    slotOf.set(id, slot);
    if (slot >= alive.length) {
      const grown = new Uint8Array(slot * 2);
      grown.set(alive);
      alive = grown;
    }
    alive[slot] = 1;
    itemBytes += ITEM_BYTES + id.length + (json?.length ?? 0);
    return slot;
  }

  function* itemsOf(then: Uint8Array, slots: number): Generator<SavedItem> {
    for (let slot = 0; slot < slots; slot++) {
      if (then[slot] === 1) yield { slot, id: ids[slot] ?? "", metadata: metadata[slot] ?? null };
    }
  }

  // Ids and metadata are only ever added to, so a copy of who is alive is a copy of all.
  const current = (): Iterable<SavedItem> => itemsOf(alive.slice(0, ids.length), ids.length);
  return { ids, metadata, slotOf, apply, insert, current, bytes: () => itemBytes };
}

/** Reads an index from its segments: searchable, exactly, when this returns; the graphs grow in the background. */
export async function loadResident(
  room: Room,
  pool: ShardPool,
  manifest: IndexManifest,
  signal: AbortSignal,
): Promise<Resident> {
  const { dimension, metric } = manifest.index;
  const parts = Math.max(room.settings.vector.threads, Math.ceil(sizeOf(manifest) / PART_BYTES));
  const shards = pool.openIndex({ dimension, metric, shards: parts });
  try {
    const items = openItems(manifest, shards);
    if (manifest.index.count > 0) {
      await inScope(async (files) => {
        const select = await selectItems(room.store, manifest, ["id", "vector", "metadata"], files);
        const sql = `SELECT id, vector, metadata::VARCHAR AS metadata, false AS deleted FROM (${select})`;
        await room.withConnection(async (connection) => {
          for await (const rows of readVectors(connection, sql, dimension, signal)) {
            await items.apply([rows]);
            giveBack(rows.vectors);
          }
        });
      });
    }
    return openResident(room, manifest, shards, items);
  } catch (error) {
    await shards.close();
    throw error;
  }
}

/** An index from what was saved of it: graphs in parts of files, and the items with their places. */
export async function restoreResident(
  room: Room,
  pool: ShardPool,
  manifest: IndexManifest,
  saved: { graphs: FilePart[]; slots: number; items: AsyncIterable<SavedItem[]> },
): Promise<Resident> {
  const { dimension, metric } = manifest.index;
  const shards = pool.openIndex({ dimension, metric, shards: saved.graphs.length });
  try {
    const loading = shards.load(saved.graphs);
    loading.catch(() => undefined);
    const items = openItems(manifest, shards);
    const inSlices = openTimeSlice(SLICE_MS);
    for await (const batch of saved.items) {
      await inSlices(() => {
        for (const { slot, id, metadata } of batch) {
          if (slot >= saved.slots || slot < items.ids.length)
            throw new LakeError("corrupt", "An item's place is wrong.");
          // Between them are places of items that had gone.
          while (items.ids.length < slot) {
            items.ids.push("");
            items.metadata.push(null);
          }
          items.insert(id, metadata);
        }
      });
    }
    while (items.ids.length < saved.slots) {
      items.ids.push("");
      items.metadata.push(null);
    }
    if (items.slotOf.size !== manifest.index.count) throw new LakeError("corrupt", "It has another number of items.");
    await loading;
    const { graph, pending } = await shards.stats();
    if (graph + pending !== manifest.index.count) throw new LakeError("corrupt", "Its graphs miss some items.");
    return openResident(room, manifest, shards, items);
  } catch (error) {
    await shards.close();
    throw error;
  }
}

function openResident(
  room: Room,
  loaded: IndexManifest,
  shards: ShardedIndex,
  items: ReturnType<typeof openItems>,
): Resident {
  let held = loaded;
  let advancing: Promise<void> = Promise.resolve();

  async function advance(to: IndexManifest): Promise<void> {
    if (to.version - held.version > MAX_VERSIONS_BEHIND) throw new Stale("too far behind");
    while (held.version < to.version) {
      const version = held.version + 1;
      const next = version === to.version ? to : await room.catalog.load(to.name, version).catch(() => undefined);
      if (!isIndex(next) || !continues(held, next)) throw new Stale(`version ${version} does not go on from it`);
      if (next.provenance.operation !== "compact") {
        const added = next.files.slice(held.files.length);
        if (added.length > 0) {
          const changes = await onWholeCopies(room.store, added, () =>
            inScope((files) => readChanges(room, next, added, files)),
          );
          await items
            .apply(changes, () => {
              held = next;
            })
            .catch((error: unknown) => {
              // Read anew, it has as many parts as its size wants.
              throw error instanceof LakeError && error.kind === "limit" ? new Stale("a part is full") : error;
            });
          for (const { vectors } of changes) giveBack(vectors);
        }
      }
      held = next;
    }
  }

  return {
    get manifest() {
      return held;
    },
    shards,
    idOf: (slot) => items.ids[slot] ?? "",
    metadataOf: (slot) => items.metadata[slot] ?? null,
    slotOf: (id) => items.slotOf.get(id),
    get slots() {
      return items.ids.length;
    },
    get dead() {
      return items.ids.length - items.slotOf.size;
    },
    get itemBytes() {
      return items.bytes();
    },
    advance: (to) => {
      const next = advancing.then(() => advance(to));
      advancing = next.catch(() => undefined);
      return next;
    },
    items: items.current,
  };
}

async function readChanges(
  room: Room,
  { name, index }: IndexManifest,
  files: IndexManifest["files"],
  held: Scope,
): Promise<VectorRows[]> {
  const paths = await pathsOf(room.store, files, held);
  const type = `FLOAT[${index.dimension}]`;
  const from = `read_parquet(${literalList(paths)}, hive_partitioning = false)`;
  const sql = `SELECT id, CAST(vector AS ${type}) AS vector, metadata::VARCHAR AS metadata, deleted FROM ${from}${paths.length > 1 ? " ORDER BY file_index" : ""}`;
  return room.withConnection(async (connection) => {
    const batches: VectorRows[] = [];
    for await (const rows of readVectors(connection, sql, index.dimension)) batches.push(rows);
    if (batches.length === 0) throw new LakeError("corrupt", `A segment of ${name} is empty.`);
    return batches;
  });
}

/** Whether `next` is the same index with files added, or with other files that hold the same. */
function continues(held: IndexManifest, next: IndexManifest): boolean {
  if (next.createdAt !== held.createdAt || next.index.dimension !== held.index.dimension) return false;
  if (next.provenance.operation === "compact") return next.index.count === held.index.count;
  if (!["upsert", "delete"].includes(next.provenance.operation)) return false;
  return held.files.every(({ key }, at) => next.files[at]?.key === key);
}
