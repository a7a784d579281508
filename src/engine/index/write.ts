import { setImmediate } from "node:timers/promises";
import type { Manifest } from "../catalog/types.ts";
import type { SegmentRow } from "../duckdb/vectors.ts";
import { throwIfAborted } from "../kernel/abort.ts";
import { LakeError } from "../kernel/errors.ts";
import { MAX_ITEMS } from "../kernel/limits.ts";
import { openTimeSlice } from "../kernel/time-slice.ts";
import type { VectorContext } from "./context.ts";
import { assertId, type CheckedItem, checkItems } from "./items.ts";
import { embedFor } from "./model.ts";
import { findItems, isIndex, loadManifest, nextVersion, writeSegment } from "./segments.ts";
import type { DeleteResult, IndexManifest, IndexSummary, Item, VectorOptions } from "./types.ts";

/** Finds which of the ids are items of a version, and the metadata of some: in memory when it is there, else on disk. */
export type Lookup = (
  manifest: IndexManifest,
  wanted: { ids: readonly string[]; kept: readonly string[] },
) => Promise<ReadonlyMap<string, string | null>>;

const SLICE_MS = 5;

export interface Change {
  rows: readonly NewRow[];
  source: string;
  /** What else changes with it. */
  index?: Partial<IndexManifest["index"]>;
}

/** A row to write; without `metadata` it keeps what the item has. */
export interface NewRow extends Omit<SegmentRow, "metadata"> {
  metadata: string | null | undefined;
}

export interface Written {
  manifest: IndexManifest;
  /** Ids that were items before. */
  known: ReadonlyMap<string, unknown>;
}

/**
 * Commits rows, items and tombstones, as one segment on top of whatever is newest: durable when it returns. What the
 * commit depends on, which of the ids exist and what metadata they have, is looked up again when another writer came
 * first.
 */
export async function commitRows(
  context: VectorContext,
  manifest: IndexManifest,
  { rows, source, index: changed }: Change,
  signal?: AbortSignal,
  lookup: Lookup = (at, wanted) => findItems(context, at, wanted, signal),
): Promise<Written> {
  const ids = rows.map((row) => row.id);
  const kept = rows.flatMap((row) => (row.metadata === undefined ? [row.id] : []));
  const deletes = rows.filter((row) => row.vector === undefined).length;
  let written: { for: string; file: ReturnType<typeof writeSegment> } | undefined;
  const keyOf = (metadata: (string | null)[], deleted: string[]): string => JSON.stringify([metadata, deleted]);
  const write = (stored: readonly SegmentRow[]): ReturnType<typeof writeSegment> => {
    const file = writeSegment(context, manifest, stored, signal);
    // Told to whoever awaits it.
    file.catch(() => undefined);
    return file;
  };
  let known: ReadonlyMap<string, unknown> = new Map();
  const result = await context.catalog.commit(
    manifest.name,
    async (current) => {
      assertSame(current, manifest);
      // What is stored does not depend on what is there: both take their time at once.
      const early = rows.length > 0 && kept.length === 0 && deletes === 0;
      if (early) written ??= { for: keyOf([], []), file: write(rows as readonly SegmentRow[]) };
      const existing = await lookup(current, { ids, kept }).catch(async (error: unknown) => {
        await written?.file.catch(() => undefined);
        throw error;
      });
      known = existing;
      const stored = early ? (rows as readonly SegmentRow[]) : whole(rows, existing);
      if (stored.length === 0) return undefined;
      const metadata = kept.map((id) => existing.get(id) ?? null);
      const key = keyOf(metadata, deletes > 0 ? ids.filter((id) => known.has(id)) : []);
      if (written?.for !== key) written = { for: key, file: write(stored) };
      const file = await written.file;
      const { index, files } = current;
      const inserts = known.size === 0 && deletes === 0;
      const count = index.count + (deletes > 0 ? -known.size : rows.length - known.size);
      return nextVersion(current, {
        files: [...files, file],
        index: {
          ...index,
          ...changed,
          count,
          // New ids only, on nothing but a base: it is still one.
          baseFiles: inserts && index.baseFiles === files.length ? files.length + 1 : index.baseFiles,
        },
        operation: deletes > 0 ? "delete" : "upsert",
        source,
      });
    },
    { signal },
  );
  if (!isIndex(result.manifest)) throw gone(manifest.name);
  return { manifest: result.manifest, known };
}

