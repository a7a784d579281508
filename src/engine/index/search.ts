import type { AnnHit, AnnSearch } from "../ann/ann-index.ts";
import { scoreOf } from "../ann/distances.ts";
import type { Manifest } from "../catalog/types.ts";
import { identifier } from "../duckdb/duckdb.ts";
import { throwIfAborted } from "../kernel/abort.ts";
import { LakeError } from "../kernel/errors.ts";
import { ANYWHERE, parseExact } from "../kernel/exact-json.ts";
import type { Json } from "../kernel/json.ts";
import { DEFAULT_K, MAX_EF, MAX_K } from "../kernel/limits.ts";
import { mapInSlices } from "../kernel/time-slice.ts";
import type { Asking } from "../query/types.ts";
import type { VectorContext } from "./context.ts";
import { allowedItems, assertWhere, datasetOf, explained, matchingIds, relation } from "./filter.ts";
import type { IndexCache } from "./index-cache.ts";
import { assertId, assertText, checkVector } from "./items.ts";
import type { LoadedIndex } from "./loaded-index.ts";
import { embedFor } from "./model.ts";
import { loadManifest } from "./segments.ts";
import type { Hit, IndexManifest, SearchRequest, SearchResult } from "./types.ts";
import { summaryOf } from "./write.ts";

const EF_ITEMS = 100_000;
const SLICE_MS = 5;
/** With large numbers as strings, as results of SQL have them. */
const METADATA = { ...ANYWHERE, asText: true };
/** What the rows of one answer may take; the transport has limits of its own. */
const MAX_ANSWER_BYTES = 64 * 1024 ** 2;

/** A hit before its metadata is parsed. */
export interface RawHit extends AnnHit {
  score: number;
}

export interface Found {
  /** The version that was searched. */
  manifest: IndexManifest;
  hits: RawHit[];
  exact: boolean;
  matched: number | undefined;
  /** It did not fit in memory. */
  onDisk: boolean;
}

/** Finds the nearest items. Throws `invalid` naming the argument, `not_found` for an index or an item. */
export async function find(
  context: VectorContext,
  indexes: IndexCache,
  request: SearchRequest,
  asking: Asking,
): Promise<Found> {
  const { signal } = asking;
  throwIfAborted(signal);
  assertRequest(request);
  const manifest = await loadManifest(context, request.index, { recent: true });
  const k = request.k ?? DEFAULT_K;
  const ef = request.ef ?? efFor(manifest.index.count, context.settings.vector.ef);
  // Checked, and embedded, before anything is read.
  const query = await queryVector(context, manifest, request, signal);
  if (request.where !== undefined) await assertWhere(context, request.where, asking);
  const inMemory = await indexes.use(manifest, signal, async (loaded): Promise<Found> => {
    const { likeId = "", where } = request;
    const vector = query ?? (await loaded.ann.vector(likeId));
    if (!vector) throw noItem(manifest.name, likeId);
    const filter = where === undefined ? undefined : await allowedItems(context, loaded, where, asking);
    return searchLoaded(loaded, vector, { k, ef, likeId: request.likeId, filter, signal });
  });
  return inMemory ?? findOnDisk(context, manifest, request, query, k, asking);
}

/**
 * Candidates that find as much in an index of any size as `ef` does in one of 100,000 items. Measured, recall@10: 0.987 at
 * 100,000 with 64; at 300,000 0.922 with 64, and 0.985 with twice as many.
 */
export function efFor(count: number, ef: number): number {
  return Math.min(MAX_EF, Math.round(ef * Math.max(1, count / EF_ITEMS) ** (2 / 3)));
}

async function searchLoaded(
  { manifest, ann }: LoadedIndex,
  vector: Float32Array,
  { k, ef, likeId, filter, signal }: AnnSearch & { likeId: string | undefined },
): Promise<Found> {
  const most = likeId === undefined ? k : k + 1;
  const found = await ann.search(vector, { k: most, ef: Math.max(ef, most), filter, signal });
  const others = found.hits.filter(({ id }) => id !== likeId).slice(0, k);
  const hits = others.map((hit): RawHit => ({ ...hit, score: scoreOf(manifest.index.metric, hit.distance) }));
  return { manifest, hits, exact: found.exact, matched: filter?.count, onDisk: false };
}

const DISTANCES = {
  cosine: "array_cosine_distance",
  ip: "array_negative_inner_product",
  l2: "array_distance",
} as const;

