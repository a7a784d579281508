import { parseReference } from "../../catalog/identity.ts";
import type { Catalog } from "../../catalog/types.ts";
import { insertJson } from "../../duckdb/json-rows.ts";
import type { RemoteConnection } from "../../duckdb/remote.ts";
import { answeredInTime, throwIfAborted } from "../../kernel/abort.ts";
import { LakeError } from "../../kernel/errors.ts";
import { mapAhead } from "../../kernel/map-ahead.ts";
import { action, argument, next } from "../../kernel/next-step.ts";
import type { Asking, Nesting } from "../types.ts";
import { CALL_KEY, CALL_PARAMETERS, callKey, VECTOR_SEARCH, type VectorSearch } from "./vector-calls.ts";

/** Finds the nearest items for `vector_search` in a statement, nearest first. */
export type SearchVectors = (call: VectorSearch, asking: Asking & { signal: AbortSignal }) => Promise<Found>;

export interface Found {
  /** The version of the index that was read, as in `resumes_index@7`. */
  reference: string;
  hits: VectorHit[];
  /** A note for the reader of the hits; may be empty. */
  note: string;
}

export interface VectorHit {
  id: string;
  distance: number;
  score: number;
  /** JSON. */
  metadata: string | null;
}

interface Searching {
  search: SearchVectors | undefined;
  catalog: Catalog;
  signal: AbortSignal;
  caller: string | undefined;
  nesting: Nesting | undefined;
}

/** Results of searches by `callKey`. */
export type FoundByKey = Map<string, Found>;

/** Thrown when searches have to run first, with no instance taken: their filters may need one. */
export class SearchesNeeded extends Error {
  readonly searches: readonly VectorSearch[];

  constructor(searches: readonly VectorSearch[]) {
    super("searches have to run first");
    this.searches = searches;
  }
}

/** Not a valid name of a dataset, so statements cannot name it. */
const TABLE = "_vector_hits";
export const HIT_COLUMNS = ["id", "distance", "score", "metadata"] as const;
const CREATE_TABLE = `CREATE OR REPLACE TEMP TABLE ${TABLE}
  (call VARCHAR, id VARCHAR, distance DOUBLE, score DOUBLE, metadata JSON)`;
/** The table has its full name, so that no common table expression of the statement can replace it. */
const CREATE_MACRO = `CREATE OR REPLACE MACRO main.${VECTOR_SEARCH}(${CALL_PARAMETERS}) AS TABLE
  SELECT hit.id, hit.distance, hit.score, hit.metadata FROM temp.main.${TABLE} AS hit WHERE hit.call = ${CALL_KEY}`;

/** Defines `vector_search` in an instance. Each connection has a table of its own; this one lets the macro be bound. */
export const VECTOR_MACRO: readonly string[] = [CREATE_TABLE, CREATE_MACRO];

/** The searches of a statement, those of their filters, and those of the filters of these. */
const MAX_DEPTH = 3;
/** Searches in filters of one statement, of all depths. */
const MAX_NESTED = 16;
const SEARCHES_AHEAD = 4;
const MAX_HIT_CHARS = 64 * 2 ** 20;
const ROWS_AT_ONCE = 1000;
const ROWS_PER_STATEMENT = 200;

/** Those of `searches` that have no hits yet, each once. */
export function missingSearches(searches: readonly VectorSearch[], found: FoundByKey): VectorSearch[] {
  const missing = new Map(searches.map((search) => [callKey(search), search]));
  return [...missing].filter(([key]) => !found.has(key)).map(([, search]) => search);
}

/** The notes of all searches, each once. */
export function notesOn(found: FoundByKey): string {
  return [...new Set([...found.values()].map(({ note }) => note).filter(Boolean))].join(" ");
}

/** Throws `limit`: a filter may contain a search with the same filter, without an end. */
function nestedIn({ depth, count }: Nesting, searches: number): Nesting {
  const hint = next`Search first, and pass the ids that were found with ${argument("params")}.`;
  if (depth >= MAX_DEPTH) {
    throw new LakeError("limit", `${VECTOR_SEARCH}() is nested more than ${MAX_DEPTH} deep in filters.`, { hint });
  }
  if (depth > 0) count.searches += searches;
  if (count.searches > MAX_NESTED) {
    const message = `The filters of this statement call ${VECTOR_SEARCH}() more than ${MAX_NESTED} times.`;
    throw new LakeError("limit", message, { hint });
  }
  return { depth: depth + 1, count };
}

