import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { LakeError } from "../../../../src/engine/kernel/errors.ts";
import type { VectorSearch } from "../../../../src/engine/query/search/vector-calls.ts";
import type { Found } from "../../../../src/engine/query/search/vector-hits.ts";
import type { QueryOptions, QueryResult } from "../../../../src/engine/query/types.ts";
import { writtenRows } from "../../../support/parquet-lake.ts";
import { failure } from "../../../support/worded.ts";
import { type IndexLake, openIndexLake } from "../index-lake.ts";

/** What was searched for, in the order of the searches. */
const asked: VectorSearch[] = [];
/** Hits are numbered from here on. */
let first = 0;
/** Nothing is found. */
let none = false;
/** Of every hit. */
let padding = "";
/** Runs before a search answers. */
let during: (call: VectorSearch, signal: AbortSignal) => Promise<void> = async () => {};

let indexes: IndexLake;
beforeAll(async () => {
  indexes = await openIndexLake(
    async (call, { signal }): Promise<Found> => {
      asked.push(call);
      await during(call, signal);
      const hits = Array.from({ length: none ? 0 : call.k }, (_, n) => ({
        id: String(first + n),
        distance: n / 100,
        score: 1 - n / 100,
        metadata: n === 1 ? null : JSON.stringify({ role: ["welder", "driver"][n % 2], text: call.text, padding }),
      }));
      return { reference: `${call.index}@1`, hits, note: call.text === "odd" ? `${call.index} is odd.` : "" };
    },
    { maxConcurrentQueries: 1 },
  );
  await indexes.segment("items", [{ id: "0", vector: [1, 0, 0], text: "none" }], 1);
  await indexes.segment("others", [{ id: "0", vector: [1, 0, 0], text: "none" }], 1);
  await indexes.lake.write("workers", "SELECT i AS id, 'w' || i AS name, i % 7 AS years FROM range(1000) t(i)");
});
afterAll(() => indexes[Symbol.asyncDispose]());
beforeEach(() => {
  asked.length = 0;
  first = 0;
  none = false;
  padding = "";
  during = async () => {};
});

const query = (sql: string, options?: QueryOptions): Promise<QueryResult> => indexes.query.query(sql, options);

const TEXT = { index: "items", text: "forklift" };

