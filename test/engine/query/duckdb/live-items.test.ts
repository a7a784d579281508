import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { columnStats, summary } from "../../../../src/engine/catalog/browse.ts";
import type { Manifest } from "../../../../src/engine/catalog/types.ts";
import { liveItems } from "../../../../src/engine/query/duckdb/live-items.ts";
import { type IndexLake, openIndexLake } from "../index-lake.ts";

let indexes: IndexLake;
let manifest: Manifest;
beforeAll(async () => {
  indexes = await openIndexLake();
  const base = ["a", "b", "c", "d"].map((id, n) => ({
    id,
    vector: [1, n, 0],
    text: `base ${id}`,
    metadata: { role: n % 2 === 0 ? "welder" : "driver" },
  }));
  await indexes.segment("items", base.slice(0, 2), 1);
  await indexes.segment("items", base.slice(2), 2);
  const change = [{ id: "b", vector: [0, 0, 1], text: "changed b", metadata: { role: "cook" } }, { id: "c" }];
  await indexes.segment("items", change, 2);
  await indexes.segment("items", [{ id: "b" }, { id: "e", vector: [0, 1, 0] }], 2);
  // The same bytes as the third file: the manifest names that file twice.
  manifest = await indexes.segment("items", change, 2);
});
afterAll(() => indexes[Symbol.asyncDispose]());

const rows = async (sql: string): Promise<unknown[][]> => (await indexes.query.query(sql)).rows;

describe("an index is a table of its live items", () => {
  test("of every id the last file decides, also when two versions of it are in the same file", async () => {
    expect(manifest.files[4]?.key).toBe(manifest.files[2]?.key);
    expect(await rows("SELECT id, text, metadata->>'role' FROM items ORDER BY id")).toEqual([
      ["a", "base a", "welder"],
      ["b", "changed b", "cook"],
      ["d", "base d", "driver"],
      ["e", null, null],
    ]);
  });

  test("of every version", async () => {
    for (const [version, ids] of [
      [1, ["a", "b"]],
      [2, ["a", "b", "c", "d"]],
      [3, ["a", "b", "d"]],
      [4, ["a", "d", "e"]],
      [5, ["a", "b", "d", "e"]],
    ] as const) {
      const result = await indexes.query.query(`SELECT id FROM "items@${version}" ORDER BY id`);
      expect(result.rows.flat(), `version ${version}`).toEqual(ids);
      expect(result.datasets).toEqual([`items@${version}`]);
    }
  });

  test("with vectors that DuckDB compares", async () => {
    const nearest = `SELECT id, round(array_cosine_distance(vector, [0.0, 0.1, 1.0]::FLOAT[3]), 3) AS distance
      FROM items ORDER BY distance LIMIT 2`;
    expect(await rows(nearest)).toEqual([
      ["b", 0.005],
      ["e", 0.9],
    ]);
    expect(await rows("SELECT vector FROM items WHERE id = 'e'")).toEqual([[[0, 1, 0]]]);
  });

  test("with conditions on id, which are about the last change and not an earlier one", async () => {
    expect(await rows("SELECT text FROM items WHERE id = 'b'")).toEqual([["changed b"]]);
    expect(await rows("SELECT text FROM \"items@4\" WHERE id = 'b'")).toEqual([]);
    expect(await rows("SELECT id FROM items WHERE text LIKE 'base%' ORDER BY 1")).toEqual([["a"], ["d"]]);
    expect(await rows("SELECT id FROM items WHERE id IN ('a', 'c', 'e') ORDER BY 1")).toEqual([["a"], ["e"]]);
  });

  test("with the columns of the manifest, and no others", async () => {
    expect((await rows("DESCRIBE items")).map(([name, type]) => [name, type])).toEqual([
      ["id", "VARCHAR"],
      ["vector", "FLOAT[3]"],
      ["text", "VARCHAR"],
      ["metadata", "JSON"],
    ]);
    await expect(rows("SELECT deleted FROM items")).rejects.toMatchObject({ kind: "invalid" });
    await expect(rows("SELECT file_index FROM items")).rejects.toMatchObject({ kind: "invalid" });
  });

  test("that is counted without counting", async () => {
    expect(manifest.rows).toBe(10);
    expect(await rows("SELECT count(*) FROM items")).toEqual([[4]]);
    expect(await indexes.query.query("FROM items", { maxRows: 1 })).toMatchObject({ total_rows: 4, truncated: true });
    expect(await rows("SELECT kind, rows FROM lakehouse_datasets")).toEqual([["vectors", 4]]);
    expect(await rows("SELECT version, rows FROM lakehouse_versions ORDER BY 1")).toEqual([
      [1, 2],
      [2, 4],
      [3, 3],
      [4, 3],
      [5, 4],
    ]);
    expect(summary(manifest)).toMatchObject({ kind: "vectors", rows: 4 });
  });

  test("whose statistics are about items, not about rows of the files", () => {
    expect(columnStats(manifest)).toMatchObject({
      id: { min: "a", max: "z", nulls: 0 },
      vector: { min: null, max: null, nulls: 0 },
      text: { nulls: 4 },
    });
  });

  test("that is empty when all of it is deleted, and refills", async () => {
    await indexes.segment("emptied", [{ id: "a", vector: [1, 0, 0] }], 0);
    await indexes.segment("emptied", [{ id: "a" }], 0);
    expect(await rows("SELECT * FROM emptied")).toEqual([]);
    expect(await rows("SELECT count(*) FROM emptied")).toEqual([[0]]);
    await indexes.segment("emptied", [{ id: "a", vector: [0, 1, 0] }], 0);
    expect(await rows("SELECT id, vector FROM emptied")).toEqual([["a", [0, 1, 0]]]);
  });

  test("that may have no file at all", async () => {
    await indexes.lake.catalog.commit("bare", () => ({
      kind: "vectors",
      dropped: false,
      columns: manifest.columns,
      files: [],
      index: { dimension: 3, metric: "cosine", model: null, count: 0, baseFiles: 0, source: null },
      provenance: { operation: "create", source: "test", sourceHash: "", options: {} },
    }));
    expect(await rows("FROM bare")).toEqual([]);
    expect(await rows("SELECT array_cosine_distance(vector, [1, 0, 0]::FLOAT[3]) FROM bare")).toEqual([]);
  });
});

