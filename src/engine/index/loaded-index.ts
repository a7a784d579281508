import type { AnnChanges, AnnIndex } from "../ann/ann-index.ts";
import { literalList } from "../duckdb/duckdb.ts";
import { readVectors } from "../duckdb/vectors.ts";
import { LakeError } from "../kernel/errors.ts";
import { inScope, type Scope } from "../kernel/scope.ts";
import { openSequence } from "../kernel/sequence.ts";
import { onWholeCopies } from "../query/duckdb/damaged-copies.ts";
import type { VectorContext } from "./context.ts";
import { isIndex, pathsOf, selectItems } from "./segments.ts";
import type { IndexManifest } from "./types.ts";

/** One index in memory. */
export interface LoadedIndex {
  /** The version in memory. It changes in the turn in which searches begin to see its items. */
  readonly manifest: IndexManifest;
  readonly ann: AnnIndex;
  /** Applies the commits since, up to this version. Throws `Stale` when it has to be loaded again. */
  advance(to: IndexManifest): Promise<void>;
}

/** The version in memory cannot be brought to the wanted one, or it is not worth it. */
export class Stale extends Error {
  override name = "Stale";
}

/** It does not fit in memory, which was not known before its ids and metadata were read. */
export class TooLarge extends Error {
  override name = "TooLarge";
  readonly itemBytes: number;

  constructor({ itemBytes }: AnnIndex) {
    super("it does not fit in memory");
    this.itemBytes = itemBytes;
  }
}

const MAX_VERSIONS_BEHIND = 200;

/** Loads an index from its segments: every search is exact until the graphs have grown, in the background. */
export async function loadSegments(
  context: VectorContext,
  manifest: IndexManifest,
  signal: AbortSignal,
): Promise<LoadedIndex> {
  const { index } = manifest;
  const ann = context.ann.open(index, index.count);
  try {
    if (index.count > 0) {
      await inScope(async (files) => {
        const select = await selectItems(context.store, manifest, ["id", "vector", "metadata"], files);
        const sql = `SELECT id, vector, metadata::VARCHAR AS metadata, false AS deleted FROM (${select})`;
        await context.withConnection(async (connection) => {
          for await (const rows of readVectors(connection, sql, index.dimension, signal)) {
            await ann.apply([rows]);
            assertFits(context, ann);
          }
        });
      });
    }
    return openLoaded(context, manifest, ann);
  } catch (error) {
    await ann.close();
    throw error;
  }
}

/** Loads an index from a file that `AnnIndex.save` wrote at this version. Throws `corrupt`, `unavailable`, or `TooLarge`. */
export async function loadSnapshot(
  context: VectorContext,
  manifest: IndexManifest,
  path: string,
): Promise<LoadedIndex> {
  const ann = await context.ann.restore(path, manifest.index, contentOf(manifest));
  try {
    assertFits(context, ann);
    return openLoaded(context, manifest, ann);
  } catch (error) {
    await ann.close();
    throw error;
  }
}

export function contentOf({ name, version, commitId, index }: IndexManifest) {
  return { index: name, version, commitId, count: index.count };
}

function assertFits(context: VectorContext, ann: AnnIndex): void {
  if (ann.bytes > context.settings.vector.memoryBytes) throw new TooLarge(ann);
}

function openLoaded(context: VectorContext, loaded: IndexManifest, ann: AnnIndex): LoadedIndex {
  let current = loaded;
  const inOrder = openSequence();

  async function advance(to: IndexManifest): Promise<void> {
    if (to.version - current.version > MAX_VERSIONS_BEHIND) throw new Stale("too far behind");
    while (current.version < to.version) {
      const version = current.version + 1;
      const next = version === to.version ? to : await context.catalog.load(to.name, version).catch(() => undefined);
      if (!isIndex(next) || !continues(current, next)) throw new Stale(`version ${version} does not go on from it`);
      const added = next.provenance.operation === "compact" ? [] : next.files.slice(current.files.length);
      if (added.length > 0) {
        const changes = await onWholeCopies(context.store, added, () =>
          inScope((files) => readChanges(context, next, added, files)),
        );
        const onVisible = (): void => {
          current = next;
        };
        await ann.apply(changes, onVisible).catch((error: unknown) => {
          // Loaded again, it is laid out for its size.
          throw error instanceof LakeError && error.kind === "limit" ? new Stale("a part is full") : error;
        });
      }
      current = next;
    }
  }

  return {
    get manifest() {
      return current;
    },
    ann,
    advance: (to) => inOrder(() => advance(to)),
  };
}

async function readChanges(
  context: VectorContext,
  { name, index }: IndexManifest,
  files: IndexManifest["files"],
  pins: Scope,
): Promise<AnnChanges[]> {
  const paths = await pathsOf(context.store, files, pins);
  const type = `FLOAT[${index.dimension}]`;
  const from = `read_parquet(${literalList(paths)}, hive_partitioning = false)`;
  const order = paths.length > 1 ? " ORDER BY file_index" : "";
  const sql = `SELECT id, CAST(vector AS ${type}) AS vector, metadata::VARCHAR AS metadata, deleted FROM ${from}${order}`;
  return context.withConnection(async (connection) => {
    const batches: AnnChanges[] = [];
    for await (const rows of readVectors(connection, sql, index.dimension)) batches.push(rows);
    if (batches.length === 0) throw new LakeError("corrupt", `A segment of ${name} is empty.`);
    return batches;
  });
}

/** Whether `next` is the same index with files added, or with other files that hold the same items. */
function continues(current: IndexManifest, next: IndexManifest): boolean {
  if (next.createdAt !== current.createdAt || next.index.dimension !== current.index.dimension) return false;
  if (next.provenance.operation === "compact") return next.index.count === current.index.count;
  if (!["upsert", "delete"].includes(next.provenance.operation)) return false;
  return current.files.every(({ key }, at) => next.files[at]?.key === key);
}
