import { randomUUID } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { putDataFile } from "../catalog/data-files.ts";
import { dataKey, schemaFingerprint } from "../catalog/identity.ts";
import type { Column, ColumnStats, DataFile, Draft, Manifest, Provenance, VectorIndex } from "../catalog/types.ts";
import { type Connection, literal } from "../duckdb/duckdb.ts";
import type { SegmentRow } from "../duckdb/vectors.ts";
import { LakeError } from "../kernel/errors.ts";
import { mapAhead } from "../kernel/map-ahead.ts";
import { inScope, type Scope } from "../kernel/scope.ts";
import { mapInSlices } from "../kernel/time-slice.ts";
import { onWholeCopies } from "../query/duckdb/damaged-copies.ts";
import { liveItems } from "../query/duckdb/live-items.ts";
import type { Store } from "../store/store.ts";
import type { VectorContext } from "./context.ts";
import { type IndexManifest, ITEM_COLUMNS } from "./types.ts";

/**
 * Values of a row group: 1.5 MB of floats, so that it stays in the processor's caches while it is encoded. No chunk that
 * DuckDB reads goes beyond one, which bounds what is copied at once on the event loop's thread.
 */
const GROUP_VALUES = 512 * 768;
const MAX_GROUP_ROWS = 20_480;
const STORED = "id, vector::FLOAT[] AS vector, text, metadata::VARCHAR AS metadata, deleted, from_dataset";
const PATHS_AHEAD = 16;
const SLICE_MS = 5;

/** The columns of an index as a table. Field ids go on from those of an earlier dataset of the name. */
export function indexColumns(dimension: number, after = 0): Column[] {
  const types = { id: "VARCHAR", vector: `FLOAT[${dimension}]`, text: "VARCHAR", metadata: "JSON" };
  return ITEM_COLUMNS.map((name, index) => ({ id: after + index + 1, name, type: types[name] }));
}

export function isIndex(manifest: Manifest | undefined): manifest is IndexManifest {
  return manifest?.index !== undefined && !manifest.dropped;
}

/** The newest version of an index. Throws `not_found` with the nearest names, `invalid` for a table. */
export async function loadManifest(
  context: Pick<VectorContext, "catalog">,
  name: string,
  options?: { recent?: boolean },
): Promise<IndexManifest> {
  const manifest = await context.catalog.load(name, undefined, options);
  if (isIndex(manifest)) return manifest;
  const create = JSON.stringify({ name: `${name}_index`, dataset: name, text: "…", id: "…" });
  throw new LakeError("invalid", `${name} is a table, not a vector index.`, {
    hint: `Make an index of it: vector-index-create ${create}.`,
  });
}

/** Writes rows as one segment and stores it: durable when this returns, visible when a commit names it. */
export async function writeSegment(
  context: VectorContext,
  { name, index }: IndexManifest,
  rows: readonly SegmentRow[],
  signal?: AbortSignal,
): Promise<DataFile> {
  const encoded = await context.withConnection((connection, source) =>
    source.withRows({ dimension: index.dimension, rows }, (table) =>
      encode(context, connection, index, `SELECT * FROM ${table}`, signal),
    ),
  );
  const file = await keep(context, { name, index }, encoded);
  if (file.rows === rows.length) return file;
  throw new LakeError("internal", `A segment has ${file.rows} rows of ${rows.length}.`);
}

/** As `writeSegment`, for the rows of a query of ours, which yields the columns of a segment. */
export async function writeQuery(
  context: VectorContext,
  connection: Connection,
  { name, index }: Pick<IndexManifest, "name" | "index">,
  select: string,
  signal?: AbortSignal,
): Promise<DataFile> {
  return keep(context, { name, index }, await encode(context, connection, index, select, signal));
}

interface Encoded {
  path: string;
  row: CopyRow;
}

async function encode(
  context: VectorContext,
  connection: Connection,
  { dimension }: VectorIndex,
  select: string,
  signal: AbortSignal | undefined,
): Promise<Encoded> {
  const path = join(await context.folder(), `${randomUUID()}.parquet`);
  const groupRows = Math.max(128, Math.min(MAX_GROUP_ROWS, Math.floor(GROUP_VALUES / dimension)));
  // Version 2 has an encoding that splits floats by bytes: a tenth smaller, and as quick; what is left of them packs no
  // better at higher levels (measured).
  const options = `FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, PARQUET_VERSION v2, ROW_GROUP_SIZE ${groupRows}, RETURN_STATS`;
  const copy = `COPY (SELECT ${STORED} FROM (${select})) TO ${literal(path)} (${options})`;
  try {
    const [row] = await connection.rows<CopyRow>(copy, { signal });
    if (!row) throw new LakeError("internal", "DuckDB wrote a segment and did not say so.");
    return { path, row };
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  }
}

