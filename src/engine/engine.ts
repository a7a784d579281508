import { type ListPage, type ListRequest, page } from "./catalog/browse.ts";
import { type Dropped, drop } from "./catalog/drop.ts";
import { parseReference } from "./catalog/identity.ts";
import type { Changes, Head, Manifest, Unreadable } from "./catalog/types.ts";
import type { Embedded, EmbedOptions, EmbedStatus } from "./embed/embedder.ts";
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
import { argument, next } from "./kernel/next-step.ts";
import { openScope } from "./kernel/scope.ts";
import { openParts, type Parts } from "./parts.ts";
import { shownSource } from "./query/guard/shown-source.ts";
import type { Asking, QueryOptions, QueryResult, StreamOptions, StreamResult } from "./query/types.ts";
import type { EngineSettings } from "./settings.ts";
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
  /** Files sent by callers on other machines, which `ingest` reads as `{ upload: id }`. */
  uploads: Uploads;
  /** Runs one read-only statement. Throws `LakeError`: `denied` when the guard refuses, `limit` for a budget. */
  query(sql: string, options?: QueryOptions): Promise<QueryResult>;
  /** Like `query`, for any number of rows: handed over a few at a time, in bounded memory. */
  stream(sql: string, options: StreamOptions): Promise<StreamResult>;
  /** Live datasets in name order, a page at a time, and the datasets that could not be read. */
  list(request?: ListRequest): Promise<ListPage & { unreadable: Unreadable[] }>;
  /** `reference` is a name or `name@version`. `versions` are the newest ten. Throws `not_found` with the nearest names. */
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
  /** The embedding model in use, and the size of its cache. */
  embedStatus(): EmbedStatus;
  /**
   * Makes a vector index: empty, or of the texts of a dataset. Called again, it takes over the changes of the dataset, or
   * continues a build that was interrupted. Every segment is durable by itself. Throws `conflict` when another index or a
   * table has the name.
   */
  createIndex(request: CreateRequest, options?: VectorOptions): Promise<CreateResult>;
  /**
   * Adds up to 10,000 items to an index, replacing those with the same ids. Durable when it returns; when it throws
   * `LakeError`, which names the first wrong item, nothing has changed.
   */
  upsert(index: string, items: readonly Item[], options?: VectorOptions): Promise<UpsertResult>;
  /** Deletes items of an index, or drops it. Throws `invalid` unless one of `ids` and `all` is given. */
  deleteItems(request: DeleteRequest, options?: VectorOptions): Promise<DeleteResult>;
  /** The nearest items to a text, a vector or an item, nearest first. `where` is a condition in SQL. */
  search(request: SearchRequest, options?: Asking): Promise<SearchResult>;
  /** Size, model, files and memory of an index. */
  indexStatus(name: string): Promise<IndexStatus>;
  /**
   * `ingest` or `createIndex` while the caller waits, or as a job, which continues after the caller has left: at once with
   * `background`, else when it takes longer than `jobAfterMs`.
   */
  perform<Kind extends JobKind>(
    kind: Kind,
    request: JobWork[Kind]["request"],
    options?: JobOptions,
  ): Promise<Performed<Kind>>;
  /** `perform` with `background`. The job's record is durable when this returns. */
  startJob<Kind extends JobKind>(
    kind: Kind,
    request: JobWork[Kind]["request"],
    options?: Pick<JobOptions, "roots" | "caller">,
  ): Promise<{ jobId: string }>;
  /** A job, after waiting up to `waitMs` for it to end. Throws `not_found` with the ids of recent jobs. */
  jobStatus(id: string, options?: StatusOptions): Promise<JobRecord>;
  /** Stops a job, also one of another process, and returns it. A job that has ended does not change. Throws `not_found`. */
  cancelJob(id: string): Promise<JobRecord>;
  /** The newest jobs, newest first. Default: 50. */
  listJobs(options?: { limit?: number }): Promise<JobRecord[]>;
  /** Calls `listener` when a job of this process begins or ends. Returns a function that stops it. */
  onJob(listener: (record: JobRecord) => void): () => void;
  /** Calls `listener` for commits: of this process at once, of others when they are noticed. Returns a function that stops it. */
  onChange(listener: (changes: Changes) => void): () => void;
  /** Loads the catalog and the large libraries now rather than at the first call. Never throws. */
  warm(): Promise<void>;
  /** Sizes and counts at this moment. Cheap: opens nothing. */
  stats(): EngineStats;
  /** Whether threads of DuckDB read memory of this process, which then cannot exit by itself. */
  busy(): boolean;
  /** Bytes of one result, counted for its JSON and for its text each. */
  readonly maxResultBytes: number;
  /** Stops calls and jobs under way, then closes everything. Closing twice is harmless. */
  close(): Promise<void>;
}

