import { itemCount } from "./catalog/browse.ts";
import type { Catalog } from "./catalog/types.ts";
import type { EmbedStatus } from "./embed/embedder.ts";
import type { Vectors } from "./index/vectors.ts";
import type { Ingest } from "./ingest/ingest.ts";
import type { Jobs } from "./jobs/jobs.ts";
import type { Occupancy } from "./kernel/limiter.ts";
import type { QueryEngine, ResultCacheStats } from "./query/types.ts";
import type { CopyStats, Store } from "./store/store.ts";

/** The engine at this moment. What has not been opened yet counts as nothing. */
export interface EngineStats {
  /** Undefined until the catalog is loaded. */
  catalog:
    | { tables: number; indexes: number; unreadable: number; rows: number; items: number; bytes: number }
    | undefined;
  queries: Occupancy;
  /** Results in memory. */
  results: ResultCacheStats;
  ingests: Occupancy;
  /** Jobs of this process that have not ended. */
  jobs: number;
  /** Index builds that wait for their turn. */
  buildsWaiting: number;
  /** Vector indexes in memory, and what they take. */
  vectors: { indexes: number; bytes: number };
  embed: EmbedStatus;
  /** Local copies of data files; undefined for a lake in a folder. */
  copies: CopyStats | undefined;
}

/** The parts that are open. */
export interface OpenParts {
  store: Store;
  catalog: Catalog | undefined;
  query: QueryEngine | undefined;
  ingest: Ingest | undefined;
  vectors: Vectors | undefined;
  jobs: Jobs | undefined;
}

const NOTHING: ResultCacheStats = { entries: 0, bytes: 0, maxBytes: 0, hits: 0, misses: 0 };
const NOBODY: Occupancy = { running: 0, waiting: 0 };

export function statsOf({ store, catalog, query, ingest, vectors, jobs }: OpenParts, embed: EmbedStatus): EngineStats {
  return {
    catalog: catalog && sizesOf(catalog),
    queries: query?.occupancy() ?? NOBODY,
    results: query?.resultCache() ?? NOTHING,
    ingests: ingest?.occupancy() ?? NOBODY,
    jobs: jobs?.running() ?? 0,
    buildsWaiting: jobs?.waiting() ?? 0,
    vectors: vectors?.loaded() ?? { indexes: 0, bytes: 0 },
    embed,
    copies: store.remote?.stats(),
  };
}

function sizesOf(catalog: Catalog): NonNullable<EngineStats["catalog"]> {
  const sizes = { tables: 0, indexes: 0, unreadable: catalog.unreadable().length, rows: 0, items: 0, bytes: 0 };
  for (const head of catalog.list()) {
    sizes.bytes += head.bytes;
    if (head.kind === "vectors") {
      sizes.indexes++;
      sizes.items += itemCount(head);
    } else {
      sizes.tables++;
      sizes.rows += head.rows;
    }
  }
  return sizes;
}
