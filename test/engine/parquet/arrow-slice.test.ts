import { closeSync, fstatSync, openSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { DataType, type Field } from "apache-arrow";
import { Table, writeParquet } from "parquet-wasm";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Column, concat, take } from "../../../src/engine/parquet/arrow-column.ts";
import { batchMessage, schemaMessage, toStream } from "../../../src/engine/parquet/arrow-encode.ts";
import { readSchema } from "../../../src/engine/parquet/arrow-ipc-format.ts";
import { readAt, readMessages } from "../../../src/engine/parquet/arrow-ipc-reader.ts";
import { planColumns } from "../../../src/engine/parquet/arrow-plan.ts";
import { fieldOf } from "../../../src/engine/parquet/arrow-planning.ts";
import { openRewriter, type Piece, type Rewriter } from "../../../src/engine/parquet/arrow-rewrite.ts";
import { readParquet } from "../../support/ingesting.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "arrow-slice-"));
});
afterAll(() => rm(folder, { recursive: true }));

/** The file of 61 rows with a column of every layout, in pieces of about so many bytes. */
function rewrite(bytes: number): { rewriter: Rewriter; pieces: Piece[]; planned: ReturnType<typeof planColumns> } {
  const path = fileURLToPath(new URL("../ingest/arrow/files/layouts.arrow", import.meta.url));
  const fd = openSync(path, "r");
  const [schema, ...others] = [...readMessages(fd, fstatSync(fd).size)];
  if (schema?.kind !== "schema") return expect.fail("no schema");
  const planned = planColumns(readSchema(schema.schema));
  const rewriter = openRewriter(planned);
  const pieces: Piece[] = [];
  for (const message of others) {
    const body = readAt(fd, message.bodyOffset, message.bodyLength);
    if (message.kind === "dictionary") rewriter.dictionary(message, body);
    else if (message.kind === "batch") pieces.push(...rewriter.batch(message.batch, body, bytes));
  }
  closeSync(fd);
  return { rewriter, pieces, planned };
}

async function rowsOf(stream: Uint8Array): Promise<Record<string, unknown>[]> {
  const path = join(folder, "rows.parquet");
  writeFileSync(path, writeParquet(Table.fromIPCStream(stream)));
  return readParquet(`FROM read_parquet('${path}')`);
}

test("slices hold the rows of the whole", async () => {
  const { rewriter, pieces: whole } = rewrite(2 ** 20);
  const expected = await rowsOf(rewriter.stream(whole));
  expect(expected).toHaveLength(61);
  const { rewriter: cutting, pieces } = rewrite(64);
  expect(pieces.map(({ rows }) => rows)).toEqual([8, 8, 8, 8, 8, 8, 8, 5]);
  expect(await rowsOf(cutting.stream(pieces))).toEqual(expected);
  // One alone has no values of the others.
  expect(await rowsOf(cutting.stream(pieces.slice(2, 3)))).toEqual(expected.slice(16, 24));
  expect(cutting.stream(pieces.slice(2, 3)).length).toBeLessThan(rewriter.stream(whole).length / 2);
});

test("rows are taken in any order, more than once and as NULL, and put behind others", async () => {
  const { pieces, planned } = rewrite(2 ** 20);
  // A dictionary's own rows are taken from before it is one; the rest is here.
  const kept = planned.plans.flatMap(({ name, out }, index) =>
    name === "word" || DataType.isUtf8View(out) ? [] : [index],
  );
  const columns = kept.map((index) => pieces[0]?.columns[index] as Column);
  const memory = { left: 2 ** 20 };
  const fields = planned.plans.map((plan) => fieldOf(plan));
  const schema = schemaMessage(kept.map((index) => fields[index] as Field));
  const all = await rowsOf(toStream([schema, batchMessage(61, columns)]));
  const order = [60, 0, -1, 7, 7, 33, 12];
  const taken = columns.map((column) => take(column, Int32Array.from(order), memory));
  const nothing = Object.fromEntries(Object.keys(all[0] ?? {}).map((name) => [name, null]));
  const expected = order.map((row) => (row < 0 ? nothing : all[row]));
  expect(await rowsOf(toStream([schema, batchMessage(order.length, taken)]))).toEqual(expected);
  const isPlain = (column: Column): boolean => column.layout !== "view" && column.children.every(isPlain);
  const plain = columns.flatMap((column, at) => (isPlain(column) ? [at] : []));
  const grown = plain.map((at) => concat(columns[at] as Column, taken[at] as Column, memory));
  const names = plain.map((at) => fields[kept[at] ?? -1] as Field);
  const both = await rowsOf(toStream([schemaMessage(names), batchMessage(61 + order.length, grown)]));
  const only = (row: Record<string, unknown> | undefined): Record<string, unknown> =>
    Object.fromEntries(names.map(({ name }) => [name, row?.[name] ?? null]));
  expect(both).toEqual([...all, ...expected].map(only));
  expect(plain.length).toBeGreaterThan(6);
});

test("a small batch that stands for a large one is told", async () => {
  const { pieces } = rewrite(2 ** 20);
  const text = pieces[0]?.columns[2] as Column;
  expect(() => take(text, new Int32Array(1000).fill(6), { left: 1000 })).toThrow();
});
