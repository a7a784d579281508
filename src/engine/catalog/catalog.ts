import { LakeError } from "../kernel/errors.ts";
import { mapAhead } from "../kernel/map-ahead.ts";
import type { Scope } from "../kernel/scope.ts";
import { type Trace, untraced } from "../kernel/trace.ts";
import type { Clock, Log } from "../settings.ts";
import type { Store } from "../store/store.ts";
import { commit } from "./commit.ts";
import { type Known, openHeads, type Update } from "./heads.ts";
import { DATASET_NAME, manifestKey } from "./identity.ts";
import { didYouMean } from "./nearest.ts";
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

const READS_AHEAD = 64;

/**
 * Opens the catalog of `store` and reads the newest head of every dataset. A manifest that cannot be read is told by
 * `unreadable()`, and never fatal. Throws what the store throws when it cannot be listed.
 */
export async function openCatalog(scope: Scope, store: Store, settings: CatalogSettings): Promise<Catalog> {
  const { log, trace = untraced } = settings;
  const versions = openVersions(store);
  const heads = openHeads(log);

  /** The newest version as the store has it now, tombstones included; undefined when there is none. */
  async function newest(
    name: string,
    recent = false,
  ): Promise<{ version: number; read: Manifest | LakeError } | undefined> {
    const known = heads.get(name);
    // In a bucket, to ask for every dataset of every statement would cost a round trip each.
    const isKnown = recent && settings.refreshMs > 0 && store.remote !== undefined;
    // What cannot be read may be taken away to repair it, and what is gone was: then the whole list is asked.
    for (const from of [known && !known.problem ? known.version : 0, 0]) {
      const version = isKnown && from > 0 ? from : await versions.newest(name, from);
      if (version === 0) return undefined;
      try {
        const read = await versions.manifest(name, version);
        if (!read) continue;
        heads.apply([{ name, known: readable(read), insteadOf: from === 0 ? known : undefined }]);
        return { version, read };
      } catch (error) {
        if (isCorrupt(error)) return { version, read: error };
        throw error;
      }
    }
    return undefined;
  }

  /** The newest manifest, or the newest readable one while that is damaged. */
  async function serve(name: string, recent: boolean): Promise<Manifest | undefined> {
    const found = await newest(name, recent);
    if (!(found?.read instanceof LakeError)) return found?.read;
    const { version, read: error } = found;
    const fallback = await versions.readableBefore(name, version);
    heads.apply([{ name, known: unreadable(name, version, fallback, error) }]);
    if (!fallback) throw error;
    return fallback;
  }

  function unreadable(name: string, version: number, served: Head | undefined, error: LakeError): Known {
    const reason = error.message;
    if (heads.get(name)?.problem?.reason !== reason) {
      log("warn", "a manifest is unreadable", { dataset: name, version, serving: served?.version ?? null, reason });
    }
    return { version, head: served && withoutFiles(served), problem: { name, version, reason } };
  }

  async function readLatest(name: string, version: number): Promise<Known | undefined> {
    try {
      const head = await versions.head(name, version);
      return head && readable(head);
    } catch (error) {
      // One that the store cannot give is like one that is damaged: the others must not wait for it.
      if (!(error instanceof LakeError) || error.kind === "closed") throw error;
      const served = heads.get(name)?.head ?? (await versions.readableBefore(name, version).catch(() => undefined));
      return unreadable(name, version, served, error);
    }
  }

  async function look(): Promise<void> {
    const names = heads.names();
    const listed = await versions.newestOfAll();
    const takenAway = new Map<string, Known>();
    for (const name of names) {
      const known = heads.get(name);
      if (!known) continue;
      // The list may be older than a commit of this process; only the key itself tells.
      const isListed = (listed.get(name) ?? 0) >= known.version;
      if (!isListed && !(await store.has(manifestKey(name, known.version)))) takenAway.set(name, known);
    }
    const updates: Update[] = [...takenAway]
      .filter(([name]) => !listed.has(name))
      .map(([name, known]) => ({ name, known: undefined, insteadOf: known }));
    const news = [...listed].filter(([name, version]) => {
      const known = heads.get(name);
      return !known || known.problem || known.version < version || takenAway.has(name);
    });
    const reads = mapAhead(news, READS_AHEAD, async ([name, version]) => ({
      name,
      known: await readLatest(name, version),
      insteadOf: takenAway.get(name),
    }));
    for await (const update of reads) updates.push(update);
    // Drops first: a listener that reacts to one change at a time never holds more than there is.
    heads.apply(updates.sort((a, b) => Number(isLive(a.known)) - Number(isLive(b.known))));
  }

  let looking: Promise<void> | undefined;
  let lookingAgain: Promise<void> | undefined;
  /** A caller is told what was committed before it asked, so a look that is under way is not enough. */
  function refresh(): Promise<void> {
    if (!looking) {
      looking = look().finally(() => {
        looking = undefined;
      });
      return looking;
    }
    lookingAgain ??= looking
      .catch(() => undefined)
      .then(() => {
        lookingAgain = undefined;
        return refresh();
      });
    return lookingAgain;
  }

  function unknown(name: string): LakeError {
    const suggestion = didYouMean(
      name,
      heads.live().map((head) => head.name),
    );
    return new LakeError("not_found", `Unknown dataset ${JSON.stringify(name.slice(0, 100))}.${suggestion}`, {
      hint: "catalog-list shows every dataset.",
    });
  }

  async function loadVersion(name: string, version: number): Promise<Manifest> {
    const isVersion = DATASET_NAME.test(name) && Number.isSafeInteger(version) && version > 0;
    const manifest = isVersion ? await versions.manifest(name, version, { removed: "look" }) : undefined;
    if (manifest?.dropped) throw await dropped(manifest);
    if (manifest) return manifest;
    const numbers = DATASET_NAME.test(name) ? await versions.numbers(name) : [];
    const [first] = numbers;
    if (first === undefined) throw unknown(name);
    const isRemoved = isVersion && version < first;
    const what = isRemoved ? `Version ${version} of dataset "${name}" was removed by gc.` : undefined;
    throw new LakeError("not_found", what ?? `Dataset "${name}" has no version ${version}.`, {
      hint: `It has versions ${first} to ${numbers.at(-1)}.`,
    });
  }

  async function dropped({ name, kind, version, parent }: Head): Promise<LakeError> {
    const last = `${name}@${parent ?? version}`;
    const isKept = parent !== null && (await store.has(manifestKey(name, parent)));
    const ingest = JSON.stringify({ name, sql: `SELECT * FROM "${last}"` });
    const how = kind === "table" ? `ingest ${ingest}` : `lakehouse-mcp restore ${last}`;
    return new LakeError("not_found", `Dataset "${name}" was dropped at version ${version}.`, {
      hint: isKept
        ? `"${last}" can still be read, and brought back: ${how}`
        : "Its versions were removed by gc; ingest it again.",
    });
  }

  await refresh();
  if (settings.refreshMs > 0) {
    const timer = setInterval(() => {
      if (looking !== undefined) return;
      refresh().catch((error: unknown) => log("warn", "the catalog could not be refreshed", { error: String(error) }));
    }, settings.refreshMs);
    timer.unref();
    scope.defer(async () => {
      clearInterval(timer);
      await looking?.catch(() => undefined);
    });
  }

  return {
    list: () => heads.live(),
    unreadable: () => heads.unreadable(),
    load: async (name, version, { recent = false } = {}) => {
      if (version !== undefined) return loadVersion(name, version);
      const manifest = DATASET_NAME.test(name) ? await serve(name, recent) : undefined;
      if (!manifest) throw unknown(name);
      if (manifest.dropped) throw await dropped(manifest);
      return manifest;
    },
    versions: async (name, limit = Number.POSITIVE_INFINITY) => {
      const numbers = DATASET_NAME.test(name) ? await versions.numbers(name) : [];
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
      const parent = async (): Promise<Manifest | undefined> => {
        const found = await newest(name);
        if (found?.read instanceof LakeError) throw found.read;
        return found?.read;
      };
      const result = await trace("commit", {}, async (span) => {
        const done = await commit({ ...settings, store, newest: parent }, name, decide, options.signal);
        span.note({ "lakehouse.committed": done.committed, "lakehouse.version": done.manifest?.version });
        return done;
      });
      if (result.committed && result.manifest) {
        versions.remember(result.manifest);
        heads.apply([{ name, known: readable(result.manifest) }]);
      }
      return result;
    },
    refresh,
    onChange: (listener) => heads.onChange(listener),
  };
}

function readable(head: Head): Known {
  return { version: head.version, head: withoutFiles(head), problem: undefined };
}

/** Ten thousand datasets are kept in memory; their lists of files are not. */
function withoutFiles(head: Head & { files?: unknown }): Head {
  const { files: _, ...rest } = head;
  return rest;
}

function isLive(known: Known | undefined): boolean {
  return known?.head !== undefined && !known.head.dropped;
}
