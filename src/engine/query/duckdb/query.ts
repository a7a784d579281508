import type { Catalog } from "../../catalog/types.ts";
import type { Statement } from "../../duckdb/execute.ts";
import { assertParamsSize } from "../../duckdb/params-size.ts";
import { answeredInTime, throwIfAborted, untilAborted } from "../../kernel/abort.ts";
import { LakeError } from "../../kernel/errors.ts";
import { DEFAULT_ROWS, MAX_ROWS } from "../../kernel/limits.ts";
import { openScope, type Scope } from "../../kernel/scope.ts";
import { untraced } from "../../kernel/trace.ts";
import type { EngineSettings } from "../../settings.ts";
import type { Store } from "../../store/store.ts";
import { CELL_LIMITS, cellStatement } from "../guard/cell-limits.ts";
import { judgeCondition } from "../guard/condition.ts";
import { hideIn } from "../guard/explain.ts";
import type { Judged } from "../guard/guard.ts";
import { isRepeatable } from "../guard/repeatable.ts";
import { withoutEnd } from "../guard/tokens.ts";
import { readSearches, type VectorSearch } from "../search/vector-calls.ts";
import {
  type FoundByKey,
  hitStatements,
  missingSearches,
  notesOn,
  runSearches,
  SearchesNeeded,
  type SearchVectors,
} from "../search/vector-hits.ts";
import { openPins, totalRows } from "../snapshot.ts";
import type { QueryEngine, QueryOptions } from "../types.ts";
import { damagedCopies } from "./damaged-copies.ts";
import { type Opened, openInstances } from "./instance.ts";
import { brokenOff, closedError, explained, timedOut, tooPatient, withColumns } from "./query-errors.ts";
import { type Content, openResultCache } from "./result-cache.ts";
import {
  FilesNeeded,
  given,
  guardParts,
  judgeOn,
  KEPT_VERDICT_CHARS,
  pinnedSnapshot,
  prepare,
  readFrom,
  refuseData,
  searchesOf,
  type Turn,
  viewParts,
} from "./session.ts";
import { statementsOf } from "./views.ts";

const DUCKDB = { "db.system.name": "duckdb" };
/** Of one row of a stream. */
const MAX_ROW_BYTES = 16 * 2 ** 20;

interface Parts {
  store: Store;
  catalog: Catalog;
  settings: EngineSettings;
  /** For `vector_search` in statements, which is refused without. */
  search?: SearchVectors | undefined;
}

/** Of results, unless told. */
const KEPT_BYTES = 32 * 2 ** 20;

