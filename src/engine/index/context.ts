import { randomUUID } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { AnnEngine } from "../ann/ann-index.ts";
import { openHnsw } from "../ann/hnsw.ts";
import type { Catalog } from "../catalog/types.ts";
import { type Duck, type DuckSettings, type LocalConnection, openDuck } from "../duckdb/duckdb.ts";
import { openRemoteDuck, type RemoteConnection } from "../duckdb/remote.ts";
import { openRowSource, type RowSource } from "../duckdb/vectors.ts";
import type { Embedder } from "../embed/embedder.ts";
import { LakeError, lakehouseClosed } from "../kernel/errors.ts";
import { type Hasher, openHasher } from "../kernel/hash.ts";
import { lazy } from "../kernel/lazy.ts";
import { type FullQueue, openLimiter } from "../kernel/limiter.ts";
import { openScope, type Scope } from "../kernel/scope.ts";
import { openSpoolFolder, removeStaleFolders, spoolOf } from "../kernel/spool-folders.ts";
import type { QueryEngine } from "../query/types.ts";
import type { EngineSettings } from "../settings.ts";
import { withFileErrors } from "../store/file-errors.ts";
import type { Store } from "../store/store.ts";

export interface VectorContextParts {
  store: Store;
  catalog: Catalog;
  query: QueryEngine;
  embedder: () => Promise<Embedder>;
  settings: EngineSettings;
}

/** What everything about vectors works with. */
export interface VectorContext extends VectorContextParts {
  ann: AnnEngine;
  /** A DuckDB that reads data files and rows in memory and writes into `folder`, for statements of ours only. Throws `closed`. */
  withConnection<Result>(work: (connection: LocalConnection, source: RowSource) => Promise<Result>): Promise<Result>;
  /** The same in a process of its own, which may run what the guard let through. As many at once as ingests. */
  withOwnInstance<Result>(
    asking: { signal: AbortSignal; caller: string | undefined },
    work: (connection: RemoteConnection) => Promise<Result>,
  ): Promise<Result>;
  /** Work in progress: removed when the lake is closed, or swept by the next process. */
  folder(): Promise<string>;
  hasher(): Hasher;
  /** Whether threads of DuckDB take rows from this one: a process must not exit then. */
  feeding(): boolean;
  /** Refuses whatever comes; to be awaited before the scope is closed. */
  stop(): Promise<void>;
}

interface Shared {
  duck: Duck;
  source: RowSource;
}

const MAX_WAITING = 64;

/** Opens its DuckDB and folder when they are first needed. Call `stop` before the scope is closed. */
export function openVectorContext(scope: Scope, parts: VectorContextParts): VectorContext {
  const { settings, store } = parts;
  const ann = openHnsw(scope, settings.vector);
  let source: RowSource | undefined;
  let hasher: Hasher | undefined;
  let closed = false;
  /** Connecting to an instance that is being closed ends the process. */
  const connecting = new Set<Promise<LocalConnection>>();
  const { maxConcurrentIngests: maxRunning } = settings;
  const limiter = openLimiter({ maxRunning, maxWaiting: MAX_WAITING, busy: (full) => busy(maxRunning, full) });

  const folder = lazy(async () => {
    await removeStaleFolders(spoolOf(store.localRoot));
    return withFileErrors("make room for", "vector segments", () => openSpoolFolder(scope, spoolOf(store.localRoot)));
  });
  const openFolder = async (): Promise<string> => {
    if (closed) throw lakehouseClosed();
    const path = await folder.get();
    // Another machine may take a folder for abandoned that was not touched for a week.
    await mkdir(path, { recursive: true, mode: 0o700 });
    return path;
  };

  const shared = lazy(async (): Promise<Shared> => {
    const own = openScope();
    try {
      const duck = await openDuck(own, duckSettings(parts, await openFolder(), "tmp"));
      const first = await connect(duck);
      try {
        source = openRowSource(first);
      } finally {
        first.close();
      }
      scope.defer(() => own.close());
      return { duck, source };
    } catch (error) {
      await own.close();
      throw error;
    }
  });

  const connect = async (opened: Duck): Promise<LocalConnection> => {
    if (closed) throw lakehouseClosed();
    const attempt = opened.connect();
    connecting.add(attempt);
    try {
      return await attempt;
    } finally {
      connecting.delete(attempt);
    }
  };

  return {
    ...parts,
    ann,
    folder: openFolder,
    hasher: () => {
      if (closed) throw lakehouseClosed();
      hasher ??= openHasher(scope);
      return hasher;
    },
    feeding: () => source?.feeding() === true,
    withConnection: async (work) => {
      const { duck, source: rows } = await shared.get();
      await openFolder();
      const connection = await connect(duck);
      try {
        return await work(connection, rows);
      } finally {
        connection.close();
      }
    },
    stop: async () => {
      closed = true;
      limiter.close(lakehouseClosed());
      await Promise.allSettled(connecting);
    },
    withOwnInstance: async ({ signal, caller }, work) => {
      const leave = await limiter.enter(signal, caller);
      const own = openScope();
      try {
        if (closed) throw lakehouseClosed();
        // A condition and a template mean what they mean in a statement.
        const inZone = {
          ...duckSettings(parts, await openFolder(), `build-${randomUUID()}`),
          timeZone: settings.timeZone,
        };
        const duck = await openRemoteDuck(own, inZone, [], (ending, how) =>
          settings.log("warn", "a process of an index build has ended", { ending, how }),
        );
        return await work(await duck.connect());
      } finally {
        await own.close();
        leave();
      }
    },
  };
}

function busy(maxRunning: number, full: FullQueue): LakeError {
  return new LakeError(
    "unavailable",
    full.own
      ? `This caller has ${full.waiting} index builds waiting, the most of the queue of ${MAX_WAITING} that one caller may have.`
      : `${maxRunning} indexes are being built and ${full.waiting} are waiting already.`,
    {
      code: "queue_full",
      hint: "Try again when some are done, or raise max_concurrent_ingests (LAKEHOUSE_MAX_CONCURRENT_INGESTS).",
    },
  );
}

/** A DuckDB that reads the lake's files, and reads and writes in `spool`. */
function duckSettings({ settings, store }: VectorContextParts, spool: string, temp: string): DuckSettings {
  return {
    memoryBytes: settings.ingestMemoryBytes,
    threads: settings.threads,
    tempFolder: join(spool, temp),
    maxTempBytes: settings.maxTempBytes,
    folders: [join(store.localRoot, "data"), spool],
    hidePaths: [spool, store.localRoot],
  };
}
