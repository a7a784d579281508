import { join } from "node:path";
import { type ListPage, type ListRequest, page } from "./catalog/browse.ts";
import { type Dropped, drop, newestOf } from "./catalog/drop.ts";
import { parseReference } from "./catalog/identity.ts";
import type { Catalog, Changes, Head, Manifest, Unreadable } from "./catalog/types.ts";
import type { Embedded, Embedder, EmbedOptions, EmbedStatus } from "./embed/embedder.ts";
import { planOf } from "./embed/plan.ts";
import type {
  CreateRequest,
  CreateResult,
  DeleteRequest,
  DeleteResult,
  IndexStatus,
  Item,
  SearchRequest,
  SearchResult,
  UpsertResult,
  VectorOptions,
} from "./index/types.ts";
import type { Vectors } from "./index/vectors.ts";
import type { Ingest } from "./ingest/ingest.ts";
import type { IngestOptions, IngestRequest, IngestResult } from "./ingest/request.ts";
import type { Jobs } from "./jobs/jobs.ts";
import type { JobKind, JobOptions, JobRecord, JobWork, Performed, StatusOptions } from "./jobs/types.ts";
import { LakeError } from "./kernel/errors.ts";
import type { Hasher } from "./kernel/hash.ts";
import { VERSION } from "./kernel/package.ts";
import { openScope, type Scope } from "./kernel/scope.ts";
import { spoolOf } from "./kernel/spool-folders.ts";
import { shownSource } from "./query/guard/shown-source.ts";
import type { Asking, QueryEngine, QueryOptions, QueryResult, StreamOptions, StreamResult } from "./query/types.ts";
import type { EmbedSettings, EngineSettings } from "./settings.ts";
import { type EngineStats, type OpenParts, statsOf } from "./stats.ts";
import { openFileStore } from "./store/file.ts";
import { openMemoryStore } from "./store/memory.ts";
import type { Store } from "./store/store.ts";
import { openUpkeep, type Upkeep } from "./upkeep/upkeep.ts";
import { openUploads, type Uploads } from "./uploads/uploads.ts";

const RECENT_VERSIONS = 10;
const RECENT_JOBS = 50;

