import { join } from "node:path";
import { newestOf } from "./catalog/drop.ts";
import type { Catalog, Changes } from "./catalog/types.ts";
import type { Embedder, EmbedStatus } from "./embed/embedder.ts";
import { planOf } from "./embed/plan.ts";
import type { Vectors } from "./index/vectors.ts";
import type { Ingest } from "./ingest/ingest.ts";
import type { Jobs } from "./jobs/jobs.ts";
import type { JobRecord } from "./jobs/types.ts";
import { lakehouseClosed } from "./kernel/errors.ts";
import type { Hasher } from "./kernel/hash.ts";
import { type Lazy, lazy } from "./kernel/lazy.ts";
import { VERSION } from "./kernel/package.ts";
import type { Scope } from "./kernel/scope.ts";
import { spoolOf } from "./kernel/spool-folders.ts";
import type { QueryEngine } from "./query/types.ts";
import type { EmbedSettings, EngineSettings } from "./settings.ts";
import type { OpenParts } from "./stats.ts";
import { openFileStore } from "./store/file.ts";
import { openMemoryStore } from "./store/memory.ts";
import type { Store } from "./store/store.ts";
import { openUploads, type Uploads } from "./uploads/uploads.ts";

/**
 * The parts of an engine. The functions open theirs when it is first needed, since loading the libraries takes longer than
 * a client should wait for its first answer; a part that could not be opened is tried again. Throw `closed` after `close`.
 */
export interface Parts {
  store: Store;
  uploads: Uploads;
  catalog(): Promise<Catalog>;
  statements(): Promise<Statements>;
  embedder(): Promise<Embedder>;
  vectors(): Promise<Vectors>;
  jobs(): Promise<Jobs>;
  embedStatus(): EmbedStatus;
  /** What is open at this moment. */
  opened(): OpenParts;
  isClosed(): boolean;
  close(): Promise<void>;
}

export interface Statements {
  query: QueryEngine;
  ingest: Ingest;
  warm(): Promise<void>;
}

export interface Listeners {
  onChange(changes: Changes): void;
  onJob(record: JobRecord): void;
}

interface Context {
  scope: Scope;
  settings: EngineSettings;
  parts: Omit<Parts, "opened" | "embedStatus" | "close">;
}

/** Opens the store at once. Throws `LakeError` when it cannot be opened. */
export async function openParts(scope: Scope, settings: EngineSettings, listeners: Listeners): Promise<Parts> {
  const store = await openStore(scope, settings);
  let closed = false;
  const whileOpen = <T>(part: Lazy<T>) => {
    return async (): Promise<T> => {
      if (closed) throw lakehouseClosed();
      return part.get();
    };
  };
  const catalog = lazy(() => loadCatalog(context, listeners));
  const statements = lazy(() => loadStatements(context));
  const embedder = lazy(() => loadEmbedder(context));
  const vectors = lazy(() => loadVectors(context));
  const jobs = lazy(() => loadJobs(context, listeners));
  const parts = {
    store,
    uploads: uploadsIn(scope, store, settings),
    catalog: whileOpen(catalog),
    statements: whileOpen(statements),
    embedder: whileOpen(embedder),
    vectors: whileOpen(vectors),
    jobs: whileOpen(jobs),
    isClosed: () => closed,
  };
  const context: Context = { scope, settings, parts };
  return {
    ...parts,
    embedStatus: () => embedder.value()?.status() ?? unusedStatus(settings.embed),
    opened: () => ({
      store,
      catalog: catalog.value(),
      query: statements.value()?.query,
      ingest: statements.value()?.ingest,
      vectors: vectors.value(),
      jobs: jobs.value(),
    }),
    close: async () => {
      closed = true;
      // While everything else is still open: then a job's record says what stopped it.
      const running = await jobs.opening()?.catch(() => undefined);
      await running?.close();
      await scope.close();
    },
  };
}

