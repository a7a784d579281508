import { randomUUID } from "node:crypto";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { VectorSource } from "../catalog/types.ts";
import { type Connection, literalList } from "../duckdb/duckdb.ts";
import type { RemoteConnection } from "../duckdb/remote.ts";
import type { SegmentRow } from "../duckdb/vectors.ts";
import { throwIfAborted } from "../kernel/abort.ts";
import { LakeError } from "../kernel/errors.ts";
import { inScope, type Scope } from "../kernel/scope.ts";
import { assertIds } from "./build-checks.ts";
import type { VectorContext } from "./context.ts";
import { leaveOut } from "./left-out.ts";
import { embedEachFor } from "./model.ts";
import { isIndex, nextVersion, selectItems } from "./segments.ts";
import type { IndexManifest, LeftOut, VectorOptions } from "./types.ts";
import { assertSame, commitRows, type Lookup, type NewRow } from "./write.ts";

export interface Built {
  manifest: IndexManifest;
  created: boolean;
  unchanged: boolean;
  embedded: number;
  kept: number;
  removed: number;
  skipped: number;
  leftOut?: LeftOut | undefined;
}

export interface BuildOptions extends VectorOptions {
  signal: AbortSignal;
  /** Told of every segment. */
  onCommit?: (manifest: IndexManifest) => void;
  lookup?: Lookup;
}

/** Rows of one segment: what is lost at most when the process ends in between. Fewer where rows are large. */
const SEGMENT_ROWS = 10_000;
const SEGMENT_VALUES = 10_000 * 768;
const SEGMENT_CHARS = 32 * 1024 ** 2;
/** Ids read at once. */
const IDS_AT_ONCE = 10_000;
/** The same in time, for a model that is slow. */
const SEGMENT_MS = 30_000;
const TEXTS_AT_ONCE = 256;
/** The temporary tables: rows of the dataset, items of the index, and what is to be done. */
const TABLES = ["source", "items", "todo", "other", "gone"];

/**
 * Makes the index equal to its dataset: embeds rows that are new or whose text changed, takes over other metadata, and
 * removes items whose row has gone. Every segment is a commit, so that what was done stays done: after a crash or a
 * cancellation the next build finds it and goes on. The index is made, by `ensure`, when the rows have been looked at.
 * Throws `invalid` for ids that are NULL or not unique.
 */
export async function buildIndex(
  context: VectorContext,
  ensure: () => Promise<{ manifest: IndexManifest; created: boolean }>,
  { sql, source }: { sql: string; source: VectorSource },
  options: BuildOptions,
): Promise<Built> {
  return inScope((files) => build(context, ensure, { sql, source }, { ...options, files }));
}

async function build(
  context: VectorContext,
  ensure: () => Promise<{ manifest: IndexManifest; created: boolean }>,
  { sql, source }: { sql: string; source: VectorSource },
  { signal, caller, onProgress, onCommit, lookup, files }: BuildOptions & { files: Scope },
): Promise<Built> {
  return context.withOwnInstance({ signal, caller }, async (connection): Promise<Built> => {
    const run = (statement: string): Promise<void> => connection.run(statement, { signal });
    await readSource(context, sql, run, { signal, caller });
    await assertIds(connection, source, signal);
    const { manifest, created } = await ensure();
    await run(
      `CREATE TEMP TABLE items AS ${await selectItems(context.store, manifest, ["id", "text", "metadata", "from_dataset"], files)}`,
    );
    const todo = await compare(connection, signal);

    const done: Done = { manifest, embedded: 0, leftOut: { count: 0, items: [] } };
    const commit = async (rows: readonly NewRow[], index: Partial<IndexManifest["index"]>): Promise<void> => {
      const written = await commitRows(context, done.manifest, { rows, source: source.dataset, index }, signal, lookup);
      done.manifest = written.manifest;
      onCommit?.(done.manifest);
    };
    try {
      if (todo.embed + todo.other + todo.gone === 0) {
        done.manifest = await commitSource(context, manifest, { ...source, complete: true });
      } else {
        // What was left out at the last time is tried again, and changes nothing until there is something to change.
        if (!isSettled(manifest, source)) {
          done.manifest = await commitSource(context, manifest, { ...source, complete: false });
        }
        for await (const ids of idsOf(connection, "gone", IDS_AT_ONCE, signal)) {
          await commit(
            ids.map((id) => ({ ...TOMBSTONE, id })),
            {},
          );
        }
        await keepVectors(context, connection, done.manifest, { commit, files }, signal);
        await embedRows(context, connection, todo.embed, done, commit, { signal, onProgress });
        const { count } = done.leftOut;
        const leftOut = count === 0 ? {} : { leftOut: count };
        done.manifest = await commitSource(context, done.manifest, { ...source, complete: true, ...leftOut });
      }
    } catch (error) {
      throw brokenOff(error, manifest.name, done.embedded, todo.embed);
    } finally {
      for (const table of TABLES) await connection.run(`DROP TABLE IF EXISTS ${table}`).catch(() => undefined);
    }
    return {
      manifest: done.manifest,
      created,
      unchanged: !created && done.manifest.version === manifest.version,
      embedded: done.embedded,
      kept: todo.rows - todo.skipped - todo.embed,
      removed: todo.gone,
      skipped: todo.skipped,
      ...(done.leftOut.count > 0 && { leftOut: done.leftOut }),
    };
  });
}

