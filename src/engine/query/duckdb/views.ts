import type { Catalog, Manifest } from "../../catalog/types.ts";
import { type Connection, identifier, literalList } from "../../duckdb/duckdb.ts";
import { mapAhead } from "../../kernel/map-ahead.ts";
import type { Scope } from "../../kernel/scope.ts";
import type { Store } from "../../store/store.ts";
import type { Relation } from "../snapshot.ts";
import { catalogTable } from "./catalog-tables.ts";
import { liveItems } from "./live-items.ts";
import type { PooledInstance } from "./pooled-instances.ts";

/** Sources of the data of views; `files` keeps local files until it is closed. */
export interface ViewParts {
  store: Store;
  catalog: Catalog;
  files: Scope;
}

const PATHS_AHEAD = 16;

/** Makes the connection see the relations; `shown` remembers those that it sees already. */
export async function show(
  relations: readonly Relation[],
  { connection, shown }: PooledInstance,
  parts: ViewParts,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (const relation of relations) {
    if (shown.get(relation.name) === relation.stamp) continue;
    shown.delete(relation.name);
    for await (const statement of statementsOf(relation, connection, parts))
      await connection.run(statement, { signal });
    shown.set(relation.name, relation.stamp);
  }
}

/** The SQL that makes a connection see a relation. */
export async function* statementsOf(
  relation: Relation,
  connection: Connection,
  { store, catalog, files }: ViewParts,
): AsyncIterable<string> {
  if (relation.kind === "builtin") yield* catalogTable(relation.name, catalog);
  else {
    const select = await datasetSelect(relation.manifest, store, files, connection);
    yield `CREATE OR REPLACE TEMP VIEW ${identifier(relation.name)} AS ${select}`;
  }
}

/** Selects the manifest's columns in their order and types. A column that an older file lacks is NULL. */
async function datasetSelect(manifest: Manifest, store: Store, pinned: Scope, connection: Connection): Promise<string> {
  const { columns, files } = manifest;
  const select = (has: (name: string) => boolean): string =>
    columns
      .map(({ name, type }) => `CAST(${has(name) ? identifier(name) : "NULL"} AS ${type}) AS ${identifier(name)}`)
      .join(", ");
  if (files.length === 0) return `SELECT ${select(() => false)} WHERE false`;

  const paths: string[] = [];
  for await (const path of mapAhead(files, PATHS_AHEAD, (file) => store.localPath(file.key, pinned))) paths.push(path);
  if (manifest.kind === "vectors")
    return liveItems(
      manifest,
      paths,
      columns.map(({ name }) => name),
    );
  const schemas = new Map(files.map((file, index) => [schemaOf(file.key), paths[index] ?? ""]));
  if (schemas.size === 1 && schemas.has(manifest.schemaFingerprint)) {
    return `SELECT ${select(() => true)} FROM ${readParquet(paths, false)}`;
  }
  const described = await connection.rows<{ column_name: string }>(
    `DESCRIBE FROM ${readParquet([...schemas.values()], true)}`,
  );
  const found = new Set(described.map((column) => column.column_name));
  return `SELECT ${select((name) => found.has(name))} FROM ${readParquet(paths, true)}`;
}

/** `data/<name>/<schema fingerprint>/<sha256>.parquet` */
function schemaOf(key: string): string {
  return key.split("/").at(-2) ?? "";
}

function readParquet(paths: string[], byName: boolean): string {
  // Otherwise `a=1` in the path of the lake would become a column.
  return `read_parquet(${literalList(paths)}, hive_partitioning = false, union_by_name = ${byName})`;
}
