import { join } from "node:path";
import * as z from "zod";
import { LakeError } from "../kernel/errors.ts";
import type { Scope } from "../kernel/scope.ts";
import { openSequence } from "../kernel/sequence.ts";
import type {
  AnnChanges,
  AnnContent,
  AnnEngine,
  AnnFilter,
  AnnHit,
  AnnIndex,
  AnnSearch,
  AnnShape,
} from "./ann-index.ts";
import { giveBack } from "./give-back.ts";
import type { ShardHits } from "./graph-search.ts";
import { type ItemTable, openItemTable } from "./item-table.ts";
import { openShardPool, type ShardedIndex, type ShardPool, type Vectors } from "./shards.ts";
import { corruptSnapshot, partPieces, readSnapshot, writeSnapshot } from "./snapshot.ts";

/** An element's header, its links on all layers and its slot, roughly. */
const SLOT_OVERHEAD = 220;
/** An id and metadata with their places in the table, roughly, where nothing is known of them. */
const ITEM_BYTES = 200;
/** An index with next to nothing in it. */
const LEAST_BYTES = 1024 ** 2;
/** A shard may grow afterwards: its memory ends at 4 GiB. */
const SHARD_BYTES = 2 * 1024 ** 3;

const savedSchema = z.object({
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

const COMPARED = ["index", "version", "commitId", "count", "dimension", "metric"] as const;

/** HNSW graphs in worker threads; without `hnsw` the same vectors without graphs, compared one by one. */
export function openHnsw(scope: Scope, settings: { threads: number; hnsw: boolean }): AnnEngine {
  const pool = openShardPool(scope, settings);
  return {
    saves: settings.hnsw,
    open: (shape, items) => {
      const shards = Math.max(settings.threads, Math.ceil(bytesFor(shape, items) / SHARD_BYTES));
      return indexOf(shape, pool.openIndex({ ...shape, shards }), openItemTable());
    },
    restore: (path, shape, content) => restore(pool, path, shape, content),
    savedAt: (head) => {
      const [, time] = /"savedAt":"([0-9T:.Z-]{20,30})"/.exec(Buffer.from(head).toString("latin1")) ?? [];
      return time === undefined ? undefined : new Date(time);
    },
    bytesFor,
  };
}

function bytesFor(shape: AnnShape, items: number, itemBytes = ITEM_BYTES): number {
  return LEAST_BYTES + items * (bytesOfSlot(shape) + itemBytes);
}

/** A vector, which takes 24 bits a coordinate, or 8 and float32, with its links and place. */
function bytesOfSlot({ dimension, metric }: AnnShape): number {
  const padded = Math.ceil(dimension / 32) * 32;
  return padded * { cosine: 3, ip: 5, l2: 4 }[metric] + SLOT_OVERHEAD;
}

function indexOf(shape: AnnShape, vectors: ShardedIndex, items: ItemTable): AnnIndex {
  // A change is planned from the slots that the one before it has used.
  const inOrder = openSequence();
  const masks = new WeakMap<AnnFilter, Uint8Array>();
  const maskOf = (filter: AnnFilter): Uint8Array => {
    const mask = masks.get(filter);
    if (!mask) throw new LakeError("internal", "A filter is of another index.");
    return mask;
  };
  return {
    get count() {
      return items.count;
    },
    get dead() {
      return items.slots - items.count;
    },
    get bytes() {
      return LEAST_BYTES + items.slots * bytesOfSlot(shape) + items.bytes;
    },
    get itemBytes() {
      return items.slots === 0 ? 0 : items.bytes / items.slots;
    },
    get broken() {
      return vectors.broken;
    },
    apply: (changes, onVisible) => inOrder(() => apply(items, vectors, shape.dimension, changes, onVisible)),
    search: async (query, { filter, ...asked }: AnnSearch) => {
      const found = await vectors.search(query, { ...asked, ...(filter && { allowed: maskOf(filter) }) });
      return { hits: hitsOf(items, found), exact: found.exact };
    },
    openFilter: () => {
      const { filter, mask } = openMask(items);
      masks.set(filter, mask);
      return filter;
    },
    lookup: async (ids) => {
      const found = new Map<string, string | null>();
      for (const id of ids) {
        const slot = items.slotOf(id);
        if (slot !== undefined) found.set(id, items.metadataOf(slot));
      }
      return found;
    },
    vector: async (id) => {
      const slot = items.slotOf(id);
      return slot === undefined ? undefined : vectors.vector(slot);
    },
    settled: vectors.settled,
    save: (folder, savedAt, content) => save(folder, shape, savedAt, { items, vectors, content }),
    stats: async () => {
      const { graph, pending, bytes } = await vectors.stats();
      return { graph, pending, bytes: bytes + items.bytes, dead: items.slots - items.count };
    },
    close: vectors.close,
  };
}

async function apply(
  items: ItemTable,
  vectors: ShardedIndex,
  dimension: number,
  changes: readonly AnnChanges[],
  onVisible?: () => void,
): Promise<void> {
  const { added, inserted, removed } = planOf(items, dimension, changes);
  // The vectors and the items change in one turn: a search sees all of it, or none.
  await vectors.change(added, Uint32Array.from(removed), () => {
    for (const slot of removed) items.remove(slot);
    for (const { id, metadata } of inserted) items.add(id, metadata);
    onVisible?.();
  });
  for (const batch of changes) giveBack(batch.vectors);
}

interface Plan {
  added: Vectors[];
  /** In the order of the slots that they get. */
  inserted: { id: string; metadata: string | null }[];
  /** Slots of items that are deleted or replaced. */
  removed: number[];
}

function planOf(items: ItemTable, dimension: number, changes: readonly AnnChanges[]): Plan {
  const ids = new Set<string>();
  const inserted: Plan["inserted"] = [];
  const first = items.slots;
  const added = changes.map((batch) => {
    const live = batch.deleted.reduce((count, deleted) => count + (deleted ? 0 : 1), 0);
    const slots = new Uint32Array(live);
    const isAll = live === batch.ids.length;
    const vectors = isAll ? batch.vectors : new Float32Array(live * dimension);
    let at = 0;
    for (const [row, id] of batch.ids.entries()) {
      ids.add(id);
      if (batch.deleted[row] === true) continue;
      if (!isAll) vectors.set(batch.vectors.subarray(row * dimension, (row + 1) * dimension), at * dimension);
      slots[at++] = first + inserted.length;
      inserted.push({ id, metadata: batch.metadata[row] ?? null });
    }
    return { slots, vectors };
  });
  return { added, inserted, removed: [...ids].flatMap((id) => items.slotOf(id) ?? []) };
}

/** Searches find items that were deleted since: the table still knows them. */
function hitsOf(items: ItemTable, { slots, distances }: ShardHits): AnnHit[] {
  let hasTies = false;
  const hits = Array.from(slots, (slot, at): AnnHit => {
    hasTies ||= at > 0 && distances[at] === distances[at - 1];
    return { id: items.idOf(slot), distance: distances[at] as number, metadata: items.metadataOf(slot) };
  });
  return hasTies ? hits.sort((a, b) => a.distance - b.distance || compareIds(a.id, b.id)) : hits;
}

/** As DuckDB orders text, by its UTF-8 bytes. */
function compareIds(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

/** A filter, and its mask: slot `s` is in byte `s >> 3`, bit `s & 7`. */
function openMask(items: ItemTable): { filter: AnnFilter; mask: Uint8Array } {
  const mask = new Uint8Array(Math.ceil(items.slots / 8));
  let count = 0;
  const allow = (id: string): void => {
    const slot = items.slotOf(id);
    // A later item is beyond the mask.
    if (slot === undefined || slot >> 3 >= mask.length) return;
    const byte = mask[slot >> 3] ?? 0;
    if ((byte & (1 << (slot & 7))) !== 0) return;
    mask[slot >> 3] = byte | (1 << (slot & 7));
    count++;
  };
  const filter: AnnFilter = {
    get count() {
      return count;
    },
    allow: (ids) => ids.forEach(allow),
    clear: () => {
      mask.fill(0);
      count = 0;
    },
  };
  return { filter, mask };
}

async function save(
  folder: string,
  { dimension, metric }: AnnShape,
  savedAt: Date,
  { items, vectors, content }: { items: ItemTable; vectors: ShardedIndex; content: () => AnnContent },
): Promise<string> {
  const now = () => ({ content: content(), slots: items.slots, pieces: items.save() });
  let saved: ReturnType<typeof now> | undefined;
  const graphs = await vectors.save(folder, () => {
    saved = now();
  });
  if (!saved) throw new LakeError("internal", "The shards were saved at no moment.");
  const { index, version, commitId, count } = saved.content;
  const fields: z.infer<typeof savedSchema> = {
    index,
    version,
    commitId,
    dimension,
    metric,
    count,
    slots: saved.slots,
    shards: graphs.length,
    savedAt: savedAt.toISOString(),
  };
  const path = join(folder, "snapshot");
  await writeSnapshot(path, fields, [saved.pieces, ...graphs.map((graph) => ({ path: graph }))]);
  return path;
}

async function restore(pool: ShardPool, path: string, shape: AnnShape, content: AnnContent): Promise<AnnIndex> {
  const { fields, sections } = await readSnapshot(path, savedSchema);
  const [table, ...graphs] = sections;
  const wanted = { ...content, ...shape };
  const fits = COMPARED.every((key) => fields[key] === wanted[key]);
  if (!fits || !table || graphs.length !== fields.shards) throw corruptSnapshot("it is of another version or index");
  const vectors = pool.openIndex({ ...shape, shards: graphs.length });
  try {
    const loading = vectors.load(graphs);
    // Awaited below, unless the items are of no use.
    loading.catch(() => undefined);
    const items = openItemTable();
    await items.load(partPieces(table), fields.slots);
    if (items.count !== content.count) throw corruptSnapshot("it has another number of items");
    await loading;
    const { graph, pending } = await vectors.stats();
    if (graph + pending !== content.count) throw corruptSnapshot("its graphs miss some items");
    return indexOf(shape, vectors, items);
  } catch (error) {
    await vectors.close();
    throw error;
  }
}
