import type { Catalog, Head, Manifest } from "../catalog/types.ts";
import { type Connection, identifier, literal, literalList } from "../duckdb/duckdb.ts";
import { mapAhead } from "../map-ahead.ts";
import type { Store } from "../store/store.ts";
import type { Session } from "./pool.ts";
import type { Builtin, DatasetRef, Verdict } from "./tree.ts";

/** One table of a statement and the SQL that makes a session see it. */
export interface Relation {
  name: string;
  /** The same stamp means the same content: nothing has to be done again. */
  stamp: string;
  statements: (connection: Connection) => AsyncIterable<string>;
}

export interface Resolved {
  relations: Relation[];
  /** Versions that will be read, as in `workers@3`. */
  datasets: string[];
  manifests: Map<string, Manifest>;
}

export interface RelationParts {
  store: Store;
  catalog: Catalog;
}

const LOADS_AHEAD = 16;
const HEADS_PER_STATEMENT = 200;

export interface Relations {
  /** Fixes the version of every dataset a statement names. Throws `not_found`. */
  resolve(verdict: Verdict): Promise<Resolved>;
}

/** Names a statement may use → what they stand for now. */
export function openRelations(parts: RelationParts): Relations {
  const { catalog } = parts;
  let revision = 0;
  catalog.onChange(() => revision++);
  return {
    resolve: async (verdict) => {
      const manifests = await loadManifests(verdict.datasets, catalog);
      const datasets = verdict.datasets.map((ref) => datasetRelation(ref, get(manifests, ref.relation), parts.store));
      const builtins = verdict.builtins.map((name) => ({
        name,
        stamp: `${revision}`,
        statements: () => BUILTIN_STATEMENTS[name](catalog),
      }));
      const read = [...manifests.values()].map((manifest) => `${manifest.name}@${manifest.version}`);
      return {
        relations: [...datasets, ...builtins],
        datasets: [...new Set(read)].sort((a, b) => (a < b ? -1 : 1)),
        manifests,
      };
    },
  };
}

/** Makes the session see the relations; `shown` remembers what it already sees. */
export async function show(relations: Relation[], { connection, shown }: Session): Promise<void> {
  for (const relation of relations) {
    if (shown.get(relation.name) === relation.stamp) continue;
    shown.delete(relation.name);
    for await (const statement of relation.statements(connection)) await connection.run(statement);
    shown.set(relation.name, relation.stamp);
  }
}

async function loadManifests(refs: DatasetRef[], catalog: Catalog): Promise<Map<string, Manifest>> {
  const manifests = new Map<string, Manifest>();
  const newest = new Map<string, Manifest>();
  for (const ref of refs) {
    const known = newest.get(ref.name);
    // `workers` and "workers@3" in one statement: both from one look at the newest version.
    const manifest =
      known && (ref.version === undefined || ref.version === known.version)
        ? known
        : await catalog.load(ref.name, ref.version);
    if (ref.version === undefined) newest.set(ref.name, manifest);
    manifests.set(ref.relation, manifest);
  }
  return manifests;
}

function datasetRelation(ref: DatasetRef, manifest: Manifest, store: Store): Relation {
  return {
    name: ref.relation,
    stamp: manifest.commitId,
    statements: async function* (connection) {
      const select = await datasetSelect(manifest, store, connection);
      yield `CREATE OR REPLACE TEMP VIEW ${identifier(ref.relation)} AS ${select}`;
    },
  };
}

