import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { inWords } from "../../../../src/engine/kernel/next-step.ts";
import type { QueryOptions, QueryResult } from "../../../../src/engine/query/types.ts";
import { TOOL_WORDS } from "../../../../src/tools/words.ts";
import { openParquetLake, type ParquetLake } from "../../../support/parquet-lake.ts";
import { failure } from "../../../support/worded.ts";

const ENDLESS = "SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE a.range * b.range = -1";

let lake: ParquetLake;
beforeAll(async () => {
  lake = await openParquetLake({
    maxConcurrentQueries: 2,
    maxQueuedQueries: 4,
    queryMemoryBytes: 512 * 2 ** 20,
  });
  await lake.write(
    "workers",
    "SELECT i AS id, 'w' || i AS name, ['IL', 'MA'][1 + i % 2] AS state FROM range(1000) t(i)",
  );
});
afterAll(() => lake[Symbol.asyncDispose]());

const query = (sql: string, options?: QueryOptions): Promise<QueryResult> => lake.query.query(sql, options);

describe("results", () => {
  test("keep columns of the same name apart", async () => {
    const { columns, rows } = await query("SELECT 1 AS a, 2 AS a");
    expect(columns.map((column) => column.name)).toEqual(["a", "a"]);
    expect(rows).toEqual([[1, 2]]);
  });

  test("say exactly whether there is one more row", async () => {
    expect(await query("FROM range(100)")).toMatchObject({ row_count: 100, truncated: false, total_rows: 100 });
    const cut = await query("FROM range(101)");
    expect(cut).toMatchObject({ row_count: 100, truncated: true, truncated_by: "max_rows" });
    expect(cut).not.toHaveProperty("total_rows");
    expect(await query("FROM range(5000)", { maxRows: 5000 })).toMatchObject({ row_count: 5000, truncated: false });
    expect(await query("FROM range(10001)", { maxRows: 50_000, maxBytes: 2 ** 20 })).toMatchObject({
      row_count: 10_000,
      truncated: true,
    });
  });

  test("know the total of a whole dataset from its manifest", async () => {
    expect(await query("FROM workers", { maxRows: 3 })).toMatchObject({ row_count: 3, total_rows: 1000 });
    expect(await query('SELECT name, id FROM "workers@1" ORDER BY id', { maxRows: 3 })).toMatchObject({
      total_rows: 1000,
    });
    for (const sql of [
      "FROM workers WHERE id > 1",
      "SELECT DISTINCT id FROM workers",
      "SELECT unnest([id, 1]) FROM workers",
      "FROM workers LIMIT 50",
      "FROM workers USING SAMPLE 50 ROWS",
    ]) {
      expect(await query(sql, { maxRows: 3 }), sql).not.toHaveProperty("total_rows");
    }
  });

  test("stay within their bytes and say so", async () => {
    const cut = await query("SELECT repeat('x', 1000) FROM range(1000)", { maxBytes: 10_500, maxRows: 1000 });
    expect(cut).toMatchObject({ row_count: 10, truncated: true, truncated_by: "max_bytes" });
    expect(Buffer.byteLength(JSON.stringify(cut.rows))).toBeLessThanOrEqual(10_500);
    const escaped = await query("SELECT repeat(chr(1), 100) FROM range(100)", { maxBytes: 6100 });
    expect(Buffer.byteLength(JSON.stringify(escaped.rows))).toBeLessThanOrEqual(6101);
    expect(escaped.row_count).toBe(10);
  });

  test.each([
    "SELECT repeat('x', 10000000) AS wide FROM range(3)",
    "SELECT list(range) AS wide FROM range(3000000)",
    "SELECT {'a': repeat('x', 10000000)} AS wide",
    "SELECT map([1], [repeat('x', 10000000)]) AS wide",
    "SELECT union_value(k := repeat('x', 10000000)) AS wide",
    "SELECT repeat('x', 10000000)::BLOB AS wide",
    "SELECT v AS wide FROM stored",
    "SELECT [[repeat('x', 10000000)]]::VARCHAR[1][] AS wide",
  ])("refuse a first row that does not fit, by the name of its column: %s", async (sql) => {
    if (sql.includes("stored")) await lake.write("stored", "SELECT repeat('x', 10000000)::VARIANT AS v");
    const error = await failure(query(sql));
    expect(error).toMatchObject({ kind: "limit", message: expect.stringContaining('"wide"') });
    expect((await query("SELECT 1")).rows).toEqual([[1]]);
  });

  test("cut before a later row that does not fit", async () => {
    const result = await query("SELECT CASE WHEN range = 2 THEN repeat('x', 10000000) ELSE 'y' END FROM range(5)");
    expect(result).toMatchObject({ rows: [["y"], ["y"]], truncated_by: "max_bytes" });
  });
});

