import { catalogDescribe } from "./catalog-describe.ts";
import { catalogList } from "./catalog-list.ts";
import { datasetDrop } from "./dataset-drop.ts";
import { embed } from "./embed.ts";
import { ingest } from "./ingest.ts";
import { sql } from "./sql.ts";
import type { Tool } from "./tool.ts";

/** Every tool, in the order a client lists them. */
export const tools: readonly Tool[] = [ingest, sql, catalogList, catalogDescribe, datasetDrop, embed];
