import { LakeError } from "../kernel/errors.ts";
import { isExactNumber } from "../kernel/exact-json.ts";
import type { Params } from "../kernel/json.ts";
import { action, next } from "../kernel/next-step.ts";

const MAX_VALUES = 10_000;
const MAX_DEPTH = 32;
/** Of one object: DuckDB makes a type of them without a pause. */
const MAX_FIELDS = 1_000;
const MAX_TEXT_BYTES = 4 * 2 ** 20;

/**
 * Throws `limit` for too many values, too much depth or text: sending values to a worker process, and finding their
 * types, blocks the event loop in proportion to their size.
 */
export function assertParamsSize(params: Params): void {
  let values = 0;
  let bytes = 0;
  for (const [name, param] of entriesOf(params)) {
    const shown = typeof name === "number" ? `$${name + 1}` : `$${name.replace(/^\$/, "").slice(0, 100)}`;
    const todo: { value: unknown; depth: number }[] = [{ value: param, depth: 1 }];
    for (let next = todo.pop(); next; next = todo.pop()) {
      const { value, depth } = next;
      if (depth > MAX_DEPTH) throw tooLarge(`${shown} is nested more than ${MAX_DEPTH} deep.`);
      if (++values > MAX_VALUES) throw tooLarge(`The parameters have more than ${MAX_VALUES} values, at ${shown}.`);
      if (typeof value === "string" || isExactNumber(value)) bytes += Buffer.byteLength(String(value));
      else if (typeof value === "object" && value !== null) {
        let fields = 0;
        for (const [key, child] of entriesOf(value)) {
          if (typeof key === "string" && ++fields > MAX_FIELDS) {
            throw tooLarge(`An object in the parameters has more than ${MAX_FIELDS} fields, at ${shown}.`);
          }
          bytes += typeof key === "string" ? Buffer.byteLength(key) : 0;
          todo.push({ value: child, depth: depth + 1 });
          if (todo.length > MAX_VALUES)
            throw tooLarge(`The parameters have more than ${MAX_VALUES} values, at ${shown}.`);
        }
      }
      if (bytes > MAX_TEXT_BYTES)
        throw tooLarge(`The parameters have more than ${MAX_TEXT_BYTES} bytes of text, at ${shown}.`);
    }
  }
}

/** A generator, because a list of all entries takes long where there are more than are allowed. */
function* entriesOf(value: object): Generator<[number | string, unknown]> {
  if (Array.isArray(value)) return yield* value.entries();
  for (const key in value) if (Object.hasOwn(value, key)) yield [key, (value as Record<string, unknown>)[key]];
}

function tooLarge(message: string): LakeError {
  return new LakeError("limit", message, {
    hint: next`Make the values a dataset with ${action("ingest")}, and join it.`,
    facts: { argument: "params" },
  });
}
