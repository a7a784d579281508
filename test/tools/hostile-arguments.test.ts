import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { tools } from "../../src/tools/index.ts";
import { type Lake, openLake, textOf } from "../support/lake.ts";

let lake: Lake;
beforeAll(async () => {
  lake = await openLake();
  await lake.call("ingest", { name: "workers", text: "id,name\n1,Ann\n2,Bob\n" });
});
afterAll(async () => {
  await lake[Symbol.asyncDispose]();
});

const VALID: Record<string, Record<string, unknown>> = {
  ingest: { name: "other", text: "a\n1\n" },
  sql: { sql: "SELECT 1" },
  "catalog-list": {},
  "catalog-describe": { name: "workers" },
  "dataset-drop": { name: "workers" },
  embed: { texts: ["forklift driver"] },
  "vector-index-create": { name: "notes", dataset: "workers", text: "name", id: "id" },
  "vector-upsert": { index: "workers", items: [{ id: "a", text: "forklift driver" }] },
  "vector-delete": { index: "workers", ids: ["a"] },
  "vector-search": { index: "workers", text: "forklift driver" },
  "job-status": { job_id: "01900000-0000-7000-8000-000000000000" },
  "job-cancel": { job_id: "01900000-0000-7000-8000-000000000000" },
};

/** Wrong for every argument of every tool. */
const WRONG_TYPES: [string, unknown][] = [
  ["an object where none belongs", { a: { b: 1 } }],
  ["true", true],
  ["a list of lists", [[[]]]],
];

const HOSTILE_NAMES = [
  "",
  "..",
  "../../etc/passwd",
  "workers\u0000",
  "workers; DROP TABLE workers",
  "wörkers",
  'workers"--',
  "WORKERS",
  "-workers",
  "_",
  "a".repeat(64),
  "a".repeat(1_000_000),
  "workers@",
  "workers@-1",
  "workers@99999999999999999999",
  "__proto__",
  "con/stdin",
  "\u202Esrekrow",
];

async function refusedNaming(tool: string, args: Record<string, unknown>, argument: string): Promise<void> {
  const result = await lake.raw(tool, args);
  const text = textOf(result);
  expect(result.isError, `${tool} accepted ${JSON.stringify(args).slice(0, 200)}: ${text.slice(0, 200)}`).toBe(true);
  expect(text).toContain(argument);
  expect(text).not.toMatch(/^internal/);
  expect(text).not.toContain(lake.folder);
  expect(text).not.toMatch(/\n\s+at /);
  expect(text.length).toBeLessThan(2_000);
  // The server has survived, and nothing has changed.
  const { datasets } = await lake.call<{ datasets: { name: string; version: number }[] }>("catalog-list");
  expect(datasets.map(({ name, version }) => [name, version])).toEqual([["workers", 1]]);
}

describe.each(tools.map((tool) => [tool.name, tool] as const))("%s", (name, tool) => {
  const valid = VALID[name] ?? {};
  const properties = Object.keys(tool.input.shape);

  test.each(properties)("refuses wrong types of %s and names it", async (property) => {
    for (const [, wrong] of WRONG_TYPES) {
      if (property === "params" && !(wrong === true)) continue;
      if (/^(background|all|header)$/.test(property) && wrong === true) continue;
      await refusedNaming(name, { ...valid, [property]: wrong }, property);
    }
  });

  test("refuses an unknown argument, names it and lists the valid ones", async () => {
    await refusedNaming(name, { ...valid, surprise: 1 }, "surprise");
    const text = await lake.refused(name, { ...valid, surprise: 1 });
    for (const property of properties) expect(text).toContain(property);
    await refusedNaming(name, JSON.parse(`{"__proto__x": 1}`), "__proto__x");
  });

  test("refuses what is missing", async () => {
    const required = properties.filter((property) => !tool.input.shape[property]?.safeParse(undefined).success);
    for (const property of required) {
      const { [property]: _, ...rest } = valid;
      await refusedNaming(name, rest, property);
    }
  });
});