describe("parameters", () => {
  test("are bound by position and by name", async () => {
    expect((await query("SELECT $1, $2", { params: [1, "x"] })).rows).toEqual([[1, "x"]]);
    expect((await query("SELECT ?, ?", { params: [true, null] })).rows).toEqual([[true, null]]);
    expect((await query("SELECT $a + $b, $a", { params: { a: 1, b: 2 } })).rows).toEqual([[3, 1]]);
    expect((await query("SELECT $a", { params: { $a: 1 } })).rows).toEqual([[1]]);
    expect((await query("SELECT name FROM workers WHERE id = $1", { params: [7] })).rows).toEqual([["w7"]]);
    expect((await query("FROM range(10) LIMIT $1", { params: [2] })).row_count).toBe(2);
  });

  test("take every JSON value", async () => {
    const params = [
      1,
      1.5,
      2 ** 53,
      1e300,
      "é",
      [1, 2],
      [1, 2.5, null],
      ["a", null],
      [],
      { a: [1], b: "x" },
      [{ a: 1 }],
      [1, "a"],
      {},
    ];
    const { rows, columns } = await query(`SELECT ${params.map((_, index) => `$${index + 1}`).join(", ")}`, { params });
    expect(columns.map((column) => column.type)).toEqual([
      "BIGINT",
      "DOUBLE",
      "BIGINT",
      "DOUBLE",
      "VARCHAR",
      "BIGINT[]",
      "DOUBLE[]",
      "VARCHAR[]",
      "VARCHAR[]",
      'STRUCT("a" BIGINT[], "b" VARCHAR)',
      'STRUCT("a" BIGINT)[]',
      "VARCHAR",
      "VARCHAR",
    ]);
    const [one, fraction, , ...rest] = params.slice(0, 11);
    expect(rows[0]).toEqual([one, fraction, "9007199254740992", ...rest, '[1,"a"]', "{}"]);
  });

  test("work in lists, pivots and explanations", async () => {
    const some = await query("SELECT count(*) FROM workers WHERE id IN (SELECT unnest($1))", { params: [[1, 2, 3]] });
    expect(some.rows).toEqual([[3]]);
    const pivot = await query("PIVOT (FROM workers WHERE id < $n) ON state USING count(*) GROUP BY id", {
      params: { n: 2 },
    });
    expect(pivot.columns.map((column) => column.name)).toEqual(["id", "IL", "MA"]);
    expect((await query("EXPLAIN ANALYZE SELECT $1", { params: [1] })).row_count).toBe(1);
  });

  test("are never part of the statement", async () => {
    const sneaky = "x' OR 1 = 1; DROP TABLE workers --";
    expect((await query("SELECT count(*) FROM workers WHERE name = $1", { params: [sneaky] })).rows).toEqual([[0]]);
    expect((await failure(query("SELECT * FROM $1", { params: ["workers"] }))).kind).toBe("invalid");
  });

  test("have to fit the statement", async () => {
    const cases: [string, QueryOptions["params"], RegExp, RegExp][] = [
      ["SELECT $1", undefined, /\$1 has no value/, /list of 1/],
      ["SELECT $1, $2", [1], /\$2 has no value/, /list of 2/],
      ["SELECT $1", [1, 2], /\$2 is not in the statement/, /list of 1/],
      ["SELECT 1", [1], /\$1 is not in/, /leave params out/],
      ["SELECT $name", { nmae: 1 }, /\$name has no value; \$nmae is not/, /object with name/],
      ["SELECT $name", [1], /\$name has no value/, /not for parameters with names/],
    ];
    for (const [sql, params, message, hint] of cases) {
      const error = await failure(query(sql, params && { params }));
      expect(error).toMatchObject({
        kind: "invalid",
        message: expect.stringMatching(message),
        hint: expect.stringMatching(hint),
      });
    }
    expect((await failure(query("SELECT $1, $a", { params: [1] }))).kind).toBe("invalid");
  });
});