describe("vector_search in FROM", () => {
  test("is the hits, nearest first, and names the version that was searched", async () => {
    const result = await query("FROM vector_search('items', 'forklift', 3)");
    expect(result.columns).toEqual([
      { name: "id", type: "VARCHAR" },
      { name: "distance", type: "DOUBLE" },
      { name: "score", type: "DOUBLE" },
      { name: "metadata", type: "JSON" },
    ]);
    expect(result.rows.map(([id, distance, score]) => [id, distance, score])).toEqual([
      ["0", 0, 1],
      ["1", 0.01, 0.99],
      ["2", 0.02, 0.98],
    ]);
    expect(result.datasets).toEqual(["items@1"]);
    expect(asked).toEqual([{ ...TEXT, k: 3 }]);
    expect(
      (await query("SELECT metadata->>'role', metadata IS NULL FROM vector_search('items', 'x', 2)")).rows,
    ).toEqual([
      ["welder", false],
      [null, true],
    ]);
  });

  test("finds ten when not told how many, and all of ten thousand in their order", async () => {
    expect((await query("SELECT count(*) FROM vector_search('items', 'forklift')")).rows).toEqual([[10]]);
    const all = await query("SELECT id FROM vector_search('items', 'forklift', 10000)", {
      maxRows: 10_000,
      maxBytes: 2 ** 20,
    });
    expect(all.rows).toEqual(Array.from({ length: 10_000 }, (_, n) => [String(n)]));
  });

  const params = { q: "forklift", k: 4, f: "id <> 'x'" };
  test.each<[string, QueryOptions["params"], Partial<VectorSearch>]>([
    ["vector_search('items', $1)", ["forklift"], { k: 10 }],
    ["vector_search('items', ?, ?)", ["forklift", 4], { k: 4 }],
    ["vector_search('items', $q, $k)", { q: "forklift", k: 4 }, { k: 4 }],
    ["vector_search('items', $q, k := $k)", { q: "forklift", k: "4" }, { k: 4 }],
    ["vector_search('items', $q, k => $k, filter := $f)", params, { k: 4, filter: "id <> 'x'" }],
    ["vector_search('items', $q, $k, $f, 200)", params, { k: 4, filter: "id <> 'x'", ef: 200 }],
    ["vector_search('items', $q, $k, ef := 99)", { q: "forklift", k: 4 }, { k: 4, ef: 99 }],
    ["VECTOR_SEARCH('items', query := $q, K := $k)", { q: "forklift", k: 4 }, { k: 4 }],
    ["vector_search(query := 'forklift', index_name := 'items')", undefined, { k: 10 }],
    ["vector_search('items', 'forklift', filter := NULL, ef := NULL)", undefined, { k: 10 }],
    ["vector_search('items', 'forklift', filter := $f)", { f: null }, { k: 10 }],
    ["vector_search('items', 'forklift', 5.0)", undefined, { k: 5 }],
    ["vector_search('items', 'forklift', $k)", { k: 5.0 }, { k: 5 }],
    ["vector_search('items', 'forklift', '5')", undefined, { k: 5 }],
    ["vector_search('items', 'forklift', 2 + 3)", undefined, { k: 5 }],
    ["vector_search('items', 'forklift', 5::UTINYINT)", undefined, { k: 5 }],
    ["vector_search('items', 'forklift', 1e1)", undefined, { k: 10 }],
    ["vector_search('items', 'forklift', (1.5e0 * 4)::INT)", undefined, { k: 6 }],
    ["vector_search('items', 'forklift', len([1, 2, 3]), filter := '' || '')", undefined, { k: 3 }],
    ["vector_search('it' || 'ems', lower($1) || 'lift')", ["FORK"], { k: 10 }],
    ["vector_search('items', $1::VARCHAR, $2::INTEGER)", ["forklift", 6], { k: 6 }],
    ["vector_search('items', CASE WHEN $1 > 2 THEN 'forklift' ELSE 'crane' END)", [3], { k: 10 }],
    ["vector_search('items', coalesce(NULL, $1), least($2, 7))", ["forklift", 50], { k: 7 }],
    [
      "vector_search('items', concat_ws('', 'fork', 'lift'), filter := printf('id <> ''%s''', $1))",
      ["x"],
      { filter: "id <> 'x'" },
    ],
  ])("takes its arguments as constants and parameters: %s", async (call, given, expected) => {
    const options = given === undefined ? {} : { params: given };
    const { rows } = await query(`SELECT count(*), min(id) FROM ${call}`, options);
    expect(asked).toEqual([{ ...TEXT, k: 10, ...expected }]);
    expect(rows).toEqual([[expected.k ?? 10, "0"]]);
  });

  test.each([
    'it\'s "quoted" -- $1 ; \\',
    "a\u001fb",
    "a\u0000b",
    "a\ud800b",
    "Łódź 東京 👷🏽‍♀️ e\u0301",
    " padded ",
    "x".repeat(100_000),
    "5",
    "NULL",
  ])("finds the hits of any text: %j", async (text) => {
    expect((await query("SELECT count(*) FROM vector_search('items', $1, 2)", { params: [text] })).rows).toEqual([[2]]);
    expect(asked).toEqual([{ index: "items", text, k: 2 }]);
    if (text.includes("\u0000") || text.includes("\ud800")) return;
    const literal = `'${text.replaceAll("'", "''")}'`;
    expect((await query(`SELECT count(*) FROM vector_search('items', ${literal}, 3)`)).rows).toEqual([[3]]);
  });

  test("keeps calls apart whose arguments look alike when they are joined", async () => {
    const calls = [
      "'items', 'a', 1",
      "'items', 'a1', 1",
      "'items', 'a', 11",
      "'items', 'a', 1, '1'",
      "'items', 'a', 1, '', 1",
    ];
    const counts = calls.map((call) => `(SELECT count(*) || max(metadata->>'text') FROM vector_search(${call}))`);
    expect((await query(`SELECT ${counts.join(", ")}`)).rows).toEqual([["1a", "1a1", "11a", "1a", "1a"]]);
    expect(asked).toHaveLength(5);
  });

  test("searches once for the same arguments, however they are written", async () => {
    const { rows } = await query(
      `SELECT count(*) FROM vector_search('items', 'forklift', 5) a
       JOIN vector_search('items', $1, k := 5.0) b USING (id) JOIN vector_search('items', 'fork' || 'lift', '5') c USING (id)`,
      { params: ["forklift"] },
    );
    expect(rows).toEqual([[5]]);
    expect(asked).toEqual([{ ...TEXT, k: 5 }]);
  });

  test.each<[string, unknown[][]]>([
    ["WITH t AS (SELECT * FROM vector_search('items', $q, $k)) SELECT count(*) FROM t a JOIN t b USING (id)", [[4]]],
    ["WITH t AS MATERIALIZED (FROM vector_search('items', $q, $k)) SELECT max(id) FROM t", [["3"]]],
    [
      "WITH vector_search AS (SELECT 1 AS one) SELECT one, count(*) FROM vector_search, vector_search('items', $q, $k) GROUP BY 1",
      [[1, 4]],
    ],
    ["WITH _vector_hits AS (SELECT 1 AS call) SELECT count(*) FROM vector_search('items', $q, $k)", [[4]]],
    ["SELECT (SELECT max(score) FROM vector_search('items', $q, $k)) AS best", [[1]]],
    [
      "SELECT name FROM workers WHERE id::VARCHAR IN (SELECT id FROM vector_search('items', $q, $k)) ORDER BY 1",
      [["w0"], ["w1"], ["w2"], ["w3"]],
    ],
    [
      "SELECT count(*) FROM workers w WHERE EXISTS (FROM vector_search('items', $q, $k) s WHERE s.id = w.id::VARCHAR)",
      [[4]],
    ],
    [
      "SELECT w.name, s.distance FROM vector_search('items', $q, $k) s JOIN workers w ON w.id = s.id::BIGINT WHERE w.years > 1 ORDER BY 2",
      [
        ["w2", 0.02],
        ["w3", 0.03],
      ],
    ],
    [
      "SELECT id FROM vector_search('items', $q, $k) UNION SELECT id FROM vector_search('items', 'crane', 2) ORDER BY 1",
      [["0"], ["1"], ["2"], ["3"]],
    ],
    ["SELECT s.a FROM vector_search('items', $q, $k) AS s(a, b) WHERE b > 0 LIMIT 1", [["1"]]],
    [
      "SELECT count(*) FROM workers w, LATERAL (SELECT * FROM vector_search('items', $q, $k) s WHERE s.id = w.id::VARCHAR)",
      [[4]],
    ],
    [
      "PIVOT (SELECT metadata->>'role' AS role FROM vector_search('items', $q, $k)) ON role IN ('welder', 'driver') USING count(*)",
      [[2, 1]],
    ],
    [
      "WITH RECURSIVE t(n) AS (SELECT count(*) FROM vector_search('items', $q, $k) UNION ALL SELECT n - 1 FROM t WHERE n > 1) SELECT sum(n) FROM t",
      [[10]],
    ],
    ["SELECT column_name FROM (DESCRIBE SELECT id, score FROM vector_search('items', $q, $k))", [["id"], ["score"]]],
  ])("works inside of %s", async (sql, expected) => {
    for (const _ of ["judged", "remembered"]) {
      expect((await query(sql, { params: { q: "forklift", k: 4 } })).rows).toEqual(expected);
    }
  });

  test("works in a PIVOT whose columns come of the hits", async () => {
    const sql =
      "PIVOT (SELECT metadata->>'role' AS role FROM vector_search('items', 'forklift', 5)) ON role USING count(*)";
    const { columns, rows } = await query(sql);
    expect(columns.map(({ name }) => name)).toEqual(["driver", "welder"]);
    expect(rows).toEqual([[1, 3]]);
    expect(asked).toHaveLength(1);
  });

  test("works in EXPLAIN, DESCRIBE and SUMMARIZE", async () => {
    expect((await query("EXPLAIN SELECT id FROM vector_search('items', 'forklift')")).rows).toHaveLength(1);
    expect(
      (await query("EXPLAIN ANALYZE SELECT id FROM vector_search('items', lower($1))", { params: ["X"] })).rows,
    ).toHaveLength(1);
    expect((await query("DESCRIBE FROM vector_search('items', 'forklift')")).rows.map(([name]) => name)).toEqual([
      "id",
      "distance",
      "score",
      "metadata",
    ]);
    expect((await query("SUMMARIZE FROM vector_search('items', 'forklift')")).rows).toHaveLength(4);
  });

  test("names all that was read", async () => {
    const sql = `SELECT count(*) FROM vector_search('items', 'a') JOIN vector_search('others', 'b') USING (id)
      JOIN workers w ON w.id::VARCHAR = id JOIN items USING (id)`;
    expect((await query(sql)).datasets).toEqual(["items@1", "others@1", "workers@1"]);
  });

  test("answers with the hits of now when the same statement comes again", async () => {
    const constant = "SELECT id FROM vector_search('items', 'forklift', 2) WHERE id::INTEGER < 1000 ORDER BY 1";
    const bound =
      "SELECT min(s.id::INTEGER) FROM vector_search('items', $1, 2) AS s JOIN workers w ON w.id::VARCHAR = s.id";
    none = true;
    expect((await query(constant)).rows).toEqual([]);
    expect((await query(bound, { params: ["forklift"] })).rows).toEqual([[null]]);
    none = false;
    for (first of [5, 100, 2000, 7]) {
      const seen = first < 1000 ? [[String(first)], [String(first + 1)]] : [];
      expect((await query(constant)).rows).toEqual(seen);
      expect((await query(bound, { params: ["forklift"] })).rows).toEqual([[first < 1000 ? first : null]]);
    }
    expect(asked).toHaveLength(10);
  });

  test("leaves prepared statements over tables as they were", async () => {
    const sql = "SELECT count(*) FROM workers WHERE years = $1";
    for (let round = 0; round < 3; round++) {
      expect((await query(sql, { params: [1] })).rows).toEqual([[143]]);
      expect((await query("SELECT count(*) FROM vector_search('items', 'forklift')")).rows).toEqual([[10]]);
    }
  });
});