/** The lakehouse: everything an agent can do, without MCP, HTTP or the environment. */
export interface Engine extends AsyncDisposable, Upkeep {
  /**
   * Reads a source into a dataset and commits it as one version. When it returns, the data is durable; when it throws
   * `LakeError`, nothing has changed.
   */
  ingest(request: IngestRequest, options?: IngestOptions): Promise<IngestResult>;
  /** Files that callers send from elsewhere, for `ingest` to use. */
  uploads: Uploads;
  /** Runs one read-only statement. Throws `LakeError`: `denied` when the guard refuses, `limit` for a budget. */
  query(sql: string, options?: QueryOptions): Promise<QueryResult>;
  /** The same for any number of rows, a few at a time, in bounded memory. */
  stream(sql: string, options: StreamOptions): Promise<StreamResult>;
  /** Live datasets in name order, a page at a time, and the ones that could not be read. */
  list(request?: ListRequest): Promise<ListPage & { unreadable: Unreadable[] }>;
  /** `reference` is a name or `name@version`; with the newest ten versions. Throws `not_found` with the nearest names. */
  describe(reference: string): Promise<{ manifest: Manifest; versions: Head[]; versionsTotal: number }>;
  /** Commits a tombstone. Old versions stay readable. Throws `not_found`. */
  drop(name: string): Promise<Dropped>;
  /** Names of live datasets that start with `prefix`. */
  complete(prefix: string): Promise<string[]>;
  /**
   * Vectors of up to 10,000 texts, in their order. Throws `LakeError`: `invalid` or `limit` naming a text, `unavailable`
   * with what to do about the embedding service.
   */
  embed(texts: readonly string[], options?: EmbedOptions): Promise<Embedded>;
  /** What embeddings come from, and what the cache holds. */
  /** Of a result, as JSON and as text each. */
  readonly maxResultBytes: number;
  embedStatus(): EmbedStatus;
  /**
   * Makes a vector index: empty, or of a dataset, whose texts are embedded; called again, it takes over what changed
   * there, or goes on where it was broken off. Every segment is durable by itself. Throws `conflict` when another index
   * or a table has the name.
   */
  createIndex(request: CreateRequest, options?: VectorOptions): Promise<CreateResult>;
  /**
   * Adds up to 10,000 items to an index, or puts them in the place of those with their ids. Durable when it returns, and
   * when it throws `LakeError`, which names the first item that is wrong, nothing has changed.
   */
  upsert(index: string, items: readonly Item[], options?: VectorOptions): Promise<UpsertResult>;
  /** Deletes items of an index, or drops it. Throws `invalid` unless one of `ids` and `all` is given. */
  deleteItems(request: DeleteRequest, options?: VectorOptions): Promise<DeleteResult>;
  /** The nearest items to a text, a vector or an item, nearest first; a filter is SQL. */
  search(request: SearchRequest, options?: Asking): Promise<SearchResult>;
  /** Size, model, files and memory of an index. */
  indexStatus(name: string): Promise<IndexStatus>;
  /**
   * `ingest` or `createIndex`, while the caller waits, or as a job, which goes on when the caller has left: with
   * `background` at once, else when it takes long.
   */
  perform<Kind extends JobKind>(
    kind: Kind,
    request: JobWork[Kind]["request"],
    options?: JobOptions,
  ): Promise<Performed<Kind>>;
  /** The same, as a job at once: its record is durable when this returns. */
  startJob<Kind extends JobKind>(
    kind: Kind,
    request: JobWork[Kind]["request"],
    options?: Pick<JobOptions, "roots" | "caller">,
  ): Promise<{ jobId: string }>;
  /** A job, after waiting up to `waitMs` for it to end. Throws `not_found` with the ids of recent jobs. */
  jobStatus(id: string, options?: StatusOptions): Promise<JobRecord>;
  /** Stops a job, of another process too, and returns it; one that has ended stays as it is. Throws `not_found`. */
  cancelJob(id: string): Promise<JobRecord>;
  /** The newest first; 50 unless told. */
  listJobs(options?: { limit?: number }): Promise<JobRecord[]>;
  /** Tells when a job of this process begins or ends. Returns the way to stop. */
  onJob(listener: (record: JobRecord) => void): () => void;
  /** Tells of commits of this process at once, of others when they are noticed. Returns the way to stop. */
  onChange(listener: (changes: Changes) => void): () => void;
  /** Loads the heavy libraries and the catalog now rather than at the first call. Never throws. */
  warm(): Promise<void>;
  /** Sizes and counts at this moment, of what is open: cheap, and opens nothing. */
  stats(): EngineStats;
  close(): Promise<void>;
  /** Whether threads of DuckDB read from memory of this process, which then cannot end by itself. */
  busy(): boolean;
}

/**
 * Opens the store at once, so that a wrong folder is told before anything is served, and the rest when first needed:
 * loading it takes longer than a client should wait for its first answer.
 */