describe("datasets", () => {
  test("show one version each, and the newest one at the next statement", async () => {
    await lake.write("grown", "SELECT 1 AS a");
    expect((await query("FROM grown")).rows).toEqual([[1]]);
    await lake.write("grown", "SELECT 2 AS a, 'x' AS b", "append");
    const grown = await query("FROM grown ORDER BY a");
    expect(grown).toMatchObject({ datasets: ["grown@2"] });
    expect(grown.rows).toEqual([
      [1, null],
      [2, "x"],
    ]);
    const both = await query(
      'SELECT (SELECT count(*) FROM "grown@1"), (SELECT count(*) FROM grown), (SELECT count(*) FROM "grown@2")',
    );
    expect(both.rows).toEqual([[1, 2, 2]]);
    expect(both.datasets).toEqual(["grown@1", "grown@2"]);
    await lake.write("grown", "SELECT DATE '2024-01-01' AS c");
    expect((await query("FROM grown")).rows).toEqual([["2024-01-01"]]);
    expect((await query('SELECT b FROM "grown@2" ORDER BY a')).rows).toEqual([[null], ["x"]]);
  });

  test("without a file have their columns and no rows", async () => {
    await lake.catalog.commit("empty", () => ({
      kind: "table",
      dropped: false,
      columns: [
        { id: 1, name: "select", type: "DECIMAL(9,2)" },
        { id: 2, name: 'quo"ted', type: "STRUCT(a INTEGER)[]" },
      ],
      files: [],
      provenance: { operation: "create", source: "test", sourceHash: "x:0", options: {} },
    }));
    const { columns, rows } = await query("FROM empty");
    expect(rows).toEqual([]);
    expect(columns).toEqual([
      { name: "select", type: "DECIMAL(9,2)" },
      { name: 'quo"ted', type: 'STRUCT("a" INTEGER)[]' },
    ]);
    expect((await query('SELECT sum("select") FROM empty')).rows).toEqual([[null]]);
  });

  test("that were dropped say so, and their versions stay readable", async () => {
    await lake.write("gone", "SELECT 1 AS a");
    await query("FROM gone");
    await lake.drop("gone");
    const error = await failure(query("FROM gone"));
    expect(error).toMatchObject({ kind: "not_found", message: expect.stringContaining("gone") });
    expect((await query('FROM "gone@1"')).rows).toEqual([[1]]);
  });

  test("of unknown name or column are answered with the nearest", async () => {
    const dataset = await failure(query("FROM wrokers"));
    expect(`${dataset.message} ${dataset.hint}`).toContain("workers");
    expect(await failure(query("SELECT w.nmae FROM workers w"))).toMatchObject({
      message: expect.not.stringContaining("Values list"),
      hint: expect.stringContaining("Did you mean name? DESCRIBE workers"),
    });
    expect((await failure(query("SELECT nmae FROM workers"))).hint).toContain("name");
  });

  test("are found behind a common table expression of the same name only where it is not in sight", async () => {
    const result = await query("WITH workers AS (SELECT id FROM workers WHERE id < 3) SELECT count(*) FROM workers");
    expect(result).toMatchObject({ rows: [[3]], datasets: ["workers@1"] });
    const nested = await query(
      "SELECT (WITH workers AS (SELECT 1) SELECT count(*) FROM workers), count(*) FROM workers",
    );
    expect(nested.rows).toEqual([[1, 1000]]);
    expect((await query("WITH nothing AS (SELECT 1 AS a) FROM nothing")).datasets).toEqual([]);
  });
});

