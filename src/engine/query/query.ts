import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LRUCache } from "lru-cache";
import { didYouMean } from "../catalog/nearest.ts";
import type { Catalog } from "../catalog/types.ts";
import { openDuck, type Params, translateDuckError } from "../duckdb/duckdb.ts";
import type { Json } from "../duckdb/values.ts";
import { cancelled, LakeError, throwIfAborted } from "../errors.ts";
import { openScope, type Scope } from "../scope.ts";
import type { EngineSettings } from "../settings.ts";
import type { Store } from "../store/store.ts";
import { assertPatterns } from "./calls.ts";
import { CELL_LIMIT, CELL_LIMITS, MAX_CELL_ITEMS, MAX_CELL_TEXT } from "./cell-limits.ts";
import { hidePlanPaths } from "./explain.ts";
import { type FunctionNames, loadFunctionNames } from "./functions.ts";
import { type Judged, judge, MAX_SQL_CHARS } from "./guard.ts";
import { openPool, type Pool, type Session } from "./pool.ts";
import { openRelations, type Relations, type Resolved, show } from "./relations.ts";
import { withoutEnd } from "./tokens.ts";

export interface QueryOptions {
  /** Bound to `$1`, `$2`, … or `?` (array), or to `$name` (object). */
  params?: Params;
  /** Default 100, at most 10 000. */
  maxRows?: number;
  /** Bytes of the rows as JSON text. Default: `settings.maxResultBytes`. */
  maxBytes?: number;
  /** Default: `settings.queryTimeoutMs`. Waiting for a turn counts. */
  timeoutMs?: number;
  signal?: AbortSignal;
}

export interface QueryResult {
  columns: { name: string; type: string }[];
  rows: Json[][];
  row_count: number;
  /** There is at least one more row. */
  truncated: boolean;
  truncated_by?: "max_rows" | "max_bytes";
  /** Rows without the limits, when that is known without counting them. */
  total_rows?: number;
  /** The versions that were read, as in `workers@3`. */
  datasets: string[];
  elapsed_ms: number;
}

export interface QueryEngine {
  /**
   * Runs one statement that only reads. Throws `LakeError`: `denied` when the guard refuses, `invalid` for a wrong
   * statement or parameters, `not_found` with the nearest names, `limit` for a budget, `unavailable` when cancelled or
   * when too many are waiting.
   */
  query(sql: string, options?: QueryOptions): Promise<QueryResult>;
  /**
   * Judges a statement, and returns it, fit to stand in parentheses, with what another locked instance has to run
   * first to see the same data. Throws as `query` does.
   */
  plan(sql: string, options?: { signal?: AbortSignal }): Promise<{ sql: string; views: string[]; datasets: string[] }>;
  /** Statements under way, those included that nobody waits for any more. */
  running(): number;
  /** Opens DuckDB now rather than with the first statement. */
  warm(): Promise<void>;
}

const DEFAULT_ROWS = 100;
const MAX_ROWS = 10_000;

interface Parts {
  store: Store;
  catalog: Catalog;
  settings: EngineSettings;
}

interface Opened {
  pool: Pool;
  run: typeof import("../duckdb/execute.ts");
  functions: FunctionNames;
  relations: Relations;
  /** Of statements judged before: a verdict follows from the text alone, except for a PIVOT that asks the data. */
  verdicts: LRUCache<string, Judged>;
}

const KEPT_VERDICTS = 500;
const KEPT_VERDICT_CHARS = 10_000;

