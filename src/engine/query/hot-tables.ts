import { LRUCache } from "lru-cache";
import type { Manifest } from "../catalog/types.ts";
import { type Connection, identifier } from "../duckdb/duckdb.ts";
import { untilAborted } from "../errors.ts";
import { inScope, type Scope } from "../scope.ts";
import type { Log } from "../settings.ts";

// Of what a small statement takes over Parquet, half is opening and planning over the files, at every run. Small datasets
// that are asked for again and again are therefore read into tables of DuckDB's own, which may spill as all it holds. A
// version never changes, so that nothing has to be kept in step.

/** Where they are. No statement can name a schema, see `tree.ts`. */
export const HOT_SCHEMA = "hot";

export interface HotTables {
  /**
   * The table, as SQL, that holds what a manifest says, until `scope` closes; undefined for none. What has been asked for
   * often enough is loaded meanwhile, for those who come later.
   */
  take(manifest: Manifest, scope: Scope): string | undefined;
  stats(): HotStats;
}

export interface HotStats {
  tables: number;
  bytes: number;
  maxBytes: number;
  /** Small datasets that a statement read from memory, and from files. */
  hits: number;
  misses: number;
}

/** Of several processes. */
export function statsOfAll(all: readonly HotStats[]): HotStats {
  const sum = (of: keyof HotStats): number => all.reduce((total, stats) => total + stats[of], 0);
  return {
    tables: sum("tables"),
    bytes: sum("bytes"),
    maxBytes: sum("maxBytes"),
    hits: sum("hits"),
    misses: sum("misses"),
  };
}

interface Parts {
  /** What they may take together; 0 for none. */
  maxBytes: number;
  connect(): Promise<Connection>;
  /** A SELECT of all that the manifest says, and of files that stay until the scope closes; undefined when some are not here. */
  select(manifest: Manifest, scope: Scope, connection: Connection): Promise<string | undefined>;
  log: Log;
}

interface Hot {
  table: string;
  bytes: number;
  holders: number;
}

/** Times a version is asked for before it is loaded: a load takes about as long as one statement that reads it all. */
const OFTEN = 3;
/** The same after a load that failed. */
const AFTER_FAILURE = 30;
const NEVER = Number.NEGATIVE_INFINITY;
const COUNTED = 1000;
/** Of what all may take, what the files of one may have: decoded they are several times as large. */
const FILES_SHARE = 16;
const CELL_BYTES = 8;
const COLUMN_BYTES = 1024;
/** What is not loaded by then is not small, whatever its files say: a megabyte of Parquet may hold gigabytes. */
const LOAD_MS = 5_000;

export function openHotTables(scope: Scope, { maxBytes, connect, select, log }: Parts): HotTables {
  const asked = new LRUCache<string, number>({ max: COUNTED });
  /** By commit id, the one used longest ago first. */
  const hot = new Map<string, Hot>();
  const stop = new AbortController();
  let connecting: Promise<Connection> | undefined;
  let bytes = 0;
  let hits = 0;
  let misses = 0;
  let loading: Promise<void> | undefined;
  /** One statement after another on their connection. */
  let dropping = Promise.resolve();
  scope.defer(async () => {
    stop.abort();
    await loading;
    await dropping;
    await connecting?.then((connection) => connection.close());
  });

  const connected = (): Promise<Connection> => {
    connecting ??= connect().catch((error: unknown) => {
      connecting = undefined;
      throw error;
    });
    return connecting;
  };

  const drop = (commitId: string, { table, bytes: freed }: Hot): void => {
    hot.delete(commitId);
    asked.delete(commitId);
    bytes -= freed;
    dropping = dropping
      .then(async () => (await connecting)?.run(`DROP TABLE IF EXISTS ${table}`))
      .catch(() => log("warn", "a table that is no longer needed could not be dropped"));
  };

  const makeRoom = (): void => {
    for (const [commitId, one] of hot) {
      if (bytes <= maxBytes) return;
      if (one.holders === 0) drop(commitId, one);
    }
  };

  const load = (manifest: Manifest): Promise<void> =>
    inScope(async (files) => {
      const connection = await connected();
      await dropping;
      const table = `${HOT_SCHEMA}.${identifier(`${manifest.name}@${manifest.version}`)}`;
      const before = await bytesOfTables(connection);
      const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(LOAD_MS)]);
      const rows = await untilAborted(select(manifest, files, connection), signal);
      if (rows === undefined) {
        asked.delete(manifest.commitId);
        return;
      }
      try {
        await connection.run(`CREATE OR REPLACE TABLE ${table} AS ${rows}`, { signal });
        // What another table gave back meanwhile must not make this one look free.
        const grown = (await bytesOfTables(connection)) - before;
        const one = { table, bytes: Math.max(grown, manifest.bytes, leastBytes(manifest)), holders: 0 };
        hot.set(manifest.commitId, one);
        bytes += one.bytes;
        if (one.bytes <= maxBytes / 2) return makeRoom();
        drop(manifest.commitId, one);
        asked.set(manifest.commitId, NEVER);
      } catch (error) {
        await connection.run(`DROP TABLE IF EXISTS ${table}`).catch(() => undefined);
        throw error;
      }
    });

  const isSmall = (manifest: Manifest): boolean => {
    const { kind, files, fileCount, bytes: ofFiles, rows, columns } = manifest;
    const hasAll = files.length > 0 && files.length === fileCount;
    const least = leastBytes(manifest) + rows * columns.length * CELL_BYTES;
    return kind === "table" && hasAll && ofFiles <= maxBytes / FILES_SHARE && least <= maxBytes / 2;
  };

  return {
    take: (manifest, holder) => {
      const { commitId } = manifest;
      const one = hot.get(commitId);
      if (one) {
        hot.delete(commitId);
        hot.set(commitId, one);
        one.holders++;
        hits++;
        holder.defer(() => {
          one.holders--;
        });
        return one.table;
      }
      if (!isSmall(manifest) || stop.signal.aborted) return undefined;
      misses++;
      const times = (asked.get(commitId) ?? 0) + 1;
      asked.set(commitId, times);
      if (times < OFTEN || loading !== undefined) return undefined;
      loading = load(manifest)
        .catch((error: unknown) => {
          // Statements go on reading its files, and say what is wrong with them.
          asked.set(commitId, OFTEN - AFTER_FAILURE);
          if (stop.signal.aborted) return;
          log("info", "a dataset was not loaded into memory", { dataset: manifest.name, error: String(error) });
        })
        .finally(() => {
          loading = undefined;
        });
      return undefined;
    },
    stats: () => ({ tables: hot.size, bytes, maxBytes, hits, misses }),
  };
}

function leastBytes({ columns }: Manifest): number {
  return columns.length * COLUMN_BYTES;
}

/** What all tables of this instance take, long texts included, which are kept apart. */
async function bytesOfTables(connection: Connection): Promise<number> {
  const rows = await connection.rows<{ bytes: string }>(
    "SELECT sum(memory_usage_bytes + temporary_storage_bytes) AS bytes FROM duckdb_memory() WHERE tag IN ('IN_MEMORY_TABLE', 'OVERFLOW_STRINGS')",
  );
  return Number(rows[0]?.bytes ?? 0);
}
