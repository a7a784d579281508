import { grouped } from "../engine/kernel/amounts.ts";
import { isExactNumber } from "../engine/kernel/exact-json.ts";
import type { JsonSchema } from "./json-schema.ts";

const SHOWN_NAME = 40;
const SHOWN_VALUE = 60;

/** A name from a caller, cut. */
export function shownName(name: string): string {
  return name.length > SHOWN_NAME ? `${name.slice(0, SHOWN_NAME)}…` : name;
}

/** A value from a caller: enough to recognize it. */
export function shownValue(value: unknown): string {
  if (typeof value === "string") {
    if (value.length <= SHOWN_VALUE) return JSON.stringify(value);
    return `${JSON.stringify(value.slice(0, SHOWN_VALUE))}… (${grouped(value.length)} characters)`;
  }
  if (isExactNumber(value)) return `the number ${shownName(String(value))}`;
  if (Array.isArray(value)) return `a list of ${grouped(value.length)}`;
  if (typeof value === "object" && value !== null) return "an object";
  return String(value);
}

/** The values that a schema takes, in words. */
export function expectation(schema: JsonSchema): string {
  const { type, json, items = {}, minItems = 0, maxItems } = schema;
  if (json === "params") {
    return 'a list such as ["IL", 5] for $1, $2, …, or an object such as {"state": "IL"} for $state, or {"1": "IL"} for $1; either may be JSON as text';
  }
  if (json === "object") return 'a JSON object such as {"role": "driver"}, or its text';
  if (schema.enum !== undefined) return `one of ${schema.enum.join(", ")}`;
  if (type === "string") return textOf(schema);
  if (type === "integer") return `a whole number${between(schema.minimum, schema.maximum)}`;
  if (type === "boolean") return "true or false";
  if (type !== "array") return type === "object" ? "an object" : "a number";
  const each = items.type === "object" ? "objects" : items.type === "string" ? "texts" : "numbers";
  const values = items.enum === undefined ? "" : ` (${items.enum.join(", ")})`;
  const many = maxItems === undefined ? "" : ` of ${grouped(minItems)} to ${grouped(maxItems)}`;
  return `a list${many} ${each}${values}`.replace("a list numbers", "a list of numbers");
}

function textOf({ minLength = 0, maxLength }: JsonSchema): string {
  if (maxLength !== undefined) return `a text of ${grouped(minLength)} to ${grouped(maxLength)} characters`;
  return minLength > 0 ? "a text that is not empty" : "a text";
}

function between(least = Number.MIN_SAFE_INTEGER, most = Number.MAX_SAFE_INTEGER): string {
  if (most !== Number.MAX_SAFE_INTEGER) return ` from ${grouped(least)} to ${grouped(most)}`;
  return least === Number.MIN_SAFE_INTEGER ? "" : ` from ${grouped(least)} on`;
}
