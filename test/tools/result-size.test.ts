import { afterAll, beforeAll, expect, test } from "vitest";
import { type Lake, openLake, textOf } from "../support/lake.ts";

const MAX_BYTES = 28 * 1024;
/** Beside rows: columns, numbers, the names of versions, and what to do next. */
const AROUND = 1_500;

let lake: Lake;
beforeAll(async () => {
  lake = await openLake({ settings: { maxResultBytes: MAX_BYTES } });
});
afterAll(async () => {
  await lake[Symbol.asyncDispose]();
});

async function sized(tool: string, args: Record<string, unknown>) {
  const result = await lake.raw(tool, args);
  const text = textOf(result);
  expect(result.isError, text).toBeFalsy();
  expect(Buffer.byteLength(text)).toBeLessThan(MAX_BYTES + AROUND);
  return { text, structured: result.structuredContent as Record<string, unknown> };
}

test.each([
  ["digits", "SELECT range % 10 a, range % 7 b, range % 3 c FROM range(10000)"],
  ["doubles", "SELECT random() a, random() b FROM range(9000)"],
  ["hashes", "SELECT md5(range::VARCHAR) a, uuid() b FROM range(9000)"],
  ["nothing", "SELECT NULL a, NULL b, true c FROM range(10000)"],
  ["what is escaped", "SELECT chr(173) || '|' a, chr(8203) b FROM range(10000)"],
  ["lists and objects", "SELECT [range, range] a, {'b': range} b FROM range(9000)"],
  ["other scripts", "SELECT '仕事を探しています' || range a FROM range(9000)"],
])("rows of %s are bounded as text and as JSON, and go on from there", async (_, sql) => {
  const { text, structured } = await sized("sql", { sql, max_rows: 10_000 });
  expect(Buffer.byteLength(JSON.stringify(structured))).toBeLessThan(MAX_BYTES + AROUND);
  const { rows, row_count, truncated, truncated_by } = structured as {
    rows: unknown[];
    row_count: number;
  } & typeof structured;
  expect({ truncated, truncated_by }).toEqual({ truncated: true, truncated_by: "max_bytes" });
  expect(rows).toHaveLength(row_count);
  expect(text).toContain("Cut by size (max_result_bytes)");
  expect(text).toContain(`OFFSET ${row_count}`);
  const lines = text.split("\n").filter((line) => line.includes(" | ") || /^\S+$/.test(line));
  expect(lines.length).toBeGreaterThanOrEqual(row_count);
});

test("text and JSON have the same rows, and their number is known where it was", async () => {
  await lake.call("ingest", { name: "odd", sql: "SELECT range AS n, chr(173) || chr(173) AS s FROM range(2000)" });
  const { text, structured } = await sized("sql", { sql: "SELECT n, s FROM odd ORDER BY n", max_rows: 10_000 });
  const shown = [...text.matchAll(/^(\d+) \| /gm)].map(([, n]) => Number(n));
  expect(shown).toEqual((structured.rows as [number, string][]).map(([n]) => n));
  expect(structured).toMatchObject({ truncated_by: "max_bytes", total_rows: 2_000, row_count: shown.length });
  const next = { sql: `SELECT n, s FROM odd ORDER BY n OFFSET ${shown.length}`, max_rows: 1 };
  expect((await lake.call("sql", next)).rows).toMatchObject([[shown.length, "\u00ad\u00ad"]]);
});

test("a row whose text alone is too large is refused with what to do", async () => {
  const text = await lake.refused("sql", { sql: "SELECT repeat(chr(173), 12000)" });
  expect(text).toMatch(/^limit: .*28\.0 KiB/);
  expect(text).toContain("left(column, 1000)");
});