/**
 * Opens the store at once, so that a wrong folder is reported before anything is served, and everything else when it is
 * first needed. Throws `LakeError` as the store does.
 */
export async function openEngine(settings: EngineSettings): Promise<Engine> {
  const scope = openScope();
  const changes = openListeners<Changes>();
  const jobs = openListeners<JobRecord>();
  const parts = await openParts(scope, settings, { onChange: changes.tell, onJob: jobs.tell }).catch(async (error) => {
    await scope.close();
    throw error;
  });
  const { store, uploads, catalog, statements, embedStatus, close } = parts;
  return {
    ingest: async (request, options) => (await statements()).ingest.ingest(request, options),
    uploads,
    query: async (sql, options) => (await statements()).query.query(sql, options),
    stream: async (sql, options) => (await statements()).query.stream(sql, options),
    ...catalogCalls(parts),
    ...openUpkeep({ store, catalog, settings }),
    ...vectorCalls(parts),
    ...jobCalls(parts),
    maxResultBytes: settings.maxResultBytes,
    onJob: jobs.add,
    onChange: changes.add,
    warm: () => warm(parts, settings),
    stats: () => statsOf(parts.opened(), embedStatus()),
    busy: () => parts.opened().vectors?.feeding() === true,
    close,
    [Symbol.asyncDispose]: close,
  };
}

function catalogCalls({ catalog, vectors }: Parts): Pick<Engine, "list" | "describe" | "drop" | "complete"> {
  return {
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
    complete: async (prefix) => {
      const heads = (await catalog()).list();
      return heads.map((head) => head.name).filter((name) => name.startsWith(prefix));
    },
  };
}

type VectorCalls = "embed" | "embedStatus" | "createIndex" | "upsert" | "deleteItems" | "search" | "indexStatus";

function vectorCalls({ catalog, embedder, embedStatus, vectors }: Parts): Pick<Engine, VectorCalls> {
  return {
    embed: async (texts, options) => (await embedder()).embed(texts, options),
    embedStatus,
    createIndex: async (request, options) => (await vectors()).create(request, options),
    upsert: async (index, items, options) => (await vectors()).upsert(index, items, options),
    deleteItems: async ({ index, ids, all }, options) => {
      const opened = await vectors();
      if ((ids === undefined) === (all !== true)) throw idsOrAll();
      if (ids) return opened.remove(index, ids, options);
      const { count } = await opened.status(index);
      const { version } = await drop(await catalog(), index);
      await opened.forget(index);
      return { index, version, deleted: count, missing: [], count: 0, dropped: true };
    },
    search: async (request, options) => (await vectors()).search(request, options),
    indexStatus: async (name) => (await vectors()).status(name),
  };
}

function jobCalls({ jobs }: Parts): Pick<Engine, "perform" | "startJob" | "jobStatus" | "cancelJob" | "listJobs"> {
  return {
    perform: async (kind, request, options) => (await jobs()).perform(kind, request, options),
    startJob: async (kind, request, options) => {
      const started = await (await jobs()).perform(kind, request, { ...options, background: true });
      if ("jobId" in started) return started;
      throw new LakeError("internal", "A job in the background came back with its result.");
    },
    jobStatus: async (id, options) => (await jobs()).status(id, options),
    cancelJob: async (id) => (await jobs()).cancel(id),
    listJobs: async ({ limit = RECENT_JOBS } = {}) => (await jobs()).list(limit),
  };
}

async function warm({ catalog, statements, jobs, embedder, isClosed }: Parts, { log }: EngineSettings): Promise<void> {
  try {
    // First what a list of datasets needs; last the embedding model, which no other call waits for.
    await catalog();
    await (await statements()).warm();
    // Resumes the jobs of an earlier server in the background.
    await jobs();
    await (await embedder()).warm();
  } catch (error) {
    if (!isClosed()) log("warn", "warm-up failed; the first call tries again", { error: String(error) });
  }
}

function openListeners<Event>() {
  const listeners = new Set<(event: Event) => void>();
  return {
    tell: (event: Event): void => {
      for (const listener of listeners) listener(event);
    },
    add: (listener: (event: Event) => void): (() => void) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/** With a source as callers may see it. */
function shown<Of extends Head>(head: Of): Of {
  return { ...head, provenance: { ...head.provenance, source: shownSource(head.provenance) } };
}

function idsOrAll(): LakeError {
  return new LakeError("invalid", "Exactly one of ids and all has to be given.", {
    facts: { argument: "ids" },
    hint: next`${argument("ids")} deletes these items; ${argument("all", true)} drops the whole index.`,
  });
}
