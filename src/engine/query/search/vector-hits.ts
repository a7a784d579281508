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

/** What `vector_search` in a statement stands on: finds the nearest items, nearest first. */
export type SearchVectors = (call: VectorSearch, asking: Asking & { signal: AbortSignal }) => Promise<Found>;

export interface Found {
  /** The index and the version of it that was read: `resumes_index@7`. */
  reference: string;
  hits: VectorHit[];
  /** What the reader of the hits should know; empty for nothing. */
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

/** By `callKey`. */
export type FoundByKey = Map<string, Found>;

/** Thrown inside of a turn on the pool: the statement needs these first, and they may need a turn of their own. */
export class SearchesNeeded extends Error {
  readonly searches: readonly VectorSearch[];

  constructor(searches: readonly VectorSearch[]) {
    super("searches have to run first");
    this.searches = searches;
  }
}

/** No dataset can have this name, so a statement cannot name it. */
const TABLE = "_vector_hits";
export const HIT_COLUMNS = ["id", "distance", "score", "metadata"] as const;
const CREATE_TABLE = `CREATE OR REPLACE TEMP TABLE ${TABLE}
  (call VARCHAR, id VARCHAR, distance DOUBLE, score DOUBLE, metadata JSON)`;
/** The table is named in full, so that no common table expression of the statement takes its place. */
const CREATE_MACRO = `CREATE OR REPLACE MACRO main.${VECTOR_SEARCH}(${CALL_PARAMETERS}) AS TABLE
  SELECT hit.id, hit.distance, hit.score, hit.metadata FROM temp.main.${TABLE} AS hit WHERE hit.call = ${CALL_KEY}`;

/** Makes `vector_search` known to an instance. Its table is the session's own, and here only for the macro to be bound. */
export const VECTOR_MACRO: readonly string[] = [CREATE_TABLE, CREATE_MACRO];

/** A statement's own searches, those of their filters, and those of the filters of these. */
const MAX_DEPTH = 3;
/** Searches in filters that one statement may come to, all depths together. */
const MAX_NESTED = 16;
const SEARCHES_AHEAD = 4;
const MAX_HIT_CHARS = 64 * 2 ** 20;
const ROWS_PER_TURN = 1000;
const ROWS_PER_STATEMENT = 200;

/** Those of `searches` that have no hits yet, each once. */
export function missingSearches(searches: readonly VectorSearch[], found: FoundByKey): VectorSearch[] {
  const missing = new Map(searches.map((search) => [callKey(search), search]));
  return [...missing].filter(([key]) => !found.has(key)).map(([, search]) => search);
}

/** What the reader of a statement with these searches should know. */
export function notesOn(found: FoundByKey): string {
  return [...new Set([...found.values()].map(({ note }) => note).filter(Boolean))].join(" ");
}

/** Throws `limit`: a filter may compute to a text that searches with the same filter again. */
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

/** Runs the searches and adds what they find to `found`. Throws `not_found`, `invalid`, `limit` and what searching throws. */
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
      // The others are of no use any more, and must not be waited for to tell why.
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

/** Puts the hits of a statement's searches where the macro of its session finds them, in place of the last ones. */
export async function putHits(
  connection: RemoteConnection,
  searches: readonly VectorSearch[],
  found: FoundByKey,
  signal: AbortSignal,
): Promise<void> {
  // A new table, and not new rows: what was planned over the old rows, whose statistics prune, is planned again.
  await connection.run(CREATE_TABLE, { signal });
  let rows: (string | number | null)[][] = [];
  for (const key of new Set(searches.map(callKey))) {
    for (const { id, distance, score, metadata } of found.get(key)?.hits ?? []) {
      rows.push([key, id, distance, score, metadata]);
      if (rows.length < ROWS_PER_TURN) continue;
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
