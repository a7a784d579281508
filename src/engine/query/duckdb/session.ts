import { throwIfAborted } from "../../kernel/abort.ts";
import { LakeError } from "../../kernel/errors.ts";
import type { Params } from "../../kernel/json.ts";
import { MAX_SQL_CHARS } from "../../kernel/limits.ts";
import { assertPatterns } from "../guard/calls.ts";
import { limitCells } from "../guard/cell-limits.ts";
import { type GuardParts, type Judged, judge } from "../guard/guard.ts";
import { neededFiles } from "../pruning/needed-files.ts";
import { callKey, readSearches, type VectorSearch } from "../search/vector-calls.ts";
import { type FoundByKey, missingSearches, putHits, SearchesNeeded } from "../search/vector-hits.ts";
import type { Pins, Snapshot } from "../snapshot.ts";
import type { Shared } from "./instance.ts";
import type { PooledInstance } from "./pooled-instances.ts";
import { explained, withColumns } from "./query-errors.ts";
import { show, type ViewParts } from "./views.ts";

/** One statement on an instance of the pool. */
export interface QuerySession {
  instance: PooledInstance;
  shared: Shared;
  signal: AbortSignal;
  params: Params | undefined;
  pins: Pins;
  /** Hits of the searches that have run for this statement. */
  found: FoundByKey;
}

/** Thrown when local copies of files have to be fetched first, with no instance taken. */
export class FilesNeeded extends Error {
  readonly snapshot: Snapshot;

  constructor(snapshot: Snapshot) {
    super("Files have to be fetched first.");
    this.snapshot = snapshot;
  }
}

/** Longer statements are hardly ever sent again, and take memory to keep. */
export const CACHED_CHARS = 10_000;
const MAX_COMPUTED_BYTES = 8 * 2 ** 20;

/** The verdict on a statement, from the cache where it is there. Throws as `judge` does, and `SearchesNeeded`. */
export async function judgeOn(session: QuerySession, sql: string): Promise<Judged> {
  const { instance, shared, signal, params } = session;
  const cached = shared.verdicts.get(sql);
  if (cached) return cached;
  let readsData = false;
  const parts = guardParts(instance, shared, signal, async (judged, limit) => {
    readsData = true;
    await prepare(session, judged);
    return instance.connection.texts(judged, { params, maxRows: limit, maxBytes: MAX_SQL_CHARS, signal });
  });
  const judged = await judge(sql, parts);
  if (!readsData && sql.length <= CACHED_CHARS) shared.verdicts.set(sql, judged);
  return judged;
}

export interface Prepared {
  judged: Judged;
  snapshot: Snapshot;
  /** The versions that are read, as in `workers@3`. */
  datasets: string[];
}

/**
 * Judges a statement, makes the connection see the data that it reads, and runs it. `planKey` names the content of its
 * tables; undefined where a plan must not be used again.
 */
export async function runPrepared<Result>(
  session: QuerySession,
  sql: string,
  run: (judged: Judged, planKey: string | undefined) => Promise<Result>,
): Promise<Prepared & { result: Result }> {
  const judged = await judgeOn(session, sql);
  const { snapshot, datasets } = await prepare(session, judged);
  // A plan made over other hits may have been pruned by them.
  const planKey = judged.calls.length > 0 ? undefined : snapshot.relations.map(({ stamp }) => stamp).join();
  try {
    return { result: await run(judged, planKey), judged, snapshot, datasets };
  } catch (error) {
    throw withColumns(explained(error, session.shared.store.localRoot), judged, snapshot);
  }
}

/** The guard's view of DuckDB: parsing binds nothing, and it runs only statements that it has allowed. */
export function guardParts(
  { connection }: PooledInstance,
  shared: Shared,
  signal: AbortSignal,
  values: GuardParts["values"],
): GuardParts {
  const text = async (call: string, argument: string): Promise<string> => {
    const [row] = await connection.rows<{ text: string }>(`SELECT ${call} AS text`, { params: [argument], signal });
    return row?.text ?? "";
  };
  return {
    functions: shared.functions,
    parse: (statement) => connection.parse(statement, signal),
    parseAll: (statement) => text("json_serialize_sql($1::VARCHAR)", statement),
    write: (tree) => text("json_deserialize_sql($1::VARCHAR::JSON)", tree),
    values,
  };
}

