import { announceSweep, SWEEP_MS } from "../catalog/data-files.ts";
import { isDataKey } from "../catalog/identity.ts";
import { mapAhead } from "../kernel/map-ahead.ts";
import type { Store, StoredObject } from "../store/store.ts";
import { dataPrefix, keysOf, listVersions, readManifests } from "./references.ts";

/** Files that one announcement names. */
const BATCH = 500;
const DELETES_AHEAD = 8;

export interface Sweeping {
  store: Store;
  /** Files modified before this, in ms of the store's clock, are old. */
  before: number;
  /** False: count only. */
  delete: boolean;
  signal?: AbortSignal | undefined;
}

export interface Swept {
  files: number;
  bytes: number;
}

/**
 * Deletes the data files of a dataset that are old and that nothing refers to. `used` are the keys in its manifests up to
 * `newest`; what was committed since is looked up. Throws `corrupt` when a newer manifest cannot be read; what was named
 * then stays.
 */
export async function sweepDataset(
  sweeping: Sweeping,
  { name, used, newest }: { name: string; used: ReadonlySet<string>; newest: number },
): Promise<Swept> {
  const swept: Swept = { files: 0, bytes: 0 };
  let batch: StoredObject[] = [];
  const flush = async (): Promise<void> => {
    const objects = batch;
    batch = [];
    const done = sweeping.delete ? await sweepBatch(sweeping, name, newest, objects) : objects;
    swept.files += done.length;
    for (const { size } of done) swept.bytes += size;
  };
  for await (const object of sweeping.store.list(dataPrefix(name))) {
    sweeping.signal?.throwIfAborted();
    // What is not named like a data file was not put there by a lakehouse.
    if (!isDataKey(object.key, name) || used.has(object.key) || object.modified >= sweeping.before) continue;
    batch.push(object);
    if (batch.length >= BATCH) await flush();
  }
  if (batch.length > 0) await flush();
  return swept;
}

/** See `catalog/data-files.ts` for the order of things here. */
async function sweepBatch(
  { store, before }: Sweeping,
  name: string,
  newest: number,
  objects: readonly StoredObject[],
): Promise<StoredObject[]> {
  const keys = new Set(objects.map(({ key }) => key));
  const end = await announceSweep(store, name, [...keys]);
  const started = performance.now();
  // From here on a writer that wants one of them waits, unless it has stored it, or committed, already.
  let unused: StoredObject[];
  try {
    for await (const manifest of readManifests(store, name, await listVersions(store, name, newest))) {
      for (const key of keysOf(manifest.files)) keys.delete(key);
    }
    unused = await stillOld(store, name, keys, before);
  } catch (error) {
    await end();
    throw error;
  }
  const done: StoredObject[] = [];
  const deletes = mapAhead(unused, DELETES_AHEAD, async (object) => {
    // Writers take a sweep that goes on for long for dead.
    if (performance.now() - started > SWEEP_MS) return undefined;
    await store.delete(object.key);
    return object;
  });
  // Not ended when one fails: nobody knows then whether it will still be deleted, so writers have to wait.
  for await (const object of deletes) if (object) done.push(object);
  await end();
  return done;
}

async function stillOld(store: Store, name: string, keys: Set<string>, before: number): Promise<StoredObject[]> {
  const old: StoredObject[] = [];
  const last = [...keys].at(-1);
  if (last === undefined) return old;
  for await (const object of store.list(dataPrefix(name))) {
    if (object.key > last) break;
    if (keys.has(object.key) && object.modified < before) old.push(object);
  }
  return old;
}
