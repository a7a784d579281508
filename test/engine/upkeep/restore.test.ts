import { expect, test } from "vitest";
import { openLake } from "../../support/lake.ts";

const byText = (a: string, b: string): number => (a < b ? -1 : 1);
const rows = async (lake: Awaited<ReturnType<typeof openLake>>, sql: string) => (await lake.engine.query(sql)).rows;

test("an old version becomes the newest, with its rows, columns and field ids, and no file is copied", async () => {
  await using lake = await openLake();
  const { engine } = lake;
  await engine.ingest({ name: "workers", source: { text: "id,name\n1,Ada\n" } });
  await engine.ingest({ name: "workers", source: { text: "id,name\n2,Bo\n" }, mode: "append" });
  await engine.ingest({ name: "workers", source: { text: "id,pay\n3,4.5\n" }, schemaChange: "allow" });

  expect(await engine.restore("workers@2")).toEqual({
    name: "workers",
    kind: "table",
    version: 4,
    from: 2,
    rows: 2,
    unchanged: false,
  });
  expect(await rows(lake, "FROM workers ORDER BY id")).toEqual([
    [1, "Ada"],
    [2, "Bo"],
  ]);
  const { manifest: old } = await engine.describe("workers@2");
  const { manifest } = await engine.describe("workers");
  expect(manifest).toMatchObject({ columns: old.columns, files: old.files, createdAt: old.createdAt });
  expect(manifest.lastColumnId).toBe(3);
  expect(manifest.provenance).toMatchObject({ operation: "restore", source: "workers@2", options: { version: 2 } });
  // The column that went gets no id of another when the schema changes again.
  const again = await engine.ingest({
    name: "workers",
    source: { text: "id,name,x\n1,Ada,1\n" },
    schemaChange: "allow",
  });
  expect(again.version).toBe(5);
  expect((await engine.describe("workers")).manifest.columns.map(({ id }) => id)).toEqual([1, 2, 4]);
});

test("the version that is the newest already, and a repeated restore, change nothing", async () => {
  await using lake = await openLake();
  const { engine } = lake;
  for (const value of [1, 2]) await engine.ingest({ name: "t", source: { text: `a\n${value}\n` } });
  expect(await engine.restore("t@2")).toMatchObject({ version: 2, unchanged: true });
  expect(await engine.restore("t@1")).toMatchObject({ version: 3, unchanged: false });
  expect(await engine.restore("t@1")).toMatchObject({ version: 3, unchanged: true });
});

test("the source of a restored append is not taken for the whole: ingesting it again replaces", async () => {
  await using lake = await openLake();
  const { engine } = lake;
  await engine.ingest({ name: "t", source: { text: "a\n1\n" } });
  await engine.ingest({ name: "t", source: { text: "a\n2\n" }, mode: "append" });
  await engine.ingest({ name: "t", source: { text: "a\n3\n" } });
  await engine.restore("t@2");
  const { unchanged } = await engine.ingest({ name: "t", source: { text: "a\n2\n" } });
  expect(unchanged).toBe(false);
  expect(await rows(lake, "FROM t")).toEqual([[2]]);
});

test("a dropped dataset comes back and goes on counting", async () => {
  await using lake = await openLake();
  const { engine } = lake;
  await engine.ingest({ name: "t", source: { text: "a\n1\n" } });
  await engine.drop("t");
  await expect(engine.restore("t@2")).rejects.toMatchObject({ kind: "not_found" });
  expect(await engine.restore("t@1")).toMatchObject({ version: 3, rows: 1 });
  expect(await rows(lake, "FROM t")).toEqual([[1]]);
  expect((await engine.list()).datasets.map(({ name }) => name)).toEqual(["t"]);
});

test("an index comes back, changed, dropped or made anew with another dimension", async () => {
  await using lake = await openLake();
  const { engine } = lake;
  const ids = async (): Promise<string[]> => {
    const { hits } = await engine.search({ index: "v", vector: [1, 0], k: 10 });
    return hits.map(({ id }) => id).toSorted(byText);
  };
  await engine.createIndex({ name: "v", dimension: 2 });
  await engine.upsert("v", [
    { id: "a", vector: [1, 0] },
    { id: "b", vector: [0, 1] },
  ]);
  expect(await ids()).toEqual(["a", "b"]);
  await engine.deleteItems({ index: "v", ids: ["a"] });
  await engine.upsert("v", [{ id: "c", vector: [1, 1] }]);
  expect(await ids()).toEqual(["b", "c"]);

  expect(await engine.restore("v@2")).toMatchObject({ kind: "vectors", from: 2, rows: 2 });
  expect(await ids()).toEqual(["a", "b"]);
  await engine.upsert("v", [{ id: "d", vector: [1, 1] }]);
  expect(await ids()).toEqual(["a", "b", "d"]);

  await engine.deleteItems({ index: "v", all: true });
  await engine.restore("v@2");
  expect(await ids()).toEqual(["a", "b"]);

  await engine.deleteItems({ index: "v", all: true });
  await engine.createIndex({ name: "v", dimension: 3 });
  await engine.upsert("v", [{ id: "x", vector: [1, 0, 0] }]);
  await engine.restore("v@2");
  expect(await ids()).toEqual(["a", "b"]);
  expect(await rows(lake, "SELECT id FROM v ORDER BY id")).toEqual([["a"], ["b"]]);
});

test("what cannot be restored says why", async () => {
  await using lake = await openLake();
  const { engine } = lake;
  await engine.ingest({ name: "t", source: { text: "a\n1\n" } });
  await engine.ingest({ name: "t", source: { text: "a\n2\n" } });
  for (const [reference, kind, message] of [
    ["t", "invalid", "names no version"],
    ["t@0", "invalid", "does not name a version"],
    ["t@9", "not_found", "has no version 9"],
    ["tt@1", "not_found", "Did you mean t?"],
    ["../t@1", "invalid", "is not a dataset name"],
    ["", "invalid", "names no version"],
  ] as const) {
    await expect(engine.restore(reference), reference).rejects.toMatchObject({
      kind,
      message: expect.stringContaining(message),
    });
  }
  await engine.drop("t");
  await engine.createIndex({ name: "t", dimension: 2 });
  await expect(engine.restore("t@1")).rejects.toMatchObject({
    kind: "conflict",
    message: "t is a vector index now, and was a table at version 1.",
  });
});

test("of many restores at once each is a version or finds its work done", async () => {
  await using lake = await openLake();
  const { engine } = lake;
  for (const value of [1, 2, 3]) await engine.ingest({ name: "t", source: { text: `a\n${value}\n` } });
  const done = await Promise.all([1, 2, 1, 2, 1, 2].map((version) => engine.restore(`t@${version}`)));
  const made = done.filter(({ unchanged }) => !unchanged).map(({ version }) => version);
  expect(new Set(made).size).toBe(made.length);
  expect((await engine.describe("t")).versionsTotal).toBe(3 + made.length);
});