describe("a statement over an index reads no more than it has to", () => {
  /** What the plan says of every scan of a Parquet file. */
  const scans = async (sql: string): Promise<string[]> => {
    const [plan] = await rows(`EXPLAIN (FORMAT JSON) ${sql}`);
    const found: string[] = [];
    const todo: unknown[] = [JSON.parse(String(plan?.[1]))];
    for (let node = todo.pop(); node !== undefined; node = todo.pop()) {
      if (Array.isArray(node)) todo.push(...node);
      else if (typeof node === "object" && node !== null) {
        const { name, extra_info, children } = node as Record<string, unknown>;
        if (String(name).trim() === "READ_PARQUET") found.push(JSON.stringify(extra_info));
        todo.push(children ?? []);
      }
    }
    return found;
  };

  test("vectors are read only where they are asked for", async () => {
    const plain = await scans("SELECT id, metadata->>'role' FROM items");
    expect(plain.length).toBeGreaterThanOrEqual(3);
    for (const scan of plain) expect(scan).not.toContain("vector");
    expect((await scans("SELECT id, vector FROM items")).some((scan) => scan.includes("vector"))).toBe(true);
    for (const scan of await scans("SELECT count(*) FROM items")) expect(scan).not.toMatch(/vector|metadata/);
  });

  test("a condition on id reaches the files", async () => {
    const filtered = (await scans("SELECT text FROM items WHERE id = 'b'")).filter((scan) => scan.includes("id='b'"));
    expect(filtered.length).toBeGreaterThanOrEqual(2);
  });
});

test("more columns than the table's can be asked for by who knows the files", async () => {
  const paths: string[] = [];
  for (const { key } of manifest.files) paths.push(await indexes.lake.store.localPath(key));
  const connection = await indexes.lake.bare.connect();
  const found = await connection.rows(`${liveItems(manifest, paths, ["from_dataset", "id"])} ORDER BY id`);
  connection.close();
  expect(found).toEqual(["a", "b", "d", "e"].map((id) => ({ from_dataset: false, id })));
});