const CALL = "vector_search('items', 'forklift')";
const refused: [string, LakeError["kind"], RegExp, QueryOptions["params"]?][] = [
  ["FROM _vector_hits", "not_found", /_vector_hits/],
  ['SELECT * FROM "_vector_hits"', "not_found", /_vector_hits/],
  ["FROM temp._vector_hits", "denied", /schema/],
  ["FROM temp.main._vector_hits", "denied", /schema/],
  ["DESCRIBE _vector_hits", "not_found", /_vector_hits/],
  [`SELECT * FROM ${CALL}, _vector_hits`, "not_found", /_vector_hits/],
  [`FROM temp.vector_search('items', 'x')`, "denied", /schema/],
  [`FROM system.main.vector_search('items', 'x')`, "denied", /schema/],
  ["CREATE MACRO vector_search(a, b) AS TABLE SELECT 1", "denied", /CREATE/],
  ["CREATE OR REPLACE TEMP TABLE _vector_hits AS SELECT 1", "denied", /CREATE/],
  ["INSERT INTO _vector_hits SELECT 1", "denied", /INSERT/],
  ["DROP MACRO TABLE vector_search", "denied", /DROP/],
  ["CALL vector_search('items', 'x')", "denied", /CALL/],
  [`SELECT vector_search('items', 'x')`, "denied", /rows, not a value/],
  ["SELECT * FROM workers w, vector_search('items', w.name, 5)", "invalid", /query has to be a constant.*column "w"/],
  ["SELECT * FROM workers, LATERAL (FROM vector_search('items', name))", "invalid", /column "name"/],
  ["FROM vector_search(items, 'x')", "invalid", /index_name .* column "items"/],
  ["FROM vector_search('items', (SELECT 'x'))", "invalid", /a subquery/],
  ["FROM vector_search('items', 'x', (SELECT max(id) FROM workers))", "invalid", /k has .* a subquery/],
  ["FROM vector_search('items', 'x' || uuid())", "invalid", /uuid\(\)/],
  ["FROM vector_search('items', now()::VARCHAR)", "invalid", /now\(\)/],
  ["FROM vector_search('items', current_date::VARCHAR)", "invalid", /current_date/],
  ["FROM vector_search('items', array_to_string(list_transform(['a'], lambda x: x), ''))", "invalid", /a lambda/],
  ["FROM vector_search('items', row_number() OVER ())", "invalid", /a window/],
  ["FROM vector_search('items', *)", "invalid", /query: it is missing|a star/],
  ["FROM vector_search('items', read_text('/etc/passwd'))", "denied", /read_text/],
  ["FROM vector_search('items', getenv('HOME'))", "denied", /getenv/],
  ["FROM vector_search('items', 'x', k = 5)", "invalid", /k: a named argument is written with :=/],
  ["FROM vector_search('items', 'x', n := 5)", "invalid", /n: there is none such/],
  ["FROM vector_search('items', 'x', 5, k := 5)", "invalid", /k: it is given twice/],
  ["FROM vector_search('items', 'x', 5, '', 0, 1)", "invalid", /argument 6/],
  ["FROM vector_search('items')", "invalid", /query: it is missing/],
  ["FROM vector_search()", "invalid", /index_name: it is missing/],
  ["FROM vector_search('items', NULL)", "invalid", /query: it is NULL/],
  ["FROM vector_search('items', '')", "invalid", /query: it is empty/],
  ["FROM vector_search('items', trim('  '))", "invalid", /query: it is empty/],
  ["FROM vector_search('items', nullif('a', 'a'))", "invalid", /query: it is NULL/],
  ["FROM vector_search('items', 5)", "invalid", /query: it has to be a text, and is 5/],
  ["FROM vector_search('items', $1)", "invalid", /query: it is NULL/, [null]],
  ["FROM vector_search('items', $q)", "invalid", /query: it is NULL, or its parameter/, { other: "x" }],
  ["FROM vector_search('items', $1)", "invalid", /query: .* text, and is \["x"\]/, [["x"]]],
  ["FROM vector_search(NULL, 'x')", "invalid", /index_name: it is NULL/],
  ["FROM vector_search('items', 'x', 0)", "invalid", /k: .* 1 to 10000, and is 0/],
  ["FROM vector_search('items', 'x', -1)", "invalid", /k: .* and is -1/],
  ["FROM vector_search('items', 'x', 10001)", "invalid", /k: .* and is 10001/],
  ["FROM vector_search('items', 'x', 5.5)", "invalid", /k: .* and is "5.5"/],
  ["FROM vector_search('items', 'x', $1)", "invalid", /k: .* and is 5.5/, [5.5]],
  ["FROM vector_search('items', 'x', $1)", "invalid", /k: .* and is true/, [true]],
  ["FROM vector_search('items', 'x', 'many')", "invalid", /k: .* and is "many"/],
  ["FROM vector_search('items', 'x', NULL)", "invalid", /k: .* and is null/],
  ["FROM vector_search('items', 'x', ef := -1)", "invalid", /ef: .* and is -1/],
  ["FROM vector_search('items', 'x', filter := 5)", "invalid", /filter: it has to be a text/],
  ["FROM vector_search('items', 'x', 5 + 9007199254740993)", "invalid", /k: a number in it is too large/],
  ["FROM vector_search('items', 'x', 170141183460469231731687303715884105727)", "invalid", /k: a number in it is too/],
  [`FROM vector_search('items', concat(${Array(1000).fill("'x'")}))`, "invalid", /query: it has too many parts/],
  ["FROM vector_search('itms', 'x')", "not_found", /itms/],
  ["FROM vector_search('../x', 'x')", "not_found", /x/],
  ["FROM vector_search('items@1', 'x')", "invalid", /names one version/],
  ["FROM vector_search('workers', 'x')", "invalid", /"workers" is a table, not a vector index/],
  [`FROM ${CALL}, vector_search('workers', 'x')`, "invalid", /is a table/],
  [`FROM ${CALL}, missing`, "not_found", /missing/],
  [`FROM vektor_search('items', 'x')`, "invalid", /no table function vektor_search.*vector_search/],
  [Array(33).fill(`SELECT id FROM ${CALL}`).join(" UNION ALL "), "limit", /more than 32/],
  [`EXPLAIN FROM vector_search('items', '')`, "invalid", /query: it is empty/],
];

