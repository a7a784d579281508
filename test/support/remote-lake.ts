import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openCatalog } from "../../src/engine/catalog/catalog.ts";
import { type Engine, openEngine } from "../../src/engine/engine.ts";
import { openScope } from "../../src/engine/kernel/scope.ts";
import { openQueryEngine } from "../../src/engine/query/duckdb/query.ts";
import type { QueryEngine } from "../../src/engine/query/types.ts";
import { type EngineSettings, systemClock } from "../../src/engine/settings.ts";
import { openFileStore } from "../../src/engine/store/file.ts";
import type { Store } from "../../src/engine/store/store.ts";
import { testSettings } from "./lake.ts";

/** One lake, read twice: as it is, and as if its files were elsewhere and had to be fetched. */
export interface RemoteLake extends AsyncDisposable {
  engine: Engine;
  /** Sees the same files through a store that counts them. */
  remote: QueryEngine;
  /** Keys that `remote` has fetched since it was last cleared; clearing it loses the copies. */
  fetched: Set<string>;
  /** Loads each SELECT as a file of its own. */
  write(name: string, ...selects: string[]): Promise<void>;
}

/** Small tables are read from their files, unless told. */
export async function openRemoteLake(options: Partial<EngineSettings> = {}): Promise<RemoteLake> {
  const scope = openScope();
  const folder = await realpath(await mkdtemp(join(tmpdir(), "lakehouse-remote-test-")));
  scope.defer(() => rm(folder, { recursive: true, force: true }));
  const settings = testSettings(folder, { maxConcurrentQueries: 1, ...options });
  const engine = await openEngine(settings);
  scope.defer(() => engine.close());
  const store = await openFileStore(scope, { folder: settings.data, label: "lake" });
  const fetched = new Set<string>();
  const counting = countingStore(store, fetched);
  const catalog = await openCatalog(scope, counting, {
    refreshMs: 0,
    clock: systemClock,
    log: settings.log,
    engineVersion: "test",
  });
  const remote = openQueryEngine(scope, { store: counting, catalog, settings });
  const write = async (name: string, ...selects: string[]): Promise<void> => {
    for (const [index, sql] of selects.entries()) {
      await engine.ingest({ name, source: { sql }, mode: index === 0 ? "replace" : "append", schemaChange: "allow" });
    }
  };
  return { engine, remote, fetched, write, [Symbol.asyncDispose]: () => scope.close() };
}

function countingStore(store: Store, fetched: Set<string>): Store {
  return {
    ...store,
    localPath: (key, scope) => {
      fetched.add(key);
      return store.localPath(key, scope);
    },
    remote: {
      pin: (keys) => keys.every((key) => fetched.has(key)),
      recheck: async () => [],
      stats: () => ({ hits: 0, misses: 0, bytes: 0, maxBytes: 0 }),
    },
  };
}
