import type { DatasetKind } from "../engine/catalog/types.ts";
import type { Engine } from "../engine/engine.ts";

/** A fixed resource. */
export interface Resource {
  uri: string;
  name: string;
  title: string;
  description: string;
  /** Whether commits change it, so that subscribers are notified. */
  ofCatalog: boolean;
  read: (engine: Engine) => Promise<unknown>;
}

/** A template with one resource for each dataset. */
export interface DatasetResource {
  /** Contains `{name}`. */
  template: string;
  /** Kind of datasets that have it. Undefined: all. */
  kind?: DatasetKind;
  /** Kind of datasets that are listed with this template. Each dataset is listed once. */
  lists?: DatasetKind;
  name: string;
  title: string;
  description: string;
  read: (engine: Engine, dataset: string) => Promise<unknown>;
}

/** A template with one resource for each job. */
export interface JobResource {
  /** Contains `{id}`. */
  template: string;
  name: string;
  title: string;
  description: string;
  /** Recent jobs. */
  list: (engine: Engine) => Promise<{ id: string; description: string }[]>;
  read: (engine: Engine, id: string) => Promise<unknown>;
}
