import type { DataFile } from "../catalog/types.ts";
import { literalList } from "../duckdb/duckdb.ts";
import { LakeError } from "../kernel/errors.ts";
import { inScope, type Scope } from "../kernel/scope.ts";
import { onWholeCopies } from "../query/duckdb/damaged-copies.ts";
import type { VectorContext } from "./context.ts";
import { isIndex, nextVersion, pathsOf, selectItems, writeQuery } from "./segments.ts";
import type { IndexManifest } from "./types.ts";
import { assertSame } from "./write.ts";

/** Files with changes that are merged into one, once there are so many. */
const MAX_CHANGE_FILES = 8;
/** Changes are merged into the base when they are so large a part of it, and so many files or rows. */
const MAX_CHANGED = 0.2;
const MAX_CHANGE_ROWS = 1_000;
/** So many small files of a base are merged into one. */
const MAX_SMALL_FILES = 16;
const SMALL_BYTES = 16 * 1024 ** 2;
const FILE_BYTES = 1024 ** 3;

/**
 * Writes the same items into fewer files, as one commit that changes nothing else: what others commit meanwhile stays on
 * top of it. False when there was nothing to do, or somebody else has done it.
 */
export async function compact(context: VectorContext, name: string, signal: AbortSignal): Promise<boolean> {
  const manifest = await context.catalog.load(name).catch(() => undefined);
  if (!isIndex(manifest)) return false;
  return onWholeCopies(context.store, manifest.files, () =>
    inScope((held) => compactHeld(context, manifest, held, signal)),
  );
}

async function compactHeld(
  context: VectorContext,
  manifest: IndexManifest,
  held: Scope,
  signal: AbortSignal,
): Promise<boolean> {
  const { files, index } = manifest;
  const base = files.slice(0, index.baseFiles);
  const changes = files.slice(index.baseFiles);
  if (shouldRewrite(manifest, base, changes)) {
    const merged = await writeBase(context, manifest, held, signal);
    return replace(context, manifest, merged, changes.length);
  }
  if (changes.length >= MAX_CHANGE_FILES) {
    const merged = await writeChanges(context, manifest, changes, held, signal);
    return replace(context, manifest, [...base, merged], changes.length, base.length);
  }
  const small = base.filter((file) => file.bytes < SMALL_BYTES);
  if (small.length <= MAX_SMALL_FILES) return false;
  const merged = await writeFiles(context, manifest, small, held, signal);
  const whole = base.filter((file) => file.bytes >= SMALL_BYTES);
  return replace(context, manifest, [...whole, merged], 0);
}

function shouldRewrite({ index }: IndexManifest, base: DataFile[], changes: DataFile[]): boolean {
  if (index.count === 0) return base.length + changes.length > 0;
  const changed = rowsOf(changes);
  if (changed <= rowsOf(base) * MAX_CHANGED) return false;
  return changes.length >= MAX_CHANGE_FILES || changed > MAX_CHANGE_ROWS;
}

function rowsOf(files: DataFile[]): number {
  return files.reduce((sum, file) => sum + file.rows, 0);
}

/** All live items; files of a gigabyte at most, each read from all, which is rare and keeps memory bounded. */
async function writeBase(
  context: VectorContext,
  manifest: IndexManifest,
  held: Scope,
  signal: AbortSignal,
): Promise<DataFile[]> {
  if (manifest.index.count === 0) return [];
  const items = await selectItems(context.store, manifest, ["id", "vector", "text", "metadata", "from_dataset"], held);
  const parts = Math.max(1, Math.ceil(manifest.bytes / FILE_BYTES));
  const written: DataFile[] = [];
  for (let part = 0; part < parts; part++) {
    const some = parts === 1 ? "" : ` WHERE hash(id) % ${parts} = ${part}`;
    const select = `SELECT *, false AS deleted FROM (${items})${some}`;
    const file = await context.withConnection((connection) =>
      writeQuery(context, connection, manifest, select, signal),
    );
    if (file.rows > 0) written.push(file);
  }
  // The count was kept by every commit, the rows are what is there: if they differ, leave all as it is.
  if (rowsOf(written) !== manifest.index.count) {
    throw new LakeError(
      "corrupt",
      `${manifest.name} has ${rowsOf(written)} items where ${manifest.index.count} are counted.`,
    );
  }
  return written;
}

/** The last change of every id. Tombstones stay: the base may have what they are about. */
async function writeChanges(
  context: VectorContext,
  manifest: IndexManifest,
  changes: DataFile[],
  held: Scope,
  signal: AbortSignal,
): Promise<DataFile> {
  const paths = await pathsOf(context.store, changes, held);
  const select = `SELECT * FROM read_parquet(${literalList(paths)}, hive_partitioning = false)
    QUALIFY row_number() OVER (PARTITION BY id ORDER BY file_index DESC) = 1`;
  return context.withConnection((connection) => writeQuery(context, connection, manifest, select, signal));
}

/** Files of the base, which have no id in common. */
async function writeFiles(
  context: VectorContext,
  manifest: IndexManifest,
  files: DataFile[],
  held: Scope,
  signal: AbortSignal,
): Promise<DataFile> {
  const paths = await pathsOf(context.store, files, held);
  const select = `SELECT * FROM read_parquet(${literalList(paths)}, hive_partitioning = false)`;
  return context.withConnection((connection) => writeQuery(context, connection, manifest, select, signal));
}

/** Puts `merged` in the place of the base and of so many of the changes. Its first `baseFiles` are the base. */
async function replace(
  context: VectorContext,
  manifest: IndexManifest,
  merged: DataFile[],
  changes: number,
  baseFiles = merged.length,
): Promise<boolean> {
  const before = manifest.files.slice(0, manifest.index.baseFiles + changes);
  const { committed } = await context.catalog.commit(manifest.name, (current) => {
    if (!isIndex(current)) return undefined;
    assertSame(current, manifest);
    if (!before.every(({ key }, at) => current.files[at]?.key === key)) return undefined;
    // Inserts may have made the base longer meanwhile, where there were no changes.
    const more = current.index.baseFiles > manifest.index.baseFiles ? current.index.baseFiles - before.length : 0;
    return nextVersion(current, {
      files: [...merged, ...current.files.slice(before.length)],
      index: { ...current.index, baseFiles: baseFiles + more },
      operation: "compact",
      source: "compaction",
    });
  });
  return committed;
}
