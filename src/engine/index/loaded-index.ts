import { giveBack } from "../ann/give-back.ts";
import { type ItemTable, openItemTable } from "../ann/item-table.ts";
import type { ShardedIndex, ShardPool } from "../ann/shards.ts";
import { corruptSnapshot, type FilePart } from "../ann/snapshot.ts";
import type { Metric } from "../catalog/types.ts";
import { literalList } from "../duckdb/duckdb.ts";
import { readVectors, type VectorRows } from "../duckdb/vectors.ts";
import { LakeError } from "../kernel/errors.ts";
import { inScope, type Scope } from "../kernel/scope.ts";
import { onWholeCopies } from "../query/duckdb/damaged-copies.ts";
import type { VectorContext } from "./context.ts";
import { isIndex, pathsOf, selectItems } from "./segments.ts";
import type { IndexManifest } from "./types.ts";

/** One index in memory: vectors in the shards, ids and metadata here. */
export interface LoadedIndex {
  /** The version it holds. */
  readonly manifest: IndexManifest;
  readonly shards: ShardedIndex;
  /** Ids and metadata. */
  readonly items: Pick<ItemTable, "idOf" | "metadataOf" | "slotOf" | "slots" | "count" | "bytes" | "save">;
  /** Reads what was committed since, up to this version. Throws `Stale` when it has to be read anew. */
  advance(to: IndexManifest): Promise<void>;
}

/** There is no way from what is in memory to the version that is wanted, or none that is worth it. */
export class Stale extends Error {
  override name = "Stale";
}

/** It does not fit in memory, which its estimate could not tell: ids and metadata are longer. */
export class TooLarge extends Error {
  override name = "TooLarge";
  /** What an item takes besides its vector. */
  readonly bytesOfItem: number;

  constructor(items: LoadedIndex["items"]) {
    super("it is larger than vector_memory");
    this.bytesOfItem = bytesOfItem(items);
  }
}

const MAX_VERSIONS_BEHIND = 200;
/** Head, links on layer 0, layers above and a place, about. */
const SLOT_OVERHEAD = 220;
/** Of an id and metadata with their places in the table, about. */
const ITEM_OVERHEAD = 200;
/** What an index takes with next to nothing in it. */
const PART_LEAST = 1024 ** 2;
/** What one part may begin with: its memory ends at 4 GiB. */
const PART_BYTES = 2 * 1024 ** 3;

/** Estimate of what an index takes in memory, by what an item takes besides its vector. */
export function sizeOf({ index }: IndexManifest, bytesOfItem = ITEM_OVERHEAD): number {
  return PART_LEAST + index.count * (bytesOfSlot(index) + bytesOfItem);
}

export function bytesOfItem({ bytes, slots }: LoadedIndex["items"]): number {
  return slots === 0 ? 0 : bytes / slots;
}

/** What it takes. */
export function bytesOf({ manifest, items }: Pick<LoadedIndex, "manifest" | "items">): number {
  return PART_LEAST + items.slots * bytesOfSlot(manifest.index) + items.bytes;
}

/** Of a vector, which is kept in 24 bits a coordinate, or in 8 and float32, with its links and place. */
export function bytesOfSlot({ dimension, metric }: { dimension: number; metric: Metric }): number {
  const padded = Math.ceil(dimension / 32) * 32;
  return padded * { cosine: 3, ip: 5, l2: 4 }[metric] + SLOT_OVERHEAD;
}

/** Takes over what was committed. Searches see all of it, in the shards and among the items, or nothing. */
async function apply(
  items: ItemTable,
  shards: ShardedIndex,
  dimension: number,
  batches: readonly VectorRows[],
  onPublish?: () => void,
): Promise<void> {
  const ids = new Set<string>();
  const inserts: { id: string; json: string | null }[] = [];
  const first = items.slots;
  const added = batches.map((rows) => {
    const live = rows.deleted.reduce((count, deleted) => count + (deleted ? 0 : 1), 0);
    const slots = new Uint32Array(live);
    const vectors = live === rows.ids.length ? rows.vectors : new Float32Array(live * dimension);
    let at = 0;
    for (const [row, id] of rows.ids.entries()) {
      ids.add(id);
      if (rows.deleted[row] === true) continue;
      if (vectors !== rows.vectors) {
        vectors.set(rows.vectors.subarray(row * dimension, (row + 1) * dimension), at * dimension);
      }
      slots[at++] = first + inserts.length;
      inserts.push({ id, json: rows.metadata[row] ?? null });
    }
    return { slots, vectors };
  });
  const removed = [...ids].flatMap((id) => items.slotOf(id) ?? []);
  await shards.change(added, Uint32Array.from(removed), () => {
    for (const slot of removed) items.remove(slot);
    for (const { id, json } of inserts) items.add(id, json);
    onPublish?.();
  });
}

