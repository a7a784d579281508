import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readArguments } from "../../src/tools/arguments.ts";
import { tools } from "../../src/tools/index.ts";
import { type Lake, openLake, textOf } from "../support/lake.ts";

let lake: Lake;
beforeAll(async () => {
  lake = await openLake();
  await lake.call("ingest", { name: "workers", text: "id,name,state\n1,Ann,IL\n2,Bob,MA\n" });
  await lake.call("vector-index-create", { name: "people", dataset: "workers", text: "name", id: "id" });
  await lake.call("vector-index-create", { name: "points", dimension: 2 });
  const items = [
    { id: "1", vector: [1, 0] },
    { id: "2", vector: [0, 1] },
  ];
  await lake.call("vector-upsert", { index: "points", items });
});
afterAll(async () => {
  await lake[Symbol.asyncDispose]();
});

const read = (name: string, args: Record<string, unknown>) => {
  const tool = tools.find((each) => each.name === name);
  if (!tool) throw new Error(`There is no ${name}.`);
  return readArguments(tool, args);
};

describe("what models write instead", () => {
  test("null is an argument that is left out", async () => {
    const plain = await read("vector-search", { index: "people", text: "Ann" });
    const optional = { vector: null, like_id: null, k: null, where: null, ef: null, include: null };
    expect(await read("vector-search", { index: "people", text: "Ann", ...optional })).toEqual(plain);
    for (const { name, input } of tools) {
      const all = Object.fromEntries(Object.keys(input.shape).map((argument) => [argument, null]));
      await read(name, all).catch((error) => expect(error.message).toMatch(/ is missing: expected /));
    }
    const items = [{ id: "a", text: "b", vector: null, metadata: null }];
    expect(await read("vector-upsert", { index: "people", items })).toEqual({
      index: "people",
      items: [{ id: "a", text: "b" }],
    });
  });

  test.each([
    ["sql", { sql: "SELECT 1", max_rows: "5" }, { max_rows: 5 }],
    ["sql", { sql: "SELECT 1", max_rows: " 5.0 ", timeout_ms: "1000" }, { max_rows: 5, timeout_ms: 1000 }],
    ["catalog-list", { limit: "10", search: 2024 }, { limit: 10, search: "2024" }],
    ["ingest", { name: "a", text: "b", background: "true" }, { background: true }],
    ["ingest", { name: "a", text: "b", background: "False" }, { background: false }],
    ["vector-search", { index: "people", like_id: 7 }, { like_id: "7" }],
    ["vector-search", { index: "people", vector: "[1, 0.5]" }, { vector: [1, 0.5] }],
    ["vector-search", { index: "people", text: "a", include: "row" }, { include: ["row"] }],
    ["vector-search", { index: "people", text: "a", include: '["row","text"]' }, { include: ["row", "text"] }],
    ["vector-delete", { index: "people", ids: 7 }, { ids: ["7"] }],
    ["vector-delete", { index: "people", ids: "a,b" }, { ids: ["a,b"] }],
    ["vector-delete", { index: "people", ids: '["a", 7]' }, { ids: ["a", "7"] }],
    ["vector-delete", { index: "people", ids: "[a" }, { ids: ["[a"] }],
    ["embed", { texts: "forklift" }, { texts: ["forklift"] }],
    ["vector-index-create", { name: "a", dataset: "b", text: "c", id: "d", metadata: "e" }, { metadata: ["e"] }],
    ["vector-index-create", { name: "a", dimension: "3" }, { dimension: 3 }],
    ["sql", { sql: "SELECT $1", params: '["IL"]' }, { params: ["IL"] }],
    ["sql", { sql: "SELECT $a", params: '{"a": 1}' }, { params: { a: 1 } }],
    [
      "vector-upsert",
      { index: "a", items: '[{"id": 7, "vector": [1], "metadata": "{\\"a\\": 1}"}]' },
      { items: [{ id: "7", vector: [1], metadata: { a: 1 } }] },
    ],
    [
      "vector-upsert",
      { index: "a", items: ['{"id": "x", "text": "y"}', { id: "z", vector: "[1,2]" }] },
      {
        items: [
          { id: "x", text: "y" },
          { id: "z", vector: [1, 2] },
        ],
      },
    ],
  ])("%s %o", async (tool, args, right) => {
    expect(await read(tool, args)).toMatchObject(right);
  });

  test.each([
    ["sql", { sql: 1.5 }, "sql: expected a text of 1 to 262,144 characters, got 1.5"],
    ["sql", { sql: true }, "sql: expected a text of 1 to 262,144 characters, got true"],
    ["sql", { sql: "SELECT 1", max_rows: "many" }, 'max_rows: expected a whole number from 1 to 10,000, got "many"'],
    ["sql", { sql: "SELECT 1", max_rows: "5.5" }, "max_rows: expected a whole number from 1 to 10,000, got 5.5"],
    ["sql", { sql: "SELECT 1", max_rows: 0 }, "max_rows: expected a whole number from 1 to 10,000, got 0"],
    ["sql", { sql: "SELECT 1", max_rows: "" }, 'max_rows: expected a whole number from 1 to 10,000, got ""'],
    ["sql", { sql: "SELECT 1", params: 5 }, 'params: expected a list such as ["IL", 5] for $1'],
    ["sql", { sql: "SELECT 1", params: "IL" }, 'or an object such as {"state": "IL"} for $state'],
    ["sql", { sql: "SELECT 1", params: "[1" }, 'got "[1"'],
    ["sql", { params: [] }, "sql is missing: expected a text"],
    ["ingest", { name: "a", text: "b", background: 1 }, "background: expected true or false, got 1"],
    ["ingest", { name: "a", text: "b", background: "yes" }, 'background: expected true or false, got "yes"'],
    ["ingest", { name: "a", text: "b", mode: "upsert" }, 'mode: expected one of replace, append, create, got "upsert"'],
    ["vector-search", { index: "a", vector: [1, "x"] }, 'vector.1: expected a number, got "x"'],
    ["vector-search", { index: "a", text: "b", include: "rows" }, "include.0: expected one of row, text, vector"],
    ["vector-delete", { index: "a", ids: {} }, "ids: expected a list of 1 to 10,000 texts, got an object"],
    ["vector-delete", { index: "a", ids: ["x", null] }, "ids.1: expected a text, got null"],
    ["embed", { texts: Array(65).fill("a") }, "texts: expected a list of 1 to 64 texts, got a list of 65"],
    ["embed", { texts: [] }, "texts: expected a list of 1 to 64 texts, got a list of 0"],
    ["vector-upsert", { index: "a", items: {} }, "items: expected a list of 1 to 10,000 objects, got an object"],
    ["vector-upsert", { index: "a", items: [5] }, "items.0: expected an object, got 5"],
    ["vector-upsert", { index: "a", items: [{ id: "b", metadata: [] }] }, "items.0.metadata: expected a JSON object"],
    ["vector-upsert", { index: "a", items: [{ id: "b", metadata: "c" }] }, 'such as {"role": "driver"}'],
  ])("%s %o is refused with what came and what is allowed", async (tool, args, told) => {
    await expect(read(tool, args)).rejects.toThrow(told);
  });

  test("several wrong values are told at once, and none of them is repeated at length", async () => {
    const text = await lake.refused("sql", { sql: 1.5, max_rows: "x".repeat(1_000_000), params: 5, timeout_ms: -1 });
    for (const name of ["sql", "max_rows", "params"]) expect(text).toContain(`${name}: expected`);
    expect(text).toContain("1,000,000 characters");
    expect(text.length).toBeLessThan(1_000);
  });

  test("parameters reach a statement in every form", async () => {
    const state = "SELECT name FROM workers WHERE state = ";
    const ann = [["Ann"]];
    for (const params of [["IL"], '["IL"]', { 1: "IL" }, '{"1": "IL"}']) {
      expect((await lake.call("sql", { sql: `${state}$1`, params })).rows).toEqual(ann);
    }
    for (const params of [{ s: "IL" }, '{"s": "IL"}', { $s: "IL" }]) {
      expect((await lake.call("sql", { sql: `${state}$s`, params })).rows).toEqual(ann);
    }
    expect((await lake.call("sql", { sql: "SELECT 1", params: null })).rows).toEqual([[1]]);
    expect((await lake.call("sql", { sql: "SELECT 1", params: [] })).rows).toEqual([[1]]);
  });
});

