import { join } from "node:path";
import type { Catalog } from "../catalog/types.ts";
import { type Connection, type Duck, openDuck } from "../duckdb/duckdb.ts";
import type { Embedder } from "../embed/embedder.ts";
import { type Hasher, openHasher } from "../ingest/hash.ts";
import { openSpoolFolder, removeStaleFolders, spoolOf } from "../ingest/spool.ts";
import type { QueryEngine } from "../query/query.ts";
import type { Scope } from "../scope.ts";
import type { EngineSettings } from "../settings.ts";
import type { Store } from "../store/store.ts";

export interface RoomParts {
  store: Store;
  catalog: Catalog;
  query: QueryEngine;
  embedder: () => Promise<Embedder>;
  settings: EngineSettings;
}

/** What everything about vectors works with. */
export interface Room extends RoomParts {
  /** A DuckDB that reads data files and writes into `folder`, for statements of ours only. */
  withConnection<Result>(work: (connection: Connection, folder: string) => Promise<Result>): Promise<Result>;
  /** Runs what a plan needs. It makes macros, of which two connections must not make the same at once. */
  prepare(connection: Connection, statements: readonly string[], signal: AbortSignal | undefined): Promise<void>;
  /** Work in progress: removed when the lake is closed, or swept by the next process. */
  folder(): Promise<string>;
  hasher(): Hasher;
}

/** Opens its DuckDB and folder when they are first needed. */
export function openRoom(scope: Scope, parts: RoomParts): Room {
  const { settings, store } = parts;
  let folder: Promise<string> | undefined;
  let duck: Promise<Duck> | undefined;
  let hasher: Hasher | undefined;
  let preparing: Promise<void> = Promise.resolve();

  const openFolder = (): Promise<string> => {
    folder ??= removeStaleFolders(spoolOf(store.localRoot)).then(() =>
      openSpoolFolder(scope, spoolOf(store.localRoot)),
    );
    folder.catch(() => {
      folder = undefined;
    });
    return folder;
  };

  const open = (): Promise<Duck> => {
    duck ??= openFolder().then((spool) =>
      openDuck(scope, {
        memoryBytes: settings.ingestMemoryBytes,
        threads: settings.threads,
        tempFolder: join(spool, "tmp"),
        maxTempBytes: settings.maxTempBytes,
        folders: [join(store.localRoot, "data"), spool],
        hidePaths: [spool, store.localRoot],
      }),
    );
    duck.catch(() => {
      duck = undefined;
    });
    return duck;
  };

  return {
    ...parts,
    folder: openFolder,
    prepare: (connection, statements, signal) => {
      const prepared = preparing.then(async () => {
        for (const statement of statements) await connection.run(statement, { signal });
      });
      preparing = prepared.catch(() => undefined);
      return prepared;
    },
    hasher: () => {
      hasher ??= openHasher(scope);
      return hasher;
    },
    withConnection: async (work) => {
      const opened = await open();
      const connection = await opened.connect();
      try {
        return await work(connection, await openFolder());
      } finally {
        connection.close();
      }
    },
  };
}