/** Reads an index from its segments: searchable, exactly, when this returns; the graphs grow in the background. */
export async function loadIndex(
  context: VectorContext,
  pool: ShardPool,
  manifest: IndexManifest,
  signal: AbortSignal,
): Promise<LoadedIndex> {
  const { dimension, metric } = manifest.index;
  const parts = Math.max(context.settings.vector.threads, Math.ceil(sizeOf(manifest) / PART_BYTES));
  const shards = pool.openIndex({ dimension, metric, shards: parts });
  try {
    const items = openItemTable();
    if (manifest.index.count > 0) {
      await inScope(async (files) => {
        const select = await selectItems(context.store, manifest, ["id", "vector", "metadata"], files);
        const sql = `SELECT id, vector, metadata::VARCHAR AS metadata, false AS deleted FROM (${select})`;
        await context.withConnection(async (connection) => {
          for await (const rows of readVectors(connection, sql, dimension, signal)) {
            await apply(items, shards, dimension, [rows]);
            giveBack(rows.vectors);
            if (bytesOf({ manifest, items }) > context.settings.vector.memoryBytes) throw new TooLarge(items);
          }
        });
      });
    }
    return openResident(context, manifest, shards, items);
  } catch (error) {
    await shards.close();
    throw error;
  }
}

/** An index from what was saved of it: graphs in parts of files, and the items with their places. */
export async function restoreIndex(
  context: VectorContext,
  pool: ShardPool,
  manifest: IndexManifest,
  saved: { graphs: FilePart[]; slots: number; items: AsyncIterable<Uint8Array> },
): Promise<LoadedIndex> {
  const { dimension, metric } = manifest.index;
  const shards = pool.openIndex({ dimension, metric, shards: saved.graphs.length });
  try {
    const loading = shards.load(saved.graphs);
    loading.catch(() => undefined);
    const items = openItemTable();
    await items.load(saved.items, saved.slots);
    if (bytesOf({ manifest, items }) > context.settings.vector.memoryBytes) throw new TooLarge(items);
    if (items.count !== manifest.index.count) throw corruptSnapshot("it has another number of items");
    await loading;
    const { graph, pending } = await shards.stats();
    if (graph + pending !== manifest.index.count) throw corruptSnapshot("its graphs miss some items");
    return openResident(context, manifest, shards, items);
  } catch (error) {
    await shards.close();
    throw error;
  }
}

function openResident(
  context: VectorContext,
  loaded: IndexManifest,
  shards: ShardedIndex,
  items: ItemTable,
): LoadedIndex {
  let held = loaded;
  let advancing: Promise<void> = Promise.resolve();

  async function advance(to: IndexManifest): Promise<void> {
    if (to.version - held.version > MAX_VERSIONS_BEHIND) throw new Stale("too far behind");
    while (held.version < to.version) {
      const version = held.version + 1;
      const next = version === to.version ? to : await context.catalog.load(to.name, version).catch(() => undefined);
      if (!isIndex(next) || !continues(held, next)) throw new Stale(`version ${version} does not go on from it`);
      if (next.provenance.operation !== "compact") {
        const added = next.files.slice(held.files.length);
        if (added.length > 0) {
          const changes = await onWholeCopies(context.store, added, () =>
            inScope((files) => readChanges(context, next, added, files)),
          );
          const publish = (): void => {
            held = next;
          };
          await apply(items, shards, next.index.dimension, changes, publish).catch((error: unknown) => {
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
    items,
    advance: (to) => {
      const next = advancing.then(() => advance(to));
      advancing = next.catch(() => undefined);
      return next;
    },
  };
}

async function readChanges(
  context: VectorContext,
  { name, index }: IndexManifest,
  files: IndexManifest["files"],
  held: Scope,
): Promise<VectorRows[]> {
  const paths = await pathsOf(context.store, files, held);
  const type = `FLOAT[${index.dimension}]`;
  const from = `read_parquet(${literalList(paths)}, hive_partitioning = false)`;
  const sql = `SELECT id, CAST(vector AS ${type}) AS vector, metadata::VARCHAR AS metadata, deleted FROM ${from}${paths.length > 1 ? " ORDER BY file_index" : ""}`;
  return context.withConnection(async (connection) => {
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