type Arguments = Record<string, unknown>;

/** A call with wrong names, and which is meant. */
const RENAMED: [tool: string, args: Arguments, meant: Record<string, string>][] = [
  ["sql", { query: "SELECT 1" }, { query: "sql" }],
  ["sql", { statement: "SELECT 1", limit: 5 }, { statement: "sql", limit: "max_rows" }],
  ["sql", { q: "SELECT 1", rows: 5 }, { q: "sql", rows: "max_rows" }],
  ["sql", { sql: "SELECT $1", parameters: [1], maxRows: 5 }, { parameters: "params", maxRows: "max_rows" }],
  ["sql", { sql: "SELECT $1", args: [1], "max-rows": 5 }, { args: "params", "max-rows": "max_rows" }],
  ["sql", { sql: "SELECT 1", timeout: 5_000, n: 1 }, { timeout: "timeout_ms", n: "max_rows" }],
  ["sql", { SQL: "SELECT 1", timeoutMs: 5_000, top_k: 1 }, { SQL: "sql", timeoutMs: "timeout_ms", top_k: "max_rows" }],
  ["catalog-list", { query: "work" }, { query: "search" }],
  ["catalog-list", { filter: "work", max_rows: 5 }, { filter: "search", max_rows: "limit" }],
  ["catalog-describe", { table: "workers" }, { table: "name" }],
  ["catalog-describe", { dataset: "workers" }, { dataset: "name" }],
  ["vector-search", { index: "people", query: "Ann" }, { query: "text" }],
  ["vector-search", { index: "people", q: "Ann", top_k: 1 }, { q: "text", top_k: "k" }],
  ["vector-search", { name: "people", text: "Ann", limit: 1 }, { name: "index", limit: "k" }],
  ["vector-search", { index: "people", text: "Ann", filter: "state = 'IL'" }, { filter: "where" }],
  ["vector-search", { index: "points", embedding: [1, 0], n: 1 }, { embedding: "vector", n: "k" }],
  ["vector-search", { index: "points", likeId: "1", "top-k": 1 }, { likeId: "like_id", "top-k": "k" }],
  ["vector-delete", { index: "points", id: "nobody" }, { id: "ids" }],
  ["vector-upsert", { index: "points", vectors: [{ id: "1", vector: [1, 0] }] }, { vectors: "items" }],
  [
    "vector-upsert",
    { collection: "points", documents: [{ id: "1", vector: [1, 0] }] },
    { collection: "index", documents: "items" },
  ],
  ["embed", { input: ["Ann"] }, { input: "texts" }],
  ["embed", { text: "Ann", type: "query" }, { text: "texts", type: "kind" }],
  ["ingest", { table: "other", data: "a\n1\n" }, { table: "name", data: "text" }],
  ["ingest", { dataset: "other", content: "a\n1\n" }, { dataset: "name", content: "text" }],
  ["ingest", { name: "other", query: "SELECT 1 AS a" }, { query: "sql" }],
  ["ingest", { name: "other", file: "other.csv" }, { file: "path" }],
  ["ingest", { name: "other", filename: "other.csv" }, { filename: "path" }],
  ["ingest", { name: "other", url: "other.csv" }, { url: "path" }],
  ["ingest", { name: "other", text: "a\n1\n", onBadRows: "skip" }, { onBadRows: "on_bad_rows" }],
  [
    "vector-index-create",
    { name: "more", table: "workers", column: "name", id_column: "id" },
    { table: "dataset", column: "text", id_column: "id" },
  ],
];

