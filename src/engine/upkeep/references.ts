import { manifestKey, manifestPrefix, parseManifestKey } from "../catalog/identity.ts";
import { decodeManifest } from "../catalog/manifest.ts";
import type { DataFile, Manifest } from "../catalog/types.ts";
import { mapAhead } from "../kernel/map-ahead.ts";
import type { Store } from "../store/store.ts";
import type { StoredVersion } from "./retention.ts";

const MANIFESTS_AHEAD = 4;

/** Manifests in the order given, a few read ahead; one that is gone is left out. Throws `corrupt`. */
export async function* readManifests(
  store: Store,
  name: string,
  versions: readonly StoredVersion[],
): AsyncGenerator<Manifest> {
  const read = mapAhead(versions, MANIFESTS_AHEAD, async ({ version }) => {
    const key = manifestKey(name, version);
    const bytes = await store.get(key);
    return bytes && decodeManifest(bytes, key);
  });
  for await (const manifest of read) if (manifest) yield manifest;
}

/** The manifests that are there, ascending, of every dataset that ever was. */
export async function* listDatasets(store: Store): AsyncGenerator<{ name: string; versions: StoredVersion[] }> {
  let current: { name: string; versions: StoredVersion[] } | undefined;
  for await (const { key, modified } of store.list(manifestPrefix())) {
    const parsed = parseManifestKey(key);
    if (!parsed) continue;
    if (parsed.name !== current?.name) {
      if (current) yield current;
      current = { name: parsed.name, versions: [] };
    }
    current.versions.push({ version: parsed.version, modified });
  }
  if (current) yield current;
}

/** The same of one dataset, above a version. */
export async function listVersions(store: Store, name: string, above = 0): Promise<StoredVersion[]> {
  const versions: StoredVersion[] = [];
  for await (const { key, modified } of store.list(manifestPrefix(name), { startAfter: manifestKey(name, above) })) {
    const parsed = parseManifestKey(key);
    if (parsed) versions.push({ version: parsed.version, modified });
  }
  return versions;
}

export function dataPrefix(name: string): string {
  return `data/${name}/`;
}

/** The dataset that a key under `data/` or `vectors/` belongs to. */
export function ownerOf(key: string): string {
  return key.split("/")[1] ?? "";
}

export function keysOf(files: readonly DataFile[]): string[] {
  return files.map(({ key }) => key);
}
