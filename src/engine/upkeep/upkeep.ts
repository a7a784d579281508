import type { Catalog } from "../catalog/types.ts";
import type { EngineSettings } from "../settings.ts";
import type { Store } from "../store/store.ts";
import type { GcReport } from "./gc.ts";
import type { GcOptions } from "./gc-context.ts";
import type { Restored } from "./restore.ts";
import { DEFAULT_RETENTION } from "./retention.ts";
import type { VerifyOptions, VerifyReport } from "./verify.ts";

export interface Upkeep {
  /**
   * Commits an old version, `name@version`, as the newest: of a dropped dataset and of an index, too. No data is copied.
   * Throws `not_found` with the versions there are, `conflict` when the name stands for something else now.
   */
  restore(reference: string): Promise<Restored>;
  /**
   * Removes versions beyond retention, and files that nothing refers to and that have been of no use for longer than the
   * grace period; with `delete` only, else it tells what it would do. Safe beside writers and readers; what may belong to
   * a manifest that cannot be read stays. Throws `invalid` for a grace period that an ingest may outlast.
   */
  gc(options?: Partial<Omit<GcOptions, "ingestTimeoutMs">>): Promise<GcReport>;
  /** Reads every manifest, data file and saved index, and names what is missing or damaged. Changes nothing. */
  verify(options?: VerifyOptions): Promise<VerifyReport>;
}

export interface UpkeepParts {
  store: Store;
  catalog: () => Promise<Catalog>;
  settings: EngineSettings;
}

/** Loads its rooms when they are first needed; most servers never do. */
export function openUpkeep({ store, catalog, settings }: UpkeepParts): Upkeep {
  return {
    restore: async (reference) => {
      const { restore } = await import("./restore.ts");
      return restore(await catalog(), reference);
    },
    gc: async (options = {}) => {
      const { collectGarbage } = await import("./gc.ts");
      const { clock, log, ingestTimeoutMs, retention = DEFAULT_RETENTION } = settings;
      return collectGarbage({ store, clock, log }, { retention, ...options, ingestTimeoutMs });
    },
    verify: async (options) => {
      const { verify } = await import("./verify.ts");
      return verify(store, options);
    },
  };
}
