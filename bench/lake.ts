import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { ROOT } from "../demo/server.ts";
import { inParallel } from "./measure.ts";

/** The parts of the built engine that the benchmarks use directly, because a tool call each would take too long. */

interface Scope {
  close(): Promise<void>;
}

export interface Catalog {
  list(): unknown[];
  refresh(): Promise<void>;
  commit(name: string, decide: () => unknown): Promise<{ committed: boolean }>;
}

export interface OpenLake {
  catalog: Catalog;
  close(): Promise<void>;
}

const COLUMNS = 18;

/** `bucket`: the engine's settings of one, for a lake there; `folder` then holds its local side. */
export async function openLake(folder: string, bucket?: object): Promise<OpenLake> {
  const { openScope } = await built<{ openScope(): Scope }>("kernel/scope");
  const { systemClock } = await built<{ systemClock: unknown }>("settings");
  const { openFileStore } = await built<{ openFileStore(scope: Scope, options: object): Promise<object> }>(
    "store/file",
  );
  const { openCatalog } = await built<{ openCatalog(scope: Scope, store: object, options: object): Promise<Catalog> }>(
    "catalog/catalog",
  );
  const scope = openScope();
  const store = bucket
    ? await openBucket(scope, { ...bucket, folder, clock: systemClock, log: () => {}, sha256: async () => "" })
    : await openFileStore(scope, { folder, label: folder });
  const settings = { refreshMs: 3_600_000, clock: systemClock, log: () => {}, engineVersion: "bench" };
  return { catalog: await openCatalog(scope, store, settings), close: () => scope.close() };
}

async function openBucket(scope: Scope, settings: object): Promise<object> {
  const { openS3Store } = await built<{ openS3Store(scope: Scope, options: object): Promise<object> }>("store/s3");
  return openS3Store(scope, settings);
}

/** Commits `count` datasets of 18 columns and one data file each, without the data: the catalog never opens it. */
export async function fillLake(folder: string, count: number, bucket?: object): Promise<void> {
  const { catalog, close } = await openLake(folder, bucket);
  try {
    await inParallel(count, 16, (at) => commitOne(catalog, `dataset_${String(at).padStart(5, "0")}`));
  } finally {
    await close();
  }
}

export async function commitOne(catalog: Catalog, name: string): Promise<void> {
  const columns = Array.from({ length: COLUMNS }, (_, at) => ({
    id: at + 1,
    name: `column_${at + 1}`,
    type: "VARCHAR",
  }));
  const stats = Object.fromEntries(columns.map((column) => [column.name, { min: "a", max: "z", nulls: 0 }]));
  const hash = "0".repeat(64);
  const { committed } = await catalog.commit(name, () => ({
    kind: "table",
    dropped: false,
    columns,
    files: [
      { key: `data/${name}/${hash}/${hash}.parquet`, bytes: 1_000, rows: 10, sourceHash: `bench:${name}`, stats },
    ],
    provenance: { operation: "create", source: `${name}.csv`, sourceHash: `bench:${name}`, options: {} },
  }));
  if (!committed) throw new Error(`${name} was not committed`);
}

async function built<T>(module: string): Promise<T> {
  return (await import(pathToFileURL(join(ROOT, ".build", "src", "engine", `${module}.js`)).href)) as T;
}