describe("vector_search is refused before anything is searched", () => {
  test.each(
    refused.map(([sql, kind, message, params]) => ({ sql: sql.slice(0, 100), all: sql, kind, message, params })),
  )("$sql", async ({ all, kind, message, params }) => {
    const error = await failure(query(all, params === undefined ? {} : { params }));
    expect(error).toMatchObject({ kind, message: expect.stringMatching(message) });
    expect(error.hint, "says what to do").toBeTruthy();
    expect(asked).toEqual([]);
  });

  test("with a hint of the macro's name in the list of table functions", async () => {
    expect((await failure(query("FROM no_such('x')"))).hint).toContain("vector_search");
  });

  test("with the way to name the hits, when they are named by the function", async () => {
    expect((await failure(query("SELECT vector_search.id FROM vector_search('items', 'x')"))).hint).toContain("AS hit");
    expect((await failure(query("SELECT skore FROM vector_search('items', 'x')"))).hint).toContain("score");
    asked.length = 0;
  });

  test("where no search is at hand", async () => {
    expect(await failure(indexes.lake.query.query(`FROM ${CALL}`))).toMatchObject({ kind: "unavailable" });
  });

  test("when its parameters are not those of the statement", async () => {
    const sql = "SELECT $a FROM vector_search('items', $q)";
    expect(await failure(query(sql, { params: { q: "x" } }))).toMatchObject({ message: expect.stringContaining("$a") });
  });
});

