import { setImmediate } from "node:timers/promises";
import type * as z from "zod";
import { nearest } from "../engine/catalog/nearest.ts";
import { LakeError } from "../engine/kernel/errors.ts";
import { isExactNumber, parseExactInSlices, wholeIn } from "../engine/kernel/exact-json.ts";
import { JsonLimitError } from "../engine/kernel/json-limit-error.ts";
import { inputSchema, type JsonSchema } from "./json-schema.ts";
import { expectation, shownName, shownValue } from "./shown.ts";
import { meantBy } from "./synonyms.ts";
import type { Tool } from "./tool.ts";

/** Longest work in one turn of the event loop. */
const SLICE_MS = 5;
const MAX_PROBLEMS = 5;
const MAX_UNKNOWN = 8;
const JSON_LIMITS = { maxDepth: 100, maxKeys: 10_000 };

/**
 * Reads the arguments of a call by the schema of `tool`. Common deviations of models are accepted: null for an absent
 * argument, "5" for a number, a whole number for a text, "true", one text for a list of texts, and JSON as text. Throws
 * `invalid` naming unknown arguments and the likely ones, or else the values that are wrong.
 */
export async function readArguments(tool: Tool, args: unknown): Promise<Record<string, unknown>> {
  const schema = inputSchema(tool.input);
  const reading: Reading = { tool, problems: [], sliceStart: performance.now() };
  const read = await readObject((args ?? {}) as Record<string, unknown>, schema, "", reading);
  if (reading.problems.length === 0) {
    const parsed = tool.input.safeParse(read);
    if (parsed.success) return parsed.data;
    for (const issue of parsed.error.issues.slice(0, MAX_PROBLEMS)) {
      reading.problems.push(problemOf(issue, schema, read));
    }
  }
  const problems = reading.problems.map(({ path, what }) => `${path}${what}`).join("; ");
  throw new LakeError("invalid", `${tool.name}: ${problems}.`, {
    hint: `Valid arguments: ${Object.keys(schema.properties ?? {}).join(", ")}.`,
    facts: { argument: reading.problems[0]?.path },
  });
}

interface Problem {
  /** The argument, as `items.3.vector`. */
  path: string;
  /** What follows the path: `: expected a text, got 5`. */
  what: string;
}

interface Reading {
  tool: Tool;
  problems: Problem[];
  sliceStart: number;
}

const ABSENT = Symbol("absent");
type Read = unknown;

async function readObject(
  args: Record<string, unknown>,
  schema: JsonSchema,
  path: string,
  reading: Reading,
): Promise<Record<string, unknown>> {
  const { properties = {}, required = [] } = schema;
  refuseUnknown(args, properties, path, reading.tool.name);
  const read: Record<string, unknown> = {};
  for (const [name, property] of Object.entries(properties)) {
    const value = Object.hasOwn(args, name) ? args[name] : undefined;
    const where = path === "" ? name : `${path}.${name}`;
    if (value === null || value === undefined) {
      if (required.includes(name))
        reading.problems.push({ path: where, what: ` is missing: expected ${expectation(property)}` });
      continue;
    }
    const made = await readValue(value, property, where, reading);
    if (made !== ABSENT) read[name] = made;
    if (reading.problems.length >= MAX_PROBLEMS) break;
  }
  return read;
}

/** `ABSENT` for a wrong value, which is added to the problems. */
async function readValue(value: unknown, schema: JsonSchema, path: string, reading: Reading): Promise<Read> {
  const problem = (): typeof ABSENT => {
    reading.problems.push({ path, what: `: expected ${expectation(schema)}, got ${shownValue(value)}` });
    return ABSENT;
  };
  if (schema.json !== undefined) {
    const json = typeof value === "string" ? await parsed(value) : value;
    const fits = isObject(json) || (schema.json === "params" && Array.isArray(json));
    return fits ? json : problem();
  }
  switch (schema.type) {
    case "string":
      return textOf(value) ?? problem();
    case "integer":
    case "number":
      return numberOf(value) ?? problem();
    case "boolean":
      return booleanOf(value) ?? problem();
    case "array":
      return (await readList(value, schema, path, reading)) ?? problem();
    case "object": {
      const object = typeof value === "string" ? await parsed(value) : value;
      return isObject(object) ? readObject(object, schema, path, reading) : problem();
    }
    default:
      return value;
  }
}