test("hits are cut by size, in text and JSON, and say so", async () => {
  await lake.call("vector-index-create", { name: "points", dimension: 400 });
  const vector = (at: number) => Array.from({ length: 400 }, (_, index) => Math.sin(at + index));
  const items = Array.from({ length: 100 }, (_, at) => ({
    id: `p${at}`,
    vector: vector(at),
    metadata: { note: "x".repeat(1_000) },
  }));
  await lake.call("vector-upsert", { index: "points", items });
  const { text, structured } = await sized("vector-search", { index: "points", like_id: "p1", k: 50 });
  const { hits } = structured as { hits: { id: string }[] };
  expect(hits.length).toBeGreaterThan(10);
  expect(hits.length).toBeLessThan(30);
  expect(structured.truncated).toBe(true);
  expect(text).toContain(`after ${hits.length} of 50 hits`);
  expect([...text.matchAll(/^(p\d+) \| /gm)].map(([, id]) => id)).toEqual(hits.map(({ id }) => id));

  const few = await sized("vector-search", { index: "points", like_id: "p1", k: 3, include: ["vector"] });
  expect(few.text).toContain("base64 of little-endian float32");
  const many = await sized("vector-search", { index: "points", like_id: "p1", k: 20, include: ["vector"] });
  expect(many.text).toContain("The vectors are in the structured content");
  expect((many.structured.hits as { vector: number[] }[])[19]?.vector).toHaveLength(400);

  const deleted = await sized("vector-delete", {
    index: "points",
    ids: Array.from({ length: 9_000 }, (_, at) => `nobody-${at}`),
  });
  expect(Buffer.byteLength(JSON.stringify(deleted.structured))).toBeLessThan(MAX_BYTES + AROUND);
  expect(deleted.structured).toMatchObject({ missing_total: 9_000 });
  expect(deleted.text).toContain("Not there: 9,000 ids, the first 100 of them");
});

test("a list of datasets is cut into pages by size, too", async () => {
  await using small = await openLake({ data: "memory", settings: { maxResultBytes: 1_000 } });
  const names = Array.from({ length: 9 }, (_, at) => `dataset_with_a_long_name_${at}`);
  for (const name of names) await small.call("ingest", { name, text: "a\n1\n" });
  const seen: string[] = [];
  let cursor: string | undefined;
  do {
    const page = await small.call<{ datasets: { name: string }[]; next_cursor?: string }>("catalog-list", { cursor });
    expect(JSON.stringify(page.datasets).length).toBeLessThan(1_050);
    seen.push(...page.datasets.map(({ name }) => name));
    cursor = page.next_cursor;
  } while (cursor !== undefined);
  expect(seen).toEqual(names);
});

test("a wide dataset goes on in another call", { tags: ["slow"] }, async () => {
  const columns = Array.from({ length: 2_000 }, (_, at) => `${at} AS column_${at}`).join();
  await lake.call("ingest", { name: "wide", sql: `SELECT ${columns}` });
  const { text, structured } = await sized("catalog-describe", { name: "wide" });
  const { columns: shown } = structured as { columns: { name: string }[] };
  expect(structured.columns_total).toBe(2_000);
  expect(Buffer.byteLength(JSON.stringify(structured))).toBeLessThan(MAX_BYTES + 2 * AROUND);
  const [, sql = ""] = /and \d+ more: (SELECT .*)$/m.exec(text) ?? [];
  const rest = await lake.call("sql", { sql, max_rows: 1 });
  expect((rest.rows as unknown[][])[0]?.[0]).toBe(`column_${shown.length}`);
});

test("vectors that do not fit into text are in the structured content", async () => {
  const texts = Array.from({ length: 64 }, (_, at) => `text ${at}`);
  const { text, structured } = await sized("embed", { texts });
  expect(text).toContain("in the structured content");
  expect(structured.vectors).toHaveLength(64);
  expect((await sized("embed", { texts: texts.slice(0, 2) })).text).toContain("base64");
});

test("an ingest of thousands of columns tells of the first, and of how many there are", {
  tags: ["slow"],
}, async () => {
  const header = Array.from({ length: 3_000 }, (_, at) => `column_${at}`).join(",");
  const codes = Array.from({ length: 3_000 }, (_, at) => `00${at}`).join(",");
  const { text, structured } = await sized("ingest", { name: "columns", text: `${header}\n${codes}\n${codes}\n` });
  expect(structured).toMatchObject({ columns_total: 3_000, columns: { length: 300 } });
  expect(Buffer.byteLength(JSON.stringify(structured))).toBeLessThan(2 * MAX_BYTES);
  expect(text).toContain("The first 300 of 3000 columns");
  const { rows } = await lake.call<{ rows: unknown[] }>("sql", { sql: "SELECT column_2999 FROM columns" });
  expect(rows).toEqual([["002999"], ["002999"]]);
});