/** Runs the searches and adds their hits to `found`. Throws `not_found`, `invalid`, `limit` and as `search` does. */
export async function runSearches(
  searches: readonly VectorSearch[],
  found: FoundByKey,
  { search, catalog, signal, caller, nesting }: Searching,
): Promise<void> {
  if (!search) {
    throw new LakeError("unavailable", `${VECTOR_SEARCH}() is not available here.`, { hint: "Query tables only." });
  }
  const inside = nestedIn(nesting ?? { depth: 0, count: { searches: 0 } }, searches.length);
  for (const { index } of searches) await assertIndex(index, catalog);
  const stop = new AbortController();
  const either = AbortSignal.any([signal, stop.signal]);
  let failed: unknown;
  const running = mapAhead(searches, SEARCHES_AHEAD, async (call): Promise<[string, Found]> => {
    try {
      throwIfAborted(either);
      return [callKey(call), await answeredInTime(search(call, { signal: either, caller, nesting: inside }), either)];
    } catch (error) {
      // The other searches are stopped, and the first error is thrown.
      failed ??= error;
      stop.abort();
      throw error;
    }
  });
  let chars = [...found.values()].reduce((sum, { hits }) => sum + charsOf(hits), 0);
  try {
    for await (const [key, result] of running) {
      throwIfAborted(signal);
      chars += charsOf(result.hits);
      if (chars > MAX_HIT_CHARS) throw tooMuch();
      found.set(key, result);
    }
  } catch (error) {
    throw failed ?? error;
  } finally {
    stop.abort();
  }
}

async function assertIndex(index: string, catalog: Catalog): Promise<void> {
  const { name } = parseReference(index, "the name of a vector index, whose newest version is searched");
  const { kind } = await catalog.load(name, undefined, { recent: true });
  if (kind === "vectors") return;
  throw new LakeError("invalid", `${VECTOR_SEARCH}(): ${JSON.stringify(name)} is a table, not a vector index.`, {
    hint: next`Make an index of it with ${action("createIndex", { name: `${name.slice(0, 57)}_index`, dataset: name, text: undefined, id: undefined })} and search that.`,
  });
}

function charsOf(hits: readonly VectorHit[]): number {
  return hits.reduce((sum, { id, metadata }) => sum + id.length + (metadata?.length ?? 0), 0);
}

/** Replaces the hits that the macro of a connection finds by those of these searches. */
export async function putHits(
  connection: RemoteConnection,
  searches: readonly VectorSearch[],
  found: FoundByKey,
  signal: AbortSignal,
): Promise<void> {
  // A new table rather than new rows: plans over the old rows have been pruned by their statistics.
  await connection.run(CREATE_TABLE, { signal });
  let rows: (string | number | null)[][] = [];
  for (const key of new Set(searches.map(callKey))) {
    for (const { id, distance, score, metadata } of found.get(key)?.hits ?? []) {
      rows.push([key, id, distance, score, metadata]);
      if (rows.length < ROWS_AT_ONCE) continue;
      await connection.append(TABLE, rows, signal);
      rows = [];
    }
  }
  if (rows.length > 0) await connection.append(TABLE, rows, signal);
}

/** The same as statements, for another instance. */
export function hitStatements(searches: readonly VectorSearch[], found: FoundByKey): string[] {
  const rows = [...new Set(searches.map(callKey))].flatMap((call) =>
    (found.get(call)?.hits ?? []).map((hit) => ({ call, ...hit })),
  );
  const statements = [...VECTOR_MACRO];
  for (let from = 0; from < rows.length; from += ROWS_PER_STATEMENT) {
    statements.push(insertJson(TABLE, JSON_TYPES, rows.slice(from, from + ROWS_PER_STATEMENT)));
  }
  return statements;
}

const JSON_TYPES = { call: "VARCHAR", id: "VARCHAR", distance: "DOUBLE", score: "DOUBLE", metadata: "VARCHAR" };

function tooMuch(): LakeError {
  return new LakeError("limit", `The hits of ${VECTOR_SEARCH}() hold more than ${MAX_HIT_CHARS} characters.`, {
    hint: "Ask for fewer with k, or search in several statements.",
  });
}
