import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Params } from "../../../../src/engine/kernel/json.ts";

import { openRemoteLake, type RemoteLake } from "../../../support/remote-lake.ts";

let lake: RemoteLake;

/** Three files: k from 0, 10 and 20, and everything else in step with it. */
const file = (
  from: number,
): string => `SELECT k::INTEGER AS k, (k * 1000000000)::BIGINT AS big, (k / 4)::DECIMAL(8,2) AS n,
  k::DOUBLE AS x, chr(97 + k::INTEGER) || 'é' AS s, (DATE '2024-01-01' + k::INTEGER) AS d,
  (TIMESTAMP '2024-01-01' + to_days(k::INTEGER)) AS seen, ((TIMESTAMP '2024-01-01' + to_days(k::INTEGER)) || '+00')::TIMESTAMPTZ AS tz,
  k >= 10 AS b, CASE WHEN k >= 10 THEN k END::INTEGER AS late, CASE WHEN k < 20 THEN 'v' END AS soon, k::HUGEINT AS h,
  {'k': k} AS st, 'z' AS "Up" FROM range(${from}, ${from + 10}) r(k)`;

beforeAll(async () => {
  lake = await openRemoteLake();
  await lake.write("t", file(0), file(10), file(20));
  await lake.write("u", file(0), file(10), file(20));
  await lake.write(
    "nan",
    "SELECT 1::DOUBLE AS x",
    "SELECT unnest([2::DOUBLE, 'nan'::DOUBLE]) AS x",
    "SELECT 'nan'::DOUBLE AS x",
  );
  const long = (text: string): string => `SELECT repeat('${text}', 300) AS s`;
  await lake.write(
    "long",
    long("é"),
    long("日"),
    `SELECT 'a' || repeat('é', 200) AS s`,
    "SELECT chr(1114111) AS s",
    "SELECT 'b' AS s",
  );
  await lake.write("grown", "SELECT 1 AS a", "SELECT 2 AS a, 'x' AS extra", "SELECT 30 AS a, NULL::VARCHAR AS extra");
});
afterAll(() => lake[Symbol.asyncDispose]());
beforeEach(() => lake.fetched.clear());

/** Files that were fetched, after making sure that the answer is the same as with all of them. */
async function filesFor(sql: string, params?: Params): Promise<number> {
  const options = { maxRows: 10_000, ...(params && { params }) };
  const whole = await lake.engine.query(sql, options);
  const some = await lake.remote.query(sql, options);
  expect({ ...some, elapsed_ms: 0 }).toEqual({ ...whole, elapsed_ms: 0 });
  return lake.fetched.size;
}