describe("an argument by another name", () => {
  test.each(RENAMED)("%s %o", async (tool, args, meant) => {
    await lake.file("other.csv", "a\n1\n");
    const text = await lake.refused(tool, args);
    const told = Object.fromEntries(
      [...text.matchAll(/use (\w+) instead of ([\w-]+)/g)].map(([, right, wrong]) => [wrong, right]),
    );
    expect(told).toEqual(meant);
    expect(text).not.toMatch(/remove|leave .* out/i);
    const repaired = Object.entries(args).map(([name, value]) => [told[name] ?? name, value]);
    const result = await lake.raw(tool, Object.fromEntries(repaired));
    expect(result.isError, textOf(result)).toBeFalsy();
  });

  test("one that is given too is not told to be another", async () => {
    const both = await lake.refused("vector-search", { index: "people", text: "Ann", query: "Bob" });
    expect(both).toContain("use text instead of query, which is given too: keep one of them");
    const ingest = await lake.refused("ingest", { name: "other", sql: "SELECT 1", query: "SELECT 2" });
    expect(ingest).toContain("use sql instead of query, which is given too");
  });

  test("what is like none is told with all there are, in few words", async () => {
    const many = Object.fromEntries(Array.from({ length: 900 }, (_, at) => [`zz${at}${"x".repeat(1_000)}`, at]));
    const text = await lake.refused("sql", { sql: "SELECT 1", ...many });
    expect(text).toContain("there is nothing like zz0xx");
    expect(text).toContain("sql, params, max_rows, timeout_ms");
    expect(text.length).toBeLessThan(1_500);
  });

  test("in an item, too", async () => {
    const items = [{ id: "1", embedding: [1, 0], payload: { a: 1 } }];
    const text = await lake.refused("vector-upsert", { index: "points", items });
    expect(text).toContain('items.0: unknown arguments "embedding", "payload"');
    expect(text).toContain("use vector instead of embedding; use metadata instead of payload");
  });
});
