import type { Clock, Log, Retention } from "../settings.ts";
import type { Store } from "../store/store.ts";
export interface GcOptions {
  /** False, the default: look and report, and leave everything as it is. */
  delete?: boolean | undefined;
  retention: Retention;
  /** The longest that an ingest may take. */
  ingestTimeoutMs: number;
  signal?: AbortSignal | undefined;
  /** Datasets looked at so far. */
  onProgress?: ((done: number) => void) | undefined;
}

export interface GcParts {
  store: Store;
  clock: Clock;
  log: Log;
}

export interface Context extends GcParts, GcOptions {
  /** By the store's clock, which is the one that files are dated by. */
  now: number;
}