export async function openEngine(settings: EngineSettings): Promise<Engine> {
  const scope = openScope();
  const listeners = new Set<(changes: Changes) => void>();
  const store = await openStore(scope, settings).catch(async (error: unknown) => {
    await scope.close();
    throw error;
  });
  const uploads = openUploads(scope, join(spoolOf(store.localRoot), "uploads"), {
    maxBytes: settings.maxIngestBytes,
    quotaBytes: settings.uploadQuotaBytes,
    expiryMs: settings.uploadExpiryMs,
    clock: settings.clock,
    log: settings.log,
  });

  const open: OpenParts = { store };
  let closed = false;
  let opening: Promise<Catalog> | undefined;
  const catalog = (): Promise<Catalog> => {
    if (closed) return Promise.reject(closedError());
    opening ??= loadCatalog(scope, store, settings).then((opened) => {
      open.catalog = opened;
      opened.onChange((changes) => {
        for (const listener of listeners) listener(changes);
      });
      return opened;
    });
    // A catalog that could not be opened, because the disk was away, is tried again by the next call.
    opening.catch(() => {
      opening = undefined;
    });
    return opening;
  };

  let loading: Promise<Parts> | undefined;
  const opened = async (): Promise<Parts> => {
    const ready = await catalog();
    loading ??= loadParts(scope, store, ready, settings, uploads, vectors);
    // Neither is what could not be loaded remembered.
    loading.catch(() => {
      loading = undefined;
    });
    const parts = await loading;
    Object.assign(open, { query: parts.query, ingest: parts.ingest });
    return parts;
  };

  let embedder: Embedder | undefined;
  const embedding = async (): Promise<Embedder> => {
    if (embedder) return embedder;
    const { openEmbedder } = await import("./embed/embedder.ts");
    if (closed) throw closedError();
    embedder ??= openEmbedder(scope, settings.embed, settings.log, settings.trace, settings.clock);
    return embedder;
  };

  let room: Promise<Vectors> | undefined;
  const openVectors = async (): Promise<Vectors> => {
    const { query } = await opened();
    const { openVectors: openVectorContext } = await import("./index/vectors.ts");
    if (closed) throw closedError();
    open.vectors = openVectorContext(scope, { store, catalog: await catalog(), query, embedder: embedding, settings });
    return open.vectors;
  };
  async function vectors(): Promise<Vectors> {
    room ??= openVectors();
    room.catch(() => {
      room = undefined;
    });
    return room;
  }

  const jobListeners = new Set<(record: JobRecord) => void>();
  let office: Promise<Jobs> | undefined;
  const openOffice = async (): Promise<Jobs> => {
    const { ingest } = await opened();
    const { openJobs } = await import("./jobs/jobs.ts");
    if (closed) throw closedError();
    open.jobs = openJobs(
      scope,
      {
        store,
        workers: {
          ingest: ingest.ingest,
          "vector-index-create": async (request, options) => (await vectors()).create(request, options),
        },
        newest: async (name) => newestOf(await catalog(), name),
        clock: settings.clock,
        log: settings.log,
        afterMs: settings.jobAfterMs,
      },
      (record) => {
        for (const listener of jobListeners) listener(record);
      },
    );
    return open.jobs;
  };
  const jobs = async (): Promise<Jobs> => {
    if (closed) throw closedError();
    office ??= openOffice();
    office.catch(() => {
      office = undefined;
    });
    return office;
  };

  const embedStatus = (): EmbedStatus => embedder?.status() ?? unused(settings.embed);

  const close = async (): Promise<void> => {
    closed = true;
    // While the rooms still are there: what a job says about its end is then what stopped it.
    await (await office?.catch(() => undefined))?.close();
    await scope.close();
  };

  return {
    ingest: async (request, options) => (await opened()).ingest.ingest(request, options),
    uploads,
    query: async (sql, options) => (await opened()).query.query(sql, options),
    stream: async (sql, options) => (await opened()).query.stream(sql, options),
    list: async (request = {}) => {
      const ready = await catalog();
      return { ...page(ready.list(), request), unreadable: ready.unreadable() };
    },
    describe: async (reference) => {
      const ready = await catalog();
      const { name, version } = parseReference(reference);
      const manifest = await ready.load(name, version);
      const { heads, total } = await ready.versions(name, RECENT_VERSIONS);
      return { manifest: shown(manifest), versions: heads.map(shown), versionsTotal: total };
    },
    drop: async (name) => {
      const dropped = await drop(await catalog(), name);
      if (dropped.kind === "vectors") await (await vectors()).forget(name);
      return dropped;
    },
    ...openUpkeep({ store, catalog, settings }),
    complete: async (prefix) => {
      const heads = (await catalog()).list();
      return heads.map((head) => head.name).filter((name) => name.startsWith(prefix));
    },
    embed: async (texts, options) => (await embedding()).embed(texts, options),
    maxResultBytes: settings.maxResultBytes,
    embedStatus,
    createIndex: async (request, options) => (await vectors()).create(request, options),
    upsert: async (index, items, options) => (await vectors()).upsert(index, items, options),
    deleteItems: async ({ index, ids, all }, options) => {
      const opened = await vectors();
      if ((ids === undefined) === (all !== true)) throw oneOf();
      if (ids) return opened.remove(index, ids, options);
      const { count } = await opened.status(index);
      const { version } = await drop(await catalog(), index);
      await opened.forget(index);
      return { index, version, deleted: count, missing: [], count: 0, dropped: true };
    },
    search: async (request, options) => (await vectors()).search(request, options),
    indexStatus: async (name) => (await vectors()).status(name),
    perform: async (kind, request, options) => (await jobs()).perform(kind, request, options),
    startJob: async (kind, request, options) => {
      const started = await (await jobs()).perform(kind, request, { ...options, background: true });
      if ("jobId" in started) return started;
      throw new LakeError("internal", "A job in the background came back with its result.");
    },
    jobStatus: async (id, options) => (await jobs()).status(id, options),
    cancelJob: async (id) => (await jobs()).cancel(id),
    listJobs: async ({ limit = RECENT_JOBS } = {}) => (await jobs()).list(limit),
    onJob: (listener) => {
      jobListeners.add(listener);
      return () => jobListeners.delete(listener);
    },
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    warm: async () => {
      try {
        // What catalog-list needs comes first, the model of embeddings, which no other call waits for, last.
        await catalog();
        await (await opened()).warm();
        // Takes up what an earlier server has left, in the background.
        await jobs();
        await (await embedding()).warm();
      } catch (error) {
        if (!closed) settings.log("warn", "warm-up failed; the first call tries again", { error: String(error) });
      }
    },
    stats: () => statsOf(open, embedStatus()),
    busy: () => open.vectors?.feeding() === true,
    close,
    [Symbol.asyncDispose]: close,
  };
}

