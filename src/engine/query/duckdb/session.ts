import type { Params } from "../../duckdb/duckdb.ts";
import { throwIfAborted } from "../../kernel/abort.ts";
import { LakeError } from "../../kernel/errors.ts";
import { MAX_SQL_CHARS } from "../../kernel/limits.ts";
import { assertPatterns } from "../guard/calls.ts";
import { limitCells } from "../guard/cell-limits.ts";
import { type GuardParts, type Judged, judge } from "../guard/guard.ts";
import { neededFiles } from "../pruning/needed-files.ts";
import { callKey, readSearches, type VectorSearch } from "../search/vector-calls.ts";
import { type FoundByKey, missingSearches, putHits, SearchesNeeded } from "../search/vector-hits.ts";
import type { Pins, Snapshot } from "../snapshot.ts";
import type { Opened } from "./instance.ts";
import type { Session } from "./pool.ts";
import { show, type ViewParts } from "./views.ts";

/** One turn on the pool. */
export interface Turn {
  session: Session;
  open: Opened;
  signal: AbortSignal;
  params: Params | undefined;
  pins: Pins;
}

/** Thrown when local copies of files have to be fetched, which must not keep a place on the pool. */
export class FilesNeeded extends Error {
  readonly snapshot: Snapshot;

  constructor(snapshot: Snapshot) {
    super("Files have to be fetched first.");
    this.snapshot = snapshot;
  }
}

export const KEPT_VERDICT_CHARS = 10_000;
const MAX_COMPUTED_BYTES = 8 * 2 ** 20;

/** Judges a statement, or recalls its verdict. Throws as `judge` does, and `SearchesNeeded`. */
export async function judgeOn(turn: Turn, sql: string, found: FoundByKey): Promise<Judged> {
  const { session, open, signal, params } = turn;
  const before = open.verdicts.get(sql);
  if (before) return before;
  let askedData = false;
  const parts = guardParts(session, open, signal, async (judged, limit) => {
    askedData = true;
    await prepare(turn, judged, found);
    return session.connection.texts(judged, { params, maxRows: limit, maxBytes: MAX_SQL_CHARS, signal });
  });
  const judged = await judge(sql, parts);
  if (!askedData && sql.length <= KEPT_VERDICT_CHARS) open.verdicts.set(sql, judged);
  return judged;
}

/** The guard's view of DuckDB: parsing binds nothing, and what it has run is only what it has allowed. */
export function guardParts(
  { connection }: Session,
  open: Opened,
  signal: AbortSignal,
  values: GuardParts["values"],
): GuardParts {
  const text = async (call: string, argument: string): Promise<string> => {
    const [row] = await connection.rows<{ text: string }>(`SELECT ${call} AS text`, { params: [argument], signal });
    return row?.text ?? "";
  };
  return {
    functions: open.functions,
    parse: (statement) => connection.parse(statement, signal),
    parseAll: (statement) => text("json_serialize_sql($1::VARCHAR)", statement),
    write: (tree) => text("json_deserialize_sql($1::VARCHAR::JSON)", tree),
    values,
  };
}

/** For `guardParts` where nothing may be read. */
export function refuseData(): never {
  throw new LakeError("denied", "A PIVOT needs its columns written out here.", { hint: "List them with IN (…)." });
}

/** What a statement will read, all of it pinned. Throws `FilesNeeded`. */
export async function pinnedSnapshot(turn: Turn, judged: Judged): Promise<Snapshot> {
  const { snapshots } = turn.open;
  const whole = await snapshots.resolve(judged, turn.pins);
  // With all files at hand there is nothing to save but looking into each, and a view of its own costs a statement more.
  if (snapshots.arePinned(whole, turn.pins)) return whole;
  const narrowed = snapshots.narrow(whole, await needed(turn, judged, whole));
  if (!snapshots.arePinned(narrowed, turn.pins)) throw new FilesNeeded(narrowed);
  return narrowed;
}

const MAX_ANSWER_BYTES = 8 * 2 ** 20;

function needed({ session, signal, params }: Turn, { filters }: Judged, { manifests }: Snapshot) {
  return neededFiles({
    filters,
    manifests,
    param: (name) => given(params, name),
    ask: async (sql) => {
      const limits = { params, maxRows: Number.POSITIVE_INFINITY, maxBytes: MAX_ANSWER_BYTES, signal };
      try {
        return await session.connection.texts({ sql, explain: false }, limits);
      } catch {
        // Such as a constant that is no date: for the statement itself to tell.
        throwIfAborted(signal);
        return [];
      }
    },
  });
}

/** Makes the session see all that a judged statement reads. Throws `SearchesNeeded` and `FilesNeeded`. */
export async function prepare(
  turn: Turn,
  judged: Judged,
  found: FoundByKey,
): Promise<{ snapshot: Snapshot; datasets: string[] }> {
  const { session, signal, params } = turn;
  assertPatterns(judged.patterns, (name) => given(params, name));
  const snapshot = await pinnedSnapshot(turn, judged);
  const searches = await searchesOf(turn, judged, found);
  await show(snapshot.relations, session, viewParts(turn), signal);
  await limitCells(session.connection, judged.growing);
  if (searches.length > 0) await putHits(session.connection, searches, found, signal);
  return { snapshot, datasets: readFrom(snapshot, searches, found) };
}

export function viewParts({ open: { store, catalog }, pins }: Turn): ViewParts {
  return { store, catalog, files: pins.scope };
}

/** What the statement searches for, all of it in `found`. Throws `SearchesNeeded` when it is not. */
export async function searchesOf(turn: Turn, judged: Judged, found: FoundByKey): Promise<VectorSearch[]> {
  if (judged.calls.length === 0) return [];
  const { session, signal, params } = turn;
  let computed: (string | null)[] = [];
  if (judged.computed !== undefined) {
    const statement = { sql: judged.computed, explain: false };
    const limits = { params, maxRows: 1, maxBytes: MAX_COMPUTED_BYTES, signal };
    const [values = "[]"] = await session.connection.texts(statement, limits);
    computed = JSON.parse(values);
  }
  const searches = readSearches(judged.calls, (name) => given(params, name), computed);
  const missing = missingSearches(searches, found);
  if (missing.length > 0) throw new SearchesNeeded(missing);
  return searches;
}

/** The versions that were read, by the statement and by its searches. */
export function readFrom(snapshot: Snapshot, searches: readonly VectorSearch[], found: FoundByKey): string[] {
  const references = searches.flatMap((search) => found.get(callKey(search))?.reference ?? []);
  return [...new Set([...snapshot.datasets, ...references])].sort((a, b) => (a < b ? -1 : 1));
}

/** What the caller passes for `$name`, or for the parameter at that place. */
export function given(params: Params | undefined, name: string): unknown {
  if (params === undefined) return undefined;
  if (Array.isArray(params)) return params[Number(name) - 1];
  const named = params as Readonly<Record<string, unknown>>;
  return named[name] ?? named[`$${name}`];
}