async function openStore(scope: Scope, { data, s3, clock, log }: EngineSettings): Promise<Store> {
  if (s3) {
    const [{ openS3Store }, { openHasher }] = await Promise.all([import("./store/s3.ts"), import("./kernel/hash.ts")]);
    let hasher: Hasher | undefined;
    const sha256 = (path: string): Promise<string> => {
      hasher ??= openHasher(scope);
      return hasher.sha256(path);
    };
    return openS3Store(scope, { ...s3, folder: data, sha256, clock, log });
  }
  return data === "memory" ? openMemoryStore(scope, clock) : openFileStore(scope, { folder: data, label: data });
}

function uploadsIn(scope: Scope, store: Store, settings: EngineSettings): Uploads {
  const { maxIngestBytes: maxBytes, uploadQuotaBytes: quotaBytes, uploadExpiryMs: expiryMs, clock, log } = settings;
  return openUploads(scope, join(spoolOf(store.localRoot), "uploads"), { maxBytes, quotaBytes, expiryMs, clock, log });
}

async function loadCatalog({ scope, settings, parts }: Context, { onChange }: Listeners): Promise<Catalog> {
  const { openCatalog } = await import("./catalog/catalog.ts");
  const { refreshMs, clock, log, trace } = settings;
  const catalog = await openCatalog(scope, parts.store, { refreshMs, clock, log, trace, engineVersion: VERSION });
  catalog.onChange(onChange);
  return catalog;
}

async function loadStatements({ scope, settings, parts }: Context): Promise<Statements> {
  const { store, uploads } = parts;
  const catalog = await parts.catalog();
  const [{ openQueryEngine }, { openIngest }, { traced }, manifests] = await Promise.all([
    import("./query/duckdb/query.ts"),
    import("./ingest/ingest.ts"),
    import("./ingest/traced.ts"),
    import("./catalog/manifest.ts"),
  ]);
  const query = openQueryEngine(scope, {
    store,
    catalog,
    settings,
    search: async ({ filter, ...call }, asking) => (await parts.vectors()).find({ ...call, where: filter }, asking),
  });
  return {
    query,
    ingest: traced(openIngest(scope, { store, catalog, query, uploads, settings }), settings.trace),
    warm: async () => {
      await manifests.warm();
      await query.warm();
    },
  };
}

async function loadEmbedder({ scope, settings, parts }: Context): Promise<Embedder> {
  const { openEmbedder } = await import("./embed/embedder.ts");
  if (parts.isClosed()) throw lakehouseClosed();
  return openEmbedder(scope, settings.embed, settings.log, settings.trace, settings.clock);
}

async function loadVectors({ scope, settings, parts }: Context): Promise<Vectors> {
  const { query } = await parts.statements();
  const { openVectors } = await import("./index/vectors.ts");
  const catalog = await parts.catalog();
  return openVectors(scope, { store: parts.store, catalog, query, embedder: parts.embedder, settings });
}

async function loadJobs({ scope, settings, parts }: Context, { onJob }: Listeners): Promise<Jobs> {
  const { ingest } = await parts.statements();
  const { openJobs } = await import("./jobs/jobs.ts");
  if (parts.isClosed()) throw lakehouseClosed();
  const { clock, log, jobAfterMs: afterMs } = settings;
  const workers: Parameters<typeof openJobs>[1]["workers"] = {
    ingest: ingest.ingest,
    "vector-index-create": async (request, options) => (await parts.vectors()).create(request, options),
  };
  const newest = async (name: string) => newestOf(await parts.catalog(), name);
  return openJobs(scope, { store: parts.store, workers, newest, clock, log, afterMs }, onJob);
}

/** Of an embedder that is not open. */
function unusedStatus(settings: EmbedSettings): EmbedStatus {
  const cache = { entries: 0, bytes: 0, maxBytes: settings.cacheBytes, hits: 0, misses: 0 };
  return { ...planOf(settings), fallback: undefined, requests: 0, failures: 0, waiting: 0, cache };
}
