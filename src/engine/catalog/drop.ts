import { LakeError } from "../kernel/errors.ts";
import { parseReference } from "./identity.ts";
import type { Catalog, DatasetKind, Head } from "./types.ts";

export interface Dropped {
  name: string;
  kind: DatasetKind;
  /** The tombstone. */
  version: number;
  /** The last version with data. */
  lastVersion: number;
}

/** Commits a tombstone. Throws `not_found`. */
export async function drop(catalog: Catalog, name: string): Promise<Dropped> {
  // Throws the errors for unknown and dropped names.
  const { kind } = await catalog.load(parseReference(name, "a dataset name without a version").name);
  let lastVersion = 0;
  const { manifest } = await catalog.commit(name, (current) => {
    if (!current || current.dropped) return undefined;
    lastVersion = current.version;
    return {
      kind: current.kind,
      dropped: true,
      columns: current.columns,
      files: [],
      ...(current.index && { index: { ...current.index, count: 0, baseFiles: 0 } }),
      provenance: { operation: "drop", source: "dataset-drop", sourceHash: "", options: {} },
    };
  });
  // When another writer dropped it in between, the newest version is that writer's tombstone.
  const version = manifest?.version ?? 0;
  return { name, kind, version, lastVersion: lastVersion || version - 1 };
}

/** Undefined for a name that was never used. */
export async function newestOf(catalog: Catalog, name: string): Promise<Head | undefined> {
  try {
    return (await catalog.versions(name, 1)).heads[0];
  } catch (error) {
    if (error instanceof LakeError && error.kind === "not_found") return undefined;
    throw error;
  }
}
