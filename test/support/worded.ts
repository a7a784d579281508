import { expect } from "vitest";
import { LakeError } from "../../src/engine/kernel/errors.ts";
import { inWords } from "../../src/engine/kernel/next-step.ts";
import { TOOL_WORDS } from "../../src/tools/words.ts";

export type Worded = LakeError & { hint: string };

/** The same error with its hint as a caller of tools reads it. */
export function worded({ kind, message, code, cause, facts, hint = "" }: LakeError): Worded {
  return new LakeError(kind, message, { code, cause, facts, hint: inWords(hint, TOOL_WORDS) }) as Worded;
}

/** The error that `promise` ends with, as a caller of tools reads it. */
export async function failure(promise: Promise<unknown>): Promise<Worded> {
  const error = await promise.then(
    (result) => expect.fail(`answered ${JSON.stringify(result).slice(0, 500)}`),
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(LakeError);
  return worded(error as LakeError);
}
