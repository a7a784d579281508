import {
  BIGINT,
  BOOLEAN,
  DOUBLE,
  type DuckDBPreparedStatement,
  type DuckDBType,
  type DuckDBValue,
  LIST,
  listValue,
  STRUCT,
  structValue,
  VARCHAR,
} from "@duckdb/node-api";
import { LakeError } from "../errors.ts";
import type { Params } from "./duckdb.ts";

/**
 * Binds JSON values: whole numbers as BIGINT, others as DOUBLE, lists and objects as LIST and STRUCT where their items
 * agree, else as their JSON text. Throws `invalid` naming the parameters the statement has and was not given, or the
 * other way round; `limit` for more values, depth or text than a statement should carry.
 */
export function bindParams(statement: DuckDBPreparedStatement, params: Params | undefined): void {
  const names = parameterNames(statement);
  const given = givenParams(params);
  const missing = names.filter((name) => !given.has(name));
  const unknown = [...given.keys()].filter((name) => !names.includes(name));
  if (missing.length > 0 || unknown.length > 0) throw mismatch(names, missing, unknown, Array.isArray(params));
  bindKnown(statement, names, given);
}

/** Binds what a part of the statement uses, which may be fewer than were given. */
export function bindSome(statement: DuckDBPreparedStatement, params: Params | undefined): void {
  const given = givenParams(params);
  const names = parameterNames(statement);
  const missing = names.filter((name) => !given.has(name));
  if (missing.length > 0) throw mismatch(names, missing, [], Array.isArray(params));
  bindKnown(statement, names, given);
}

function bindKnown(statement: DuckDBPreparedStatement, names: string[], given: Map<string, unknown>): void {
  names.forEach((name, index) => {
    const value = given.get(name);
    if (value === null) statement.bindNull(index + 1);
    else {
      const { type, value: bound } = typed(value);
      statement.bindValue(index + 1, bound, type);
    }
  });
}

function parameterNames(statement: DuckDBPreparedStatement): string[] {
  return Array.from({ length: statement.parameterCount }, (_, index) => statement.parameterName(index + 1));
}

function givenParams(params: Params | undefined): Map<string, unknown> {
  if (params === undefined) return new Map();
  assertSize(params);
  const entries: [string, unknown][] = Array.isArray(params)
    ? params.map((value, index) => [String(index + 1), value])
    : Object.entries(params).map(([name, value]) => [name.replace(/^\$/, ""), value]);
  const twice = entries.find(([name], at) => entries.findIndex(([other]) => other === name) < at);
  if (twice) {
    throw new LakeError("invalid", `params has ${JSON.stringify(twice[0].slice(0, 100))} with and without $.`, {
      hint: "Give each parameter once.",
    });
  }
  return new Map(entries.map(([name, value]) => [name, value ?? null]));
}

const MAX_VALUES = 10_000;
const MAX_DEPTH = 32;
const MAX_TEXT_BYTES = 4 * 2 ** 20;

/** Finding the type of a value takes time in proportion to its size and depth, without a pause. */
function assertSize(params: Params): void {
  let values = 0;
  let bytes = 0;
  for (const [name, param] of Object.entries(params)) {
    const shown = Array.isArray(params) ? `$${Number(name) + 1}` : `$${name.replace(/^\$/, "").slice(0, 100)}`;
    const todo: { value: unknown; depth: number }[] = [{ value: param, depth: 1 }];
    for (let next = todo.pop(); next; next = todo.pop()) {
      const { value, depth } = next;
      if (depth > MAX_DEPTH) throw tooLarge(`${shown} is nested more than ${MAX_DEPTH} deep.`);
      if (++values > MAX_VALUES) throw tooLarge(`params have more than ${MAX_VALUES} values, at ${shown}.`);
      if (typeof value === "string") bytes += Buffer.byteLength(value);
      if (typeof value === "object" && value !== null) {
        const keys = Array.isArray(value) ? [] : Object.keys(value);
        for (const key of keys) bytes += Buffer.byteLength(key);
        for (const child of Object.values(value)) {
          todo.push({ value: child, depth: depth + 1 });
          if (todo.length > MAX_VALUES) throw tooLarge(`params have more than ${MAX_VALUES} values, at ${shown}.`);
        }
      }
      if (bytes > MAX_TEXT_BYTES) throw tooLarge(`params have more than ${MAX_TEXT_BYTES} bytes of text, at ${shown}.`);
    }
  }
}

function tooLarge(message: string): LakeError {
  return new LakeError("limit", message, { hint: "Make the values a dataset with ingest, and join it." });
}

function mismatch(names: string[], missing: string[], unknown: string[], byPosition: boolean): LakeError {
  const dollar = (list: string[]): string =>
    list
      .slice(0, 20)
      .map((name) => `$${name}`)
      .join(", ");
  const parts = [
    ...(missing.length > 0 ? [`${dollar(missing)} ${missing.length === 1 ? "has" : "have"} no value`] : []),
    ...(unknown.length > 0 ? [`${dollar(unknown)} ${unknown.length === 1 ? "is" : "are"} not in the statement`] : []),
  ];
  const positional = names.every((name) => /^\d+$/.test(name));
  let hint = "The statement has no parameters: leave params out.";
  if (names.length > 0) {
    hint = positional
      ? `Pass params as a list of ${names.length}: values for ${dollar(names)}.`
      : `Pass params as an object with ${names.slice(0, 20).join(", ")}${byPosition ? ", not as a list" : ""}.`;
  }
  return new LakeError("invalid", `params do not fit the statement: ${parts.join("; ")}.`, { hint });
}

interface Typed {
  type: DuckDBType;
  value: DuckDBValue;
}

function typed(value: unknown): Typed {
  switch (typeof value) {
    case "string":
      return { type: VARCHAR, value };
    case "boolean":
      return { type: BOOLEAN, value };
    case "number":
      return Number.isSafeInteger(value) ? { type: BIGINT, value: BigInt(value) } : { type: DOUBLE, value };
    case "object":
      if (Array.isArray(value)) return typedList(value);
      if (value !== null) return typedStruct(value as Record<string, unknown>);
      return { type: VARCHAR, value: null };
    default:
      throw new LakeError("invalid", `A value of type ${typeof value} cannot be bound.`, { hint: "Pass JSON values." });
  }
}

function typedList(items: readonly unknown[]): Typed {
  const bound = items.map(typed);
  const known = bound.filter((_, index) => items[index] !== null && items[index] !== undefined);
  const type = known[0]?.type ?? VARCHAR;
  if (known.every((item) => same(item.type, type))) {
    return { type: LIST(type), value: listValue(bound.map((item) => item.value)) };
  }
  if (known.every((item) => item.type === BIGINT || item.type === DOUBLE)) {
    return {
      type: LIST(DOUBLE),
      value: listValue(bound.map((item) => (item.value === null ? null : Number(item.value)))),
    };
  }
  return { type: VARCHAR, value: JSON.stringify(items) };
}

function typedStruct(fields: Record<string, unknown>): Typed {
  const names = Object.keys(fields);
  if (names.length === 0) return { type: VARCHAR, value: "{}" };
  const bound = names.map((name) => typed(fields[name]));
  return {
    type: STRUCT(Object.fromEntries(names.map((name, index) => [name, bound[index]?.type ?? VARCHAR]))),
    value: structValue(Object.fromEntries(names.map((name, index) => [name, bound[index]?.value ?? null]))),
  };
}

function same(a: DuckDBType, b: DuckDBType): boolean {
  return a === b || a.toString() === b.toString();
}
