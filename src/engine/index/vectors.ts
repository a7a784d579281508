import { setMaxListeners } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { cancelled, throwIfAborted } from "../kernel/abort.ts";
import { LakeError } from "../kernel/errors.ts";
import { openScope, type Scope } from "../kernel/scope.ts";
import { untraced } from "../kernel/trace.ts";
import type { Asking } from "../query/types.ts";
import { buildIndex } from "./build.ts";
import { compact } from "./compact.ts";
import { openVectorContext, type VectorContextParts } from "./context.ts";
import { ensureIndex } from "./create.ts";
import { openIndexCache } from "./index-cache.ts";
import { find, noteOn, type RawHit, search } from "./search.ts";
import { findItems, isIndex, loadIndex } from "./segments.ts";
import { listSnapshots, removeSnapshots, snapshotTime } from "./snapshots.ts";
import { sourceQuery } from "./template.ts";
import type {
  CreateRequest,
  CreateResult,
  DeleteResult,
  IndexManifest,
  IndexStatus,
  Item,
  SearchRequest,
  SearchResult,
  UpsertResult,
  VectorOptions,
} from "./types.ts";
import { deleteItems, type Lookup, summaryOf, upsertItems } from "./write.ts";

export interface Vectors {
  /**
   * Makes an index, or builds one from a dataset, or brings one that was built up to the dataset's newest version. Every
   * segment of a build is durable by itself; called again after it was broken off, it goes on. Throws `conflict` when
   * there is another index or a table of the name.
   */
  create(request: CreateRequest, options?: VectorOptions): Promise<CreateResult>;
  /**
   * Adds items or puts them in the place of those with their ids, as one commit: durable when it returns, and when it
   * throws nothing has changed. Throws `invalid` or `limit` naming the first item that cannot be stored.
   */
  upsert(index: string, items: readonly Item[], options?: VectorOptions): Promise<UpsertResult>;
  /** Deletes items, as one commit. Ids that are not there are no error. */
  remove(index: string, ids: readonly string[], options?: VectorOptions): Promise<DeleteResult>;
  /** The nearest items, nearest first. Throws `invalid` naming the argument, `not_found` for an index or an item. */
  search(request: SearchRequest, options?: Asking): Promise<SearchResult>;
  /** The same for `vector_search` inside of a statement. */
  find(request: SearchRequest, asking: Asking): Promise<{ reference: string; hits: RawHit[]; note: string }>;
  status(name: string): Promise<IndexStatus>;
  /** Lets go of a dropped index, in memory and on disk. */
  forget(name: string): Promise<void>;
  /** Indexes in memory. */
  resident(): { indexes: number; bytes: number };
  /** Whether DuckDB takes rows of a segment from this thread. */
  feeding(): boolean;
}

/** When the graph has so many dead places, and at least so many, it is grown anew. */
const MAX_DEAD = 0.3;
const MIN_DEAD = 1_000;
const CLOSE_GRACE_MS = 3_000;
/** So many times the quiet that is waited for, changes or not. */
const MAX_QUIETS = 10;

