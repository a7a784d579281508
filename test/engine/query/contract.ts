import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { LakeError } from "../../../src/engine/kernel/errors.ts";
import type { QueryOptions, QueryResult } from "../../../src/engine/query/types.ts";
import { type OpenQueryEngine, openParquetLake, type ParquetLake, writtenRows } from "../../support/parquet-lake.ts";
import { failure } from "../../support/worded.ts";

/** A column of every kind: how DuckDB makes a value for the test, its type in the catalog, and how results show it. */
const VALUES: [column: string, made: string, type: string, shown: unknown][] = [
  ["truth", "true", "BOOLEAN", true],
  ["small", "42::INTEGER", "INTEGER", 42],
  ["safe", "9007199254740991", "BIGINT", 9007199254740991],
  ["large", "9007199254740993", "BIGINT", "9007199254740993"],
  ["huge", "18446744073709551615::UBIGINT", "UBIGINT", "18446744073709551615"],
  ["price", "'1234567890123456.78'::DECIMAL(18,2)", "DECIMAL(18,2)", "1234567890123456.78"],
  ["share", "0.1::DOUBLE", "DOUBLE", 0.1],
  ["nothing", "'NaN'::DOUBLE", "DOUBLE", "NaN"],
  ["most", "'-Infinity'::DOUBLE", "DOUBLE", "-Infinity"],
  ["name", "'é\"🦆'", "VARCHAR", 'é"🦆'],
  ["empty", "''", "VARCHAR", ""],
  ["bytes", "'\\x00\\xFF'::BLOB", "BLOB", "AP8="],
  ["day", "DATE '2024-02-29'", "DATE", "2024-02-29"],
  ["moment", "TIMESTAMP '2024-02-29 12:30:00.5'", "TIMESTAMP", "2024-02-29T12:30:00.5"],
  ["absolute", "TIMESTAMPTZ '2024-02-29 12:30:00+02'", "TIMESTAMP WITH TIME ZONE", "2024-02-29T10:30:00Z"],
  ["items", "[1, NULL, 9007199254740993]", "BIGINT[]", [1, null, "9007199254740993"]],
  ["fields", "{'a': 1, 'b': ['x']}", 'STRUCT("a" INTEGER, "b" VARCHAR[])', { a: 1, b: ["x"] }],
  ["missing", "NULL::INTEGER", "INTEGER", null],
];

/** Joins a thousand rows four times, which takes longer than any test. */
const ENDLESS = "SELECT count(*) FROM workers a, workers b, workers c, workers d WHERE a.id * b.id + c.id * d.id = -1";

