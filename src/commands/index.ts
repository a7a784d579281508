import type { Command } from "./command.ts";
import { list } from "./list.ts";

/** In the order of the help. */
export const commands: readonly Command[] = [list];
