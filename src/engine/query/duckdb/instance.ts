import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LRUCache } from "lru-cache";
import type { Catalog } from "../../catalog/types.ts";
import { openRemoteDuck } from "../../duckdb/remote.ts";
import { openScope, type Scope } from "../../kernel/scope.ts";
import type { Store } from "../../store/store.ts";
import { CELL_LIMITS } from "../guard/cell-limits.ts";
import { type FunctionNames, loadFunctionNames } from "../guard/functions.ts";
import type { Judged } from "../guard/guard.ts";
import { loadRepeatable } from "../guard/repeatable.ts";
import type { QueryParts } from "../parts.ts";
import { VECTOR_MACRO } from "../search/vector-hits.ts";
import { openSnapshots, type Snapshots } from "../snapshot.ts";
import { openPool, type Pool } from "./pool.ts";
import type { PooledInstance } from "./pooled-instances.ts";
import { isFatal } from "./query-errors.ts";

/** State that all statements share. */
export interface Shared {
  pool: Pool;
  /** Names of the functions that statements may call. */
  functions: FunctionNames;
  /** Names of functions that return the same when called again. */
  repeatable: ReadonlySet<string>;
  snapshots: Snapshots;
  store: Store;
  catalog: Catalog;
  /** By statement: a verdict follows from the text alone, except for a PIVOT over columns of the data. */
  verdicts: LRUCache<string, Judged>;
  /** Conditions that the guard has allowed. */
  conditions: LRUCache<string, true>;
}

const CACHED_VERDICTS = 500;
/** Macros that every instance needs. */
const SETUP = [...CELL_LIMITS, ...VECTOR_MACRO];

/** Opens the pool, and its first instance, which lists the functions that DuckDB has. */
export async function openShared(scope: Scope, parts: QueryParts): Promise<Shared> {
  const { store, catalog, settings } = parts;
  const { maxConcurrentQueries: maxRunning, maxQueuedQueries: maxWaiting } = settings;
  const pool = openPool({ maxRunning, maxWaiting }, () => openInstance(parts), isFatal);
  scope.defer(() => pool.close());
  const [functions, repeatable] = await pool.run(new AbortController().signal, undefined, async ({ connection }) => [
    await loadFunctionNames(connection),
    await loadRepeatable(connection),
  ]);
  return {
    pool,
    functions,
    repeatable,
    snapshots: openSnapshots({ store, catalog }),
    store,
    catalog,
    verdicts: new LRUCache({ max: CACHED_VERDICTS }),
    conditions: new LRUCache({ max: CACHED_VERDICTS }),
  };
}

/** A process with a locked DuckDB. All instances together take `query_memory`. */
async function openInstance({ store, settings }: QueryParts): Promise<PooledInstance> {
  const scope = openScope();
  try {
    // Outside of the folders that statements may read.
    const tempFolder = await mkdtemp(join(tmpdir(), "lakehouse-query-"));
    scope.defer(() => rm(tempFolder, { recursive: true, force: true }));
    const memoryBytes = Math.floor(settings.queryMemoryBytes / settings.maxConcurrentQueries);
    const duck = await openRemoteDuck(
      scope,
      {
        memoryBytes,
        threads: settings.threads,
        tempFolder,
        maxTempBytes: Math.floor(settings.maxTempBytes / settings.maxConcurrentQueries),
        folders: [join(store.localRoot, "data")],
        hidePaths: [store.localRoot],
        timeZone: settings.timeZone,
        behind: true,
      },
      SETUP,
      (ending, how) => settings.log("warn", "a process of statements has ended", { ending, how }),
    );
    const instance: PooledInstance = {
      connection: await duck.connect(),
      shown: new Map(),
      isAlive: duck.isAlive,
      isFull: duck.isFull,
      renew: async () => {
        instance.connection.close();
        instance.shown.clear();
        instance.connection = await duck.connect();
      },
      close: async (now) => {
        if (now) duck.kill();
        await scope.close();
      },
    };
    return instance;
  } catch (error) {
    await scope.close();
    throw error;
  }
}
