import { DuckDBInstance } from "@duckdb/node-api";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CELL_LIMITS } from "../../../../src/engine/query/guard/cell-limits.ts";
import { REPEATED_ARGUMENTS } from "../../../../src/engine/query/guard/policy.ts";
import { openParquetLake, type ParquetLake } from "../../../support/parquet-lake.ts";

let lake: ParquetLake;
beforeAll(async () => {
  lake = await openParquetLake();
  await lake.write("t", "SELECT i AS a, i % 7 AS b, 'w' || i AS s FROM range(3000) t(i)");
});
afterAll(() => lake[Symbol.asyncDispose]());

const list = (count: number, item: (n: number) => string, join = ", "): string =>
  Array.from({ length: count }, (_, n) => item(n)).join(join);
const nest = (depth: number, before: string, after: string, core: string): string =>
  before.repeat(depth) + core + after.repeat(depth);
const entries = (count: number, body: (n: number) => string, marked = ""): string =>
  `WITH a0 AS (SELECT 1 AS v)${list(count, (n) => `, a${n + 1} AS ${marked} (${body(n)})`, "")} SELECT count(*) FROM a${count}`;

/** Each took seconds, or gigabytes, in planning, where DuckDB cannot be interrupted. */
const endless: Record<string, string> = {
  "arrows to the right": `SELECT ${nest(60, "x->(", ")", "1")}`,
  "arrows to the left": `SELECT doc${"->'a'".repeat(40)} FROM (SELECT '{}'::JSON AS doc)`,
  "lambdas in lambdas": `SELECT ${nest(25, "list_transform([1], x -> ", ")", "x")}`,
  "lambdas as in Python": `SELECT ${nest(25, "list_filter([1], lambda x: len(", ") > 0)", "[1]")}`,
  comprehensions: `SELECT ${nest(25, "[", " FOR x IN [1, 2]]", "x")}`,
  "comments together": `SELECT 1${"/**/".repeat(16_000)}`,
  "comments apart": `SELECT ${list(6000, () => "1/**/")}`,
  "comments in comments": `SELECT 1 ${"/*".repeat(120_000)}`,
  "a chain of aliases": `SELECT 1 AS a0, ${list(200, (n) => `a${n} + 1 AS a${n + 1}`)}`,
  "aliases that double": `SELECT 1 AS a0, ${list(25, (n) => `a${n} + a${n} AS a${n + 1}`)}`,
  "aliases of lists": `SELECT 1 AS a0, ${list(22, (n) => `json_array(a${n}, a${n}) AS a${n + 1}`)}`,
  "aliases in BETWEEN": `SELECT 1 AS a0, ${list(24, (n) => `a${n} BETWEEN a${n} AND a${n} AS a${n + 1}`)}`,
  BETWEEN: `SELECT ${nest(60, "(", " BETWEEN 1 AND 2)::INT", "1")}`,
  "nullif in nullif": `SELECT ${nest(30, "nullif(", ", 1)", "2")}`,
  "fmod in fmod": `SELECT ${nest(20, "fmod(3, ", ")", "2")}`,
  "split_part in split_part": `SELECT ${nest(30, "split_part(", ", 'a', 1)", "'abc'")}`,
  "round_even in round_even": `SELECT ${nest(24, "round_even(", ", 3)", "2")}`,
  "array_pop_back in itself": `SELECT ${nest(14, "array_pop_back(", ")", "[1, 2, 3]")}`,
  "generate_subscripts in itself": `SELECT ${nest(20, "generate_subscripts([", "], 1)", "1")}`,
  "calls in calls": `SELECT ${nest(450, "abs(", ")", "1")}`,
  "a long sum": `SELECT ${list(900, () => "a", " + ")} FROM t`,
  "stars in subqueries": `SELECT count(*) FROM ${nest(14, "(SELECT *, * FROM ", ")", "t")}`,
  "stars in WITH": `WITH a0 AS (FROM t)${list(20, (n) => `, a${n + 1} AS (SELECT *, * FROM a${n})`, "")} FROM a20`,
  "many stars": `SELECT 1 FROM ${nest(5, `(SELECT ${list(8, () => "*")} FROM `, ")", "t")}`,
  "stars of joins": nest(60, "WITH z AS (", ") SELECT * FROM z a, z b", "SELECT 1"),
  COLUMNS: `SELECT 1 FROM ${nest(14, "(SELECT COLUMNS(*) AS '\\0a', COLUMNS(*) AS '\\0b' FROM ", ")", "t")}`,
  "stars in DESCRIBE": `DESCRIBE SELECT * FROM ${nest(14, "(SELECT *, * FROM ", ")", "t")}`,
  "stars in SUMMARIZE": `SUMMARIZE SELECT * FROM ${nest(12, "(SELECT *, * FROM ", ")", "t")}`,
  "stars in UNPIVOT": `FROM (UNPIVOT (FROM ${nest(13, "(SELECT *, * FROM ", ")", "t")}) ON COLUMNS(*))`,
  "types in WITH": entries(25, (n) => `SELECT {'a': v, 'b': v} AS v FROM a${n}`),
  "types of rows": `SELECT 1 FROM ${nest(26, "(SELECT q AS a, q AS b FROM ", " q)", "(SELECT 1 AS a)")}`,
  "types in REPLACE": `SELECT 1 FROM ${nest(25, "(SELECT * REPLACE ({'a': v, 'b': v} AS v) FROM ", ")", "(SELECT 1 AS v)")}`,
  "types in subqueries": `SELECT 1 FROM ${nest(25, "(SELECT row(v, v) AS v FROM ", ")", "(SELECT 1 AS v)")}`,
  "WITH entries that double": entries(60, (n) => `SELECT x.v FROM a${n} x, a${n} y`, "NOT MATERIALIZED"),
  "WITH entries in UNION": entries(
    60,
    (n) => `SELECT v FROM a${n} UNION ALL SELECT v FROM a${n}`,
    "NOT /**/ MATERIALIZED",
  ),
  "WITH entries as values": entries(
    60,
    (n) => `SELECT (SELECT v FROM a${n}) + (SELECT v FROM a${n}) AS v`,
    "not\nmaterialized",
  ),
  "WITH entries explained": `EXPLAIN ${entries(60, (n) => `SELECT x.v FROM a${n} x, a${n} y`, "NOT MATERIALIZED")}`,
  joins: `SELECT count(*) FROM t t0 ${list(200, (n) => `JOIN t t${n + 1} ON t0.a = t${n + 1}.a`, " ")}`,
  "joins by comma": `SELECT count(*) FROM ${list(200, (n) => `t t${n}`)}`,
  "natural joins": `SELECT count(*) FROM t t0 ${list(100, (n) => `NATURAL JOIN t t${n + 1}`, " ")}`,
  "joins of subqueries": `SELECT count(*) FROM ${list(30, (n) => `(SELECT x.a FROM t x JOIN t y USING (a)) s${n}`)}`,
  "positional joins": `SELECT count(*) FROM t t0 ${list(200, (n) => `POSITIONAL JOIN t t${n + 1}`, " ")}`,
  "UNION BY NAME": list(1000, (n) => `SELECT 1 AS c${n}`, " UNION ALL BY NAME "),
  "subqueries that look outside": `SELECT count(*) FROM t WHERE ${list(500, (n) => `EXISTS (SELECT 1 FROM t x WHERE x.a = t.a + ${n})`, " AND ")}`,
  CUBE: `SELECT 1 FROM (SELECT ${list(12, (n) => `a + ${n} AS c${n}`)} FROM t) GROUP BY CUBE (${list(12, (n) => `c${n}`)})`,
  "grouping sets multiplied": `SELECT 1 FROM t GROUP BY ${list(6, () => "GROUPING SETS ((a), (b), (s), ())")}`,
  "PIVOT of two": `FROM t PIVOT (count(*) FOR a IN (${list(200, String)}) b IN (${list(200, String)}))`,
  "PIVOT of many aggregates": `FROM t PIVOT (${list(200, (n) => `sum(a) AS x${n}`)} FOR a IN (${list(900, String)}))`,
  "parts of OR": `SELECT 1 FROM t WHERE ${list(4000, (n) => `a = ${n}`, " OR ")}`,
  "levels of CASE": `SELECT ${nest(480, "CASE WHEN true THEN abs(", ") END", "1")}`,
};

describe("planning that would not end is refused before it begins", () => {
  test.each(Object.entries(endless))("%s", async (_, sql) => {
    const started = performance.now();
    await expect(lake.query.query(sql, { timeoutMs: 20_000 })).rejects.toMatchObject({
      kind: "limit",
      code: "limit",
      hint: expect.anything(),
    });
    expect(performance.now() - started).toBeLessThan(5000);
  });
});

/** Each took gigabytes for 2048 rows, which no limit counted. */
const large: [sql: string, name: string][] = [
  ["SELECT sum(len(range(1000000 - (a % 2)))) FROM t", "range"],
  ["SELECT sum(len(generate_series(0, 999999 - (a % 2)))) FROM t", "generate_series"],
  ["SELECT sum(len(repeat(s, 3000000))) FROM t", "repeat"],
  ["SELECT sum(len(repeat([a], 900000))) FROM t", "repeat"],
  ["SELECT sum(len(list_resize([a], 1000000))) FROM t", "list_resize"],
  ["SELECT sum(len(lpad(s, (3000000 - a)::INTEGER, 'x'))) FROM t", "lpad"],
  ["SELECT sum(len(rpad(s, 3000000, 'x'))) FROM t", "rpad"],
  ["SELECT sum(len(repeat('a', 8000000) || s)) FROM t", "repeat"],
  ["SELECT sum(len(list_concat(range(1000000), [a]))) FROM t", "range"],
  ["SELECT sum(len(list_transform(range(1000000), x -> x + a))) FROM t", "range"],
  ["SELECT sum(len(CASE WHEN a > 1 THEN repeat('a', 8000000) END || s)) FROM t", "repeat"],
  ["SELECT count(*) FROM t WHERE contains(repeat('a', 16000000 - a), repeat('a', 8000000) || 'b')", "repeat"],
  ["SELECT count(*) FROM t WHERE repeat('a', 8000000 - a) LIKE '%aaaaab%'", "repeat"],
  ["SELECT sum(bit_count(repeat('1', 8000000 + a)::BIT)) FROM t", "repeat"],
  ["SELECT max(len(json_object('a', repeat(s, 2000000)))) FROM t", "repeat"],
  ["SELECT sum(levenshtein(repeat('a', 10000), repeat('b', 9999 - b))) FROM t", "levenshtein"],
  ["SELECT a, random() < repeat('x', (1000000 * random())::INTEGER).len() FROM t", "repeat"],
];

describe("a value for every row is smaller than one for all", { tags: ["slow"] }, () => {
  test.each(large)("%s", async (sql, name) => {
    await expect(lake.query.query(sql, { timeoutMs: 20_000 })).rejects.toMatchObject({
      kind: "limit",
      message: expect.stringMatching(new RegExp(`^${name}\\(\\) would .*every row`)),
    });
  });

  test("what is made once may be large, and what every row makes as large as is useful", async () => {
    for (const [sql, rows] of [
      ["SELECT len(repeat('x', 10000000)), len(range(1000000))", [[10_000_000, 1_000_000]]],
      ["SELECT count(*) FROM (SELECT unnest(range(1000000)))", [[1_000_000]]],
      ["SELECT sum(len(repeat(s, 1000))) > 0, max(len(range(a))) FROM t", [[true, 2999]]],
      ["SELECT len(repeat('x', 10000000))", [[10_000_000]]],
      ["SELECT replace(s, 'w', 'v') AS y, y || '!' AS z, lpad(y, 5, '0') FROM t LIMIT 1", [["v0", "v0!", "000v0"]]],
      [`SELECT ${nest(8, "replace(", ", 'w', 'w')", "s")} FROM t LIMIT 1`, [["w0"]]],
    ] as const) {
      expect({ sql, rows: (await lake.query.query(sql)).rows }).toEqual({ sql, rows });
    }
    // Of a text of 100 kB nothing grows.
    const sql = "SELECT len(replace(x, 'a', 'b')) FROM (SELECT string_agg(repeat('a', 1000), '') AS x FROM range(200))";
    expect((await lake.query.query(sql)).rows).toEqual([[200_000]]);
  });
});

test("how often macros use an argument is as DuckDB defines them", async () => {
  const connection = await (await DuckDBInstance.create(":memory:")).connect();
  for (const statement of CELL_LIMITS) await connection.run(statement);
  const reader = await connection.runAndReadAll(
    `SELECT function_name, to_json(parameters)::VARCHAR, macro_definition FROM duckdb_functions()
     WHERE function_type = 'macro' AND function_name NOT SIMILAR TO '(pg_|map_to_pg|format_|get_block).*'`,
  );
  const missing: string[] = [];
  for (const [name, parameters, definition] of reader.getRows().map((row) => row.map(String))) {
    for (const parameter of JSON.parse(parameters ?? "[]") as string[]) {
      const uses = definition?.match(new RegExp(`(?<![\\w'])"?${parameter}"?(?![\\w'(])`, "g"))?.length ?? 0;
      if (uses > (REPEATED_ARGUMENTS.get(name ?? "") ?? 1)) missing.push(`${name}(${parameter}): ${uses}`);
    }
  }
  expect(missing).toEqual([]);
  connection.closeSync();
});
