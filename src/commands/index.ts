import type { Command } from "./command.ts";
import { describe } from "./describe.ts";
import { ingest } from "./ingest.ts";
import { list } from "./list.ts";
import { search } from "./search.ts";
import { sql } from "./sql.ts";

/** In the order of the help. */
export const commands: readonly Command[] = [ingest, sql, list, describe, search];
