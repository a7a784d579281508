import { LakeError } from "../engine/kernel/errors.ts";
import { parseExact } from "../engine/kernel/exact-json.ts";
import type { QueryOptions } from "../engine/query/types.ts";

/**
 * Parameters as `name=value` for `$name`, or as values alone for `$1`, `$2`, … A value is read as JSON where it is JSON
 * (`5`, `true`, `null`, `"5"`, `[1,2]`), else as text. Throws `invalid` for a mix of both forms, and for a repeated name.
 */
export function readParams(given: readonly string[]): QueryOptions["params"] {
  if (given.length === 0) return undefined;
  const named = given.map((param) => /^\$?([A-Za-z_]\w*)=([\s\S]*)$/.exec(param));
  if (named.every((match) => match === null)) return given.map(valueIn);
  const params = new Map<string, unknown>();
  for (const match of named) {
    if (match === null) {
      throw new LakeError("invalid", "--param: some have a name, others have none.", {
        hint: "Give all of them one, as in --param state=IL for $state, or none. Text with = in it: --param '\"a=b\"'.",
      });
    }
    const [, name = "", value = ""] = match;
    if (params.has(name))
      throw new LakeError("invalid", `--param: ${name} is given twice.`, { hint: "Leave one out." });
    params.set(name, valueIn(value));
  }
  return Object.fromEntries(params);
}

function valueIn(text: string): unknown {
  try {
    return parseExact(text);
  } catch {
    return text;
  }
}
