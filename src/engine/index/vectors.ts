import { setMaxListeners } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { lakehouseClosed } from "../kernel/errors.ts";
import { openScope, type Scope } from "../kernel/scope.ts";
import { untraced } from "../kernel/trace.ts";
import type { Asking } from "../query/types.ts";
import { openCalls } from "./calls.ts";
import { openVectorContext, type VectorContext, type VectorContextParts } from "./context.ts";
import { createIndex } from "./create-index.ts";
import { type IndexCache, openIndexCache } from "./index-cache.ts";
import { openLoadAhead } from "./load-ahead.ts";
import { find, noteOn, type RawHit, search } from "./search.ts";
import { findItems } from "./segments.ts";
import { removeSnapshots } from "./snapshots.ts";
import { statusOf } from "./status.ts";
import { openTending } from "./tending.ts";
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
  /** Indexes in memory, and bytes of memory that they take. */
  loaded(): { indexes: number; bytes: number };
  /** Whether DuckDB takes rows of a segment from this thread. */
  feeding(): boolean;
}

const CLOSE_GRACE_MS = 3_000;

export function openVectors(scope: Scope, parts: VectorContextParts): Vectors {
  const { settings, catalog } = parts;
  const { trace = untraced } = settings;
  // Its parts are opened when they are needed, and closed when what uses them has ended.
  const own = openScope();
  const context = openVectorContext(own, parts);
  const closing = new AbortController();
  const { signal: closed } = closing;
  // As many listen to it as there are calls.
  setMaxListeners(0, closed);
  const calls = openCalls(closed);
  const indexes = openIndexCache(context, { closing: closed, onRead: (name) => tending.later(name) });
  const tending = openTending(context, { indexes, calls, closing: closed });
  scope.defer(async () => {
    closing.abort(lakehouseClosed());
    tending.stop();
    const grace = new AbortController();
    await Promise.race([calls.settled(), delay(CLOSE_GRACE_MS, undefined, grace).catch(() => undefined)]);
    grace.abort();
    await context.stop();
    await own.close();
  });
  catalog.onChange(({ removed, updated }) => {
    for (const name of removed) indexes.remove(name).catch(() => undefined);
    for (const name of updated) if (indexes.peek(name)) tending.later(name);
  });

  /** Has the new version in memory soon, where the index is there: then the next search need not wait for it. */
  function follow(manifest: IndexManifest): void {
    if (indexes.peek(manifest.name)) {
      calls.track(indexes.use(manifest, closed, async () => undefined)).catch(() => undefined);
    }
    tending.later(manifest.name);
  }

  const lookupUntil = (signal: AbortSignal): Lookup => lookupIn(context, indexes, signal);

  return {
    create: (request, options = {}) =>
      trace("vector.create", {}, async (span) => {
        const result = await calls.during(options, (signal) =>
          createIndex(
            {
              context,
              tending,
              lookup: lookupUntil(signal),
              loadAhead: openLoadAhead(context, { indexes, calls, closing: closed }),
            },
            request,
            { ...options, signal },
          ),
        );
        span.note({ "lakehouse.items": result.count, "lakehouse.embedded": result.embedded });
        return result;
      }),
    upsert: (index, items, options = {}) =>
      trace("vector.upsert", { "lakehouse.items": items.length }, () =>
        calls.during(options, async (signal) => {
          const done = await upsertItems(context, index, items, { ...options, signal }, lookupUntil(signal));
          follow(done.manifest);
          return { ...summaryOf(done.manifest), inserted: done.inserted, updated: done.updated };
        }),
      ),
    remove: (index, ids, options = {}) =>
      trace("vector.delete", { "lakehouse.items": ids.length }, () =>
        calls.during(options, async (signal) => {
          const { manifest, result } = await deleteItems(context, index, ids, signal, lookupUntil(signal));
          follow(manifest);
          return result;
        }),
      ),
    // Closing fails what the shards were asked; another signal to listen to would cost as much as asking them.
    search: (request, asking = {}) =>
      trace("vector.search", {}, async (span) => {
        const result = await calls.whileOpen(() => search(context, indexes, request, asking));
        span.note({ "lakehouse.method": result.method, "lakehouse.hits": result.hits.length });
        return result;
      }),
    find: (request, asking) =>
      trace("vector.search", {}, async (span) => {
        const found = await calls.whileOpen(() => find(context, indexes, request, asking));
        const { manifest, hits, exact } = found;
        span.note({ "lakehouse.method": exact ? "exact" : "hnsw", "lakehouse.hits": hits.length });
        return { reference: `${manifest.name}@${manifest.version}`, hits, note: noteOn(found) };
      }),
    status: (name) => calls.during({}, () => statusOf(context, indexes, name)),
    forget: async (name) => {
      await indexes.remove(name);
      await removeSnapshots(context, name);
    },
    loaded: () => ({ indexes: indexes.size(), bytes: indexes.bytes() }),
    feeding: context.feeding,
  };
}

/** Looks items up by their ids: in memory where this version is loaded, else in its segments. */
function lookupIn(context: VectorContext, indexes: IndexCache, signal: AbortSignal): Lookup {
  return async (manifest, wanted) => {
    const loaded = indexes.peek(manifest.name);
    if (loaded?.manifest.commitId !== manifest.commitId) return findItems(context, manifest, wanted, signal);
    // Called in this turn, it answers for this version.
    return loaded.ann.lookup(wanted.ids);
  };
}
