import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openCatalog } from "../../src/engine/catalog/catalog.ts";
import { dataKey, schemaFingerprint } from "../../src/engine/catalog/identity.ts";
import type { Catalog, Column, Manifest } from "../../src/engine/catalog/types.ts";
import { type Duck, literal, literalList, openDuck } from "../../src/engine/duckdb/duckdb.ts";
import { openScope, type Scope } from "../../src/engine/kernel/scope.ts";
import { openQueryEngine } from "../../src/engine/query/duckdb/query.ts";
import type { QueryParts } from "../../src/engine/query/parts.ts";
import type { ParquetOptions, ParquetResult, QueryEngine } from "../../src/engine/query/types.ts";
import { type EngineSettings, systemClock } from "../../src/engine/settings.ts";
import { openFileStore } from "../../src/engine/store/file.ts";
import type { Store } from "../../src/engine/store/store.ts";
import { readParquet } from "./ingesting.ts";
import { testSettings } from "./lake.ts";

/** What `writeParquet` writes, read by a DuckDB of the test. */
export async function writtenRows(
  query: Pick<QueryEngine, "writeParquet">,
  sql: string,
  options: Partial<ParquetOptions> = {},
): Promise<{ rows: Record<string, unknown>[]; columns: ParquetResult["columns"]; datasets: string[] }> {
  const folder = await mkdtemp(join(tmpdir(), "lakehouse-written-"));
  try {
    const { files, columns, datasets } = await query.writeParquet(sql, { folder, ...options });
    return { rows: await readParquet(`FROM read_parquet(${literalList(files)})`), columns, datasets };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Store, catalog and query engine over Parquet files that bare DuckDB wrote: no server, no ingest. */
export interface ParquetLake extends AsyncDisposable {
  query: QueryEngine;
  catalog: Catalog;
  store: Store;
  /** Unlocked except for its folder; writes the files of `write`. */
  bare: Duck;
  folder: string;
  /** Commits the rows of a SELECT as a new version: in place of the old rows, or as one more file. */
  write(name: string, select: string, mode?: "replace" | "append"): Promise<Manifest>;
  drop(name: string): Promise<void>;
}

export type OpenQueryEngine = (scope: Scope, parts: QueryParts) => QueryEngine;

export async function openParquetLake(
  settings: Partial<EngineSettings> = {},
  openEngine: OpenQueryEngine = openQueryEngine,
): Promise<ParquetLake> {
  const scope = openScope();
  const folder = await mkdtemp(join(tmpdir(), "lakehouse-query-test-"));
  scope.defer(() => rm(folder, { recursive: true, force: true }));
  const all = testSettings(folder, settings);
  const store = await openFileStore(scope, { folder: all.data, label: "lake" });
  const catalog = await openCatalog(scope, store, {
    refreshMs: 0,
    clock: systemClock,
    log: all.log,
    engineVersion: "test",
  });
  const bare = await openDuck(scope, {
    memoryBytes: 512 * 2 ** 20,
    threads: 2,
    tempFolder: join(folder, "tmp"),
    maxTempBytes: 2 ** 30,
    folders: [folder],
  });
  const query = openEngine(scope, { store, catalog, settings: all });
  let files = 0;

  const write = async (name: string, select: string, mode: "replace" | "append" = "replace"): Promise<Manifest> => {
    const connection = await bare.connect();
    const path = join(folder, `${files++}.parquet`);
    const described = await connection.rows<{ column_name: string; column_type: string }>(`DESCRIBE ${select}`);
    await connection.run(`COPY (${select}) TO ${literal(path)} (FORMAT parquet)`);
    const [count] = await connection.rows<{ rows: string }>(
      `SELECT count(*) AS rows FROM read_parquet(${literal(path)})`,
    );
    connection.close();
    const bytes = await readFile(path);
    const own = described.map(({ column_name, column_type }) => ({ name: column_name, type: column_type }));
    const sha256 = Buffer.from(await crypto.subtle.digest("SHA-256", bytes)).toString("hex");
    const key = dataKey(name, schemaFingerprint(own), sha256);
    await store.put(key, bytes, { ifAbsent: true });
    const { manifest } = await catalog.commit(name, (current) => {
      const before = mode === "append" && current && !current.dropped ? current : undefined;
      const columns: Column[] = [...(before?.columns ?? [])];
      for (const column of own) {
        if (!columns.some(({ name: known }) => known === column.name))
          columns.push({ id: columns.length + 1, ...column });
      }
      const file = { key, bytes: bytes.length, rows: Number(count?.rows), sourceHash: `sha256:${sha256}`, stats: {} };
      return {
        kind: "table",
        dropped: false,
        columns,
        files: [...(before?.files ?? []), file],
        provenance: { operation: current ? mode : "create", source: select, sourceHash: file.sourceHash, options: {} },
      };
    });
    if (!manifest) throw new Error("nothing was committed");
    return manifest;
  };

  const drop = async (name: string): Promise<void> => {
    await catalog.commit(name, (current) => ({
      kind: "table",
      dropped: true,
      columns: current?.columns ?? [],
      files: [],
      provenance: { operation: "drop", source: "test", sourceHash: "", options: {} },
    }));
  };

  return { query, catalog, store, bare, folder, write, drop, [Symbol.asyncDispose]: () => scope.close() };
}