describe("the catalog as tables", () => {
  test("lists datasets, versions and files, and follows commits", async () => {
    await lake.write("listed", "SELECT 1 AS a, 'x' AS b");
    const row =
      "SELECT name, kind, version, rows, files, columns, source, created_at IS NOT NULL FROM lakehouse_datasets WHERE name = 'listed'";
    expect((await query(row)).rows).toEqual([
      [
        "listed",
        "table",
        1,
        1,
        1,
        [
          { name: "a", type: "INTEGER" },
          { name: "b", type: "VARCHAR" },
        ],
        "SELECT 1 AS a, 'x' AS b",
        true,
      ],
    ]);
    await lake.write("listed", "SELECT 3 AS a", "append");
    expect((await query(row)).rows[0]?.slice(2, 5)).toEqual([2, 2, 2]);
    const versions = await query(
      "SELECT version, operation, rows, dropped FROM lakehouse_versions WHERE name = 'listed' ORDER BY 1",
    );
    expect(versions.rows).toEqual([
      [1, "create", 1, false],
      [2, "append", 2, false],
    ]);
    const files = await query(
      "SELECT version, rows, file LIKE 'data/listed/%.parquet' FROM lakehouse_files WHERE name = 'listed'",
    );
    expect(files.rows).toEqual([
      [2, 1, true],
      [2, 1, true],
    ]);
  });

  test("answers SHOW TABLES with every dataset, seen or not", async () => {
    await lake.write("never_read", "SELECT 1 AS a");
    const { rows } = await query("SHOW TABLES");
    expect(rows).toContainEqual(["never_read"]);
    expect(rows).toContainEqual(["workers"]);
    expect(rows).not.toContainEqual(["lakehouse_datasets"]);
  });
});

describe("pivots over the data", () => {
  test("have a column per value, as DuckDB makes them", async () => {
    await lake.write(
      "sales",
      "FROM (VALUES ('IL', 2, 10.5, true), ('MA', 10, 1.0, false), ('IL', 1, 3.25, NULL), (NULL, 3, 1, true)) AS v(state, n, price, paid)",
    );
    const path = await lake.store.localPath((await lake.catalog.load("sales")).files[0]?.key ?? "");
    const connection = await lake.bare.connect();
    for (const pivot of [
      "PIVOT sales ON state USING sum(n) GROUP BY paid ORDER BY paid",
      "PIVOT sales ON n USING count(*) GROUP BY state ORDER BY state",
      "PIVOT sales ON price USING count(*) GROUP BY state ORDER BY state",
      "PIVOT sales ON paid USING count(*), max(n) AS top GROUP BY state ORDER BY state",
      "PIVOT sales ON (state, n) USING count(*) GROUP BY paid ORDER BY paid",
      "PIVOT sales ON state || n USING count(*) GROUP BY paid ORDER BY paid",
      "PIVOT sales ON state, paid USING sum(n) GROUP BY price ORDER BY price",
      "PIVOT (FROM sales WHERE n > 1) ON upper(state), n IN (2, 10) USING sum(n) GROUP BY paid ORDER BY paid",
      "WITH few AS (FROM sales WHERE n < 10) PIVOT few ON state GROUP BY paid ORDER BY paid",
      "WITH p AS (PIVOT sales ON state USING sum(n) GROUP BY paid) FROM p ORDER BY ALL",
    ]) {
      await connection.run(`CREATE OR REPLACE TEMP VIEW sales AS FROM read_parquet('${path}')`);
      const bare = await connection.raw.runAndReadAll(pivot);
      const ours = await query(pivot);
      expect(
        ours.columns.map((column) => column.name),
        pivot,
      ).toEqual(bare.columnNames());
      expect(
        ours.rows.map((row) => row.map(String)),
        pivot,
      ).toEqual(bare.getRowsJson().map((row) => row.map(String)));
    }
    connection.close();
  });

  test("take what looks like SQL in the values as values", async () => {
    await lake.write("sly", "FROM (VALUES ('a''); DROP TABLE workers; --', 1), ('\" $1 ?', 2)) AS v(k, n)");
    const { columns } = await query("PIVOT sly ON k USING sum(n)");
    expect(columns.map((column) => column.name)).toEqual(['" $1 ?', "a'); DROP TABLE workers; --"]);
  });

  test("are refused when they would be too wide or have no columns", async () => {
    expect(await failure(query("PIVOT (FROM range(2000)) ON range USING count(*)"))).toMatchObject({ kind: "limit" });
    expect(await failure(query("PIVOT (FROM workers WHERE false) ON state USING count(*)"))).toMatchObject({
      kind: "invalid",
    });
  });
});