/** Undefined for a value that is not a list. */
async function readList(
  value: unknown,
  schema: JsonSchema,
  path: string,
  reading: Reading,
): Promise<unknown[] | undefined> {
  const { items = {}, maxItems = Number.POSITIVE_INFINITY } = schema;
  const list = await listOf(value, items);
  if (list === undefined || list.length > maxItems) return undefined;
  if (items.type === "number") {
    const wrong = list.findIndex((each) => typeof each !== "number");
    if (wrong >= 0) {
      const what = `: expected a number, got ${shownValue(list[wrong])}`;
      reading.problems.push({ path: `${path}.${wrong}`, what });
    }
    return list;
  }
  const read: unknown[] = [];
  for (const [index, item] of list.entries()) {
    read.push(await readValue(item, items, `${path}.${index}`, reading));
    if (reading.problems.length > 0) break;
    if (performance.now() - reading.sliceStart > SLICE_MS) {
      await setImmediate();
      reading.sliceStart = performance.now();
    }
  }
  return read;
}

async function listOf(value: unknown, items: JsonSchema): Promise<unknown[] | undefined> {
  if (Array.isArray(value)) return value;
  if (typeof value === "string" && value.trimStart().startsWith("[")) {
    const json = await parsed(value);
    if (Array.isArray(json)) return json;
  }
  const one = items.type === "string" ? textOf(value) : undefined;
  return one === undefined ? undefined : [one];
}

/** Undefined for text that is not JSON, or too deep. */
async function parsed(text: string): Promise<unknown> {
  try {
    return await parseExactInSlices(text, JSON_LIMITS);
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof JsonLimitError) return undefined;
    throw error;
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !isExactNumber(value);

/** Whole numbers only: how a fraction was written is not known, since 1.10 is 1.1 here. */
function textOf(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  if (isExactNumber(value)) return wholeIn(value) === undefined ? undefined : String(value);
  return Number.isSafeInteger(value) ? String(value) : undefined;
}

function numberOf(value: unknown): number | undefined {
  if (typeof value === "number") return value;
  return typeof value === "string" && /^\s*-?\d{1,15}(\.\d{1,15})?\s*$/.test(value) ? Number(value) : undefined;
}

function booleanOf(value: unknown): boolean | undefined {
  if (typeof value === "boolean") return value;
  const word = typeof value === "string" && value.length < 10 ? value.trim().toLowerCase() : "";
  return word === "true" ? true : word === "false" ? false : undefined;
}

function refuseUnknown(
  args: Record<string, unknown>,
  properties: Record<string, JsonSchema>,
  path: string,
  tool: string,
): void {
  const unknown: string[] = [];
  for (const name in args) {
    if (Object.hasOwn(properties, name) || !Object.hasOwn(args, name)) continue;
    unknown.push(name);
    if (unknown.length === MAX_UNKNOWN) break;
  }
  if (unknown.length === 0) return;
  const valid = Object.keys(properties);
  const used = new Set(valid.filter((name) => Object.hasOwn(args, name)));
  const likely = unknown.map((name) => meantBy(name, valid) ?? nearest(name, valid)[0]);
  const advice = unknown.map((name, at) => {
    const meant = likely[at];
    if (meant === undefined) return `there is nothing like ${shownName(name)}`;
    const twice = used.has(meant) ? ", which is given too: keep one of them" : "";
    used.add(meant);
    return `use ${meant} instead of ${shownName(name)}${twice}`;
  });
  const names = unknown.map((name) => JSON.stringify(shownName(name))).join(", ");
  const where = path === "" ? "" : `${path}: `;
  throw new LakeError(
    "invalid",
    `${tool}: ${where}unknown argument${unknown.length === 1 ? "" : "s"} ${names}: ${advice.join("; ")}.`,
    {
      code: "unknown_argument",
      hint: `Call again with what you meant. Valid ${path === "" ? "arguments" : "names"}: ${valid.join(", ")}.`,
      facts: { argument: shownName(unknown[0] ?? ""), nearest: likely.filter((name) => name !== undefined) },
    },
  );
}

/** An issue of zod, worded like the other problems. */
function problemOf(issue: z.core.$ZodIssue, schema: JsonSchema, read: unknown): Problem {
  let node: JsonSchema | undefined = schema;
  let value: unknown = read;
  for (const part of issue.path) {
    node = typeof part === "number" ? node?.items : node?.properties?.[String(part)];
    value = (value as Record<PropertyKey, unknown> | undefined)?.[part];
  }
  const path = issue.path.map(String).join(".");
  if (node === undefined || issue.code === "custom") return { path, what: `: ${issue.message.slice(0, 300)}` };
  return { path, what: `: expected ${expectation(node)}, got ${shownValue(value)}` };
}
