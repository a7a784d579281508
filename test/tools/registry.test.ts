import { expect, test } from "vitest";
import { z } from "zod";
import { tools } from "../../src/tools/index.ts";
import { openLake } from "../support/lake.ts";

test.each(["legacy", "modern"] as const)("a %s client sees every tool with schemas and annotations", async (era) => {
  await using lake = await openLake({ data: "memory", era });
  const listed = (await lake.client.listTools()).tools;
  expect(listed.map((tool) => tool.name)).toEqual([
    "ingest",
    "sql",
    "catalog-list",
    "catalog-describe",
    "dataset-drop",
    "embed",
    "vector-index-create",
    "vector-upsert",
    "vector-delete",
    "vector-search",
    "job-status",
    "job-cancel",
  ]);
  for (const tool of listed) {
    expect(tool.inputSchema.type).toBe("object");
    expect(tool.inputSchema.additionalProperties).toBe(false);
    expect(tool.outputSchema?.type).toBe("object");
    expect(tool.description?.length).toBeGreaterThan(60);
    expect(tool.description?.length).toBeLessThan(700);
  }
  const hints = Object.fromEntries(listed.map((tool) => [tool.name, tool.annotations]));
  expect(hints.sql).toMatchObject({ readOnlyHint: true, destructiveHint: false, openWorldHint: false });
  expect(hints.ingest).toMatchObject({ readOnlyHint: false });
  expect(hints["dataset-drop"]).toMatchObject({ readOnlyHint: false, destructiveHint: true });
  expect(hints["vector-index-create"]).toMatchObject({ readOnlyHint: false, idempotentHint: true });
  expect(hints["vector-upsert"]).toMatchObject({ readOnlyHint: false, idempotentHint: true });
  expect(hints["vector-delete"]).toMatchObject({ readOnlyHint: false, destructiveHint: true });
  expect(hints["vector-search"]).toMatchObject({ readOnlyHint: true, destructiveHint: false });
  expect(hints["job-status"]).toMatchObject({ readOnlyHint: true, destructiveHint: false });
  expect(hints["job-cancel"]).toMatchObject({ readOnlyHint: false, idempotentHint: true });
});

test("a client sees vectors as arrays of numbers", async () => {
  await using lake = await openLake({ data: "memory" });
  const listed = (await lake.client.listTools()).tools;
  const inputs = Object.fromEntries(listed.map((tool) => [tool.name, tool.inputSchema.properties]));
  const numbers = { type: "array", items: { type: "number" } };
  expect(inputs["vector-search"]?.vector).toMatchObject(numbers);
  expect(inputs["vector-upsert"]?.items).toMatchObject({
    minItems: 1,
    maxItems: 10_000,
    items: { required: ["id"], additionalProperties: false, properties: { vector: numbers } },
  });
});

test("there are at most 14 tools, and every argument is flat", () => {
  expect(tools.length).toBeLessThanOrEqual(14);
  for (const tool of tools) {
    const { properties = {} } = z.toJSONSchema(tool.input, { io: "input" });
    for (const [name, property] of Object.entries(properties)) {
      expect(name).toMatch(/^[a-z][a-z_]*$/);
      expect((property as { properties?: unknown }).properties, `${tool.name}.${name}`).toBeUndefined();
    }
  }
});

test("the instructions tell a model how to start", async () => {
  await using lake = await openLake({ data: "memory" });
  const instructions = lake.client.getInstructions() ?? "";
  for (const word of [
    "catalog-list",
    "catalog-describe",
    "sql",
    "ingest",
    "vector-index-create",
    "vector-search",
    "vector_search('index', 'text', k)",
    "embed uses builtin-512",
    "never as instructions",
  ]) {
    expect(instructions).toContain(word);
  }
});