describe("explanations", () => {
  test("show plans without the paths of files", async () => {
    for (const sql of [
      "EXPLAIN ANALYZE SELECT * FROM workers a JOIN workers b USING (id)",
      "EXPLAIN (ANALYZE, FORMAT JSON) SELECT * FROM workers",
      "EXPLAIN SELECT * FROM workers",
    ]) {
      const text = JSON.stringify((await query(sql)).rows);
      expect(text, sql).toContain("READ_PARQUET");
      expect(text, sql).not.toContain("lakehouse-query-test");
      expect(text, sql).not.toContain(".parquet │");
    }
  });
});

describe("budgets", () => {
  test.each([
    ["a join without a condition", "SELECT count(*) FROM range(1000000000000000) a, range(1000000000000000) b"],
    ["a hash join", "SELECT count(*) FROM range(1000000000000000) a JOIN range(1000000000000000) b USING (range)"],
    [
      "an endless recursion",
      "WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r) SELECT count(*) FROM r",
    ],
    [
      "a doubling recursion",
      "WITH RECURSIVE r(s) AS (SELECT 'x' UNION ALL SELECT s || s FROM r) SELECT max(length(s)) FROM r",
    ],
    ["a list of everything", "SELECT list(range) FROM range(10000000000)"],
    ["a text of everything", "SELECT string_agg(range::VARCHAR) FROM range(10000000000)"],
    ["a set of everything", "SELECT count(DISTINCT range) FROM range(10000000000)"],
    ["a sort of everything", "SELECT * FROM range(10000000000) ORDER BY hash(range) LIMIT 10000000"],
    ["texts from a list", "SELECT list_transform(range(100000), x -> repeat('y', 100000))"],
    ["lists of lists", "SELECT list_transform(range(1000000), x -> range(1000000))"],
    ["a wide unnest", "SELECT sum(i) FROM (SELECT unnest(range(1000)) AS i FROM range(1000000000))"],
  ])("stop %s, and the next statement runs", { tags: ["slow"] }, async (_, sql) => {
    const error = await failure(query(sql, { timeoutMs: 1000 }));
    expect(["limit", "denied"]).toContain(error.kind);
    expect(error.hint).toBeTruthy();
    expect((await query("SELECT count(*) FROM workers")).rows).toEqual([[1000]]);
  });

  test("100 MB of result is cut without being made", async () => {
    const before = process.memoryUsage().rss;
    const result = await query("SELECT repeat('x', 10000) FROM range(10000)", { maxRows: 10_000 });
    expect(result).toMatchObject({ row_count: 6, truncated_by: "max_bytes" });
    expect(process.memoryUsage().rss - before).toBeLessThan(100 * 2 ** 20);
  });

  test("the timeout is named", async () => {
    expect(await failure(query(ENDLESS, { timeoutMs: 50 }))).toMatchObject({
      kind: "limit",
      message: expect.stringContaining("after 50 ms"),
      code: "query_timeout",
      hint: expect.stringContaining("timeout_ms"),
    });
  });

  test("a statement may be long, but not without end", async () => {
    expect(await failure(query(`SELECT ${"1 + ".repeat(100_000)}1`))).toMatchObject({ kind: "limit" });
    expect(await failure(query(`SELECT ${"1,".repeat(60_000)}1`))).toMatchObject({ kind: "limit" });
    expect((await failure(query(`SELECT ${"abs(".repeat(2000)}1${")".repeat(2000)}`))).kind).toMatch(/invalid|limit/);
    expect((await query(`${"SELECT 1 UNION ALL ".repeat(500)}SELECT 1`, { maxRows: 1000 })).row_count).toBe(501);
    expect(
      (await query(`SELECT id FROM workers WHERE id IN (${Array.from({ length: 5000 }, (_, n) => n).join(",")})`))
        .row_count,
    ).toBe(100);
  });
});