/** With the metadata that is kept, and without tombstones of what is not there. */
function whole(rows: readonly NewRow[], existing: ReadonlyMap<string, string | null>): SegmentRow[] {
  return rows.flatMap((row): SegmentRow[] => {
    if (row.vector === undefined && !existing.has(row.id)) return [];
    return [{ ...row, metadata: row.metadata === undefined ? (existing.get(row.id) ?? null) : row.metadata }];
  });
}

export async function upsertItems(
  context: VectorContext,
  name: string,
  items: readonly Item[],
  { signal, onProgress }: VectorOptions,
  lookup?: Lookup,
): Promise<{ manifest: IndexManifest; inserted: number; updated: number }> {
  const manifest = await loadManifest(context, name);
  // Reading it took its time: the items get a turn of the event loop of their own.
  await setImmediate();
  const checked = await checkItems(name, items, manifest.index);
  const rows = await withVectors(context, manifest, checked, { signal, onProgress });
  throwIfAborted(signal);
  onProgress?.(0.95, "committing");
  const written = await commitRows(context, manifest, { rows, source: "vector-upsert" }, signal, lookup);
  onProgress?.(1, "committed");
  const updated = written.known.size;
  return { manifest: written.manifest, inserted: items.length - updated, updated };
}

async function withVectors(
  context: VectorContext,
  manifest: IndexManifest,
  items: readonly CheckedItem[],
  { signal, onProgress }: VectorOptions,
): Promise<NewRow[]> {
  const missing = items.flatMap((item, position) => (item.vector ? [] : [position]));
  const texts = missing.map((position) => items[position]?.text ?? "");
  const made =
    missing.length === 0
      ? []
      : await embedFor(context, manifest, texts, "document", (at) => `items[${missing[at]}].text`, {
          signal,
          onProgress: onProgress && ((fraction, message) => onProgress(fraction * 0.9, message)),
        });
  const byPosition = new Map(missing.map((position, at) => [position, made[at]]));
  return items.map(({ id, vector, text, metadata }, position) => ({
    id,
    vector: vector ?? byPosition.get(position),
    text,
    metadata,
    fromDataset: false,
  }));
}

export async function deleteItems(
  context: VectorContext,
  name: string,
  ids: readonly string[],
  signal?: AbortSignal,
  lookup?: Lookup,
): Promise<{ manifest: IndexManifest; result: DeleteResult }> {
  const manifest = await loadManifest(context, name);
  if (ids.length === 0 || ids.length > MAX_ITEMS) {
    throw new LakeError(
      ids.length === 0 ? "invalid" : "limit",
      `ids has ${ids.length} ids; it takes 1 to ${MAX_ITEMS}.`,
      {
        hint: "To drop the index as a whole, give all: true instead.",
      },
    );
  }
  const inSlices = openTimeSlice(SLICE_MS);
  for (const [at, id] of ids.entries()) await inSlices(() => assertId(id, `ids[${at}]`));
  const unique = [...new Set(ids)];
  const rows = unique.map((id) => ({ id, vector: undefined, text: null, metadata: null, fromDataset: false }));
  const written = await commitRows(context, manifest, { rows, source: "vector-delete" }, signal, lookup);
  const { version, index } = written.manifest;
  const missing = unique.filter((id) => !written.known.has(id));
  const deleted = written.known.size;
  return {
    manifest: written.manifest,
    result: { index: name, version, deleted, missing, count: index.count, dropped: false },
  };
}

export function summaryOf({ name, version, index }: IndexManifest): IndexSummary {
  const { count, dimension, metric, model } = index;
  return {
    index: name,
    version,
    count,
    dimension,
    metric,
    model: model?.name ?? null,
    provider: model?.provider ?? null,
    lexical: model?.lexical ?? false,
  };
}

/** What was checked against one index must not be written into another of the same name. */
export function assertSame(current: Manifest | undefined, expected: IndexManifest): asserts current is IndexManifest {
  if (!isIndex(current) || current.createdAt !== expected.createdAt) throw gone(expected.name);
  const { dimension, metric, model } = current.index;
  const before = expected.index;
  if (dimension !== before.dimension || metric !== before.metric || model?.name !== before.model?.name) {
    throw gone(expected.name);
  }
}

function gone(name: string): LakeError {
  return new LakeError("conflict", `${name} was dropped by another writer meanwhile.`, {
    code: "dataset_dropped",
    hint: "Nothing was changed. Look at it with catalog-describe, then call again.",
  });
}