describe("searches and the sessions of statements", () => {
  test("no session is held while a search runs, which may query the lake itself", async () => {
    during = async () => {
      expect((await query("SELECT count(*) FROM workers")).rows).toEqual([[1000]]);
    };
    for (const _ of ["judged", "remembered"]) {
      expect((await query("SELECT count(*) FROM vector_search('items', 'inner', 3)")).rows).toEqual([[3]]);
      expect((await query("SELECT count(*) FROM vector_search('items', 'in' || 'ner', 3)")).rows).toEqual([[3]]);
    }
    expect(
      (await query("PIVOT (SELECT id FROM vector_search('items', 'inner', 2)) ON id USING count(*)")).rows,
    ).toEqual([[1, 1]]);
    expect(indexes.query.occupancy().running).toBe(0);
  });

  test("searches of one statement run side by side", async () => {
    let running = 0;
    let most = 0;
    during = async () => {
      most = Math.max(most, ++running);
      await new Promise((resolve) => setTimeout(resolve, 20));
      running--;
    };
    const calls = Array.from({ length: 8 }, (_, n) => `SELECT id FROM vector_search('items', 'text ${n}', 1)`);
    expect((await query(calls.join(" UNION ALL "))).row_count).toBe(8);
    expect(most).toBe(4);
  });

  test("statements at once see their own hits", async () => {
    const results = await Promise.all(
      Array.from({ length: 20 }, (_, n) =>
        query("SELECT count(*), min(metadata->>'text') FROM vector_search('items', $1, $2)", {
          params: [`t${n}`, n + 1],
        }),
      ),
    );
    expect(results.map(({ rows }) => rows)).toEqual(Array.from({ length: 20 }, (_, n) => [[n + 1, `t${n}`]]));
  });

  const endless = (_: unknown, signal: AbortSignal): Promise<void> =>
    new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(new Error("stopped"))));

  test("a cancelled statement stops its searches", async () => {
    const controller = new AbortController();
    let stopped = 0;
    during = async (call, signal) => {
      setTimeout(() => controller.abort(), 10);
      await endless(call, signal).catch(() => stopped++);
      throw new Error("stopped");
    };
    const sql = "FROM vector_search('items', 'a') UNION ALL FROM vector_search('items', 'b')";
    expect(await failure(query(sql, { signal: controller.signal }))).toMatchObject({
      kind: "unavailable",
      message: "The call was cancelled.",
    });
    expect(stopped).toBe(2);
    during = async () => {};
    expect((await query(`SELECT count(*) FROM (${sql})`)).rows).toEqual([[20]]);
  });

  test("the time of a search counts, also of one that does not listen", { tags: ["slow"] }, async () => {
    during = endless;
    expect(await failure(query(`FROM ${CALL}`, { timeoutMs: 50 }))).toMatchObject({
      kind: "limit",
      message: expect.stringContaining("after 50 ms"),
      code: "query_timeout",
    });
    during = () => new Promise(() => {});
    expect(await failure(query(`FROM ${CALL}`, { timeoutMs: 50 }))).toMatchObject({ kind: "limit" });
  });

  test("a search that fails fails the statement with its own words, and stops the others", async () => {
    let stopped = false;
    during = async (call, signal) => {
      if (call.text === "bad") throw new LakeError("unavailable", "Ollama does not answer.", { hint: "Start it." });
      await endless(call, signal).catch(() => {
        stopped = true;
      });
      throw new Error("stopped");
    };
    const sql = "FROM vector_search('items', 'bad') UNION ALL FROM vector_search('items', 'slow')";
    expect(await failure(query(sql))).toMatchObject({ kind: "unavailable", message: "Ollama does not answer." });
    await new Promise(setImmediate);
    expect(stopped).toBe(true);
  });

  test("hits that would not fit into memory are refused", async () => {
    padding = "x".repeat(2 ** 20);
    expect((await query("SELECT count(*) FROM vector_search('items', 'wide', 20)")).rows).toEqual([[20]]);
    const sql = "SELECT 1 FROM vector_search('items', 'a', 40) UNION ALL SELECT 2 FROM vector_search('items', 'b', 40)";
    expect(await failure(query(sql))).toMatchObject({ kind: "limit", message: expect.stringContaining("characters") });
  });

  test("a failed search leaves nothing for the next statement", async () => {
    during = async () => {
      throw new LakeError("unavailable", "no");
    };
    const sql = "SELECT count(*) FROM vector_search('items', 'again', 3)";
    await failure(query(sql));
    during = async () => {};
    expect((await query(sql)).rows).toEqual([[3]]);
  });
});