/** What every query engine does, in SQL that any dialect has. */
export function queryEngineContract(name: string, open: OpenQueryEngine): void {
  describe(`every query engine: ${name}`, () => {
    let lake: ParquetLake;
    beforeAll(async () => {
      lake = await openParquetLake({ maxConcurrentQueries: 2, maxQueuedQueries: 8 }, open);
      await lake.write("workers", "SELECT i AS id, 'w' || i AS name FROM range(1000) t(i)");
    });
    afterAll(() => lake[Symbol.asyncDispose]());

    const query = (sql: string, options?: QueryOptions): Promise<QueryResult> => lake.query.query(sql, options);

    test("a result has columns, rows, counts and the versions that were read", async () => {
      const { elapsed_ms, ...result } = await query("SELECT id, name FROM workers WHERE id < 2 ORDER BY id");
      expect(elapsed_ms).toBeGreaterThanOrEqual(0);
      expect(result).toEqual({
        columns: [
          { name: "id", type: "BIGINT" },
          { name: "name", type: "VARCHAR" },
        ],
        rows: [
          [0, "w0"],
          [1, "w1"],
        ],
        row_count: 2,
        truncated: false,
        total_rows: 2,
        datasets: ["workers@1"],
      });
    });

    test("a result without rows has its columns", async () => {
      const result = await query("SELECT id, name FROM workers WHERE id < 0");
      expect(result).toMatchObject({ rows: [], row_count: 0, truncated: false });
      expect(result.columns.map((column) => column.name)).toEqual(["id", "name"]);
    });

    test("values of every type are exact", async () => {
      await lake.write("typed", `SELECT ${VALUES.map(([column, made]) => `${made} AS "${column}"`).join(", ")}`);
      const { columns, rows } = await query("SELECT * FROM typed");
      expect(columns).toEqual(VALUES.map(([column, , type]) => ({ name: column, type })));
      expect(rows).toEqual([VALUES.map(([, , , shown]) => shown)]);
      const handedOver: unknown[] = [];
      await lake.query.stream("SELECT * FROM typed", { onRows: async (some) => void handedOver.push(...some) });
      expect(handedOver).toEqual(rows);
    });

    describe("versions", () => {
      test("are the newest at each statement, or the named ones, and one for the whole statement", async () => {
        await lake.write("grown", "SELECT 1 AS a");
        expect(await query("SELECT a FROM grown")).toMatchObject({ rows: [[1]], datasets: ["grown@1"] });
        await lake.write("grown", "SELECT 2 AS a", "append");
        expect((await query("SELECT a FROM grown ORDER BY a")).rows).toEqual([[1], [2]]);
        expect((await query('SELECT a FROM "grown@1"')).rows).toEqual([[1]]);
        const both = await query('SELECT g.a, h.a FROM grown g JOIN "grown@1" h ON g.a = h.a');
        expect(both).toMatchObject({ rows: [[1, 1]], datasets: ["grown@1", "grown@2"] });
      });

      test("of a dropped dataset stay readable", async () => {
        await lake.write("gone", "SELECT 1 AS a");
        await lake.drop("gone");
        expect(await failure(query("SELECT a FROM gone"))).toMatchObject({ kind: "not_found" });
        expect((await query('SELECT a FROM "gone@1"')).rows).toEqual([[1]]);
      });

      test("of an unknown dataset are answered with the nearest names", async () => {
        const error = await failure(query("SELECT id FROM wrokers"));
        expect(error.kind).toBe("not_found");
        expect(`${error.message} ${error.hint}`).toContain("workers");
      });
    });

    describe("parameters", () => {
      test("are bound by position and by name", async () => {
        expect((await query("SELECT name FROM workers WHERE id = $1", { params: [7] })).rows).toEqual([["w7"]]);
        expect((await query("SELECT name FROM workers WHERE id = ?", { params: [8] })).rows).toEqual([["w8"]]);
        const named = { params: { low: 1, high: 2 } };
        expect((await query("SELECT id FROM workers WHERE id > $low AND id <= $high", named)).rows).toEqual([[2]]);
      });

      test("are values, never part of the statement", async () => {
        const sql = "SELECT count(*) FROM workers WHERE name = $1";
        expect((await query(sql, { params: ["x' OR 1 = 1 --"] })).rows).toEqual([[0]]);
      });

      test("have to fit the statement", async () => {
        const sql = "SELECT id FROM workers WHERE id = $1";
        for (const params of [undefined, [], [1, 2], { other: 1 }]) {
          expect(await failure(query(sql, params && { params })), JSON.stringify(params)).toMatchObject({
            kind: "invalid",
          });
        }
      });
    });

    describe("limits", () => {
      test("of rows tell exactly whether there is one more", async () => {
        const sql = "SELECT id FROM workers WHERE id < 10 ORDER BY id";
        expect(await query(sql, { maxRows: 10 })).toMatchObject({ row_count: 10, truncated: false, total_rows: 10 });
        expect(await query(sql, { maxRows: 9 })).toMatchObject({
          row_count: 9,
          truncated: true,
          truncated_by: "max_rows",
        });
      });

      test("of bytes cut between rows, and refuse a first row that does not fit", async () => {
        await lake.write("long", "SELECT repeat('x', 1000) AS text FROM range(100)");
        const cut = await query("SELECT text FROM long", { maxBytes: 10_500 });
        expect(cut).toMatchObject({ row_count: 10, truncated: true, truncated_by: "max_bytes" });
        expect(await failure(query("SELECT text FROM long", { maxBytes: 500 }))).toMatchObject({ kind: "limit" });
      });

      test("of time stop a statement", async () => {
        const error = await failure(query(ENDLESS, { timeoutMs: 200 }));
        expect(error).toMatchObject({ kind: "limit", code: "query_timeout" });
      });

      test("of places: whoever may not wait is refused", async () => {
        await using narrow = await openParquetLake({ maxConcurrentQueries: 1, maxQueuedQueries: 1 }, open);
        await narrow.query.warm();
        const outcomes = await Promise.allSettled([1, 2, 3].map((n) => narrow.query.query(`SELECT ${n}`)));
        expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "rejected"]);
        expect((outcomes[2] as PromiseRejectedResult).reason).toMatchObject({
          kind: "unavailable",
          code: "queue_full",
        });
      });
    });

    test("cancelling stops what runs and what waits, and leaves the engine as it was", async () => {
      const abort = new AbortController();
      const options = { signal: abort.signal, timeoutMs: 30_000 };
      const all = [ENDLESS, ENDLESS, "SELECT id FROM workers"].map((sql) => failure(query(sql, options)));
      setTimeout(() => abort.abort(), 100);
      for (const error of await Promise.all(all)) {
        expect(error).toMatchObject({ kind: "unavailable", code: "cancelled" });
      }
      expect((await query("SELECT count(*) FROM workers")).rows).toEqual([[1000]]);
    });

    test("statements that run at the same time do not disturb one another", async () => {
      const ids = Array.from({ length: 8 }, (_, n) => n);
      const results = await Promise.all(
        ids.map((id) => query("SELECT name FROM workers WHERE id = $1", { params: [id] })),
      );
      expect(results.map(({ rows }) => rows)).toEqual(ids.map((id) => [[`w${id}`]]));
      expect(lake.query.occupancy()).toEqual({ running: 0, waiting: 0 });
    });

    test.each([
      "INSERT INTO workers VALUES (1, 'x')",
      "UPDATE workers SET name = 'x'",
      "DELETE FROM workers",
      "DROP TABLE workers",
      "CREATE TABLE other AS SELECT * FROM workers",
      "SELECT 1; SELECT 2",
    ])("refuses what does more than read: %s", async (sql) => {
      expect(await failure(query(sql))).toMatchObject({ kind: "denied" });
      expect((await query("SELECT count(*) FROM workers")).rows).toEqual([[1000]]);
    });

    test("a wrong statement, and an unknown column, are the caller's mistakes", async () => {
      expect(await failure(query("SELECT FROM WHERE"))).toMatchObject({ kind: "invalid" });
      const error = await failure(query("SELECT nmae FROM workers"));
      expect(error.kind).toBe("invalid");
      expect(error.hint).toContain("name");
    });

    test("a stream hands over all rows, in order, with its columns", async () => {
      const ids: unknown[] = [];
      const result = await lake.query.stream("SELECT id FROM workers ORDER BY id", {
        onRows: async (rows, columns) => {
          expect(columns).toEqual([{ name: "id", type: "BIGINT" }]);
          ids.push(...rows.flat());
        },
      });
      expect(result).toMatchObject({ row_count: 1000, truncated: false, datasets: ["workers@1"] });
      expect(ids).toEqual(Array.from({ length: 1000 }, (_, id) => id));
    });

    test("texts are one column without its NULLs", async () => {
      await lake.write("notes", "SELECT unnest(['a', NULL, 'b']) AS note");
      const texts: string[] = [];
      const read = await lake.query.texts("SELECT note FROM notes", {}, (some) => texts.push(...some));
      expect([read, texts]).toEqual([["notes@1"], ["a", "b"]]);
    });

    test.each([
      ["id > 1 AND name <> 'x'", undefined],
      ["id > 1) OR (1 = 1", "invalid"],
      ["id > 1; DELETE FROM workers", "invalid"],
      ["", "invalid"],
    ])("a condition is one expression: %s", async (where, kind) => {
      const checked = lake.query.assertCondition(where);
      if (kind === undefined) await checked;
      else expect(await failure(checked)).toMatchObject({ kind, message: expect.stringMatching(/^where: /) });
    });

    describe("rows written as Parquet", () => {
      test("are those of a query, in their order, with types that hold them", async () => {
        const sql = "SELECT id, name FROM workers ORDER BY id DESC";
        const { rows, columns, datasets } = await writtenRows(lake.query, sql, { maxRows: 2 });
        expect(rows).toEqual([
          { id: "999", name: "w999" },
          { id: "998", name: "w998" },
        ]);
        expect(columns).toEqual((await query(sql)).columns);
        expect(datasets).toEqual(["workers@1"]);
        expect((await writtenRows(lake.query, "SELECT id FROM workers WHERE id < 0")).rows).toEqual([]);
      });

      test("are none when the columns are refused", async () => {
        const refusal = new LakeError("conflict", "Other columns are wanted.");
        const onColumns = async (columns: readonly { name: string }[]): Promise<void> => {
          expect(columns.map((column) => column.name)).toEqual(["count"]);
          throw refusal;
        };
        const counting = ENDLESS.replace("count(*)", 'count(*) AS "count"');
        expect(await failure(writtenRows(lake.query, counting, { onColumns }))).toMatchObject({ kind: "conflict" });
      });

      test("are refused, and stopped, as in a query", async () => {
        expect(await failure(writtenRows(lake.query, "DROP TABLE workers"))).toMatchObject({ kind: "denied" });
        expect(await failure(writtenRows(lake.query, "SELECT id FROM wrokers"))).toMatchObject({ kind: "not_found" });
        const signal = AbortSignal.timeout(300);
        expect(await failure(writtenRows(lake.query, ENDLESS, { signal }))).toMatchObject({ code: "cancelled" });
      });
    });

    test("closing stops what runs and refuses what comes", async () => {
      const closing = await openParquetLake({}, open);
      await closing.write("workers", "SELECT i AS id FROM range(1000) t(i)");
      const running = failure(closing.query.query(ENDLESS));
      await closing.query.query("SELECT 1");
      await closing[Symbol.asyncDispose]();
      expect(await running).toMatchObject({ kind: "closed" });
      expect(await failure(closing.query.query("SELECT 1"))).toMatchObject({ kind: "closed" });
    });
  });
}
