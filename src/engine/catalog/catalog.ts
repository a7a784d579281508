import { LakeError } from "../kernel/errors.ts";
import { mapAhead } from "../kernel/map-ahead.ts";
import type { Scope } from "../kernel/scope.ts";
import { type Trace, untraced } from "../kernel/trace.ts";
import type { Clock, Log } from "../settings.ts";
import type { Store } from "../store/store.ts";
import { commit } from "./commit.ts";
import { openHeads, readable } from "./heads.ts";
import { DATASET_NAME } from "./identity.ts";
import { openLatest } from "./latest.ts";
import { droppedDataset, unknownDataset, unknownVersion } from "./missing.ts";
import { openRefresh, READS_AHEAD, type Refresh } from "./refresh.ts";
import type { Catalog, Head, Manifest } from "./types.ts";
import { isCorrupt, openVersions } from "./versions.ts";

export interface CatalogSettings {
  /** How often to look for commits of other processes; 0 for never. */
  refreshMs: number;
  clock: Clock;
  log: Log;
  engineVersion: string;
  trace?: Trace | undefined;
}

/**
 * Opens the catalog of `store` and reads the newest head of every dataset. Unreadable manifests are reported by
 * `unreadable()`, and fail nothing. Throws what the store throws when it cannot be listed.
 */
export async function openCatalog(scope: Scope, store: Store, settings: CatalogSettings): Promise<Catalog> {
  const { log, refreshMs, trace = untraced } = settings;
  const versions = openVersions(store);
  const heads = openHeads(log);
  const latest = openLatest({ store, versions, heads, log, isRefreshed: refreshMs > 0 });
  const refresh = openRefresh({ store, versions, heads, latest });
  const unknown = (name: string): LakeError => unknownDataset(name, heads.live());

  const numbersOf = async (name: string): Promise<number[]> => (DATASET_NAME.test(name) ? versions.numbers(name) : []);

  async function loadVersion(name: string, version: number): Promise<Manifest> {
    const isValid = DATASET_NAME.test(name) && Number.isSafeInteger(version) && version > 0;
    const manifest = isValid ? await versions.manifest(name, version, { mayBeRemoved: true }) : undefined;
    if (manifest?.dropped) throw await droppedDataset(store, manifest);
    if (manifest) return manifest;
    const numbers = await numbersOf(name);
    const [first] = numbers;
    if (first === undefined) throw unknown(name);
    throw unknownVersion(name, version, numbers, isValid && version < first);
  }

  async function loadNewest(name: string, recent: boolean): Promise<Manifest> {
    const manifest = DATASET_NAME.test(name) ? await latest.newestReadable(name, recent) : undefined;
    if (!manifest) throw unknown(name);
    if (manifest.dropped) throw await droppedDataset(store, manifest);
    return manifest;
  }

  async function newestForCommit(name: string): Promise<Manifest | undefined> {
    const found = await latest.newest(name);
    if (found?.read instanceof LakeError) throw found.read;
    return found?.read;
  }

  await refresh.run();
  if (refreshMs > 0) refreshInBackground(scope, refresh, refreshMs, log);

  return {
    list: () => heads.live(),
    unreadable: () => heads.unreadable(),
    load: (name, version, { recent = false } = {}) =>
      version === undefined ? loadNewest(name, recent) : loadVersion(name, version),
    versions: async (name, limit = Number.POSITIVE_INFINITY) => {
      const numbers = await numbersOf(name);
      if (numbers.length === 0) throw unknown(name);
      const found: Head[] = [];
      const reads = mapAhead(numbers.reverse().slice(0, limit), READS_AHEAD, (version) =>
        versions.head(name, version).catch((error: unknown) => {
          if (!isCorrupt(error)) throw error;
          return undefined;
        }),
      );
      for await (const head of reads) if (head) found.push(head);
      return { heads: found, total: numbers.length };
    },
    commit: async (name, decide, options = {}) => {
      const result = await trace("commit", {}, async (span) => {
        const done = await commit({ ...settings, store, newest: newestForCommit }, name, decide, options.signal);
        span.note({ "lakehouse.committed": done.committed, "lakehouse.version": done.manifest?.version });
        return done;
      });
      if (result.committed && result.manifest) {
        versions.remember(result.manifest);
        heads.apply([{ name, known: readable(result.manifest) }]);
      }
      return result;
    },
    refresh: refresh.run,
    onChange: (listener) => heads.onChange(listener),
  };
}

function refreshInBackground(scope: Scope, refresh: Refresh, everyMs: number, log: Log): void {
  const timer = setInterval(() => {
    if (refresh.running() !== undefined) return;
    refresh
      .run()
      .catch((error: unknown) => log("warn", "the catalog could not be refreshed", { error: String(error) }));
  }, everyMs);
  timer.unref();
  scope.defer(async () => {
    clearInterval(timer);
    await refresh.running()?.catch(() => undefined);
  });
}