test.each([
  ["ingest", "name"],
  ["catalog-describe", "name"],
  ["dataset-drop", "name"],
  ["vector-index-create", "name"],
  ["vector-index-create", "dataset"],
  ["vector-upsert", "index"],
  ["vector-delete", "index"],
  ["vector-search", "index"],
])("%s refuses every hostile %s", async (tool, argument) => {
  for (const hostile of HOSTILE_NAMES) {
    const result = await lake.raw(tool, { ...VALID[tool], [argument]: hostile });
    const text = textOf(result);
    expect(result.isError, `${tool} accepted ${JSON.stringify(hostile.slice(0, 80))}: ${text.slice(0, 200)}`).toBe(
      true,
    );
    expect(text).not.toMatch(/^internal/);
    expect(text.length).toBeLessThan(2_000);
    expect(text).not.toContain(lake.folder);
  }
  expect((await lake.call("sql", { sql: "SELECT count(*) FROM workers" })).rows).toEqual([[2]]);
});

test.each([
  ["sql", { sql: "" }, "sql"],
  ["sql", { query: "SELECT 1" }, "use sql instead of query"],
  ["sql", { sql: "SELECT 1", max_rows: 0 }, "max_rows"],
  ["sql", { sql: "SELECT 1", max_rows: 10_001 }, "max_rows"],
  ["sql", { sql: "SELECT 1", max_rows: 1.5 }, "max_rows"],
  ["sql", { sql: "SELECT 1", timeout_ms: -1 }, "timeout_ms"],
  ["sql", { sql: "SELECT 1", timeout_ms: 1e12 }, "timeout_ms"],
  ["sql", { sql: "x".repeat(262_145) }, "sql"],
  ["catalog-list", { limit: 0 }, "limit"],
  ["catalog-list", { limit: 1e9 }, "limit"],
  ["catalog-list", { cursor: "garbage" }, "cursor"],
  ["catalog-list", { kind: "tables" }, "kind"],
  ["embed", { texts: [] }, "texts"],
  ["embed", { texts: "" }, "texts[0]"],
  ["embed", { texts: ["fine", ""] }, "texts[1]"],
  ["embed", { texts: ["fine", " \n"] }, "texts[1]"],
  ["embed", { texts: ["fine", 7.5] }, "texts.1"],
  ["embed", { texts: ["fine", null] }, "texts.1"],
  ["embed", { texts: ["x".repeat(32_769)] }, "texts[0]"],
  ["embed", { texts: new Array(65).fill("x") }, "texts"],
  ["embed", { texts: ["x"], kind: "passage" }, "kind"],
  ["embed", { texts: ["x"], model: "" }, "model"],
  ["embed", { texts: ["x"], model: "x; rm -rf /" }, "model"],
  ["embed", { texts: ["x"], model: "nomic-embed-text" }, "embed_provider"],
  ["embed", { texts: ["x"], url: "http://169.254.169.254" }, "url"],
  ["vector-index-create", { name: "notes", dataset: "workers", id: "id" }, "text"],
  ["vector-index-create", { name: "notes", dataset: "workers", text: "name" }, "id"],
  ["vector-index-create", { name: "notes", dataset: "nobody", text: "name", id: "id" }, "nobody"],
  ["vector-index-create", { name: "notes", dataset: "workers", text: "nme", id: "id" }, "name"],
  ["vector-index-create", { name: "notes", dataset: "workers", text: "{nme} {id}", id: "id" }, "nme"],
  ["vector-index-create", { name: "notes", dataset: "workers", text: "name", id: "worker_id" }, "worker_id"],
  ["vector-index-create", { name: "notes", dataset: "workers", text: "name", id: "id", where: "1=1; DROP" }, "where"],
  ["vector-index-create", { name: "notes", dataset: "workers", text: "name", id: "id", metadata: ["x"] }, "x"],
  ["vector-index-create", { name: "notes", text: "name" }, "text is given without dataset"],
  ["vector-index-create", { name: "notes", dimension: 3, metadata: ["a"] }, "metadata is given without dataset"],
  ["vector-index-create", { name: "notes", dimension: 0 }, "dimension"],
  ["vector-index-create", { name: "notes", dimension: 8_193 }, "dimension"],
  ["vector-index-create", { name: "notes", dimension: 3, metric: "euclid" }, "metric"],
  ["vector-index-create", { name: "notes", model: "x; rm -rf /" }, "model"],
  ["vector-index-create", { name: "workers", dimension: 3 }, "workers"],
  ["vector-upsert", { index: "workers", items: [] }, "items"],
  ["vector-upsert", { index: "workers", items: new Array(10_001).fill({ id: "a", vector: [1] }) }, "items"],
  ["vector-upsert", { index: "workers", items: [{ id: "a", vector: [1, "2"] }] }, "items.0.vector.1"],
  ["vector-upsert", { index: "workers", items: [{ id: "a", vector: [1, null] }] }, "items.0.vector.1"],
  ["vector-upsert", { index: "workers", items: [{ id: "a", vector: {} }] }, "items.0.vector"],
  [
    "vector-upsert",
    { index: "workers", items: [{ id: "a", vektor: [1] }] },
    'items.0: unknown argument "vektor": use vector',
  ],
  ["vector-upsert", { index: "workers", items: [{ id: "a", ["x".repeat(1_000_000)]: [1] }] }, "items.0"],
  ["vector-upsert", { index: "workers", items: [{ id: 7.5, vector: [1] }] }, "items.0.id"],
  ["vector-upsert", { index: "workers", items: [{ id: "a", text: "b", metadata: [] }] }, "items.0.metadata"],
  ["vector-upsert", { index: "workers", items: [{ id: "a", text: "b" }] }, "workers"],
  ["vector-upsert", { index: "nobody", items: [{ id: "a", text: "b" }] }, "nobody"],
  ["vector-delete", { index: "workers" }, "either ids or all"],
  ["vector-delete", { index: "workers", ids: ["a"], all: true }, "either ids or all"],
  ["vector-delete", { index: "workers", all: false }, "either ids or all"],
  ["vector-delete", { index: "workers", all: "maybe" }, "all"],
  ["vector-delete", { index: "workers", ids: [] }, "ids"],
  ["vector-delete", { index: "workers", ids: [1.5] }, "ids.0"],
  ["vector-delete", { index: "workers", all: true }, "workers"],
  ["vector-search", { index: "workers" }, "exactly one of text, vector and like_id"],
  ["vector-search", { index: "workers", text: "a", like_id: "b" }, "exactly one of text, vector and like_id"],
  ["vector-search", { index: "workers", text: "a" }, "workers"],
  ["vector-search", { index: "nobody", text: "a" }, "nobody"],
  ["vector-search", { index: "workers", text: "" }, "text"],
  ["vector-search", { index: "workers", text: "x".repeat(32_769) }, "text"],
  ["vector-search", { index: "workers", text: "\ud800" }, "text"],
  ["vector-search", { index: "workers", vector: [1, "2"] }, "vector.1"],
  ["vector-search", { index: "workers", text: "a", k: 0 }, "k"],
  ["vector-search", { index: "workers", text: "a", k: 10_001 }, "k"],
  ["vector-search", { index: "workers", text: "a", k: 1.5 }, "k"],
  ["vector-search", { index: "workers", text: "a", ef: 0 }, "ef"],
  ["vector-search", { index: "workers", text: "a", include: ["rows"] }, "include.0"],
  ["vector-search", { index: "workers", text: "a", k: 101, include: ["vector"] }, "k is 101"],
  ["vector-search", { index: "workers", text: "a", k: 1_001, include: ["row"] }, "k is 1,001"],
  ["vector-search", { index: "workers", text: "a", k: 1_001, include: ["text"] }, "k is 1,001"],
  ["ingest", { name: "other" }, "path"],
  ["ingest", { name: "other", text: "a\n1\n", sql: "SELECT 1" }, "exactly one"],
  ["ingest", { name: "other", text: "a\n1\n", mode: "upsert" }, "mode"],
  ["ingest", { name: "other", text: "a\n1\n", format: "xlsx" }, "format"],
  ["ingest", { name: "other", text: "" }, "text"],
  ["ingest", { name: "other", sql: "SELECT '\ud800' AS a" }, "sql"],
  ["ingest", { name: "other", text: "__duckdb_field_id,b\n1,2\n" }, "__duckdb_field_id"],
])("%s %o is refused", async (tool, args, argument) => {
  await refusedNaming(tool, args, argument);
});

test("a tool that does not exist is refused and the next call is answered", async () => {
  await expect(lake.client.callTool({ name: "query", arguments: {} })).rejects.toThrow(/query/);
  expect((await lake.call("sql", { sql: "SELECT 42" })).rows).toEqual([[42]]);
});
