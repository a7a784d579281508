import type { Catalog, Head, Manifest } from "../catalog/types.ts";
import type { Hasher } from "../kernel/hash.ts";
import type { QueryEngine } from "../query/types.ts";
import type { EngineSettings } from "../settings.ts";
import type { Store } from "../store/store.ts";
import type { Uploads } from "../uploads/uploads.ts";
import type { Conversion } from "./conversion.ts";
import type { IngestOptions, IngestRequest } from "./request.ts";
import type { SchemaRules } from "./schema.ts";

export interface IngestParts {
  store: Store;
  catalog: Catalog;
  query: Pick<QueryEngine, "writeParquet">;
  uploads: Pick<Uploads, "take">;
  settings: EngineSettings;
}

/** One ingest on its way. */
export interface IngestContext extends IngestParts {
  request: IngestRequest;
  rules: Omit<SchemaRules, "inferred">;
  /** The newest version before this ingest, a tombstone's head after a drop. */
  current: Manifest | Head | undefined;
  /** No data file of `current` is missing. Otherwise the same source again is no repeat: it restores the missing files. */
  isWhole: boolean;
  conversion: Conversion;
  /** For work in progress; removed when the ingest ends. */
  folder: string;
  hasher: Hasher;
  /** Aborts with the caller, with the engine, and over budget. */
  signal: AbortSignal;
  options: IngestOptions;
}
