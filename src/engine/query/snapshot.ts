import { createHash } from "node:crypto";
import { itemCount } from "../catalog/browse.ts";
import type { Catalog, Manifest } from "../catalog/types.ts";
import { mapAhead } from "../kernel/map-ahead.ts";
import type { Scope } from "../kernel/scope.ts";
import type { Store } from "../store/store.ts";

// Name → version → exact files. No dialect of SQL is known here: an engine makes tables of the resolved files.

/** A dataset as a statement names it. */
export interface DatasetRef {
  name: string;
  /** Absent: the newest. */
  version?: number;
  /** Its name in the statement, in lower case: `workers` or `workers@3`. */
  relation: string;
}

/** The tables of the catalog itself. */
export const BUILTINS = ["lakehouse_datasets", "lakehouse_versions", "lakehouse_files"] as const;
export type Builtin = (typeof BUILTINS)[number];

/** The tables that a statement reads, by name. */
export interface Named {
  datasets: DatasetRef[];
  builtins: Builtin[];
}

/** One table of a statement. The same stamp means the same content. */
export type Relation =
  | { name: string; stamp: string; kind: "dataset"; manifest: Manifest }
  | { name: Builtin; stamp: string; kind: "builtin" };

/** One version of every table that a statement reads. */
export interface Snapshot {
  relations: Relation[];
  /** Versions that will be read, as in `workers@3`. */
  datasets: string[];
  /** By relation name. */
  manifests: Map<string, Manifest>;
}

/** The versions that one statement reads, and the local files that stay until it has ended. */
export interface Pins {
  scope: Scope;
  /** By name: the version that was the newest when the statement first named it. */
  newest: Map<string, Manifest>;
  /** When each file was pinned, by `performance.now()`. */
  keys: Map<string, number>;
}

export function openPins(scope: Scope): Pins {
  return { scope, newest: new Map(), keys: new Map() };
}

export interface Snapshots {
  /** Chooses the version of every named dataset: the one in `pins`, or the newest. Throws `not_found`. */
  resolve(named: Named, pins: Pins): Promise<Snapshot>;
  /** The same snapshot with other manifests, which have fewer files. */
  narrow(snapshot: Snapshot, manifests: ReadonlyMap<string, Manifest>): Snapshot;
  /** Pins local copies that exist, and tells whether all files of the snapshot are then pinned. */
  arePinned(snapshot: Snapshot, pins: Pins): boolean;
  /** Pins all files of the snapshot, and fetches those that are missing. */
  pin(snapshot: Snapshot, pins: Pins): Promise<void>;
}

const FETCHES_AHEAD = 16;

export function openSnapshots({ store, catalog }: { store: Store; catalog: Catalog }): Snapshots {
  let revision = 0;
  catalog.onChange(() => revision++);
  return {
    resolve: async ({ datasets, builtins }, pins) => {
      const loaded = await loadManifests(datasets, catalog, pins);
      const read = loaded.map(({ manifest }) => `${manifest.name}@${manifest.version}`);
      return {
        relations: [
          ...loaded.map(({ ref, manifest }) => datasetRelation(ref.relation, manifest)),
          ...builtins.map((name) => ({ name, stamp: `${revision}`, kind: "builtin" }) as const),
        ],
        datasets: [...new Set(read)].sort((a, b) => (a < b ? -1 : 1)),
        manifests: new Map(loaded.map(({ ref, manifest }) => [ref.relation, manifest])),
      };
    },
    narrow: (snapshot, manifests) => ({
      ...snapshot,
      relations: snapshot.relations.map((relation) => {
        const manifest = manifests.get(relation.name);
        return manifest ? datasetRelation(relation.name, manifest) : relation;
      }),
      manifests: new Map([...snapshot.manifests, ...manifests]),
    }),
    arePinned: (snapshot, pins) => {
      if (!store.remote) return true;
      const missing = missingKeys(snapshot, pins);
      if (!store.remote.pin(missing, pins.scope)) return false;
      for (const key of missing) pins.keys.set(key, performance.now());
      return true;
    },
    pin: async (snapshot, pins) => {
      const fetched = mapAhead(missingKeys(snapshot, pins), FETCHES_AHEAD, async (key) => {
        await store.localPath(key, pins.scope);
        pins.keys.set(key, performance.now());
      });
      for await (const _ of fetched);
    },
  };
}

async function loadManifests(
  refs: readonly DatasetRef[],
  catalog: Catalog,
  { newest }: Pins,
): Promise<{ ref: DatasetRef; manifest: Manifest }[]> {
  const loaded: { ref: DatasetRef; manifest: Manifest }[] = [];
  for (const ref of refs) {
    const before = ref.version === undefined ? newest.get(ref.name) : undefined;
    const manifest = before ?? (await catalog.load(ref.name, ref.version, { recent: true }));
    if (ref.version === undefined) newest.set(ref.name, manifest);
    loaded.push({ ref, manifest });
  }
  return loaded;
}

function missingKeys({ relations, manifests }: Snapshot, { keys }: Pins): string[] {
  const named = relations.flatMap(({ name }) => manifests.get(name)?.files ?? []).map(({ key }) => key);
  return [...new Set(named)].filter((key) => !keys.has(key));
}

function datasetRelation(name: string, manifest: Manifest): Relation {
  return { name, stamp: stampOf(manifest), kind: "dataset", manifest };
}

function stampOf({ commitId, fileCount, files }: Manifest): string {
  if (files.length === fileCount) return commitId;
  const some = createHash("sha256");
  for (const { key } of files) some.update(`${key}\n`);
  return `${commitId}/${some.digest("hex")}`;
}

/** Number of rows without limits, where it is known. `wholeOf`: a table of which the statement returns every row. */
export function totalRows(
  wholeOf: string | undefined,
  snapshot: Snapshot,
  result: { rows: unknown[]; truncatedBy?: string },
): number | undefined {
  if (result.truncatedBy === undefined) return result.rows.length;
  const whole = wholeOf === undefined ? undefined : snapshot.manifests.get(wholeOf);
  return whole && itemCount(whole);
}