/** Compares with every vector in the files: for what does not fit in memory. */
async function findOnDisk(
  context: VectorContext,
  manifest: IndexManifest,
  { likeId, where }: SearchRequest,
  query: Float32Array | undefined,
  k: number,
  asking: Asking,
): Promise<Found> {
  const { index } = manifest;
  const type = `FLOAT[${index.dimension}]`;
  const items = relation(manifest);
  const like = `(SELECT vector FROM ${items} WHERE id = $1::VARCHAR)`;
  const vector = query ? `from_json($1::VARCHAR, '["FLOAT"]')::${type}` : like;
  const conditions = likeId === undefined ? [] : ["id <> $1::VARCHAR"];
  const dataset = where === undefined ? undefined : await datasetOf(context, manifest);
  if (where !== undefined) conditions.push(`id IN (${matchingIds(manifest, dataset, where)})`);
  const sql = `SELECT id, ${DISTANCES[index.metric]}(vector, ${vector}) AS distance, metadata::VARCHAR AS metadata
    FROM ${items} ${conditions.length > 0 ? `WHERE ${conditions.join(" AND ")}` : ""} ORDER BY distance, id LIMIT ${k}`;
  if (likeId !== undefined) {
    const { rows } = await ask(context, `SELECT 1 FROM ${items} WHERE id = $1::VARCHAR`, [likeId], asking);
    if (rows.length === 0) throw noItem(manifest.name, likeId);
  }
  const parameter = query ? JSON.stringify([...query]) : likeId;
  const { rows } = await ask(context, sql, [parameter], asking).catch((error: unknown) => {
    throw where === undefined ? error : explained(error, manifest, dataset);
  });
  const hits = rows.map(([id, value, metadata]): RawHit => {
    const distance = Number(value);
    return { id: String(id), distance, score: scoreOf(index.metric, distance), metadata: metadata as string | null };
  });
  return { manifest, hits, exact: true, matched: undefined, onDisk: true };
}

async function ask(context: VectorContext, sql: string, params: readonly unknown[], asking: Asking) {
  const result = await context.query.query(sql, {
    params,
    maxRows: MAX_K,
    maxBytes: MAX_ANSWER_BYTES,
    ...asking,
  });
  if (!result.truncated) return result;
  throw new LakeError("limit", "The hits together are larger than an answer may be.", {
    hint: "Ask for fewer: lower k.",
  });
}

/** The hits with everything that was asked for, and what the reader should know about them. */
export async function search(
  context: VectorContext,
  indexes: IndexCache,
  request: SearchRequest,
  asking: Asking,
): Promise<SearchResult> {
  const started = performance.now();
  const found = await find(context, indexes, request, asking);
  const { manifest, matched } = found;
  const include = new Set(request.include);
  const some = found.hits.length > 0;
  const items =
    some && (include.has("text") || include.has("vector"))
      ? await itemsById(context, manifest, idsOf(found), include, asking)
      : undefined;
  const rows = include.has("row") ? await rowsById(context, manifest, idsOf(found), asking) : undefined;
  const complete = ({ id, distance, score, metadata }: RawHit): Hit => {
    const item = items?.get(id);
    return {
      id,
      distance,
      score,
      metadata: metadata === null ? null : (parseExact(metadata, METADATA) as Json),
      ...(include.has("text") && { text: (item?.text ?? null) as string | null }),
      ...(include.has("vector") && { vector: (item?.vector ?? []) as number[] }),
      ...(rows && { row: rows.get(id) ?? null }),
    };
  };
  const hits = await mapInSlices(found.hits, SLICE_MS, complete);
  const note = noteOn(found);
  return {
    ...summaryOf(manifest),
    hits,
    method: found.exact ? "exact" : "hnsw",
    ...(matched !== undefined && { matched }),
    ...(note !== "" && { note }),
    elapsed_ms: Math.round((performance.now() - started) * 100) / 100,
  };
}

function idsOf({ hits }: Found): string {
  return JSON.stringify(hits.map(({ id }) => id));
}

async function itemsById(
  context: VectorContext,
  manifest: IndexManifest,
  ids: string,
  include: ReadonlySet<string>,
  asking: Asking,
): Promise<Map<string, Record<string, Json>>> {
  const columns = ["id", ...["text", "vector"].filter((column) => include.has(column))];
  const sql = `SELECT ${columns.join(", ")} FROM ${relation(manifest)} WHERE id IN (${WANTED})`;
  return byId(await ask(context, sql, [ids], asking));
}

