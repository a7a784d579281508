import { createHash } from "node:crypto";
import { itemCount } from "../../catalog/browse.ts";
import type { Catalog, Manifest } from "../../catalog/types.ts";
import { type Connection, identifier, literalList } from "../../duckdb/duckdb.ts";
import { mapAhead } from "../../kernel/map-ahead.ts";
import type { Scope } from "../../kernel/scope.ts";
import type { Store } from "../../store/store.ts";
import type { Judged } from "../guard/guard.ts";
import type { DatasetRef, Verdict } from "../guard/tree.ts";
import { catalogTable } from "./catalog-tables.ts";
import { liveItems } from "./live-items.ts";
import type { Session } from "./pool.ts";

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
  /** By relation name. */
  manifests: Map<string, Manifest>;
}

export interface RelationParts {
  store: Store;
  catalog: Catalog;
}

const LOADS_AHEAD = 16;

export interface Relations {
  /** Fixes the version of every dataset a statement names, as `held` has it. Throws `not_found`. */
  resolve(verdict: Verdict, held: Held): Promise<Resolved>;
  /** The same with these manifests in place of some, which have some of their files. */
  narrow(resolved: Resolved, manifests: ReadonlyMap<string, Manifest>, held: Held): Resolved;
  /** Whether all files that will be read are held; of those that are local copies, what is there is held now. */
  areHeld(resolved: Resolved, held: Held): boolean;
  /** Holds all files that will be read, which may fetch them. */
  hold(resolved: Resolved, held: Held): Promise<void>;
}

/** What one statement has settled on: one version of each dataset, and local files that stay until it has ended. */
export interface Held {
  scope: Scope;
  /** By name: the newest version when it was first asked for. */
  newest: Map<string, Manifest>;
  /** When each file was held, by `performance.now()`. */
  keys: Map<string, number>;
}

export function openHeld(scope: Scope): Held {
  return { scope, newest: new Map(), keys: new Map() };
}

/** Names a statement may use → what they stand for now. */
export function openRelations({ store, catalog }: RelationParts): Relations {
  let revision = 0;
  catalog.onChange(() => revision++);
  return {
    areHeld: (resolved, held) => {
      if (!store.remote) return true;
      const missing = missingKeys(resolved, held);
      if (!store.remote.hold(missing, held.scope)) return false;
      for (const key of missing) held.keys.set(key, performance.now());
      return true;
    },
    hold: async (resolved, held) => {
      const fetched = mapAhead(missingKeys(resolved, held), LOADS_AHEAD, async (key) => {
        await store.localPath(key, held.scope);
        held.keys.set(key, performance.now());
      });
      for await (const _ of fetched);
    },
    narrow: (resolved, manifests, held) => ({
      ...resolved,
      relations: resolved.relations.map((relation) => {
        const manifest = manifests.get(relation.name);
        return manifest ? datasetRelation(relation.name, manifest, store, held.scope) : relation;
      }),
      manifests: new Map([...resolved.manifests, ...manifests]),
    }),
    resolve: async (verdict, held) => {
      const loaded = await loadManifests(verdict.datasets, catalog, held);
      const datasets = loaded.map(({ ref: { relation }, manifest }) =>
        datasetRelation(relation, manifest, store, held.scope),
      );
      const builtins = verdict.builtins.map((name) => ({
        name,
        stamp: `${revision}`,
        statements: () => catalogTable(name, catalog),
      }));
      const read = loaded.map(({ manifest }) => `${manifest.name}@${manifest.version}`);
      return {
        relations: [...datasets, ...builtins],
        datasets: [...new Set(read)].sort((a, b) => (a < b ? -1 : 1)),
        manifests: new Map(loaded.map(({ ref, manifest }) => [ref.relation, manifest])),
      };
    },
  };
}

/** Makes the session see the relations; `shown` remembers what it already sees. */
export async function show(
  relations: Relation[],
  { connection, shown }: Session,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (const relation of relations) {
    if (shown.get(relation.name) === relation.stamp) continue;
    shown.delete(relation.name);
    for await (const statement of relation.statements(connection)) await connection.run(statement, { signal });
    shown.set(relation.name, relation.stamp);
  }
}

interface Loaded {
  ref: DatasetRef;
  manifest: Manifest;
}

async function loadManifests(refs: DatasetRef[], catalog: Catalog, { newest }: Held): Promise<Loaded[]> {
  const loaded: Loaded[] = [];
  for (const ref of refs) {
    const before = ref.version === undefined ? newest.get(ref.name) : undefined;
    const manifest = before ?? (await catalog.load(ref.name, ref.version, { recent: true }));
    if (ref.version === undefined) newest.set(ref.name, manifest);
    loaded.push({ ref, manifest });
  }
  return loaded;
}

function missingKeys({ relations, manifests }: Resolved, { keys }: Held): string[] {
  const read = relations.flatMap(({ name }) => manifests.get(name)?.files ?? []);
  const named = read.map(({ key }) => key);
  return [...new Set(named)].filter((key) => !keys.has(key));
}

function datasetRelation(name: string, manifest: Manifest, store: Store, files: Scope): Relation {
  return {
    name,
    stamp: stampOf(manifest),
    statements: async function* (connection) {
      const select = await datasetSelect(manifest, store, files, connection);
      yield `CREATE OR REPLACE TEMP VIEW ${identifier(name)} AS ${select}`;
    },
  };
}

function stampOf({ commitId, fileCount, files }: Manifest): string {
  if (files.length === fileCount) return commitId;
  const some = createHash("sha256");
  for (const { key } of files) some.update(`${key}\n`);
  return `${commitId}/${some.digest("hex")}`;
}

/** The manifest's columns in order and in their types; columns that older files lack are NULL there. */
export async function datasetSelect(
  manifest: Manifest,
  store: Store,
  held: Scope,
  connection: Connection,
): Promise<string> {
  const { columns, files } = manifest;
  const select = (has: (name: string) => boolean): string =>
    columns
      .map(({ name, type }) => `CAST(${has(name) ? identifier(name) : "NULL"} AS ${type}) AS ${identifier(name)}`)
      .join(", ");
  if (files.length === 0) return `SELECT ${select(() => false)} WHERE false`;

  const paths: string[] = [];
  for await (const path of mapAhead(files, LOADS_AHEAD, (file) => store.localPath(file.key, held))) paths.push(path);
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
  // `a=1` in the path of the lake must not become a column.
  return `read_parquet(${literalList(paths)}, hive_partitioning = false, union_by_name = ${byName})`;
}

/** Rows without the limits, when that is known without counting them. */
export function totalRows(
  judged: Pick<Judged, "wholeOf">,
  resolved: Resolved,
  result: { rows: unknown[]; truncatedBy?: string },
): number | undefined {
  if (result.truncatedBy === undefined) return result.rows.length;
  const whole = judged.wholeOf === undefined ? undefined : resolved.manifests.get(judged.wholeOf);
  return whole && itemCount(whole);
}
