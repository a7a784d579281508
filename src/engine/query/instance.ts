import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LRUCache } from "lru-cache";
import type { Catalog } from "../catalog/types.ts";
import { openDuck } from "../duckdb/duckdb.ts";
import type { Scope } from "../scope.ts";
import type { EngineSettings } from "../settings.ts";
import type { Store } from "../store/store.ts";
import { CELL_LIMITS } from "./cell-limits.ts";
import { type FunctionNames, loadFunctionNames } from "./functions.ts";
import type { Judged } from "./guard.ts";
import { HOT_SCHEMA, type HotTables, openHotTables } from "./hot-tables.ts";
import { openPool, type Pool } from "./pool.ts";
import { datasetSelect, openRelations, type Relations } from "./relations.ts";
import { loadRepeatable } from "./repeatable.ts";
import { VECTOR_MACRO } from "./vector-hits.ts";

/** One instance of DuckDB and what goes with it. */
export interface Opened {
  pool: Pool;
  run: typeof import("../duckdb/execute.ts");
  functions: FunctionNames;
  /** Those that give the same when called again. */
  repeatable: ReadonlySet<string>;
  relations: Relations;
  hot: HotTables;
  /** Of statements judged before: a verdict follows from the text alone, except for a PIVOT that asks the data. */
  verdicts: LRUCache<string, Judged>;
  /** Conditions that were found to be in order. */
  conditions: LRUCache<string, true>;
}

const KEPT_VERDICTS = 500;
/** Of tables in memory, unless told. */
const HOT_BYTES = 64 * 2 ** 20;
/** Of `query_memory`, which they are in, at most one part in so many. */
const HOT_SHARE = 4;

/** Opens a locked instance for statements, with the macros they stand on. */
export async function openInstance(
  scope: Scope,
  { store, catalog, settings }: { store: Store; catalog: Catalog; settings: EngineSettings },
): Promise<Opened> {
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
    behind: true,
  });
  const setup = await duck.connect();
  for (const statement of [...CELL_LIMITS, ...VECTOR_MACRO, `CREATE SCHEMA ${HOT_SCHEMA}`]) await setup.run(statement);
  const [functions, repeatable] = [await loadFunctionNames(setup), await loadRepeatable(setup)];
  setup.close();
  const pool = openPool({ maxRunning: settings.maxConcurrentQueries, maxWaiting: settings.maxQueuedQueries }, () =>
    duck.connect(),
  );
  const hot = openHotTables(scope, {
    maxBytes: Math.min(settings.tableCacheBytes ?? HOT_BYTES, settings.queryMemoryBytes / HOT_SHARE),
    connect: () => duck.connect(),
    select: async (manifest, files, connection) => {
      // Statements have fetched what they need; the rest is not worth fetching.
      const isHere =
        store.remote?.hold(
          manifest.files.map(({ key }) => key),
          files,
        ) ?? true;
      return isHere ? datasetSelect(manifest, store, files, connection) : undefined;
    },
    log: settings.log,
  });
  // Statements that wait are told before anything else that takes time.
  scope.defer(() => pool.close());
  return {
    pool,
    functions,
    repeatable,
    relations: openRelations({ store, catalog, hot }),
    hot,
    run: await import("../duckdb/execute.ts"),
    verdicts: new LRUCache({ max: KEPT_VERDICTS }),
    conditions: new LRUCache({ max: KEPT_VERDICTS }),
  };
}