describe("vector_search in the SQL of an ingest", () => {
  const run = (sql: string) => writtenRows(indexes.query, sql);

  test("brings its hits along to another instance", async () => {
    const { rows, datasets } = await run(
      `SELECT s.id, w.name, s.metadata->>'role' AS role, s.distance FROM vector_search('items', 'it''s', 500) s
       JOIN workers w ON w.id::VARCHAR = s.id WHERE s.id IN ('0', '1', '499') ORDER BY s.distance; -- end`,
    );
    expect(rows).toEqual([
      { id: "0", name: "w0", role: "welder", distance: 0 },
      { id: "1", name: "w1", role: null, distance: 0.01 },
      { id: "499", name: "w499", role: "driver", distance: 4.99 },
    ]);
    expect(datasets).toEqual(["items@1", "workers@1"]);
  });

  test("works with computed arguments, none found, and several calls", async () => {
    const sql =
      "SELECT count(*)::INTEGER AS n FROM vector_search('items', lower('A'), 2 + 2) a, vector_search('others', 'b', 3) b";
    expect((await run(sql)).rows).toEqual([{ n: 12 }]);
    expect(
      (
        await run(
          "SELECT count(*)::INTEGER AS n FROM (PIVOT (FROM vector_search('items', 'a', 2)) ON id USING max(score))",
        )
      ).rows,
    ).toEqual([{ n: 2 }]);
  });

  test("is refused as in a query", async () => {
    expect(await failure(run("FROM vector_search('items', $1)"))).toMatchObject({ kind: "invalid" });
    expect(await failure(run("FROM vector_search('workers', 'x')"))).toMatchObject({ kind: "invalid" });
  });
});