describe("only files are fetched that can have rows for the statement", () => {
  test.each<[string, number, Params?]>([
    ["k = 5", 1],
    ["5 = k", 1],
    ["k < 10", 1],
    ["k <= 10", 2],
    ["10 > k", 1],
    ["k > 19", 1],
    ["k >= 19", 2],
    ["k > 100", 0],
    ["k = -1", 0],
    ["k < 10.5", 2],
    ["k < 9.75e0", 1],
    ["k = 5 AND s = 'fé'", 1],
    ["k = 5 AND s = 'zé'", 0],
    ["(k > 5 AND (k < 8 AND x < 100))", 1],
    ["k BETWEEN 3 AND 12", 2],
    ["k BETWEEN 12 AND 3", 0],
    ["k IN (1, 2, 25)", 2],
    ["k IN (1, 2.5)", 1],
    ["big = 5000000000", 1],
    ["n = 1.25", 1],
    ["n < -0.05", 0],
    ["n < 2.5", 1],
    ["n < 2.4e0", 1],
    ["x < 5", 1],
    ["x = 1e1", 1],
    ["x BETWEEN 21.5 AND 22", 1],
    ["s = 'bé'", 1],
    ["s < ''", 0],
    ["s >= 'u'", 1],
    ["s LIKE 'c%'", 1],
    ["s LIKE 'cé'", 1],
    ["s LIKE 'c_'", 1],
    ["s LIKE 'A%'", 0],
    ["d = '2024-01-05'", 1],
    ["d >= DATE '2024-01-21'", 1],
    ["d < TIMESTAMP '2024-01-10 12:00'", 1],
    ["d BETWEEN '2024-01-05' AND '2024-01-06'", 1],
    ["seen < '2024-01-02 10:00'", 1],
    ["seen >= DATE '2024-01-21'", 1],
    ["tz >= '2024-01-21 00:00:00+00'", 1],
    ["b = false", 1],
    ["b = true", 2],
    ["late IS NULL", 1],
    ["late IS NOT NULL", 2],
    ["late < 100", 2],
    ["soon IS NULL", 1],
    ["soon = 'v'", 2],
    ["up = 'z'", 3],
    ["K = 5", 1],
    ["T.k = 5", 1],
    ["k = $1", 1, [5]],
    ["k < ?", 1, [9.5]],
    ["k = $k AND d = $d", 1, { k: 5, d: "2024-01-06" }],
    ["s = $1", 1, ["bé"]],
    ["seen >= $1", 1, ["2024-01-21"]],
    ["d IN ($1, $2)", 2, ["2024-01-05", "2024-01-25"]],
    ["b = $1", 1, [false]],
    ["k BETWEEN $1 AND 7", 1, [5]],
    ["s = $1", 0, ["\0"]],
  ])("WHERE %s: %d", async (where, files, params) => {
    expect(await filesFor(`SELECT k FROM t WHERE ${where} ORDER BY k`, params)).toBe(files);
  });

  test.each([
    ["SELECT a.k FROM t AS a WHERE a.k = 5", 1],
    ["SELECT -k AS k FROM t WHERE k = 5", 1],
    ["WITH c AS (SELECT * FROM t WHERE k < 5) SELECT count(*) FROM c a JOIN c b USING (k)", 1],
    ["SELECT k FROM t WHERE k = 1 UNION ALL SELECT k FROM t WHERE k = 25 ORDER BY 1", 2],
    ["SELECT count(*) FROM (SELECT * FROM t WHERE k < 5) WHERE k > 3", 1],
    ["SELECT a.k FROM t a JOIN u b ON a.k = b.k WHERE a.k = 5 AND b.k = 5", 2],
    ["SELECT a.k FROM t a, u b WHERE a.k = 5 AND b.k < 10 ORDER BY 1", 2],
    ["SELECT a.k, b.k FROM t a LEFT JOIN u b ON a.k = b.k WHERE a.k = 5", 4],
    ["SELECT a.k, b.k FROM t a SEMI JOIN u b ON a.k = b.k WHERE a.k = 5".replace(", b.k", ""), 4],
    ["SELECT k FROM t WHERE k = 5 AND k IN (SELECT k FROM u WHERE k < 10)", 2],
    ['SELECT k FROM "t@2" WHERE k = 5', 1],
    ["SELECT max(k) FROM t WHERE k < 10 GROUP BY b HAVING max(k) > 2 QUALIFY row_number() OVER () = 1", 1],
  ])("%s: %d", async (sql, files) => {
    expect(await filesFor(sql)).toBe(files);
  });
});

describe("all files are fetched where some might be missed", () => {
  test.each<[string, Params?]>([
    ["k <> 5"],
    ["NOT k = 5"],
    ["NOT (k BETWEEN 1 AND 5)"],
    ["k NOT IN (5)"],
    ["k = 5 OR s = 'zé'"],
    ["k + 0 = 5"],
    ["k = 2 + 3"],
    ["abs(k) = 5"],
    ["k::VARCHAR = '5'"],
    ["k < '5'"],
    ["k IS DISTINCT FROM 5"],
    ["k IS NOT DISTINCT FROM 5"],
    ["k IN (1, 2e0)"],
    ["k BETWEEN 1 AND 2e0"],
    ["big = 9007199254740993"],
    ["k < 99999999999999999999"],
    ["h = 5"],
    ["h IS NULL"],
    ["st.k = 5"],
    ["x > 25"],
    ["x >= 25"],
    ["s COLLATE NOCASE = 'Bé'"],
    ["s = 'Bé' COLLATE NOCASE"],
    ["s ILIKE 'B%'"],
    ["s NOT LIKE 'b%'"],
    ["s LIKE '%é'"],
    ["s LIKE 'b\\%'"],
    ["s LIKE 'b%' ESCAPE 'b'"],
    ["k = TRY_CAST('5' AS INTEGER)"],
    ["b"],
    ["k = NULL"],
    ["k = $1", [null]],
    ["k < $1", ["5"]],
    ["COLUMNS('^k$') = 5"],
    ["(SELECT t.k) = 5"],
  ])("WHERE %s", async (where, params) => {
    expect(await filesFor(`SELECT k FROM t WHERE ${where} ORDER BY k`, params)).toBe(3);
  });

  test.each([
    ["SELECT k FROM t WHERE k = 5 UNION ALL SELECT k FROM t ORDER BY 1", 3],
    ["SELECT count(*) FROM t WHERE k = (SELECT max(k) FROM t)", 3],
    ["SELECT a.k FROM t a JOIN t b ON a.k = b.k - 10 WHERE a.k = 5", 3],
    ["SELECT q FROM t AS x(q) WHERE q = 5", 3],
    ["SELECT a.k, b.k FROM t a LEFT JOIN u b ON a.k = b.k WHERE b.k IS NULL ORDER BY ALL", 6],
    ["SELECT a.k, b.k FROM t a FULL JOIN u b ON a.k = b.k + 5 WHERE a.k = 7 ORDER BY ALL", 6],
    ["SELECT a.k, b.k FROM t a RIGHT JOIN u b ON a.k = b.k + 25 WHERE a.k IS NULL ORDER BY ALL", 6],
    ["SELECT a.k, b.k FROM t a ASOF JOIN u b ON a.k >= b.k WHERE b.k < 5 AND a.k > 3 ORDER BY ALL", 6],
    ["SELECT a.k, b.k FROM t a POSITIONAL JOIN u b WHERE b.k = 15", 6],
    ["SELECT k FROM t NATURAL JOIN u WHERE k = 5", 6],
    ["SELECT t.k FROM (t JOIN u ON t.k + 1 = u.k) AS t(k) WHERE t.k = 5", 6],
    ["SELECT count(*) FROM (SELECT * FROM t USING SAMPLE 30 ROWS) WHERE k < 5", 3],
    ["SELECT count(*) FROM t TABLESAMPLE 30 ROWS WHERE k < 5", 3],
    ["FROM (SELECT * FROM t WHERE k < 10 USING SAMPLE 30 ROWS) SELECT count(*)", 3],
    ["SELECT count(*) FROM (PIVOT t ON b USING max(k) GROUP BY s)", 3],
  ])("%s", async (sql, files) => {
    expect(await filesFor(sql)).toBe(files);
  });
});

