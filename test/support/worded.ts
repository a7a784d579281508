import { LakeError } from "../../src/engine/kernel/errors.ts";
import { inWords } from "../../src/engine/kernel/next-step.ts";
import { TOOL_WORDS } from "../../src/tools/words.ts";

export type Worded = LakeError & { hint: string };

/** The same error with its hint as a caller of tools reads it. */
export function worded({ kind, message, code, cause, facts, hint = "" }: LakeError): Worded {
  return new LakeError(kind, message, { code, cause, facts, hint: inWords(hint, TOOL_WORDS) }) as Worded;
}
