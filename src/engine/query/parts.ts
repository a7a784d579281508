import type { Catalog } from "../catalog/types.ts";
import type { EngineSettings } from "../settings.ts";
import type { Store } from "../store/store.ts";
import type { SearchVectors } from "./search/vector-hits.ts";

/** The parts of the lake that a query engine works with. */
export interface QueryParts {
  store: Store;
  catalog: Catalog;
  settings: EngineSettings;
  /** For `vector_search` in statements. Absent: it is refused. */
  search?: SearchVectors | undefined;
}
