import { join } from "node:path";
import { newestOf } from "./catalog/drop.ts";
import type { Catalog, Changes } from "./catalog/types.ts";
import type { Embedder } from "./embed/embedder.ts";
import type { Vectors } from "./index/vectors.ts";
import type { Ingest } from "./ingest/ingest.ts";
import type { Jobs } from "./jobs/jobs.ts";
import type { JobRecord } from "./jobs/types.ts";
import { LakeError } from "./kernel/errors.ts";
import type { Hasher } from "./kernel/hash.ts";
import { type Lazy, lazy } from "./kernel/lazy.ts";
import { type Listeners, openListeners } from "./kernel/listeners.ts";
import { VERSION } from "./kernel/package.ts";
import type { Scope } from "./kernel/scope.ts";
import { spoolOf } from "./kernel/spool-folders.ts";
import type { QueryEngine } from "./query/types.ts";
import type { EngineSettings } from "./settings.ts";
import type { OpenParts } from "./stats.ts";
import { openFileStore } from "./store/file.ts";
import { openMemoryStore } from "./store/memory.ts";
import type { Store } from "./store/store.ts";
import { openUploads, type Uploads } from "./uploads/uploads.ts";

/** The rooms of an engine. Those that load heavy libraries, or read the lake, are opened by the first who needs them. */
export interface Rooms {
  store: Store;
  uploads: Uploads;
  catalog(): Promise<Catalog>;
  data(): Promise<DataRooms>;
  embedder(): Promise<Embedder>;
  vectors(): Promise<Vectors>;
  jobs(): Promise<Jobs>;
  changes: Listeners<Changes>;
  jobStates: Listeners<JobRecord>;
  isClosed(): boolean;
  /** What is open at this moment. */
  open(): OpenParts & { embedder: Embedder | undefined };
  /** Refuses to open anything more, and stops jobs: what a job says about its end is then what stopped it. */
  close(): Promise<void>;
}

interface DataRooms {
  query: QueryEngine;
  ingest: Ingest;
  warm(): Promise<void>;
}

/** Opens the store and the uploads, so that a wrong folder is told at once; the rest later. */
export async function openRooms(scope: Scope, settings: EngineSettings): Promise<Rooms> {
  const store = await openStore(scope, settings);
  const uploads = openUploads(scope, join(spoolOf(store.localRoot), "uploads"), {
    maxBytes: settings.maxIngestBytes,
    quotaBytes: settings.uploadQuotaBytes,
    expiryMs: settings.uploadExpiryMs,
    clock: settings.clock,
    log: settings.log,
  });
  const changes = openListeners<Changes>();
  const jobStates = openListeners<JobRecord>();
  let closed = false;
  /** Loading a library takes a while: what was closed meanwhile is not opened any more. */
  const room = <Opened>(open: () => Promise<() => Opened | Promise<Opened>>): Lazy<Opened> =>
    lazy(async () => {
      const load = await open();
      if (closed) throw closedError();
      return load();
    });
  const orClosed = <Opened>(one: Lazy<Opened>) => (closed ? Promise.reject(closedError()) : one.get());

  const catalog: Lazy<Catalog> = room(async () => {
    const { openCatalog } = await import("./catalog/catalog.ts");
    const { refreshMs, clock, log, trace } = settings;
    return async () => {
      const opened = await openCatalog(scope, store, { refreshMs, clock, log, trace, engineVersion: VERSION });
      opened.onChange(changes.tell);
      return opened;
    };
  });
  const data: Lazy<DataRooms> = room(async () => {
    const opened = await orClosed(catalog);
    return () => openData(scope, { store, catalog: opened, settings, uploads, vectors: () => orClosed(vectors) });
  });
  const embedder: Lazy<Embedder> = room(async () => {
    const { openEmbedder } = await import("./embed/embedder.ts");
    return () => openEmbedder(scope, settings.embed, settings.log, settings.trace, settings.clock);
  });
  const vectors: Lazy<Vectors> = room(async () => {
    const [opened, { query }] = await Promise.all([orClosed(catalog), orClosed(data)]);
    const { openVectors } = await import("./index/vectors.ts");
    return () => openVectors(scope, { store, catalog: opened, query, embedder: () => orClosed(embedder), settings });
  });
  const jobs: Lazy<Jobs> = room(async () => {
    const [opened, { ingest }] = await Promise.all([orClosed(catalog), orClosed(data)]);
    const { openJobs } = await import("./jobs/jobs.ts");
    const workers = {
      ingest: ingest.ingest,
      "vector-index-create": async (...args: Parameters<Vectors["create"]>) =>
        (await orClosed(vectors)).create(...args),
    };
    const newest = (name: string) => newestOf(opened, name);
    const { clock, log, jobAfterMs: afterMs } = settings;
    return () => openJobs(scope, { store, workers, newest, clock, log, afterMs }, jobStates.tell);
  });

  return {
    store,
    uploads,
    catalog: () => orClosed(catalog),
    data: () => orClosed(data),
    embedder: () => orClosed(embedder),
    vectors: () => orClosed(vectors),
    jobs: () => orClosed(jobs),
    changes,
    jobStates,
    isClosed: () => closed,
    open: () => ({
      store,
      catalog: catalog.value(),
      query: data.value()?.query,
      ingest: data.value()?.ingest,
      embedder: embedder.value(),
      vectors: vectors.value(),
      jobs: jobs.value(),
    }),
    close: async () => {
      closed = true;
      await (await jobs.current()?.catch(() => undefined))?.close();
    },
  };
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

async function openData(
  scope: Scope,
  parts: {
    store: Store;
    catalog: Catalog;
    settings: EngineSettings;
    uploads: Uploads;
    vectors: () => Promise<Vectors>;
  },
): Promise<DataRooms> {
  const { store, catalog, settings, uploads, vectors } = parts;
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

function closedError(): LakeError {
  return new LakeError("closed", "The lakehouse is closed.", { hint: "Start it again." });
}
