import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LRUCache } from "lru-cache";
import type { Catalog } from "../../catalog/types.ts";
import { openRemoteDuck } from "../../duckdb/remote.ts";
import { openScope, type Scope } from "../../kernel/scope.ts";
import type { EngineSettings } from "../../settings.ts";
import type { Store } from "../../store/store.ts";
import { CELL_LIMITS } from "../guard/cell-limits.ts";
import { type FunctionNames, loadFunctionNames } from "../guard/functions.ts";
import type { Judged } from "../guard/guard.ts";
import { loadRepeatable } from "../guard/repeatable.ts";
import { VECTOR_MACRO } from "../search/vector-hits.ts";
import { openSnapshots, type Snapshots } from "../snapshot.ts";
import { openPool, type Pool, type Session } from "./pool.ts";
import { isFatal } from "./query-errors.ts";

/** What all statements share. */
export interface Opened {
  pool: Pool;
  functions: FunctionNames;
  /** Those that give the same when called again. */
  repeatable: ReadonlySet<string>;
  snapshots: Snapshots;
  store: Store;
  catalog: Catalog;
  /** Of statements judged before: a verdict follows from the text alone, except for a PIVOT that asks the data. */
  verdicts: LRUCache<string, Judged>;
  /** Conditions that were found to be in order. */
  conditions: LRUCache<string, true>;
}

interface Parts {
  store: Store;
  catalog: Catalog;
  settings: EngineSettings;
}

const KEPT_VERDICTS = 500;
/** The macros that statements stand on. */
const SETUP = [...CELL_LIMITS, ...VECTOR_MACRO];

/** Opens the pool, and its first session, which knows what functions DuckDB has. */
export async function openInstances(scope: Scope, parts: Parts): Promise<Opened> {
  const { store, catalog, settings } = parts;
  const { maxConcurrentQueries: maxRunning, maxQueuedQueries: maxWaiting } = settings;
  const pool = openPool({ maxRunning, maxWaiting }, () => openSession(parts), isFatal);
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
    verdicts: new LRUCache({ max: KEPT_VERDICTS }),
    conditions: new LRUCache({ max: KEPT_VERDICTS }),
  };
}

/** A process with a locked instance. All sessions together take `query_memory`. */
async function openSession({ store, settings }: Parts): Promise<Session> {
  const scope = openScope();
  try {
    // Outside of what statements may read.
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
    const session: Session = {
      connection: await duck.connect(),
      shown: new Map(),
      isAlive: duck.isAlive,
      isFull: duck.isFull,
      renew: async () => {
        session.connection.close();
        session.shown.clear();
        session.connection = await duck.connect();
      },
      close: async (now) => {
        if (now) duck.kill();
        await scope.close();
      },
    };
    return session;
  } catch (error) {
    await scope.close();
    throw error;
  }
}
