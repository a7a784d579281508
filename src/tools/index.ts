import { catalogDescribe } from "./catalog-describe.ts";
import { catalogList } from "./catalog-list.ts";
import { datasetDrop } from "./dataset-drop.ts";
import { embed } from "./embed.ts";
import { ingest } from "./ingest.ts";
import { jobCancel } from "./job-cancel.ts";
import { jobStatus } from "./job-status.ts";
import { sql } from "./sql.ts";
import type { Tool } from "./tool.ts";
import { vectorDelete } from "./vector-delete.ts";
import { vectorIndexCreate } from "./vector-index-create.ts";
import { vectorSearch } from "./vector-search.ts";
import { vectorUpsert } from "./vector-upsert.ts";

/** Every tool, in the order a client lists them. */
export const tools: readonly Tool[] = [
  ingest,
  sql,
  catalogList,
  catalogDescribe,
  datasetDrop,
  embed,
  vectorIndexCreate,
  vectorUpsert,
  vectorDelete,
  vectorSearch,
  jobStatus,
  jobCancel,
];
