import type { Statement } from "../../duckdb/execute.ts";
import { answeredInTime } from "../../kernel/abort.ts";
import { DEFAULT_ROWS, MAX_ROWS } from "../../kernel/limits.ts";
import type { Scope } from "../../kernel/scope.ts";
import { type Trace, untraced } from "../../kernel/trace.ts";
import { judgeCondition } from "../guard/condition.ts";
import { hideIn } from "../guard/explain.ts";
import type { Judged } from "../guard/guard.ts";
import { isRepeatable } from "../guard/repeatable.ts";
import type { QueryParts } from "../parts.ts";
import { notesOn } from "../search/vector-hits.ts";
import { totalRows } from "../snapshot.ts";
import type { QueryEngine, QueryOptions, StreamOptions, StreamResult } from "../types.ts";
import { brokenOff } from "./query-errors.ts";
import { type CachedResult, openResultCache, type ResultCache, type ResultRequest } from "./result-cache.ts";
import { runWithInputs } from "./run-with-inputs.ts";
import { CACHED_CHARS, guardParts, judgeOn, prepare, type QuerySession, refuseData, runPrepared } from "./session.ts";
import { openStatementRunner, type StatementRunner } from "./statement-runner.ts";
import { writeParquet } from "./write-parquet.ts";

const DUCKDB = { "db.system.name": "duckdb" };
const MAX_STREAMED_ROW_BYTES = 16 * 2 ** 20;
const DEFAULT_CACHE_BYTES = 32 * 2 ** 20;

/** The embedded engine: DuckDB in worker processes. Nothing is opened before the first statement, or `warm`. */
export function openQueryEngine(scope: Scope, parts: QueryParts): QueryEngine {
  const { settings } = parts;
  const results = openResultCache(settings.queryCacheBytes ?? DEFAULT_CACHE_BYTES);
  const runner = openStatementRunner(scope, parts);
  const timed = async <Result extends object>(work: Promise<Result>): Promise<Result & { elapsed_ms: number }> => {
    const started = settings.clock.now().getTime();
    return { ...(await work), elapsed_ms: settings.clock.now().getTime() - started };
  };
  return {
    query: (sql, options = {}) => timed(query({ parts, runner, results }, sql, options)),
    stream: (sql, options) => timed(stream(runner, sql, options)),
    writeParquet: (sql, options) => writeParquet(parts, runner, sql, options),
    texts: (sql, options, onTexts, onRestart) =>
      runner.onSession({ ...options, sql }, async (session) => {
        onRestart?.();
        const judged = await judgeOn(session, sql);
        const { datasets } = await prepare(session, judged);
        const { connection } = session.instance;
        for await (const texts of connection.readTexts(judged.sql, session.signal)) onTexts(texts);
        return datasets;
      }),
    assertCondition: (where, options = {}) =>
      runner.inTime(options, async (shared, signal) => {
        if (shared.conditions.has(where)) return;
        await shared.pool.run(signal, options.caller, (instance) =>
          judgeCondition(where, guardParts(instance, shared, signal, refuseData)),
        );
        if (where.length <= CACHED_CHARS) shared.conditions.set(where, true);
      }),
    resultCache: results.stats,
    occupancy: runner.occupancy,
    warm: runner.warm,
  };
}

interface QueryContext {
  parts: QueryParts;
  runner: StatementRunner;
  results: ResultCache;
}

async function query(
  { parts, runner, results }: QueryContext,
  sql: string,
  options: QueryOptions,
): Promise<CachedResult> {
  const { trace = untraced, maxResultBytes } = parts.settings;
  const { params, maxRows = DEFAULT_ROWS, maxBytes = maxResultBytes } = options;
  const request: ResultRequest = { sql, params, maxRows: Math.min(maxRows, MAX_ROWS), maxBytes };
  return trace("query", DUCKDB, async (span) => {
    const { result, cached } = await runner.inTime(options, async (shared, signal) => {
      const before = await answeredInTime(results.find(request, shared.snapshots), signal);
      if (before) return { result: before, cached: true };
      const fresh = await runWithInputs(parts, shared, signal, { ...options, sql }, (session) =>
        collect(session, request, results, trace),
      );
      return { result: fresh, cached: false };
    });
    span.note({
      "db.response.returned_rows": result.row_count,
      "lakehouse.truncated": result.truncated,
      "lakehouse.cached": cached,
    });
    return result;
  });
}

/** Runs the statement, and keeps its result where the same statement would return it again. */
async function collect(
  session: QuerySession,
  request: ResultRequest,
  results: ResultCache,
  trace: Trace,
): Promise<CachedResult> {
  const { instance, shared, signal, found } = session;
  const { sql, ...limits } = request;
  const { result, judged, snapshot, datasets } = await runPrepared(session, sql, (statement, planKey) =>
    trace("query.execute", DUCKDB, () =>
      instance.connection.execute(statementOf(statement), { ...limits, signal }, planKey),
    ),
  );
  const total = totalRows(judged.wholeOf, snapshot, result);
  const note = notesOn(found);
  const content: CachedResult = {
    columns: result.columns,
    rows: judged.explain ? result.rows.map((row) => hideIn(row, shared.store.localRoot)) : result.rows,
    row_count: result.rows.length,
    truncated: result.truncatedBy !== undefined,
    ...(result.truncatedBy !== undefined && { truncated_by: result.truncatedBy }),
    ...(total !== undefined && { total_rows: total }),
    datasets,
    ...(note !== "" && { note }),
  };
  // A verdict that is not cached depends on the data as well.
  const isCached = shared.verdicts.get(sql) === judged;
  if (isCached && isRepeatable(judged, shared.repeatable)) {
    results.keep(request, judged, snapshot, content, result.bytes);
  }
  return content;
}

type Untimed<Result> = Omit<Result, "elapsed_ms">;

function stream(
  runner: StatementRunner,
  sql: string,
  { onRows, ...options }: StreamOptions,
): Promise<Untimed<StreamResult>> {
  let begun = false;
  return runner.onSession({ ...options, sql }, async (session) => {
    // Another attempt would hand over the same rows again.
    if (begun) throw brokenOff();
    const { instance, shared, signal, params } = session;
    const limits = {
      params,
      maxRows: options.maxRows ?? Number.POSITIVE_INFINITY,
      maxBytes: MAX_STREAMED_ROW_BYTES,
      signal,
    };
    const { result, datasets } = await runPrepared(session, sql, (judged, planKey) =>
      instance.connection.stream(statementOf(judged), limits, planKey, (rows, columns) => {
        begun = true;
        return onRows(judged.explain ? rows.map((row) => hideIn(row, shared.store.localRoot)) : rows, columns);
      }),
    );
    const { columns, count, truncatedBy } = result;
    return { columns, row_count: count, truncated: truncatedBy !== undefined, datasets };
  });
}

/** What is sent to the worker process of a verdict. */
function statementOf({ sql, explain }: Judged): Statement {
  return { sql, explain };
}
