import { describe, expect, test } from "vitest";
import { tools } from "../../src/tools/index.ts";
import { advertised } from "../../src/tools/json-schema.ts";
import { openLake } from "../support/lake.ts";

/*
 * What the providers of models take as the schema of a tool, each a subset of JSON Schema:
 *
 * OpenAI, strict: https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
 *   Types string, number, integer, boolean, object, array, enum, anyOf. The root is an object, not an anyOf. An object
 *   names its properties and has additionalProperties: false. Of a string pattern and format, of a number minimum,
 *   maximum, exclusive ones and multipleOf, of an array minItems and maxItems. Not: allOf, not, oneOf,
 *   dependentRequired, dependentSchemas, if/then/else, patternProperties, minLength, maxLength, default. 5,000
 *   properties, 10 levels. Optional properties are made required and nullable by OpenAI's own SDKs.
 * OpenAI, not strict: an array without items is refused ("array schema missing items").
 * Gemini: https://ai.google.dev/api/caching#Schema
 *   One type, format, title, description, nullable, enum (of strings), items, minItems, maxItems, properties (not none),
 *   required, minimum, maximum, anyOf, propertyOrdering. An unknown field refuses the request: $schema, const, $ref,
 *   exclusiveMinimum, patternProperties, propertyNames, uniqueItems. https://github.com/modelcontextprotocol/servers/issues/1624
 *   has it for exclusiveMinimum. additionalProperties is taken out by every client of MCP that speaks to Gemini, and
 *   OpenAI wants it; as a schema of its own it would be lost.
 * Anthropic: https://docs.claude.com/en/docs/agents-and-tools/tool-use/implement-tool-use
 *   The root is an object, without anyOf, oneOf or allOf; names of properties match ^[a-zA-Z0-9_.-]{1,64}$; names of
 *   tools ^[a-zA-Z0-9_-]{1,64}$. Strict: no recursion, no additionalProperties but false; bounds are taken out by its SDKs.
 */

type Node = Record<string, unknown>;

const COMMON = ["type", "description"];
const BY_TYPE: Record<string, string[]> = {
  object: ["properties", "required", "additionalProperties"],
  array: ["items", "minItems", "maxItems"],
  string: ["enum"],
  integer: ["minimum", "maximum"],
  number: ["minimum", "maximum"],
  boolean: [],
  null: [],
};
const MAX_INT32 = 2 ** 31 - 1;

/** What is not of the part that all of them take. */
function violations(node: unknown, path: string, depth = 0): string[] {
  if (typeof node !== "object" || node === null || Array.isArray(node)) return [`${path}: no schema`];
  const { type, anyOf, ...schema } = node as Node;
  if (depth > 10) return [`${path}: too deep`];
  if (Array.isArray(anyOf)) {
    const extra = Object.keys(schema).filter((key) => key !== "description");
    const simple = anyOf.every((each: Node) => Object.keys(each).length === 1 && typeof each.type === "string");
    return [
      ...extra.map((key) => `${path}: ${key} beside anyOf`),
      ...(depth < 2 ? [`${path}: anyOf of an argument`] : []),
      ...(simple ? [] : [`${path}: anyOf of more than plain types`]),
    ];
  }
  if (typeof type !== "string" || !BY_TYPE[type]) return [`${path}: type ${JSON.stringify(type)}`];
  const found = Object.keys(schema)
    .filter((key) => ![...COMMON, ...(BY_TYPE[type] ?? [])].includes(key))
    .map((key) => `${path}: ${key}`);
  for (const key of ["minimum", "maximum", "minItems", "maxItems"]) {
    const bound = schema[key];
    if (bound !== undefined && !(Number.isInteger(bound) && Math.abs(Number(bound)) <= MAX_INT32)) {
      found.push(`${path}: ${key} ${bound}`);
    }
  }
  if (type === "string" && schema.enum !== undefined) {
    const values = schema.enum as unknown[];
    if (values.length === 0 || !values.every((value) => typeof value === "string" && value !== "")) {
      found.push(`${path}: enum`);
    }
  }
  if (type === "array") found.push(...violations(schema.items, `${path}[]`, depth + 1));
  if (type === "object") {
    const properties = Object.entries((schema.properties ?? {}) as Node);
    if (properties.length === 0 && depth > 0) found.push(`${path}: no properties`);
    if (schema.additionalProperties !== false) found.push(`${path}: additionalProperties`);
    const required = (schema.required ?? []) as string[];
    found.push(
      ...required.filter((name) => !properties.some(([known]) => known === name)).map((name) => `${path}: ${name}`),
    );
    for (const [name, property] of properties) {
      if (!/^[a-zA-Z0-9_.-]{1,64}$/.test(name)) found.push(`${path}: the name ${name}`);
      found.push(...violations(property, `${path}.${name}`, depth + 1));
    }
  }
  return found;
}

test.each(["legacy", "modern"] as const)(
  "every tool a %s client sees is of the part that all providers take",
  async (era) => {
    await using lake = await openLake({ data: "memory", era });
    for (const tool of (await lake.client.listTools()).tools) {
      expect(tool.name).toMatch(/^[a-zA-Z0-9_-]{1,64}$/);
      expect(tool.inputSchema.type).toBe("object");
      expect(violations(tool.inputSchema, tool.name)).toEqual([]);
    }
  },
);

test("parameters are a list of plain values, and all is a boolean", () => {
  const [sql, remove] = ["sql", "vector-delete"].map((name) => tools.find((tool) => tool.name === name));
  if (!sql || !remove) throw new Error("There is no such tool.");
  expect((advertised(sql.input, "input").properties as Node).params).toEqual({
    type: "array",
    items: { anyOf: [{ type: "string" }, { type: "number" }, { type: "boolean" }, { type: "null" }] },
    description: expect.stringContaining("$1"),
  });
  expect((advertised(remove.input, "input").properties as Node).all).toEqual({
    type: "boolean",
    description: expect.any(String),
  });
});

describe("results", () => {
  const KEYS = ["type", "description", "properties", "required", "additionalProperties", "items", "enum", "anyOf"];

  test.each(tools.map((tool) => [tool.name, tool] as const))("of %s have a plain schema", (name, tool) => {
    const schema = advertised(tool.output, "output");
    expect(schema.type).toBe("object");
    const look = (node: Node, path: string): void => {
      for (const key of Object.keys(node)) expect(KEYS, `${path}: ${key}`).toContain(key);
      for (const [key, child] of Object.entries((node.properties ?? {}) as Node)) look(child as Node, `${path}.${key}`);
      if (node.items !== undefined) look(node.items as Node, `${path}[]`);
      for (const each of (node.anyOf ?? []) as Node[]) look(each, path);
      if (node.additionalProperties !== undefined) expect(node.additionalProperties).toBeTypeOf("boolean");
    };
    look(schema, name);
  });
});

test("a default is told in words", () => {
  for (const tool of tools) {
    const { properties } = advertised(tool.input, "input") as { properties: Record<string, { description?: string }> };
    for (const [name, argument] of Object.entries(tool.input.shape)) {
      const { data } = argument.safeParse(undefined);
      if (data === undefined || (Array.isArray(data) && data.length === 0)) continue;
      expect(properties[name]?.description).toContain(`Default: ${data}.`);
    }
  }
});

test("the definitions of all tools are at most 26,500 characters, 6,500 tokens", async () => {
  await using lake = await openLake({ data: "memory" });
  const { tools: listed } = await lake.client.listTools();
  // 4.2 characters are a token here, with the tokenizers of GPT-4o and Claude.
  expect(JSON.stringify(listed).length).toBeLessThan(26_500);
});