export function openVectors(scope: Scope, parts: VectorContextParts): Vectors {
  const { settings, catalog } = parts;
  const { trace = untraced } = settings;
  // Its parts are opened when they are needed, and closed when what uses them has ended.
  const own = openScope();
  const context = openVectorContext(own, parts);
  const closing = new AbortController();
  // As many listen to it as there are calls.
  setMaxListeners(0, closing.signal);
  const tending = new Map<string, { timer: NodeJS.Timeout; since: number }>();
  const beingTended = new Set<string>();
  const beingBuilt = new Set<string>();
  const underWay = new Set<Promise<unknown>>();
  const residents = openIndexCache(own, context, { closing: closing.signal, onRead: tendLater });
  scope.defer(async () => {
    closing.abort(new LakeError("closed", "The lakehouse is closed.", { hint: "Start it again." }));
    for (const { timer } of tending.values()) clearTimeout(timer);
    const grace = new AbortController();
    await Promise.race([Promise.allSettled(underWay), delay(CLOSE_GRACE_MS, undefined, grace).catch(() => undefined)]);
    grace.abort();
    await context.stop();
    await own.close();
  });
  catalog.onChange(({ removed, updated }) => {
    for (const name of removed) residents.forget(name).catch(() => undefined);
    for (const name of updated) if (residents.peek(name)) tendLater(name);
  });

  function track<Result>(work: Promise<Result>): Promise<Result> {
    underWay.add(work);
    const end = (): void => void underWay.delete(work);
    work.then(end, end);
    return work;
  }

  /** Runs `work` while the lake is open. */
  function whileOpen<Result>(work: () => Promise<Result>): Promise<Result> {
    throwIfAborted(closing.signal);
    return track(
      work().catch((error: unknown) => {
        // What was closed under it fails in ways of its own.
        throw closing.signal.aborted ? cancelled(closing.signal) : error;
      }),
    );
  }

  /** Runs `work` until the caller or the lake stops it. */
  function during<Result>(
    { signal }: { signal?: AbortSignal | undefined },
    work: (signal: AbortSignal) => Promise<Result>,
  ): Promise<Result> {
    const either = signal ? AbortSignal.any([signal, closing.signal]) : closing.signal;
    return whileOpen(async () => {
      throwIfAborted(either);
      return work(either);
    });
  }

  /** Once an index has been left alone for a while: fewer files, a graph without dead places, and that saved. */
  function tendLater(name: string): void {
    const waiting = tending.get(name);
    clearTimeout(waiting?.timer);
    if (closing.signal.aborted) return;
    const { quietMs } = settings.vector;
    const now = performance.now();
    const since = waiting?.since ?? now;
    // An index that is never left alone is tended all the same.
    const wait = Math.min(quietMs, Math.max(0, since + MAX_QUIETS * quietMs - now));
    const timer = setTimeout(() => {
      tending.delete(name);
      if (beingTended.has(name)) {
        tendLater(name);
        return;
      }
      beingTended.add(name);
      const work = tend(name).finally(() => beingTended.delete(name));
      track(work).catch((error: unknown) => {
        // It changed while it was saved: another time.
        if (error instanceof LakeError && error.kind === "conflict") tendLater(name);
        else if (!closing.signal.aborted)
          settings.log("warn", "a vector index could not be tended", { index: name, error: String(error) });
      });
    }, wait);
    timer.unref();
    tending.set(name, { timer, since });
  }

  async function tend(name: string): Promise<void> {
    await compact(context, name, closing.signal);
    if (!residents.peek(name)) return;
    const manifest = await catalog.load(name).catch(() => undefined);
    if (!isIndex(manifest) || !residents.hasRoom(manifest)) return;
    // What is saved is the newest version, or the next start has to go on from it.
    await residents.use(manifest, closing.signal, async () => undefined);
    const resident = residents.peek(name);
    if (!resident) return;
    const { slots, count } = resident.items;
    const dead = slots - count;
    if (dead > MIN_DEAD && dead > slots * MAX_DEAD) await residents.renew(name);
    // Of a build the last version alone is worth saving.
    if (!beingBuilt.has(name)) await residents.save(name);
  }

  /** Has the new version in memory soon, where the index is there: then the next search need not wait for it. */
  function follow(manifest: IndexManifest): void {
    if (residents.peek(manifest.name)) {
      track(residents.use(manifest, closing.signal, async () => undefined)).catch(() => undefined);
    }
    tendLater(manifest.name);
  }

  /**
   * Takes a growing index into memory while it is built, when there is context: whoever builds one searches it next, and would
   * wait until all of it is read.
   */
  function openTakingIn(): (manifest: IndexManifest) => void {
    let newest: IndexManifest | undefined;
    let isBusy = false;
    const takeIn = async (): Promise<void> => {
      for (let next = newest; next && residents.hasRoom(next); next = newest) {
        newest = undefined;
        const isIn = await residents.use(next, closing.signal, async () => true);
        const current = await catalog.load(next.name).catch(() => undefined);
        // It was dropped while it was read.
        if (!isIndex(current) || current.createdAt !== next.createdAt) return residents.forget(next.name);
        if (!isIn) return;
      }
    };
    return (manifest) => {
      newest = manifest;
      if (isBusy) return;
      isBusy = true;
      track(takeIn())
        // The next search finds out why, and tells.
        .catch(() => undefined)
        .finally(() => {
          isBusy = false;
        });
    };
  }

  const lookupUntil =
    (signal: AbortSignal): Lookup =>
    async (manifest, wanted) => {
      const resident = residents.peek(manifest.name);
      if (resident?.manifest.commitId !== manifest.commitId) return findItems(context, manifest, wanted, signal);
      const found = new Map<string, string | null>();
      for (const id of wanted.ids) {
        const slot = resident.items.slotOf(id);
        if (slot !== undefined) found.set(id, resident.items.metadataOf(slot));
      }
      return found;
    };

  async function create(request: CreateRequest, options: VectorOptions, signal: AbortSignal): Promise<CreateResult> {
    if (!request.source) {
      const { manifest, created } = await ensureIndex(context, request, undefined, signal);
      return {
        ...summaryOf(manifest),
        created,
        unchanged: !created,
        embedded: 0,
        kept: manifest.index.count,
        removed: 0,
        skipped: 0,
      };
    }
    const dataset = await catalog.load(request.source.dataset);
    if (dataset.kind !== "table") {
      throw new LakeError("invalid", `dataset: ${dataset.name} is a vector index.`, {
        hint: "Give the name of a table.",
      });
    }
    const query = sourceQuery(dataset, request.source);
    if (request.source.where !== undefined)
      await context.query.assertCondition(request.source.where, { signal, caller: options.caller });
    const source = {
      dataset: dataset.name,
      version: dataset.version,
      text: request.source.text,
      id: query.id,
      where: request.source.where ?? null,
      metadata: query.metadata,
      complete: false,
    };
    const takeIn = openTakingIn();
    beingBuilt.add(request.name);
    const built = await buildIndex(
      context,
      () => ensureIndex(context, request, source, signal),
      { sql: query.sql, source },
      { ...options, signal, onCommit: takeIn, lookup: lookupUntil(signal) },
    ).finally(() => {
      beingBuilt.delete(request.name);
      tendLater(request.name);
    });
    const { manifest, ...counts } = built;
    if (!counts.unchanged) takeIn(manifest);
    return { ...summaryOf(manifest), ...counts };
  }

  return {
    create: (request, options = {}) =>
      trace("vector.create", {}, async (span) => {
        const result = await during(options, (signal) => create(request, options, signal));
        span.note({ "lakehouse.items": result.count, "lakehouse.embedded": result.embedded });
        return result;
      }),
    upsert: (index, items, options = {}) =>
      trace("vector.upsert", { "lakehouse.items": items.length }, () =>
        during(options, async (signal) => {
          const done = await upsertItems(context, index, items, { ...options, signal }, lookupUntil(signal));
          follow(done.manifest);
          return { ...summaryOf(done.manifest), inserted: done.inserted, updated: done.updated };
        }),
      ),
    remove: (index, ids, options = {}) =>
      trace("vector.delete", { "lakehouse.items": ids.length }, () =>
        during(options, async (signal) => {
          const { manifest, result } = await deleteItems(context, index, ids, signal, lookupUntil(signal));
          follow(manifest);
          return result;
        }),
      ),
    // Closing fails what the shards were asked; another signal to listen to would cost as much as asking them.
    search: (request, asking = {}) =>
      trace("vector.search", {}, async (span) => {
        const result = await whileOpen(() => search(context, residents, request, asking));
        span.note({ "lakehouse.method": result.method, "lakehouse.hits": result.hits.length });
        return result;
      }),
    find: (request, asking) =>
      trace("vector.search", {}, async (span) => {
        const found = await whileOpen(() => find(context, residents, request, asking));
        const { manifest, hits, exact } = found;
        span.note({ "lakehouse.method": exact ? "exact" : "hnsw", "lakehouse.hits": hits.length });
        return { reference: `${manifest.name}@${manifest.version}`, hits, note: noteOn(found) };
      }),
    status: (name) => during({}, () => status(name)),
    forget: async (name) => {
      await residents.forget(name);
      await removeSnapshots(context, name);
    },
    resident: () => ({ indexes: residents.size(), bytes: residents.bytes() }),
    feeding: context.feeding,
  };

  async function status(name: string): Promise<IndexStatus> {
    const manifest = await loadIndex(context, name);
    const { index, files } = manifest;
    const resident = residents.peek(name);
    const [saved] = await listSnapshots(context, name);
    const at = saved ? await snapshotTime(context, saved) : null;
    // Where a worker has died, the next search reads the index anew.
    const stats = await resident?.shards.stats().catch(() => undefined);
    return {
      ...summaryOf(manifest),
      index_details: index,
      updated_at: manifest.updatedAt,
      segments: files.length,
      changes: files.length - index.baseFiles,
      bytes: manifest.bytes,
      ...(resident &&
        stats && {
          memory: {
            bytes: stats.bytes + resident.items.bytes,
            graph: stats.graph,
            pending: stats.pending,
            deleted: resident.items.slots - resident.items.count,
            method: settings.vector.hnsw ? ("hnsw" as const) : ("exact" as const),
          },
        }),
      snapshot: saved
        ? {
            version: saved.version,
            age_ms: at === null ? null : Math.max(0, settings.clock.now().getTime() - at),
            bytes: saved.bytes,
          }
        : null,
    };
  }
}