export function openQueryEngine(scope: Scope, parts: Parts): QueryEngine {
  const { settings } = parts;
  const active = new Set<AbortController>();
  let opening: Promise<Opened> | undefined;
  const leaving = new Set<Promise<void>>();
  let own = openScope();
  let underWay = 0;
  let closed = false;
  scope.defer(async () => {
    closed = true;
    for (const running of active) running.abort(closedError());
    await Promise.allSettled([own.close(), ...leaving]);
  });
  const opened = (): Promise<Opened> => {
    if (closed) return Promise.reject(closedError());
    if (opening) return opening;
    const attempt = open(own, parts);
    opening = attempt;
    attempt.catch(() => {
      if (opening === attempt) opening = undefined;
    });
    return attempt;
  };
  /** After an error that DuckDB does not recover from, the next statement gets an instance of its own. */
  const leave = (broken: Opened): void => {
    void opening?.then((current) => {
      if (current !== broken || closed) return;
      opening = undefined;
      const closing = own.close().catch(() => {
        settings.log("warn", "a broken DuckDB instance could not be closed");
      });
      leaving.add(closing);
      void closing.then(() => leaving.delete(closing));
      own = openScope();
    });
  };

  async function onPool<Result>(
    signal: AbortSignal,
    work: (session: Session, open: Opened, signal: AbortSignal) => Promise<Result>,
  ): Promise<Result> {
    const open = await opened();
    return open.pool.run(signal, async (session) => {
      underWay++;
      try {
        return await work(session, open, signal);
      } catch (error) {
        if (isFatal(error)) leave(open);
        throw error;
      } finally {
        underWay--;
      }
    });
  }

  /** Runs `work` on a session, with the deadline and the caller's cancellation as one signal. */
  async function onSession<Result>(
    options: QueryOptions,
    work: (session: Session, open: Opened, signal: AbortSignal) => Promise<Result>,
  ): Promise<Result> {
    const { signal: asked, timeoutMs = settings.queryTimeoutMs } = options;
    throwIfAborted(asked);
    const stop = new AbortController();
    const onAbort = (): void => stop.abort(asked ? cancelled(asked) : undefined);
    asked?.addEventListener("abort", onAbort, { once: true });
    active.add(stop);
    let timer: NodeJS.Timeout | undefined;
    try {
      await opened();
      timer = setTimeout(() => stop.abort(timedOut(timeoutMs)), timeoutMs);
      return await onPool(stop.signal, work).catch((error: unknown) => {
        // It was waiting on an instance that another statement broke.
        if (closed || !(error instanceof LakeError && error.kind === "closed")) throw error;
        return onPool(stop.signal, work);
      });
    } catch (error) {
      throw explained(error, parts.store.localRoot);
    } finally {
      clearTimeout(timer);
      active.delete(stop);
      asked?.removeEventListener("abort", onAbort);
    }
  }

  return {
    query: (sql, options = {}) => {
      const started = settings.clock.now().getTime();
      return onSession(options, async (session, open, signal) => {
        const judged = await judgeOn(session, open, sql, { params: options.params, signal });
        assertPatterns(judged.patterns, (name) => given(options.params, name));
        const resolved = await open.relations.resolve(judged);
        await show(resolved.relations, session);
        const result = await open.run
          .execute({ ...session, seen: resolved.relations.map(({ stamp }) => stamp).join() }, judged, {
            params: options.params,
            maxRows: Math.min(options.maxRows ?? DEFAULT_ROWS, MAX_ROWS),
            maxBytes: options.maxBytes ?? settings.maxResultBytes,
            signal,
          })
          .catch((error: unknown) => {
            throw withColumns(explained(error, parts.store.localRoot), resolved);
          });
        const total = totalRows(judged, resolved, result);
        return {
          columns: result.columns,
          rows: judged.explain ? result.rows.map((row) => hideIn(row, parts.store.localRoot)) : result.rows,
          row_count: result.rows.length,
          truncated: result.truncatedBy !== undefined,
          ...(result.truncatedBy !== undefined && { truncated_by: result.truncatedBy }),
          ...(total !== undefined && { total_rows: total }),
          datasets: resolved.datasets,
          elapsed_ms: settings.clock.now().getTime() - started,
        };
      });
    },
    plan: (sql, options = {}) =>
      onSession(options, async (session, open, signal) => {
        const judged = await judgeOn(session, open, withoutEnd(sql), { params: undefined, signal });
        if (judged.explain) {
          throw new LakeError("denied", "EXPLAIN makes no rows to keep.", { hint: "Send the query without EXPLAIN." });
        }
        const resolved = await open.relations.resolve(judged);
        const views = [...CELL_LIMITS];
        for (const relation of resolved.relations) {
          for await (const statement of relation.statements(session.connection)) views.push(statement);
        }
        return { sql: judged.sql, views, datasets: resolved.datasets };
      }),
    running: () => underWay,
    warm: async () => {
      await opened();
    },
  };
}

async function open(scope: Scope, { store, catalog, settings }: Parts): Promise<Opened> {
  // Outside of what statements may read.
  const tempFolder = await mkdtemp(join(tmpdir(), "lakehouse-query-"));
  scope.defer(() => rm(tempFolder, { recursive: true, force: true }));
  const duck = await openDuck(scope, {
    memoryBytes: settings.queryMemoryBytes,
    threads: settings.threads,
    tempFolder,
    maxTempBytes: settings.maxTempBytes,
    folders: [join(store.localRoot, "data")],
    hidePaths: [store.localRoot],
  });
  const setup = await duck.connect();
  for (const statement of CELL_LIMITS) await setup.run(statement);
  const functions = await loadFunctionNames(setup);
  setup.close();
  const pool = openPool({ maxRunning: settings.maxConcurrentQueries, maxWaiting: settings.maxQueuedQueries }, () =>
    duck.connect(),
  );
  scope.defer(() => pool.close());
  return {
    pool,
    functions,
    relations: openRelations({ store, catalog }),
    run: await import("../duckdb/execute.ts"),
    verdicts: new LRUCache({ max: KEPT_VERDICTS }),
  };
}

