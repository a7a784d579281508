import { LakeError } from "../kernel/errors.ts";
import type { Log } from "../settings.ts";
import type { Store } from "../store/store.ts";
import { type Heads, type Known, readable, withoutFiles } from "./heads.ts";
import type { Head, Manifest } from "./types.ts";
import { isCorrupt, type Versions } from "./versions.ts";

/** Reads the newest versions of datasets, and records in `heads` what it finds. */
export interface Latest {
  /**
   * The newest version that the store has now, tombstones included, and its manifest or why that is damaged. Undefined
   * when there is none. With `recent`, a round trip is saved where `Catalog.load` allows it.
   */
  newest(name: string, recent?: boolean): Promise<{ version: number; read: Manifest | LakeError } | undefined>;
  /** The newest manifest, or while that is damaged the newest readable one. Throws `corrupt` when none is readable. */
  newestReadable(name: string, recent: boolean): Promise<Manifest | undefined>;
  /** What to record of `version`, the newest. Throws only when the store is closed. */
  read(name: string, version: number): Promise<Known | undefined>;
}

interface Parts {
  store: Store;
  versions: Versions;
  heads: Heads;
  log: Log;
  /** Whether the catalog is refreshed in the background. */
  isRefreshed: boolean;
}

export function openLatest({ store, versions, heads, log, isRefreshed }: Parts): Latest {
  const newest: Latest["newest"] = async (name, recent = false) => {
    const known = heads.get(name);
    const isKnownEnough = recent && isRefreshed && store.remote !== undefined;
    // A version that is unreadable, or gone, may have been removed to repair the dataset: then all versions are listed.
    for (const from of [known && !known.problem ? known.version : 0, 0]) {
      const version = isKnownEnough && from > 0 ? from : await versions.newest(name, from);
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
  };

  function unreadable(name: string, version: number, served: Head | undefined, error: LakeError): Known {
    const reason = error.message;
    if (heads.get(name)?.problem?.reason !== reason) {
      log("warn", "a manifest is unreadable", { dataset: name, version, serving: served?.version ?? null, reason });
    }
    return { version, head: served && withoutFiles(served), problem: { name, version, reason } };
  }

  return {
    newest,
    newestReadable: async (name, recent) => {
      const found = await newest(name, recent);
      if (!(found?.read instanceof LakeError)) return found?.read;
      const { version, read: error } = found;
      const fallback = await versions.readableBefore(name, version);
      heads.apply([{ name, known: unreadable(name, version, fallback, error) }]);
      if (!fallback) throw error;
      return fallback;
    },
    read: async (name, version) => {
      try {
        const head = await versions.head(name, version);
        return head && readable(head);
      } catch (error) {
        // A manifest that the store cannot deliver counts as damaged: other datasets must not wait for it.
        if (!(error instanceof LakeError) || error.kind === "closed") throw error;
        const served = heads.get(name)?.head ?? (await versions.readableBefore(name, version).catch(() => undefined));
        return unreadable(name, version, served, error);
      }
    },
  };
}
