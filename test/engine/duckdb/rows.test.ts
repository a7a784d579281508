import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type LocalConnection, openDuck } from "../../../src/engine/duckdb/duckdb.ts";
import { openRowSource, type RowSource, readVectors, type SegmentRow } from "../../../src/engine/duckdb/vectors.ts";
import { inScope } from "../../../src/engine/kernel/scope.ts";
import { failure } from "../../support/vectors.ts";

function withSource(work: (connection: LocalConnection, source: RowSource) => Promise<void>): Promise<void> {
  return inScope(async (scope) => {
    const tempFolder = await mkdtemp(join(tmpdir(), "lakehouse-rows-"));
    scope.defer(() => rm(tempFolder, { recursive: true, force: true }));
    const limits = { memoryBytes: 2 ** 29, maxTempBytes: 2 ** 28, threads: 2 };
    const duck = await openDuck(scope, { ...limits, tempFolder, folders: [tempFolder] });
    const connection = await duck.connect();
    scope.defer(() => connection.close());
    await work(connection, openRowSource(connection));
  });
}

function rowsOf(count: number, dimension: number, text = "text"): SegmentRow[] {
  return Array.from({ length: count }, (_, n) => ({
    id: `é ${n}`,
    vector: n % 7 === 3 ? undefined : Float32Array.from({ length: dimension }, (__, at) => n + at / dimension),
    text: n % 5 === 2 ? null : `${text} ${n}`,
    metadata: n % 3 === 1 ? null : `{"n":${n}}`,
    fromDataset: n % 2 === 0,
  }));
}

test.each([
  { count: 0, dimension: 4 },
  { count: 1, dimension: 1 },
  { count: 5_000, dimension: 1 },
  { count: 2_049, dimension: 3 },
  { count: 1_500, dimension: 768 },
  { count: 100, dimension: 8_192 },
  { count: 60, dimension: 8, text: "long ".repeat(6_000) },
])(
  "$count rows of $dimension dimensions are read as they are, in their order",
  { tags: ["slow"] },
  async ({ count, dimension, text }) => {
    const rows = rowsOf(count, dimension, text);
    await withSource(async (connection, source) => {
      await source.withRows({ dimension, rows }, async (table) => {
        expect(source.feeding()).toBe(true);
        await connection.run(`CREATE TEMP TABLE t AS SELECT * FROM ${table}`);
      });
      expect(source.feeding()).toBe(false);
      const found = await connection.rows("SELECT id, text, metadata, deleted, from_dataset FROM t ORDER BY rowid");
      expect(found).toEqual(
        rows.map(({ id, text: said, metadata, vector, fromDataset }) => {
          return { id, text: said, metadata, deleted: vector === undefined, from_dataset: fromDataset };
        }),
      );
      let at = 0;
      const sql = "SELECT id, vector, metadata, vector IS NULL FROM t ORDER BY rowid";
      for await (const { ids, vectors, deleted } of readVectors(connection, sql, dimension)) {
        for (const [row] of ids.entries()) {
          const expected = rows[at++]?.vector;
          expect(deleted[row]).toBe(expected === undefined);
          if (expected) expect(vectors.subarray(row * dimension, (row + 1) * dimension)).toEqual(expected);
        }
      }
      expect(at).toBe(count);
    });
  },
);

test("several statements at once read their own rows", async () => {
  await withSource(async (connection, source) => {
    const sums = [10, 2_000, 3_000].map((count) =>
      source.withRows({ dimension: 2, rows: rowsOf(count, 2) }, async (table) => {
        const [row] = await connection.rows<{ n: string }>(`SELECT count(*) AS n FROM ${table}`);
        return Number(row?.n);
      }),
    );
    expect(await Promise.all(sums)).toEqual([10, 2_000, 3_000]);
  });
});

test("one that is cancelled ends, and the next works", async () => {
  await withSource(async (connection, source) => {
    const feed = { dimension: 768, rows: rowsOf(3_000, 768) };
    const stop = new AbortController();
    const reading = source.withRows(feed, async (table) => {
      setImmediate(() => stop.abort());
      const endless = `SELECT max(hash(a.id, n.range)) FROM ${table} a, range(1000000000000) n`;
      await connection.run(endless, { signal: stop.signal });
    });
    expect(await failure(reading)).toMatchObject({ kind: "unavailable" });
    expect(source.feeding()).toBe(false);
    await source.withRows(feed, (table) => connection.run(`SELECT count(*) FROM ${table}`));
  });
});

test("a vector of another length is our own fault, and nothing is read beyond it", async () => {
  await withSource(async (connection, source) => {
    const rows = rowsOf(2_000, 3);
    rows[1_500] = { ...(rows[1_500] as SegmentRow), vector: new Float32Array(2) };
    const reading = source.withRows({ dimension: 3, rows }, (table) => connection.run(`SELECT * FROM ${table}`));
    expect(await failure(reading)).toMatchObject({
      kind: "internal",
      cause: { message: "A vector has 2 values in place of 3." },
    });
  });
});
