import { BOOLEAN, type DuckDBPreparedStatement, LIST, listValue, STRUCT, structValue, VARCHAR } from "@duckdb/node-api";
import { LakeError } from "../kernel/errors.ts";
import { stringifyExact } from "../kernel/exact-json.ts";
import type { Params } from "../kernel/json.ts";
import { argument, type NextStep, next } from "../kernel/next-step.ts";

import { bindNumber, bindNumbers, isNumber, type Typed } from "./numbers.ts";
import { assertParamsSize } from "./params-size.ts";

/**
 * Binds JSON values: numbers as `bindNumber` does, lists and objects as LIST and STRUCT, lists of items of several
 * types as their JSON text. Throws `invalid` with the names of parameters that are missing or unknown, and as
 * `assertParamsSize` does.
 */
export function bindParams(statement: DuckDBPreparedStatement, params: Params | undefined): void {
  const names = parameterNames(statement);
  const given = givenParams(params);
  const missing = names.filter((name) => !given.has(name));
  const known = new Set(names);
  const unknown = [...given.keys()].filter((name) => !known.has(name));
  if (missing.length > 0 || unknown.length > 0) throw mismatch(names, missing, unknown, Array.isArray(params));
  bindKnown(statement, names, given);
}

/** The same for a part of a statement, which may not use all parameters. */
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
      const { type, value: bound } = typed(value, `$${name.slice(0, 100)}`);
      statement.bindValue(index + 1, bound, type);
    }
  });
}

function parameterNames(statement: DuckDBPreparedStatement): string[] {
  return Array.from({ length: statement.parameterCount }, (_, index) => statement.parameterName(index + 1));
}

function givenParams(params: Params | undefined): Map<string, unknown> {
  if (params === undefined) return new Map();
  assertParamsSize(params);
  const entries: [string, unknown][] = Array.isArray(params)
    ? params.map((value, index) => [String(index + 1), value])
    : Object.entries(params).map(([name, value]) => [name.replace(/^\$/, ""), value]);
  const given = new Map<string, unknown>();
  for (const [name, value] of entries) {
    if (given.has(name)) {
      throw new LakeError(
        "invalid",
        `The parameter ${JSON.stringify(name.slice(0, 100))} is given with and without $.`,
        {
          hint: "Give each parameter once.",
          facts: { argument: "params" },
        },
      );
    }
    given.set(name, value ?? null);
  }
  return given;
}

/** Parameters that an error names. */
const SHOWN = 20;

function mismatch(names: string[], missing: string[], unknown: string[], byPosition: boolean): LakeError {
  const dollar = (list: string[]): string =>
    list
      .slice(0, SHOWN)
      .map((name) => `$${name}`)
      .join(", ");
  const parts = [
    ...(missing.length > 0 ? [`${dollar(missing)} ${missing.length === 1 ? "has" : "have"} no value`] : []),
    ...(unknown.length > 0 ? [`${dollar(unknown)} ${unknown.length === 1 ? "is" : "are"} not in the statement`] : []),
  ];
  return new LakeError("invalid", `The parameters do not fit the statement: ${parts.join("; ")}.`, {
    code: "params_mismatch",
    hint: passed(names, byPosition),
    facts: { argument: "params" },
  });
}

function passed(names: string[], byPosition: boolean): NextStep {
  if (names.length === 0) return next`The statement has no parameters: leave ${argument("params")} out.`;
  const positional = names.every((name) => /^\d+$/.test(name));
  if (names.length > SHOWN) {
    return next`Pass ${argument("params")} as ${positional ? "a list" : "an object"} of ${names.length} values.`;
  }
  if (positional) return next`${{ parameters: names.map((name) => `$${name}`), as: "list" }}`;
  const named = next`${{ parameters: names, as: "object" }}`;
  return byPosition ? next`${named} A list is for $1, $2 and so on, and not for parameters with names.` : named;
}

function typed(value: unknown, where: string): Typed {
  if (isNumber(value)) return bindNumber(value, where);
  switch (typeof value) {
    case "string":
      return { type: VARCHAR, value };
    case "boolean":
      return { type: BOOLEAN, value };
    case "object":
      if (Array.isArray(value)) return typedList(value, where);
      if (value !== null) return typedStruct(value as Record<string, unknown>, where);
      return { type: VARCHAR, value: null };
    default:
      throw new LakeError("invalid", `A value of type ${typeof value} cannot be bound.`, { hint: "Pass JSON values." });
  }
}

function typedList(items: readonly unknown[], where: string): Typed {
  const present = items.filter((item) => item !== null && item !== undefined);
  if (present.length > 0 && present.every(isNumber)) {
    const { type, value } = bindNumbers(items as Parameters<typeof bindNumbers>[0], where);
    return { type: LIST(type), value: listValue(value) };
  }
  const bound = items.map((item) => typed(item ?? null, where));
  const known = bound.filter((_, index) => items[index] !== null && items[index] !== undefined);
  const type = known[0]?.type ?? VARCHAR;
  const name = type.toString();
  if (known.every((item) => item.type === type || item.type.toString() === name)) {
    return { type: LIST(type), value: listValue(bound.map((item) => item.value)) };
  }
  return { type: VARCHAR, value: stringifyExact(items) };
}

function typedStruct(fields: Record<string, unknown>, where: string): Typed {
  const names = Object.keys(fields);
  if (names.length === 0) return { type: VARCHAR, value: "{}" };
  const bound = names.map((name) => typed(fields[name], where));
  return {
    type: STRUCT(Object.fromEntries(names.map((name, index) => [name, bound[index]?.type ?? VARCHAR]))),
    value: structValue(Object.fromEntries(names.map((name, index) => [name, bound[index]?.value ?? null]))),
  };
}