/** The guard's view of DuckDB: parsing binds nothing, and what it has run is only what it has allowed. */
async function judgeOn(
  session: Session,
  open: Opened,
  sql: string,
  { params, signal }: { params: Params | undefined; signal: AbortSignal },
): Promise<Judged> {
  const before = open.verdicts.get(sql);
  if (before) return before;
  const { connection } = session;
  let askedData = false;
  const text = async (call: string, argument: string): Promise<string> => {
    const [row] = await connection.rows<{ text: string }>(`SELECT ${call} AS text`, { params: [argument] });
    return row?.text ?? "";
  };
  const judged = await judge(sql, {
    functions: open.functions,
    parse: async (statement) => {
      session.parse ??= await open.run.openParser(connection);
      return session.parse(statement);
    },
    parseAll: (statement) => text("json_serialize_sql($1::VARCHAR)", statement),
    write: (tree) => text("json_deserialize_sql($1::VARCHAR::JSON)", tree),
    values: async (judged, limit) => {
      askedData = true;
      assertPatterns(judged.patterns, (name) => given(params, name));
      const { relations } = await open.relations.resolve(judged);
      await show(relations, session);
      return open.run.texts(connection, judged, { params, maxRows: limit, maxBytes: MAX_SQL_CHARS, signal });
    },
  });
  if (!askedData && sql.length <= KEPT_VERDICT_CHARS) open.verdicts.set(sql, judged);
  return judged;
}

function given(params: Params | undefined, name: string): unknown {
  if (params === undefined) return undefined;
  if (Array.isArray(params)) return params[Number(name) - 1];
  const named = params as Readonly<Record<string, unknown>>;
  return named[name] ?? named[`$${name}`];
}

function totalRows(
  judged: Judged,
  resolved: Resolved,
  result: { rows: unknown[]; truncatedBy?: string },
): number | undefined {
  if (result.truncatedBy === undefined) return result.rows.length;
  return judged.wholeOf === undefined ? undefined : resolved.manifests.get(judged.wholeOf)?.rows;
}

function hideIn(row: Json[], root: string): Json[] {
  return row.map((cell) => (typeof cell === "string" ? hidePlanPaths(cell, root) : cell));
}

const CELL_LIMIT_RAISED = new RegExp(`${CELL_LIMIT}(\\w{1,40})`);

/** DuckDB refuses every statement after an INTERNAL or FATAL error. */
function isFatal(error: unknown): boolean {
  const cause = error instanceof LakeError ? error.cause : error;
  return cause instanceof Error && /^(FATAL|INTERNAL) Error|database has been invalidated/.test(cause.message);
}

/** Errors of DuckDB and of the cell limits in our words. */
function explained(error: unknown, localRoot: string): LakeError {
  const translated = translateDuckError(error, [localRoot]);
  const [, name] = CELL_LIMIT_RAISED.exec(translated.message) ?? [];
  if (name === undefined) return translated;
  return new LakeError(
    "limit",
    `${name}() would take or make a value that is too large: ${MAX_CELL_TEXT} characters or ${MAX_CELL_ITEMS} items, for some functions less.`,
    { hint: "Make rows instead of one large value: FROM range(…), unnest(…).", cause: error },
  );
}

/** DuckDB offers other names only when the column was not qualified. */
function withColumns(error: LakeError, resolved: Resolved): LakeError {
  const [, wanted] = /(?:column named|Referenced column) "([^"]{1,100})"/.exec(error.message) ?? [];
  if (error.kind !== "invalid" || wanted === undefined) return error;
  const manifests = [...resolved.manifests.values()];
  const columns = manifests.flatMap((manifest) => manifest.columns.map((column) => column.name));
  const where = manifests.map((manifest) => `DESCRIBE ${manifest.name}`).join(", ");
  return new LakeError("invalid", error.message.replace(/^Binder error: Values list "/, 'Binder error: Table "'), {
    hint: `${didYouMean(wanted, columns)} ${where || "DESCRIBE SELECT …"} lists columns.`.trim(),
    cause: error.cause,
  });
}

function timedOut(timeoutMs: number): LakeError {
  return new LakeError("limit", `The statement was stopped at timeout_ms = ${timeoutMs}.`, {
    hint: "Filter or aggregate earlier, look for a join without a condition, or allow more with timeout_ms.",
  });
}

function closedError(): LakeError {
  return new LakeError("closed", "The lakehouse is closed.", { hint: "Start it again." });
}