/** Makes the table `source` of the rows of a statement. */
async function readSource(
  context: VectorContext,
  sql: string,
  run: (statement: string) => Promise<void>,
  asking: Pick<BuildOptions, "signal" | "caller">,
): Promise<void> {
  const folder = join(await context.folder(), randomUUID());
  await mkdir(folder);
  try {
    const { files } = await context.query.writeParquet(sql, { ...asking, folder });
    await run(`CREATE TEMP TABLE source AS FROM read_parquet(${literalList(files)}, hive_partitioning = false)`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const TOMBSTONE = { vector: undefined, text: null, metadata: null, fromDataset: false };
/** What the embedder takes for blank: DuckDB's own `\s` knows ASCII only. ECMA-262, WhiteSpace and LineTerminator. */
const BLANK =
  "\\t\\n\\x0B\\f\\r \\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}\\x{FEFF}";
const HAS_TEXT = `regexp_matches(s.text, '[^${BLANK}]')`;

interface Todo {
  rows: number;
  skipped: number;
  embed: number;
  other: number;
  gone: number;
}

/** What has to be embedded, what keeps its vector and gets other metadata, and what has to go. */
async function compare(connection: Connection, signal: AbortSignal | undefined): Promise<Todo> {
  const run = (sql: string): Promise<void> => connection.run(sql, { signal });
  await run(`CREATE TEMP TABLE todo AS SELECT row_number() OVER () AS n, s.id, s.text, s.metadata
    FROM source s LEFT JOIN items i ON i.id = s.id WHERE ${HAS_TEXT} AND (i.id IS NULL OR i.text IS DISTINCT FROM s.text)`);
  await run(`CREATE TEMP TABLE other AS SELECT s.id, s.text, s.metadata FROM source s JOIN items i ON i.id = s.id
    WHERE ${HAS_TEXT} AND i.text = s.text AND (i.metadata::VARCHAR IS DISTINCT FROM s.metadata OR NOT i.from_dataset)`);
  await run(`CREATE TEMP TABLE gone AS SELECT i.id FROM items i
    WHERE i.from_dataset AND i.id NOT IN (SELECT s.id FROM source s WHERE ${HAS_TEXT})`);
  const [counts] = await connection.rows<Record<keyof Todo, string>>(
    `SELECT (SELECT count(*) FROM source) AS rows, (SELECT count(*) FROM source s WHERE (${HAS_TEXT}) IS NOT TRUE) AS skipped,
      (SELECT count(*) FROM todo) AS embed, (SELECT count(*) FROM other) AS other, (SELECT count(*) FROM gone) AS gone`,
    { signal },
  );
  const number = (of: keyof Todo): number => Number(counts?.[of] ?? 0);
  return {
    rows: number("rows"),
    skipped: number("skipped"),
    embed: number("embed"),
    other: number("other"),
    gone: number("gone"),
  };
}

/** Rows whose text is as it was: their vectors are read from the index and written again. */
async function keepVectors(
  context: VectorContext,
  connection: RemoteConnection,
  manifest: IndexManifest,
  { commit, files }: { commit: (rows: NewRow[], index: object) => Promise<void>; files: Scope },
  signal: AbortSignal | undefined,
): Promise<void> {
  const items = await selectItems(context.store, manifest, ["id", "vector"], files);
  for await (const ids of idsOf(connection, "other", segmentRows(manifest), signal)) {
    const wanted = `SELECT unnest(from_json('${JSON.stringify(ids).replaceAll("'", "''")}', '["VARCHAR"]'))`;
    const texts = await connection.rows<{ id: string; text: string }>(
      `SELECT id, text FROM other WHERE id IN (${wanted})`,
      { signal },
    );
    const textOf = new Map(texts.map(({ id, text }) => [id, text]));
    const sql = `SELECT o.id, v.vector, o.metadata, false FROM other o JOIN (${items}) v ON v.id = o.id WHERE o.id IN (${wanted})`;
    const rows: NewRow[] = [];
    const { dimension } = manifest.index;
    for await (const part of connection.readVectors(sql, dimension, signal)) {
      for (const [at, id] of part.ids.entries()) {
        const vector = part.vectors.slice(at * dimension, (at + 1) * dimension);
        rows.push({ id, vector, text: textOf.get(id) ?? null, metadata: part.metadata[at] ?? null, fromDataset: true });
      }
    }
    if (rows.length > 0) await commit(rows, {});
  }
}

interface Done {
  manifest: IndexManifest;
  embedded: number;
  leftOut: LeftOut;
}

async function embedRows(
  context: VectorContext,
  connection: Connection,
  total: number,
  done: Done,
  commit: (rows: SegmentRow[], index: object) => Promise<void>,
  { signal, onProgress }: VectorOptions,
): Promise<void> {
  const most = segmentRows(done.manifest);
  let rows: SegmentRow[] = [];
  let chars = 0;
  let since = performance.now();
  const flush = async (): Promise<void> => {
    if (rows.length === 0) return;
    onProgress?.(Math.min(0.99, (done.embedded + rows.length) / total), "committing");
    await commit(rows, {});
    done.embedded += rows.length;
    rows = [];
    chars = 0;
    since = performance.now();
  };
  for (let from = 1; from <= total; from += TEXTS_AT_ONCE) {
    throwIfAborted(signal);
    const part = await connection.rows<{ id: string; text: string; metadata: string | null }>(
      `SELECT id, text, metadata FROM todo WHERE n >= ${from} AND n < ${from + TEXTS_AT_ONCE} ORDER BY n`,
      { signal },
    );
    const before = done.embedded + rows.length;
    const vectors = await embedEachFor(
      context,
      done.manifest,
      part.map((row) => row.text),
      (at) => `the text of id ${JSON.stringify(part[at]?.id ?? "")}`,
      {
        signal,
        onProgress: (fraction) =>
          onProgress?.(Math.min(0.99, (before + fraction * part.length) / total), `embedding ${total} texts`),
      },
    );
    const stale: string[] = [];
    for (const [at, row] of part.entries()) {
      const vector = vectors[at];
      if (vector instanceof Float32Array) {
        chars += row.text.length + (row.metadata?.length ?? 0);
        rows.push({ id: row.id, vector, text: row.text, metadata: row.metadata, fromDataset: true });
      } else {
        stale.push(row.id);
        leaveOut(done.leftOut, row.id, vector?.reason ?? "");
      }
    }
    // What the index has of such a row is of a text that it no longer has.
    if (stale.length > 0)
      await commit(
        stale.map((id) => ({ ...TOMBSTONE, id })),
        {},
      );
    const full = rows.length >= most || chars >= SEGMENT_CHARS;
    if (full || performance.now() - since > SEGMENT_MS) await flush();
  }
  await flush();
  onProgress?.(1, "committed");
}

/** Whether the index was built from this version of its dataset before, to the end. */
function isSettled({ index }: IndexManifest, source: VectorSource): boolean {
  const { leftOut: _, ...own } = index.source ?? source;
  return JSON.stringify(own) === JSON.stringify({ ...source, complete: true });
}

function segmentRows({ index }: IndexManifest): number {
  return Math.min(SEGMENT_ROWS, Math.ceil(SEGMENT_VALUES / index.dimension));
}

async function* idsOf(
  connection: Connection,
  table: string,
  most: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<string[]> {
  for (let from = 0; ; from += most) {
    const rows = await connection.rows<{ id: string }>(
      `SELECT id FROM ${table} ORDER BY id LIMIT ${most} OFFSET ${from}`,
      { signal },
    );
    if (rows.length > 0) yield rows.map(({ id }) => id);
    if (rows.length < most) return;
  }
}

/** Records what the index mirrors, unless that is what it says already. */
async function commitSource(
  context: VectorContext,
  manifest: IndexManifest,
  source: VectorSource,
): Promise<IndexManifest> {
  const { manifest: committed } = await context.catalog.commit(manifest.name, (current) => {
    assertSame(current, manifest);
    if (JSON.stringify(current.index.source) === JSON.stringify(source)) return undefined;
    return nextVersion(current, {
      files: current.files,
      index: { ...current.index, source },
      operation: "upsert",
      source: source.dataset,
    });
  });
  if (!isIndex(committed)) throw new LakeError("internal", "The catalog has no index after a commit.");
  return committed;
}

/** The caller's cancellation says that nothing was changed, which is not so here. */
function brokenOff(error: unknown, name: string, embedded: number, total: number): unknown {
  if (!(error instanceof LakeError)) return error;
  const cause = error.cause ?? error;
  if (error.code === "dataset_dropped") {
    return new LakeError("conflict", `${name} was dropped, or made anew, by another writer while it was built.`, {
      code: "dataset_dropped",
      hint: `Look at ${name} with catalog-describe, then call again.`,
      cause,
    });
  }
  const message = `${error.message} Of ${total} texts to embed, ${embedded} are in ${name}, and stay there.`;
  const hint = "Call vector-index-create again with the same arguments: it goes on from there.";
  const first = error.code === "cancelled" ? undefined : error.hint;
  return new LakeError(error.kind, message, {
    code: error.code,
    hint: first === undefined ? hint : `${first} ${hint}`,
    cause,
  });
}