/** `values` of `guardParts` where no data may be read. */
export function refuseData(): never {
  throw new LakeError("denied", "A PIVOT needs its columns written out here.", { hint: "List them with IN (…)." });
}

/** The versions and files that a statement reads, all of them pinned. Throws `FilesNeeded`. */
export async function pinnedSnapshot(session: QuerySession, judged: Judged): Promise<Snapshot> {
  const { snapshots } = session.shared;
  const whole = await snapshots.resolve(judged, session.pins);
  // Where all files are local, pruning saves only a look into each, and a view of its own costs the statement more.
  if (snapshots.arePinned(whole, session.pins)) return whole;
  const narrowed = snapshots.narrow(whole, await needed(session, judged, whole));
  if (!snapshots.arePinned(narrowed, session.pins)) throw new FilesNeeded(narrowed);
  return narrowed;
}

const MAX_ANSWER_BYTES = 8 * 2 ** 20;

function needed({ instance, signal, params }: QuerySession, { filters }: Judged, { manifests }: Snapshot) {
  return neededFiles({
    filters,
    manifests,
    param: (name) => given(params, name),
    ask: async (sql) => {
      const limits = { params, maxRows: Number.POSITIVE_INFINITY, maxBytes: MAX_ANSWER_BYTES, signal };
      try {
        return await instance.connection.texts({ sql, explain: false }, limits);
      } catch {
        // Such as a constant that is no date: the statement itself will say so.
        throwIfAborted(signal);
        return [];
      }
    },
  });
}

/** Makes the connection see the data that a judged statement reads. Throws `SearchesNeeded` and `FilesNeeded`. */
export async function prepare(session: QuerySession, judged: Judged): Promise<Pick<Prepared, "snapshot" | "datasets">> {
  const { instance, signal, params, found } = session;
  const { connection } = instance;
  assertPatterns(judged.patterns, (name) => given(params, name));
  const snapshot = await pinnedSnapshot(session, judged);
  const searches = await searchesOf(session, judged);
  await show(snapshot.relations, instance, viewParts(session), signal);
  await limitCells(connection, judged.growing);
  if (searches.length > 0) await putHits(connection, searches, found, signal);
  return { snapshot, datasets: versionsRead(snapshot, searches, found) };
}

export function viewParts({ shared: { store, catalog }, pins }: QuerySession): ViewParts {
  return { store, catalog, files: pins.scope };
}

/** The searches of a statement, the hits of all of them in `found`. Throws `SearchesNeeded` when some are missing. */
export async function searchesOf(session: QuerySession, judged: Judged): Promise<VectorSearch[]> {
  if (judged.calls.length === 0) return [];
  const { instance, signal, params, found } = session;
  let computed: (string | null)[] = [];
  if (judged.computed !== undefined) {
    const statement = { sql: judged.computed, explain: false };
    const limits = { params, maxRows: 1, maxBytes: MAX_COMPUTED_BYTES, signal };
    const [values = "[]"] = await instance.connection.texts(statement, limits);
    computed = JSON.parse(values);
  }
  const searches = readSearches(judged.calls, (name) => given(params, name), computed);
  const missing = missingSearches(searches, found);
  if (missing.length > 0) throw new SearchesNeeded(missing);
  return searches;
}

/** The versions that a statement and its searches read. */
export function versionsRead(snapshot: Snapshot, searches: readonly VectorSearch[], found: FoundByKey): string[] {
  const references = searches.flatMap((search) => found.get(callKey(search))?.reference ?? []);
  return [...new Set([...snapshot.datasets, ...references])].sort((a, b) => (a < b ? -1 : 1));
}

/** The value that the caller passes for `$name`, or for the parameter at that place. */
export function given(params: Params | undefined, name: string): unknown {
  if (params === undefined) return undefined;
  if (Array.isArray(params)) return params[Number(name) - 1];
  const named = params as Readonly<Record<string, unknown>>;
  return named[name] ?? named[`$${name}`];
}
