import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { openCatalog } from "../../src/engine/catalog/catalog.ts";
import type { Catalog } from "../../src/engine/catalog/types.ts";
import { literalList } from "../../src/engine/duckdb/duckdb.ts";
import { type Ingest, openIngest } from "../../src/engine/ingest/ingest.ts";
import type { IngestOptions, IngestRequest, IngestResult } from "../../src/engine/ingest/request.ts";
import { LakeError } from "../../src/engine/kernel/errors.ts";
import { openScope } from "../../src/engine/kernel/scope.ts";
import { spoolOf } from "../../src/engine/kernel/spool-folders.ts";
import { openQueryEngine } from "../../src/engine/query/duckdb/query.ts";
import { type EngineSettings, systemClock } from "../../src/engine/settings.ts";
import { openFileStore } from "../../src/engine/store/file.ts";
import type { Store } from "../../src/engine/store/store.ts";
import { openUploads, type Uploads } from "../../src/engine/uploads/uploads.ts";
import { EMBED, VECTOR } from "./embedder.ts";
import { type Worded, worded } from "./worded.ts";

export interface Ingesting extends AsyncDisposable {
  readonly store: Store;
  readonly catalog: Catalog;
  readonly uploads: Uploads;
  /** The allowed folder. */
  readonly inbox: string;
  /** Around the inbox and the lake. */
  readonly folder: string;
  file(name: string, content: string | Uint8Array): Promise<string>;
  /** Ingests as `t` unless named. */
  ingest(
    request: Partial<IngestRequest> & Pick<IngestRequest, "source">,
    options?: IngestOptions,
  ): Promise<IngestResult>;
  /** Ingests a file with this content, and returns the rows that then are in the dataset. */
  csv(content: string | Uint8Array, request?: Partial<IngestRequest> & { file?: string }): Promise<Ingested>;
  /** An ingest that must fail; the hint is as a caller of tools reads it. */
  refused(request: Partial<IngestRequest> & Pick<IngestRequest, "source">, options?: IngestOptions): Promise<Worded>;
  rows(name?: string): Promise<Record<string, unknown>[]>;
  /** Every file of the lake with its size. */
  files(): Promise<string[]>;
}

export type Ingested = IngestResult & { values: unknown[][]; types: string[] };

/** Ingest on a real file store, catalog and query engine. */
export async function openIngesting(overrides: Partial<EngineSettings> = {}): Promise<Ingesting> {
  const folder = await mkdtemp(join(tmpdir(), "lake-ingest-"));
  const inbox = join(folder, "inbox");
  await mkdir(inbox);
  const settings: EngineSettings = {
    data: join(folder, "lake"),
    allow: [inbox],
    maxIngestBytes: 256 * 2 ** 20,
    uploadQuotaBytes: 2 ** 30,
    uploadExpiryMs: 3600e3,
    maxIngestRows: 10_000_000,
    ingestTimeoutMs: 60_000,
    ingestMemoryBytes: 256 * 2 ** 20,
    queryMemoryBytes: 256 * 2 ** 20,
    maxTempBytes: 2 ** 30,
    threads: 2,
    queryTimeoutMs: 30_000,
    maxConcurrentIngests: 2,
    maxConcurrentQueries: 4,
    maxQueuedQueries: 16,
    maxResultBytes: 65_536,
    refreshMs: 0,
    embed: EMBED,
    vector: VECTOR,
    clock: systemClock,
    log: () => {},
    ...overrides,
  };
  const scope = openScope();
  const store = await openFileStore(scope, { folder: settings.data, label: "lake" });
  const catalog = await openCatalog(scope, store, {
    refreshMs: settings.refreshMs,
    clock: settings.clock,
    log: settings.log,
    engineVersion: "test",
  });
  const uploads = openUploads(scope, join(spoolOf(store.localRoot), "uploads"), {
    maxBytes: settings.maxIngestBytes,
    quotaBytes: settings.uploadQuotaBytes,
    expiryMs: settings.uploadExpiryMs,
    clock: settings.clock,
    log: settings.log,
  });
  const query = openQueryEngine(scope, { store, catalog, settings });
  const { ingest }: Ingest = openIngest(scope, { store, catalog, query, uploads, settings });
  const file = async (name: string, content: string | Uint8Array): Promise<string> => {
    await writeFile(join(inbox, name), content);
    return name;
  };
  const rows = async (name = "t"): Promise<Record<string, unknown>[]> => {
    const manifest = await catalog.load(name);
    const paths = await Promise.all(manifest.files.map(({ key }) => store.localPath(key)));
    return readParquet(`FROM read_parquet(${literalList(paths)}, union_by_name = true) LIMIT 1000`);
  };
  const run: Ingesting["ingest"] = (request, options) => ingest({ name: "t", ...request }, options);
  return {
    store,
    catalog,
    uploads,
    inbox,
    folder,
    file,
    rows,
    ingest: run,
    csv: async (content, { file: name = "data.csv", ...request } = {}) => {
      const result = await run({ ...request, source: { path: await file(name, content) } });
      const values = (await rows(result.name)).map((row) => Object.values(row));
      return { ...result, values, types: result.columns.map(({ type }) => type) };
    },
    refused: async (request, options) => {
      const outcome = await run(request, options).catch((error: unknown) => error);
      if (outcome instanceof LakeError) return worded(outcome);
      throw outcome instanceof Error ? outcome : new Error(`It should have failed: ${JSON.stringify(outcome)}`);
    },
    files: async () => {
      const entries = await readdir(settings.data, { recursive: true, withFileTypes: true });
      return entries
        .filter((entry) => entry.isFile() || entry.name.startsWith("ingest."))
        .map((entry) => relative(settings.data, join(entry.parentPath, entry.name)))
        .sort();
    },
    [Symbol.asyncDispose]: async () => {
      await scope.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** In a DuckDB of the test's own. */
export async function readParquet(sql: string): Promise<Record<string, unknown>[]> {
  const { DuckDBInstance } = await import("@duckdb/node-api");
  const instance = await DuckDBInstance.create(":memory:");
  const connection = await instance.connect();
  try {
    await connection.run("SET TimeZone = 'UTC'");
    return (await connection.runAndReadAll(sql)).getRowObjectsJson() as Record<string, unknown>[];
  } finally {
    connection.closeSync();
    instance.closeSync();
  }
}
