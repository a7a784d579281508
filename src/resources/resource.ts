import type { DatasetKind } from "../engine/catalog/types.ts";
import type { Engine } from "../engine/engine.ts";

/** A fixed resource. */
export interface Resource {
  uri: string;
  name: string;
  title: string;
  description: string;
  /** Whether a commit changes it, so that subscribers are told. */
  ofCatalog: boolean;
  read: (engine: Engine) => Promise<unknown>;
}

/** A family of resources, one a dataset. */
export interface DatasetResource {
  /** With `{name}` in it. */
  template: string;
  /** Datasets it is for; undefined for all. */
  kind?: DatasetKind;
  /** Kind of datasets that are listed under this address: each under its main one only. */
  lists?: DatasetKind;
  name: string;
  title: string;
  description: string;
  read: (engine: Engine, dataset: string) => Promise<unknown>;
}

/** A family of resources, one a job. */
export interface JobResource {
  /** With `{id}` in it. */
  template: string;
  name: string;
  title: string;
  description: string;
  /** The recent ones. */
  list: (engine: Engine) => Promise<{ id: string; description: string }[]>;
  read: (engine: Engine, id: string) => Promise<unknown>;
}