export function openQueryEngine(scope: Scope, parts: Parts): QueryEngine {
  const { settings } = parts;
  const { trace = untraced } = settings;
  const results = openResultCache(settings.queryCacheBytes ?? KEPT_BYTES);
  const active = new Set<AbortController>();
  const own = openScope();
  let opening: Promise<Opened> | undefined;
  let newest: Opened | undefined;
  let closed = false;
  scope.defer(async () => {
    closed = true;
    for (const running of active) running.abort(closedError());
    await own.close();
  });
  const opened = (): Promise<Opened> => {
    if (closed) return Promise.reject(closedError());
    if (opening !== undefined) return opening;
    const attempt = openInstances(own, parts);
    opening = attempt;
    attempt.then(
      (open) => {
        newest = open;
      },
      () => {
        if (opening === attempt) opening = undefined;
      },
    );
    return attempt;
  };

  /** Runs `work` with the deadline and the caller's cancellation as one signal. */
  async function inTime<Result>(
    options: Pick<QueryOptions, "signal" | "timeoutMs" | "params">,
    work: (open: Opened, signal: AbortSignal) => Promise<Result>,
  ): Promise<Result> {
    const { signal: asked, timeoutMs = settings.queryTimeoutMs } = options;
    throwIfAborted(asked);
    const { maxQueryTimeoutMs = Number.POSITIVE_INFINITY } = settings;
    if ((options.timeoutMs ?? 0) > maxQueryTimeoutMs) throw tooPatient(timeoutMs, maxQueryTimeoutMs);
    if (options.params !== undefined) assertParamsSize(options.params);
    const stop = new AbortController();
    // Not a listener that aborts the next: however signals are nested, these end together and without recursion.
    const signal = asked ? AbortSignal.any([asked, stop.signal]) : stop.signal;
    active.add(stop);
    let timer: NodeJS.Timeout | undefined;
    try {
      const open = await opened();
      timer = setTimeout(() => stop.abort(timedOut(timeoutMs)), timeoutMs);
      return await work(open, signal);
    } catch (error) {
      throw explained(error, parts.store.localRoot);
    } finally {
      clearTimeout(timer);
      active.delete(stop);
    }
  }

  /**
   * Runs `work` on a session, again whenever it needs the hits of searches that have not run. They run with no session
   * held: embedding a text takes its time, and a filtered search is itself a caller of this engine.
   */
  function onSearched<Result>(
    sql: string,
    options: QueryOptions,
    work: Searched<Result>,
    files?: Scope,
  ): Promise<Result> {
    return inTime(options, (open, signal) => searched(open, signal, sql, options, work, files));
  }

  async function searched<Result>(
    open: Opened,
    signal: AbortSignal,
    sql: string,
    { params, caller, nesting }: QueryOptions,
    work: Searched<Result>,
    files?: Scope,
  ): Promise<Result> {
    const copies = openScope();
    const pins = openPins(files ?? copies);
    let mended = false;
    /** Copies of files that were whole when they arrived, and are not any more, are fetched again. */
    const mend = async (error: unknown): Promise<undefined> => {
      const damaged = mended ? [] : await damagedCopies(parts.store, pins.keys, error, signal);
      if (damaged.length === 0) throw error;
      mended = true;
      for (const key of damaged) pins.keys.delete(key);
      settings.log("warn", "copies of data files were damaged, and are fetched again", { files: damaged.length });
    };
    const found: FoundByKey = new Map();
    const run = (searches: readonly VectorSearch[]): Promise<void> =>
      runSearches(searches, found, { search: parts.search, catalog: parts.catalog, signal, caller, nesting });
    try {
      const before = open.verdicts.get(sql);
      if (before && before.calls.length > 0 && before.computed === undefined) {
        await run(
          missingSearches(
            readSearches(before.calls, (name) => given(params, name), []),
            found,
          ),
        );
      }
      for (;;) {
        const outcome = await open.pool
          .run(signal, caller, async (session) => {
            try {
              return { result: await work({ session, open, signal, params, pins }, found) };
            } catch (error) {
              if (error instanceof SearchesNeeded || error instanceof FilesNeeded) return error;
              throw error;
            }
          })
          .catch(mend);
        if (outcome === undefined) continue;
        if (outcome instanceof FilesNeeded) {
          // Fetching goes on when nobody waits for it any more: the next try then finds more.
          await untilAborted(open.snapshots.pin(outcome.snapshot, pins), signal);
        } else if (outcome instanceof SearchesNeeded) await run(outcome.searches);
        else return outcome.result;
      }
    } finally {
      await copies.close();
    }
  }

  /** Judges a statement, makes the session see what it reads, and runs it. */
  async function onPrepared<Result>(
    turn: Turn,
    sql: string,
    found: FoundByKey,
    run: (seen: string | undefined, judged: Judged) => Promise<Result>,
  ) {
    const judged = await judgeOn(turn, sql, found);
    const { snapshot, datasets } = await prepare(turn, judged, found);
    // What was planned over other hits may have pruned by them.
    const seen = judged.calls.length > 0 ? undefined : snapshot.relations.map(({ stamp }) => stamp).join();
    const result = await run(seen, judged).catch((error: unknown) => {
      throw withColumns(explained(error, parts.store.localRoot), judged, snapshot);
    });
    return { result, judged, snapshot, datasets };
  }

  return {
    query: (sql, options = {}) => {
      const started = settings.clock.now().getTime();
      const maxRows = Math.min(options.maxRows ?? DEFAULT_ROWS, MAX_ROWS);
      const { params, maxBytes = settings.maxResultBytes } = options;
      const asked = { sql, params, maxRows, maxBytes };
      const run: Searched<Content> = async (turn, found) => {
        const limits = { params, maxRows, maxBytes, signal: turn.signal };
        const { result, judged, snapshot, datasets } = await onPrepared(turn, sql, found, (seen, judged) =>
          trace("query.execute", DUCKDB, () => turn.session.connection.execute(statementOf(judged), limits, seen)),
        );
        const total = totalRows(judged.wholeOf, snapshot, result);
        const note = notesOn(found);
        const content = {
          columns: result.columns,
          rows: judged.explain ? result.rows.map((row) => hideIn(row, parts.store.localRoot)) : result.rows,
          row_count: result.rows.length,
          truncated: result.truncatedBy !== undefined,
          ...(result.truncatedBy !== undefined && { truncated_by: result.truncatedBy }),
          ...(total !== undefined && { total_rows: total }),
          datasets,
          ...(note !== "" && { note }),
        };
        // A verdict that is not kept follows from the data, too.
        const isKept = turn.open.verdicts.get(sql) === judged;
        if (isKept && isRepeatable(judged, turn.open.repeatable)) {
          results.keep(asked, judged, snapshot, content, result.bytes);
        }
        return content;
      };
      return trace("query", DUCKDB, async (span) => {
        const { content, cached } = await inTime(options, async (open, signal) => {
          const before = await answeredInTime(results.find(asked, open.snapshots), signal);
          if (before) return { content: before, cached: true };
          return { content: await searched(open, signal, sql, options, run), cached: false };
        });
        span.note({
          "db.response.returned_rows": content.row_count,
          "lakehouse.truncated": content.truncated,
          "lakehouse.cached": cached,
        });
        return { ...content, elapsed_ms: settings.clock.now().getTime() - started };
      });
    },
    stream: (sql, { onRows, ...options }) => {
      const started = settings.clock.now().getTime();
      let begun = false;
      return onSearched(sql, options, async (turn, found) => {
        // Another turn would hand over the same rows again.
        if (begun) throw brokenOff();
        const limits = {
          params: turn.params,
          maxRows: options.maxRows ?? Number.POSITIVE_INFINITY,
          maxBytes: MAX_ROW_BYTES,
          signal: turn.signal,
        };
        const { result, datasets } = await onPrepared(turn, sql, found, (seen, judged) =>
          turn.session.connection.pour(statementOf(judged), limits, seen, (rows, columns) => {
            begun = true;
            const shown = judged.explain ? rows.map((row) => hideIn(row, parts.store.localRoot)) : rows;
            return onRows(shown, columns);
          }),
        );
        return {
          columns: result.columns,
          row_count: result.count,
          truncated: result.truncatedBy !== undefined,
          datasets,
          elapsed_ms: settings.clock.now().getTime() - started,
        };
      });
    },
    plan: (text, { files, ...options } = {}) => {
      const sql = withoutEnd(text);
      const planned = async (turn: Turn, found: FoundByKey) => {
        const judged = await judgeOn(turn, sql, found);
        if (judged.explain) {
          throw new LakeError("denied", "EXPLAIN makes no rows to keep.", { hint: "Send the query without EXPLAIN." });
        }
        const searches = await searchesOf(turn, judged, found);
        const snapshot = await pinnedSnapshot(turn, judged);
        const views = [...CELL_LIMITS, ...(judged.growing > 0 ? [cellStatement(judged.growing)] : [])];
        for (const relation of snapshot.relations) {
          for await (const statement of statementsOf(relation, turn.session.connection, viewParts(turn)))
            views.push(statement);
        }
        if (searches.length > 0) views.push(...hitStatements(searches, found));
        const keys = [...turn.pins.keys.keys()];
        return { sql: judged.sql, views, datasets: readFrom(snapshot, searches, found), keys };
      };
      return onSearched(sql, options, planned, files);
    },
    texts: (sql, options, onTexts, onRestart) =>
      onSearched(sql, options, async (turn, found) => {
        onRestart?.();
        const judged = await judgeOn(turn, sql, found);
        const { datasets } = await prepare(turn, judged, found);
        for await (const texts of turn.session.connection.readTexts(judged.sql, turn.signal)) onTexts(texts);
        return datasets;
      }),
    assertCondition: (where, options = {}) =>
      inTime(options, async (opened, signal) => {
        if (opened.conditions.has(where)) return;
        await opened.pool.run(signal, options.caller, (session) =>
          judgeCondition(where, guardParts(session, opened, signal, refuseData)),
        );
        if (where.length <= KEPT_VERDICT_CHARS) opened.conditions.set(where, true);
      }),
    kept: results.stats,
    occupancy: () => newest?.pool.occupancy() ?? { running: 0, waiting: 0 },
    warm: async () => {
      await opened();
    },
  };
}

type Searched<Result> = (turn: Turn, found: FoundByKey) => Promise<Result>;

function statementOf({ sql, explain }: Judged): Statement {
  return { sql, explain };
}
