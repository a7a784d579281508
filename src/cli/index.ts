import type { Command } from "./command.ts";
import { describe } from "./describe.ts";
import { doctor } from "./doctor.ts";
import { gc } from "./gc.ts";
import { ingest } from "./ingest.ts";
import { list } from "./list.ts";
import { restore } from "./restore.ts";
import { search } from "./search.ts";
import { sql } from "./sql.ts";
import { verify } from "./verify.ts";

/** Every command, in the order of the help. */
export const commands: readonly Command[] = [ingest, sql, list, describe, search, restore, gc, verify, doctor];
