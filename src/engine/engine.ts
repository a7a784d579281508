import { type ListPage, type ListRequest, page } from "./catalog/browse.ts";
import { type Dropped, drop } from "./catalog/drop.ts";
import { parseReference } from "./catalog/identity.ts";
import type { Changes, Head, Manifest, Unreadable } from "./catalog/types.ts";
import type { Embedded, EmbedOptions, EmbedStatus } from "./embed/embedder.ts";
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
import type { IngestOptions, IngestRequest, IngestResult } from "./ingest/request.ts";
import type { JobKind, JobOptions, JobRecord, JobWork, Performed, StatusOptions } from "./jobs/types.ts";
import { LakeError } from "./kernel/errors.ts";
import { openScope } from "./kernel/scope.ts";
import { shownSource } from "./query/guard/shown-source.ts";
import type { Asking, QueryOptions, QueryResult, StreamOptions, StreamResult } from "./query/types.ts";
import { openRooms } from "./rooms.ts";
import type { EmbedSettings, EngineSettings } from "./settings.ts";
import { type EngineStats, statsOf } from "./stats.ts";
import { openUpkeep, type Upkeep } from "./upkeep/upkeep.ts";
import type { Uploads } from "./uploads/uploads.ts";

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
  /** The most bytes of a result, as JSON and as text each. */
  readonly maxResultBytes: number;
  /** Which model embeds, and what the cache holds. */
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
  const rooms = await openRooms(scope, settings).catch(async (error: unknown) => {
    await scope.close();
    throw error;
  });
  const embedStatus = (): EmbedStatus => rooms.open().embedder?.status() ?? unused(settings.embed);
  const close = async (): Promise<void> => {
    await rooms.close();
    await scope.close();
  };

  return {
    ingest: async (request, options) => (await rooms.data()).ingest.ingest(request, options),
    uploads: rooms.uploads,
    query: async (sql, options) => (await rooms.data()).query.query(sql, options),
    stream: async (sql, options) => (await rooms.data()).query.stream(sql, options),
    list: async (request = {}) => {
      const ready = await rooms.catalog();
      return { ...page(ready.list(), request), unreadable: ready.unreadable() };
    },
    describe: async (reference) => {
      const ready = await rooms.catalog();
      const { name, version } = parseReference(reference);
      const manifest = await ready.load(name, version);
      const { heads, total } = await ready.versions(name, RECENT_VERSIONS);
      return { manifest: shown(manifest), versions: heads.map(shown), versionsTotal: total };
    },
    drop: async (name) => {
      const dropped = await drop(await rooms.catalog(), name);
      if (dropped.kind === "vectors") await (await rooms.vectors()).forget(name);
      return dropped;
    },
    ...openUpkeep({ store: rooms.store, catalog: rooms.catalog, settings }),
    complete: async (prefix) => {
      const heads = (await rooms.catalog()).list();
      return heads.map((head) => head.name).filter((name) => name.startsWith(prefix));
    },
    embed: async (texts, options) => (await rooms.embedder()).embed(texts, options),
    maxResultBytes: settings.maxResultBytes,
    embedStatus,
    createIndex: async (request, options) => (await rooms.vectors()).create(request, options),
    upsert: async (index, items, options) => (await rooms.vectors()).upsert(index, items, options),
    deleteItems: async ({ index, ids, all }, options) => {
      const opened = await rooms.vectors();
      if ((ids === undefined) === (all !== true)) throw oneOf();
      if (ids) return opened.remove(index, ids, options);
      const { count } = await opened.status(index);
      const { version } = await drop(await rooms.catalog(), index);
      await opened.forget(index);
      return { index, version, deleted: count, missing: [], count: 0, dropped: true };
    },
    search: async (request, options) => (await rooms.vectors()).search(request, options),
    indexStatus: async (name) => (await rooms.vectors()).status(name),
    perform: async (kind, request, options) => (await rooms.jobs()).perform(kind, request, options),
    startJob: async (kind, request, options) => {
      const started = await (await rooms.jobs()).perform(kind, request, { ...options, background: true });
      if ("jobId" in started) return started;
      throw new LakeError("internal", "A job in the background came back with its result.");
    },
    jobStatus: async (id, options) => (await rooms.jobs()).status(id, options),
    cancelJob: async (id) => (await rooms.jobs()).cancel(id),
    listJobs: async ({ limit = RECENT_JOBS } = {}) => (await rooms.jobs()).list(limit),
    onJob: rooms.jobStates.add,
    onChange: rooms.changes.add,
    warm: async () => {
      try {
        // What catalog-list needs comes first, the model of embeddings, which no other call waits for, last.
        await rooms.catalog();
        await (await rooms.data()).warm();
        // Takes up what an earlier server has left, in the background.
        await rooms.jobs();
        await (await rooms.embedder()).warm();
      } catch (error) {
        if (!rooms.isClosed())
          settings.log("warn", "warm-up failed; the first call tries again", { error: String(error) });
      }
    },
    stats: () => statsOf(rooms.open(), embedStatus()),
    busy: () => rooms.open().vectors?.feeding() === true,
    close,
    [Symbol.asyncDispose]: close,
  };
}

function shown<Of extends Head>(head: Of): Of {
  return { ...head, provenance: { ...head.provenance, source: shownSource(head.provenance) } };
}

function unused(settings: EmbedSettings): EmbedStatus {
  const cache = { entries: 0, bytes: 0, maxBytes: settings.cacheBytes, hits: 0, misses: 0 };
  return { ...planOf(settings), fallback: undefined, requests: 0, failures: 0, waiting: 0, cache };
}

function oneOf(): LakeError {
  return new LakeError("invalid", "Give either ids, or all: true.", {
    hint: "ids deletes these items; all: true drops the whole index.",
  });
}
