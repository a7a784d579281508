import type { Command } from "./command.ts";
import { doctor } from "./doctor.ts";
import { gc } from "./gc.ts";
import { list } from "./list.ts";
import { restore } from "./restore.ts";
import { verify } from "./verify.ts";

/** In the order of the help. */
export const commands: readonly Command[] = [list, restore, gc, verify, doctor];