describe("concurrency", () => {
  test("cancelling stops a statement and a waiting one", async () => {
    const abort = new AbortController();
    const options = { signal: abort.signal, timeoutMs: 30_000 };
    const all = [query(ENDLESS, options), query(ENDLESS, options), query("SELECT 11", options)].map(failure);
    setTimeout(() => abort.abort(), 100);
    for (const error of await Promise.all(all)) expect(error).toMatchObject({ kind: "unavailable" });
    expect((await query("SELECT 1")).rows).toEqual([[1]]);
    expect(await failure(query("SELECT 1", { signal: abort.signal }))).toMatchObject({ kind: "unavailable" });
  });

  test("more than may wait are refused, the others answered in the order of the calls", async () => {
    await using narrow = await openParquetLake({ maxConcurrentQueries: 1, maxQueuedQueries: 4 });
    await narrow.query.warm();
    const order: number[] = [];
    const all = Array.from({ length: 8 }, async (_, n) => {
      await narrow.query.query(`SELECT ${n}`);
      order.push(n);
    });
    const outcomes = await Promise.allSettled(all);
    expect(order).toEqual([0, 1, 2, 3, 4]);
    const refusals = outcomes.flatMap((outcome) => (outcome.status === "rejected" ? [outcome.reason] : []));
    expect(refusals).toHaveLength(3);
    expect(refusals[0]).toMatchObject({
      kind: "unavailable",
      code: "queue_full",
      facts: { limit: 1, setting: "max_concurrent_queries" },
    });
    expect(inWords(refusals[0].hint, TOOL_WORDS)).toContain(
      "max_concurrent_queries (LAKEHOUSE_MAX_CONCURRENT_QUERIES)",
    );
  });

  test("a statement that waits too long says that it did", { tags: ["slow"] }, async () => {
    const running = [1, 2].map(() => failure(query(ENDLESS, { timeoutMs: 600 })));
    expect(await failure(query("SELECT 12", { timeoutMs: 100 }))).toMatchObject({ kind: "limit" });
    await Promise.all(running);
  });

  test("closing stops what runs and refuses what comes", { tags: ["slow"] }, async () => {
    const closing = await openParquetLake();
    const running = failure(closing.query.query(ENDLESS));
    await closing.query.query("SELECT 1");
    await closing[Symbol.asyncDispose]();
    expect(await running).toMatchObject({ kind: "closed" });
    expect(await failure(closing.query.query("SELECT 1"))).toMatchObject({ kind: "closed" });
  });
});