/** The manifest's columns in order and in their types; columns that older files lack are NULL there. */
async function datasetSelect(manifest: Manifest, store: Store, connection: Connection): Promise<string> {
  const { columns, files } = manifest;
  const select = (has: (name: string) => boolean): string =>
    columns
      .map(({ name, type }) => `${has(name) ? identifier(name) : "NULL"}::${type} AS ${identifier(name)}`)
      .join(", ");
  if (files.length === 0) return `SELECT ${select(() => false)} WHERE false`;

  const paths: string[] = [];
  for await (const path of mapAhead(files, LOADS_AHEAD, (file) => store.localPath(file.key))) paths.push(path);
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
  // A path is a pattern to DuckDB, and `a=1` in it a column.
  const literals = literalList(paths.map((path) => path.replace(/[[*?]/g, "[$&]")));
  return `read_parquet(${literals}, hive_partitioning = false, union_by_name = ${byName})`;
}

/** The catalog as tables: one row per dataset, per retained version, and per file of the newest version. */
const BUILTIN_STATEMENTS: Record<Builtin, (catalog: Catalog) => AsyncIterable<string>> = {
  lakehouse_datasets: (catalog) =>
    tableOf(
      "lakehouse_datasets",
      {
        name: "VARCHAR",
        kind: "VARCHAR",
        version: "BIGINT",
        rows: "BIGINT",
        bytes: "BIGINT",
        files: "BIGINT",
        columns: "STRUCT(name VARCHAR, type VARCHAR)[]",
        source: "VARCHAR",
        created_at: "TIMESTAMPTZ",
        updated_at: "TIMESTAMPTZ",
        dataset_id: "VARCHAR",
        schema_fingerprint: "VARCHAR",
      },
      eachHead(catalog, async (head) => [datasetRow(head)]),
    ),
  lakehouse_versions: (catalog) =>
    tableOf(
      "lakehouse_versions",
      {
        name: "VARCHAR",
        version: "BIGINT",
        operation: "VARCHAR",
        rows: "BIGINT",
        bytes: "BIGINT",
        files: "BIGINT",
        dropped: "BOOLEAN",
        source: "VARCHAR",
        committed_at: "TIMESTAMPTZ",
        schema_fingerprint: "VARCHAR",
        commit_id: "VARCHAR",
      },
      eachHead(catalog, async (head) => (await catalog.versions(head.name)).map(versionRow)),
    ),
  lakehouse_files: (catalog) =>
    tableOf(
      "lakehouse_files",
      {
        name: "VARCHAR",
        version: "BIGINT",
        file: "VARCHAR",
        rows: "BIGINT",
        bytes: "BIGINT",
        source_hash: "VARCHAR",
        stats: 'STRUCT("column" VARCHAR, min VARCHAR, max VARCHAR, nulls BIGINT)[]',
      },
      eachHead(catalog, async (head) => fileRows(await catalog.load(head.name, head.version))),
    ),
};

type Row = Record<string, unknown>;

async function* eachHead(catalog: Catalog, rowsOf: (head: Head) => Promise<Row[]>): AsyncGenerator<Row> {
  for await (const rows of mapAhead(catalog.list(), LOADS_AHEAD, rowsOf)) yield* rows;
}

function datasetRow(head: Head): Row {
  return {
    name: head.name,
    kind: head.kind,
    version: head.version,
    rows: head.rows,
    bytes: head.bytes,
    files: head.fileCount,
    columns: head.columns.map(({ name, type }) => ({ name, type })),
    source: head.provenance.source,
    created_at: head.createdAt,
    updated_at: head.updatedAt,
    dataset_id: head.datasetId,
    schema_fingerprint: head.schemaFingerprint,
  };
}

function versionRow(head: Head): Row {
  return {
    name: head.name,
    version: head.version,
    operation: head.provenance.operation,
    rows: head.rows,
    bytes: head.bytes,
    files: head.fileCount,
    dropped: head.dropped,
    source: head.provenance.source,
    committed_at: head.updatedAt,
    schema_fingerprint: head.schemaFingerprint,
    commit_id: head.commitId,
  };
}

function fileRows(manifest: Manifest): Row[] {
  return manifest.files.map((file) => ({
    name: manifest.name,
    version: manifest.version,
    file: file.key,
    rows: file.rows,
    bytes: file.bytes,
    source_hash: file.sourceHash,
    stats: Object.entries(file.stats).map(([column, stats]) => ({ column, ...stats })),
  }));
}

/** A temporary table from JSON, some rows at a time, so that a large catalog never becomes one large text. */
async function* tableOf(
  name: string,
  columns: Record<string, string>,
  rows: AsyncIterable<Row>,
): AsyncGenerator<string> {
  const definitions = Object.entries(columns).map(([column, type]) => `${identifier(column)} ${type}`);
  yield `CREATE OR REPLACE TEMP TABLE ${name} (${definitions.join(", ")})`;
  const shape = literal(JSON.stringify([columns]));
  const insert = (batch: Row[]): string =>
    `INSERT INTO ${name} BY NAME SELECT unnest(from_json(${literal(JSON.stringify(batch))}, ${shape}), max_depth := 2)`;
  let batch: Row[] = [];
  for await (const row of rows) {
    batch.push(row);
    if (batch.length < HEADS_PER_STATEMENT) continue;
    yield insert(batch);
    batch = [];
  }
  if (batch.length > 0) yield insert(batch);
}

function get<Value>(map: Map<string, Value>, key: string): Value {
  const value = map.get(key);
  if (value === undefined) throw new Error(`nothing is known of ${key}`);
  return value;
}