async function rowsById(
  context: VectorContext,
  manifest: IndexManifest,
  ids: string,
  asking: Asking,
): Promise<Map<string, Record<string, Json>>> {
  const dataset = await datasetOf(context, manifest);
  const source = manifest.index.source;
  if (!source) {
    throw new LakeError("invalid", `include has "row", and ${manifest.name} was not built from a dataset.`, {
      hint: 'Leave "row" out, or join in sql: FROM vector_search(…) s JOIN … ON … = s.id.',
    });
  }
  if (!dataset) return new Map();
  const key = keyColumn(dataset);
  const id = `CAST(${identifier(source.id)} AS VARCHAR)`;
  const sql = `SELECT ${id} AS ${identifier(key)}, * FROM ${relation(dataset)} WHERE ${id} IN (${WANTED})`;
  const found = byId(await ask(context, sql, [ids], asking));
  for (const row of found.values()) delete row[key];
  return found;
}

const WANTED = `SELECT unnest(from_json($1::VARCHAR, '["VARCHAR"]'))`;

function keyColumn(dataset: Manifest): string {
  let key = "item_id";
  while (dataset.columns.some((column) => column.name.toLowerCase() === key)) key += "_";
  return key;
}

/** Rows as objects, by their first column. */
function byId({ columns, rows }: { columns: { name: string }[]; rows: Json[][] }): Map<string, Record<string, Json>> {
  return new Map(
    rows.map((row) => [String(row[0]), Object.fromEntries(columns.map(({ name }, at) => [name, row[at] ?? null]))]),
  );
}

/** What the reader of the hits should know; empty for nothing. */
export function noteOn({ manifest, onDisk }: Found): string {
  const notes: string[] = [];
  const { model, source, count } = manifest.index;
  if (model?.lexical) notes.push(`${model.name} compares words and spelling, not meaning.`);
  if (source && !source.complete) {
    notes.push(
      `Building from ${source.dataset} was not finished: ${count} items are in. Call vector-index-create again with the same arguments to go on.`,
    );
  }
  if (source?.leftOut !== undefined) {
    notes.push(
      `${source.leftOut} rows of ${source.dataset} are not in it, as there was no vector for their text: vector-index-create with the same arguments tries them again, and names them.`,
    );
  }
  if (onDisk) notes.push("The index does not fit in vector_memory, so every vector was compared, on disk.");
  return notes.join(" ");
}

async function queryVector(
  context: VectorContext,
  manifest: IndexManifest,
  { text, vector }: SearchRequest,
  signal: AbortSignal | undefined,
): Promise<Float32Array | undefined> {
  if (vector !== undefined) return checkVector(vector, "vector", manifest.index);
  if (text === undefined) return undefined;
  assertText(text, "text");
  const [made] = await embedFor(context, manifest, [text], "query", () => "text", { signal });
  return made;
}

function assertRequest({ text, vector, likeId, k, ef }: SearchRequest): void {
  const given = Object.entries({ text, vector, like_id: likeId }).filter(([, value]) => value !== undefined);
  if (given.length !== 1) {
    const which = given.length === 0 ? "None" : given.map(([name]) => name).join(" and ");
    throw new LakeError("invalid", `${which} of text, vector and like_id ${given.length === 0 ? "is" : "are"} given.`, {
      hint: "Give one of them: what to search for, its vector, or the id of an item to find more like it.",
    });
  }
  if (likeId !== undefined) assertId(likeId, "like_id");
  assertNumber("k", k, MAX_K);
  assertNumber("ef", ef, MAX_EF);
}

function assertNumber(name: string, value: number | undefined, most: number): void {
  if (value === undefined || (Number.isInteger(value) && value >= 1 && value <= most)) return;
  throw new LakeError("invalid", `${name} is ${value}; it is a whole number from 1 to ${most}.`, {
    hint:
      name === "k"
        ? "Leave it out for 10 hits."
        : "Leave it out for what the server's vector_ef and the size of the index make of it.",
  });
}

function noItem(index: string, id: string): LakeError {
  return new LakeError("not_found", `${index} has no item ${JSON.stringify(id.slice(0, 100))}.`, {
    hint: `SELECT id FROM ${index} LIMIT 20 shows some.`,
  });
}