test("NaN is above every number, and in no statistics", async () => {
  for (const where of [
    "x > 5",
    "x >= 5",
    "x = 'nan'::DOUBLE",
    "x <> 1",
    "x < 'nan'::DOUBLE",
    "x > 'infinity'::DOUBLE",
  ]) {
    lake.fetched.clear();
    expect([where, await filesFor(`SELECT x FROM nan WHERE ${where} ORDER BY x`)]).toEqual([where, 3]);
  }
  lake.fetched.clear();
  // The file with nothing but NaN says nothing about itself.
  expect(await filesFor("SELECT x FROM nan WHERE x < 1.5")).toBe(2);
});

test("bounds of long texts are shorter than the texts", async () => {
  for (const where of [
    "s LIKE 'é%'",
    "s > 'a'",
    "s = repeat('日', 300)",
    "s >= '日'",
    "s < 'aé'",
    "s BETWEEN 'aé' AND 'b'",
  ]) {
    lake.fetched.clear();
    expect(await filesFor(`SELECT s FROM long WHERE ${where} ORDER BY s`)).toBeGreaterThan(0);
  }
  lake.fetched.clear();
  expect(await filesFor("SELECT count(*) FROM long WHERE s = 'c'")).toBe(3);
});

test("a column that older files lack is NULL there", async () => {
  expect(await filesFor("SELECT a FROM grown WHERE extra IS NULL ORDER BY a")).toBe(2);
  lake.fetched.clear();
  expect(await filesFor("SELECT * FROM grown WHERE extra = 'x'")).toBe(2);
  lake.fetched.clear();
  expect(await filesFor("SELECT * FROM grown WHERE a = 1")).toBe(1);
});

test("a session that has seen some files sees all of them in the next statement, and others in the one after", async () => {
  for (const [where, count] of [
    ["k = 5", 1],
    ["true", 30],
    ["k = 25", 1],
    ["k = 5", 1],
    ["k < 20", 20],
  ] as const) {
    lake.fetched.clear();
    const { rows } = await lake.remote.query(`SELECT count(*)::INTEGER FROM t WHERE ${where}`);
    expect(rows).toEqual([[count]]);
  }
  for (const k of [5, 25, 6, 15]) {
    lake.fetched.clear();
    expect((await lake.remote.query("SELECT k FROM t WHERE k = $1", { params: [k] })).rows).toEqual([[k]]);
    expect(lake.fetched.size).toBe(1);
  }
});

test("EXPLAIN fetches what the statement would", async () => {
  await lake.remote.query("EXPLAIN ANALYZE SELECT k FROM t WHERE k = 5");
  expect(lake.fetched.size).toBe(1);
});

test("with all files at hand, the table stays what it is", async () => {
  await lake.remote.query("SELECT count(*) FROM t");
  const { rows } = await lake.remote.query("SELECT k FROM t WHERE k = 5");
  expect(rows).toEqual([[5]]);
  expect(await lake.remote.query("SELECT k FROM t", { maxRows: 2 })).toMatchObject({ total_rows: 30, truncated: true });
});

test("a constant that cannot be compared is told by the statement, as with all files", async () => {
  const sql = "SELECT k FROM t WHERE d = 'soon' AND k = 5";
  const told = await lake.engine.query(sql).catch((error: Error) => error.message);
  await expect(lake.remote.query(sql)).rejects.toThrow(String(told));
});
