import { untilAborted } from "../../kernel/abort.ts";
import { inScope, type Scope } from "../../kernel/scope.ts";
import type { QueryParts } from "../parts.ts";
import { readSearches, type VectorSearch } from "../search/vector-calls.ts";
import { type FoundByKey, missingSearches, runSearches, SearchesNeeded } from "../search/vector-hits.ts";
import { openPins, type Pins } from "../snapshot.ts";
import type { QueryOptions } from "../types.ts";
import { damagedCopies } from "./damaged-copies.ts";
import type { Shared } from "./instance.ts";
import { FilesNeeded, given, type QuerySession } from "./session.ts";

export interface StatementInputs extends Pick<QueryOptions, "params" | "caller" | "nesting"> {
  sql: string;
  /** Keeps the local files that are read until it is closed. Absent: until the statement has ended. */
  files?: Scope | undefined;
}

/**
 * Runs `work` on an instance of the pool, again whenever it needs hits of searches that have not run, or local copies
 * of files. Both are fetched with no instance taken: embedding a text takes time, and a filtered search is itself a
 * caller of this engine.
 */
export function runWithInputs<Result>(
  parts: QueryParts,
  shared: Shared,
  signal: AbortSignal,
  { sql, params, caller, nesting, files }: StatementInputs,
  work: (session: QuerySession) => Promise<Result>,
): Promise<Result> {
  return inScope(async (copies) => {
    const pins = openPins(files ?? copies);
    const found: FoundByKey = new Map();
    const search = (searches: readonly VectorSearch[]): Promise<void> =>
      runSearches(searches, found, { search: parts.search, catalog: parts.catalog, signal, caller, nesting });
    const mend = openMending(parts, pins, signal);

    const known = shared.verdicts.get(sql);
    if (known && known.calls.length > 0 && known.computed === undefined) {
      const searches = readSearches(known.calls, (name) => given(params, name), []);
      await search(missingSearches(searches, found));
    }
    for (;;) {
      const outcome = await shared.pool
        .run(signal, caller, async (instance) => {
          try {
            return { result: await work({ instance, shared, signal, params, pins, found }) };
          } catch (error) {
            if (error instanceof SearchesNeeded || error instanceof FilesNeeded) return error;
            throw error;
          }
        })
        .catch(mend);
      if (outcome === undefined) continue;
      if (outcome instanceof SearchesNeeded) await search(outcome.searches);
      // Fetching goes on when the caller has left: the next attempt then finds more.
      else if (outcome instanceof FilesNeeded) await untilAborted(shared.snapshots.pin(outcome.snapshot, pins), signal);
      else return outcome.result;
    }
  });
}

/** Unpins local copies that have been damaged since they arrived, so that they are fetched again; once, else throws. */
function openMending({ store, settings }: QueryParts, pins: Pins, signal: AbortSignal) {
  let mended = false;
  return async (error: unknown): Promise<undefined> => {
    const damaged = mended ? [] : await damagedCopies(store, pins.keys, error, signal);
    if (damaged.length === 0) throw error;
    mended = true;
    for (const key of damaged) pins.keys.delete(key);
    settings.log("warn", "copies of data files were damaged, and are fetched again", { files: damaged.length });
  };
}