/** Stores what was encoded, under its hash. */
async function keep(
  context: VectorContext,
  { name, index }: Pick<IndexManifest, "name" | "index">,
  { path, row }: Encoded,
): Promise<DataFile> {
  try {
    const sha256 = await context.hasher().sha256(path);
    const key = dataKey(name, schemaFingerprint(indexColumns(index.dimension)), sha256);
    await putDataFile(context.store, key, path);
    return {
      key,
      bytes: Number(row.file_size_bytes),
      rows: Number(row.count),
      sourceHash: `sha256:${sha256}`,
      stats: statsOf(row),
    };
  } finally {
    await rm(path, { force: true });
  }
}

interface CopyRow {
  count: string;
  file_size_bytes: string;
  column_statistics: { key: string; value: { key: string; value: string }[] }[] | null;
}

/** Of the ids only the range: texts and vectors have none that helps. */
function statsOf(row: CopyRow): Record<string, ColumnStats> {
  const found = new Map(
    (row.column_statistics ?? []).map(({ key, value }) => [
      key.replaceAll('"', ""),
      new Map(value.map((e) => [e.key, e.value])),
    ]),
  );
  const stats: Record<string, ColumnStats> = {};
  for (const column of ITEM_COLUMNS) {
    const of = found.get(column);
    const range = column === "id" ? of : undefined;
    stats[column] = {
      min: range?.get("min") ?? null,
      max: range?.get("max") ?? null,
      nulls: Number(of?.get("null_count") ?? 0),
    };
  }
  return stats;
}

/** What comes after `current` when `files` are added to it or put in its place. */
export function nextVersion(
  current: IndexManifest,
  change: { files: DataFile[]; index: VectorIndex; operation: Provenance["operation"]; source: string },
): Draft {
  return {
    kind: "vectors",
    dropped: false,
    columns: current.columns,
    files: change.files,
    index: change.index,
    provenance: { operation: change.operation, source: change.source, sourceHash: "", options: {} },
  };
}

/** The live items of a version as a query, until `files` is closed; `columns` may name `from_dataset` too. */
export async function selectItems(
  store: Store,
  manifest: IndexManifest,
  columns: readonly string[],
  files: Scope,
): Promise<string> {
  return liveItems(manifest, await pathsOf(store, manifest.files, files), columns);
}

/** Local paths, until `held` is closed. */
export async function pathsOf(store: Store, files: readonly DataFile[], held: Scope): Promise<string[]> {
  const paths: string[] = [];
  for await (const path of mapAhead(files, PATHS_AHEAD, (file) => store.localPath(file.key, held))) paths.push(path);
  return paths;
}

/** Which of the ids are items of this version; of those in `kept`, their metadata as JSON. */
export async function findItems(
  context: VectorContext,
  manifest: IndexManifest,
  { ids, kept }: { ids: readonly string[]; kept: readonly string[] },
  signal?: AbortSignal,
): Promise<Map<string, string | null>> {
  if (manifest.index.count === 0) return new Map();
  return onWholeCopies(context.store, manifest.files, () => findOnDisk(context, manifest, { ids, kept }, signal));
}

function findOnDisk(
  context: VectorContext,
  manifest: IndexManifest,
  { ids, kept }: { ids: readonly string[]; kept: readonly string[] },
  signal: AbortSignal | undefined,
): Promise<Map<string, string | null>> {
  return inScope(async (files) => {
    const items = await selectItems(context.store, manifest, ["id", "metadata"], files);
    return context.withConnection(async (connection) => {
      const found = new Map<string, string | null>();
      const look = async (columns: string, wanted: readonly string[]): Promise<void> => {
        if (wanted.length === 0) return;
        const listed = `SELECT unnest(from_json($1::VARCHAR, '["VARCHAR"]'))`;
        const sql = `SELECT ${columns} FROM (${items}) WHERE id IN (${listed})`;
        const options = { params: [JSON.stringify(wanted)], signal };
        const rows = await connection.rows<{ id: string; metadata?: string | null }>(sql, options);
        await mapInSlices(rows, SLICE_MS, ({ id, metadata = null }) => void found.set(id, metadata));
      };
      await look("id", ids);
      await look("id, metadata::VARCHAR AS metadata", kept);
      return found;
    });
  });
}