function shown<Of extends Head>(head: Of): Of {
  return { ...head, provenance: { ...head.provenance, source: shownSource(head.provenance) } };
}

interface Parts {
  query: QueryEngine;
  ingest: Ingest;
  warm(): Promise<void>;
}

async function openStore(scope: Scope, settings: EngineSettings): Promise<Store> {
  const { data, s3, clock, log } = settings;
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

async function loadCatalog(scope: Scope, store: Store, settings: EngineSettings): Promise<Catalog> {
  const { openCatalog } = await import("./catalog/catalog.ts");
  const { refreshMs, clock, log, trace } = settings;
  return openCatalog(scope, store, { refreshMs, clock, log, trace, engineVersion: VERSION });
}

async function loadParts(
  scope: Scope,
  store: Store,
  catalog: Catalog,
  settings: EngineSettings,
  uploads: Uploads,
  vectors: () => Promise<Vectors>,
): Promise<Parts> {
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
    search: async ({ filter, ...call }, asking) => (await vectors()).find({ ...call, where: filter }, asking),
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

function unused(settings: EmbedSettings): EmbedStatus {
  const cache = { entries: 0, bytes: 0, maxBytes: settings.cacheBytes, hits: 0, misses: 0 };
  return { ...planOf(settings), fallback: undefined, requests: 0, failures: 0, waiting: 0, cache };
}

function closedError(): LakeError {
  return new LakeError("closed", "The lakehouse is closed.", { hint: "Start it again." });
}

function oneOf(): LakeError {
  return new LakeError("invalid", "Give either ids, or all: true.", {
    hint: "ids deletes these items; all: true drops the whole index.",
  });
}
