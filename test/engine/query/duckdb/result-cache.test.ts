import { DuckDBInstance } from "@duckdb/node-api";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { type Engine, openEngine } from "../../../../src/engine/engine.ts";
import type { EngineSettings } from "../../../../src/engine/settings.ts";
import { type Lake, openLake, testSettings } from "../../../support/lake.ts";

// For what leaves the lake as it was.
let shared: Lake;
beforeAll(async () => {
  shared = await openLake();
  await put(shared.engine, "a,b\n1,x\n2,y\n3,z\n");
});
afterAll(() => shared[Symbol.asyncDispose]());

const COUNT = "SELECT count(*) AS n, sum(a) AS total FROM t";

async function openWith(settings: Partial<EngineSettings> = {}): Promise<Lake> {
  const lake = await openLake({ settings });
  onTestFinished(() => lake[Symbol.asyncDispose]());
  await put(lake.engine, "a,b\n1,x\n2,y\n3,z\n");
  return lake;
}

const put = (engine: Engine, text: string, name = "t") => engine.ingest({ name, source: { text } });

const hits = (engine: Engine): number => engine.stats().results.hits;

/** Asks twice; whether the second answer came from memory. */
async function isKept(engine: Engine, sql: string, options: Parameters<Engine["query"]>[1] = {}): Promise<boolean> {
  const first = await engine.query(sql, options);
  const before = hits(engine);
  const second = await engine.query(sql, options);
  const kept = hits(engine) > before;
  if (kept) expect({ ...second, elapsed_ms: 0 }).toEqual({ ...first, elapsed_ms: 0 });
  return kept;
}

describe("a result is kept", () => {
  test("for a statement that would give the same again, with the time of this call", async () => {
    let now = 0;
    const { engine } = await openWith({
      clock: {
        now: () => {
          now += 7;
          return new Date(now);
        },
      },
    });
    expect(await isKept(engine, COUNT)).toBe(true);
    const { rows, datasets, elapsed_ms } = await engine.query(COUNT);
    expect({ rows, datasets }).toEqual({ rows: [[3, 6]], datasets: ["t@1"] });
    expect(elapsed_ms).toBe(7);
    expect(engine.stats().results).toMatchObject({ entries: 1, hits: 2, misses: 1 });
  });

  test("and is read with no statement running", async () => {
    const { engine } = await openWith({ maxConcurrentQueries: 1, maxQueuedQueries: 0 });
    await engine.query(COUNT);
    const stop = new AbortController();
    const endless = "SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE a.range * b.range = -1";
    const running = engine.query(endless, { signal: stop.signal }).catch((error: unknown) => error);
    await expect.poll(() => engine.stats().queries.running).toBe(1);
    await expect(engine.query("SELECT 5")).rejects.toMatchObject({ kind: "unavailable" });
    expect((await engine.query(COUNT)).rows).toEqual([[3, 6]]);
    stop.abort();
    await running;
  });

  test.each([
    ["FROM t", {}],
    ["SELECT b, list_sum([a, 1]), split_part(b, 'x', 1), nullif(a, 2) FROM t ORDER BY ALL", {}],
    ["SELECT * FROM t WHERE a = $1", { params: [2] }],
    ["SELECT * FROM t WHERE a = $a", { params: { a: 2 } }],
    ["DESCRIBE t", {}],
    ["SUMMARIZE t", {}],
    ['WITH x AS (FROM "t@1") SELECT max(a) FROM x', {}],
    ["PIVOT t ON b IN ('x', 'y') USING sum(a)", {}],
    ["SELECT unnest([1, 2]), row_number() OVER () FROM range(3), generate_series(1, 2)", {}],
    ["SELECT strftime(DATE '2024-01-02', '%Y'), date_trunc('month', DATE '2024-01-02'), md5('a'), hash(1)", {}],
    ["SELECT list_transform([1, 2], lambda x: x + 1)", {}],
  ])("%s", async (sql, options) => {
    expect(await isKept(shared.engine, sql, options)).toBe(true);
  });
});

describe("a result is not kept", () => {
  test.each([
    "SELECT random()",
    "SELECT a FROM t WHERE random() > 2",
    "SELECT uuid()",
    "SELECT uuidv7()",
    "SELECT gen_random_uuid()",
    "SELECT now()",
    "SELECT today()",
    "SELECT current_date",
    "SELECT CURRENT_DATE AS d FROM t",
    'SELECT "current_date"',
    "SELECT current_date()",
    "SELECT get_current_timestamp()",
    "SELECT get_current_time()",
    "SELECT transaction_timestamp()",
    "SELECT age(TIMESTAMP '2020-01-01')",
    "SELECT ago(INTERVAL 1 DAY)",
    "SELECT current_database()",
    "FROM t LIMIT (SELECT 1 + (random() * 0)::INTEGER)",
    "FROM (SELECT a FROM t UNION ALL SELECT epoch(now())::BIGINT)",
    "WITH x AS (SELECT now() AS n) SELECT b, n FROM t, x",
    "SELECT list_transform([1], lambda x: x + random())",
    "SELECT a, CASE WHEN a > 1 THEN uuid() END FROM t",
    "SELECT sum(a) OVER (ORDER BY random()) FROM t",
    "FROM t TABLESAMPLE 50%",
    "FROM t USING SAMPLE 2 ROWS",
    "FROM (FROM t USING SAMPLE 2 ROWS (reservoir, 7))",
    "SELECT reservoir_quantile(a, 0.5) FROM t",
    "SELECT count(*) FROM pg_timezone_names()",
    "SELECT name FROM lakehouse_datasets",
    "SELECT count(*) FROM t, lakehouse_versions",
    "SELECT count(*) FROM lakehouse_files",
    "SHOW TABLES",
    "EXPLAIN SELECT 1",
    "EXPLAIN ANALYZE SELECT count(*) FROM t",
    // What it becomes depends on the data.
    "PIVOT t ON b USING sum(a)",
  ])("%s", async (sql) => {
    const { entries, misses } = shared.engine.stats().results;
    expect(await isKept(shared.engine, sql)).toBe(false);
    expect(shared.engine.stats().results).toMatchObject({ entries, misses });
  });

  test("of any function or word whose value is the moment, the session, or chance", {
    tags: ["slow"],
    timeout: 60_000,
  }, async () => {
    const instance = await DuckDBInstance.create(":memory:");
    const connection = await instance.connect();
    const list = async (sql: string) => (await connection.runAndReadAll(sql)).getRowsJson().map(([name]) => `${name}`);
    const changing = await list(
      `SELECT DISTINCT function_name FROM duckdb_functions()
       WHERE function_type = 'scalar' AND stability <> 'CONSISTENT' AND len(parameters) = 0`,
    );
    const words = await list(
      "SELECT keyword_name FROM duckdb_keywords() UNION SELECT DISTINCT function_name FROM duckdb_functions()",
    );
    connection.closeSync();
    instance.closeSync();
    expect(changing.length).toBeGreaterThan(10);
    expect(words.length).toBeGreaterThan(1000);

    const { engine } = await openWith({ queryCacheBytes: 2 ** 27 });
    const tries = [
      ...changing.map((name) => `${name}()`),
      // What a bare word may stand for where there is no such column.
      ...words.filter((name) => /^[a-z_]+$/i.test(name)),
    ];
    const kept: string[] = [];
    for (const expression of tries) {
      const sql = `SELECT ${expression} AS value`;
      const answered = await engine.query(sql).catch(() => undefined);
      if (answered === undefined) continue;
      const before = hits(engine);
      await engine.query(sql);
      if (hits(engine) > before) kept.push(expression.toLowerCase());
    }
    // The same for everybody, at any time.
    const constant = "current_catalog current_role current_schema current_user false null session_user true user";
    expect(new Set(kept)).toEqual(new Set(constant.split(" ")));
  });

  test("when searches are part of it", { tags: ["slow"] }, async () => {
    const { engine } = await openWith();
    await engine.createIndex({ name: "things", source: { dataset: "t", text: "b", id: "a" } });
    expect(await isKept(engine, "SELECT id FROM vector_search('things', 'x', 2)")).toBe(false);
    // The index as a table is a version like any other.
    expect(await isKept(engine, "SELECT id, text FROM things ORDER BY id")).toBe(true);
  });
});

describe("what is kept is never outdated", () => {
  test("after a commit here, and with it comes back the older version's", async () => {
    const { engine } = await openWith();
    await engine.query(COUNT);
    await put(engine, "a,b\n10,x\n");
    expect(await engine.query(COUNT)).toMatchObject({ rows: [[1, 10]], datasets: ["t@2"] });
    expect(hits(engine)).toBe(0);
    // One result a statement: the outdated one made room.
    expect(engine.stats().results.entries).toBe(1);
    const pinned = 'SELECT count(*) AS n, sum(a) AS total FROM "t@1"';
    expect(await isKept(engine, pinned)).toBe(true);
    await put(engine, "a,b\n11,x\n");
    expect((await engine.query(pinned)).rows).toEqual([[3, 6]]);
    expect((await engine.query(COUNT)).rows).toEqual([[1, 11]]);
  });

  test("after a commit of another engine over the same lake, at once", async () => {
    const { engine, folder } = await openWith();
    const other = await openEngine(testSettings(folder));
    onTestFinished(() => other.close());
    for (let round = 1; round <= 5; round++) {
      await engine.query(COUNT);
      expect(await isKept(engine, COUNT)).toBe(true);
      await put(other, `a,b\n${round * 100},x\n`);
      expect((await engine.query(COUNT)).rows).toEqual([[1, round * 100]]);
    }
  });

  test("when any of several datasets changed", async () => {
    const { engine } = await openWith();
    await put(engine, "c\n1\n", "u");
    const join = "SELECT count(*) AS n FROM t, u";
    expect(await isKept(engine, join)).toBe(true);
    await put(engine, "c\n1\n2\n", "u");
    expect((await engine.query(join)).rows).toEqual([[6]]);
  });

  test("nor answers for a dataset that was dropped, and made again", async () => {
    const { engine } = await openWith();
    await engine.query(COUNT);
    await engine.drop("t");
    await expect(engine.query(COUNT)).rejects.toMatchObject({ kind: "not_found" });
    await put(engine, "a,b\n1,x\n2,y\n3,z\n4,z\n");
    expect((await engine.query(COUNT)).rows).toEqual([[4, 10]]);
  });

  test("while writers and readers race", { tags: ["slow"], timeout: 60_000 }, async () => {
    const { engine } = await openWith();
    const over = new AbortController();
    let committed = 0;
    const write = async (): Promise<void> => {
      for (let round = 1; round <= 5; round++) {
        await put(engine, `a,b\n${round},x\n`);
        committed = round;
      }
    };
    const read = async (): Promise<void> => {
      while (!over.signal.aborted) {
        // An answer from memory takes no turn of the event loop; a reader without a pause would let nobody write.
        await new Promise(setImmediate);
        const least = committed;
        const { rows } = await engine.query("SELECT max(a) FROM t");
        if (least > 0) expect(Number(rows[0]?.[0])).toBeGreaterThanOrEqual(least);
      }
    };
    const readers = Promise.all([read(), read(), read()]);
    await write().finally(() => over.abort());
    await readers;
    expect((await engine.query("SELECT max(a) FROM t")).rows).toEqual([[5]]);
  });
});

describe("what is kept is found by all that it follows from", () => {
  test("parameters, by place and by name, and their types", async () => {
    const { engine } = await openWith();
    const typed = (value: unknown) => engine.query("SELECT typeof($1) AS t, $1 AS v", { params: [value] });
    const values = [1, 1.5, "1", true, null, [1], ["1"], { a: 1 }, { a: "1" }];
    const first: unknown[] = [];
    for (const value of values) first.push((await typed(value)).rows);
    expect(hits(engine)).toBe(0);
    for (const [at, value] of values.entries()) expect((await typed(value)).rows).toEqual(first[at]);
    expect(hits(engine)).toBe(values.length);
    const named = (params: Record<string, unknown>) => engine.query("SELECT $a AS a, $b AS b", { params });
    expect((await named({ a: 1, b: 2 })).rows).toEqual([[1, 2]]);
    expect((await named({ a: 2, b: 1 })).rows).toEqual([[2, 1]]);
  });

  test("rows and bytes that may be returned; what was cut stays cut, and says so", async () => {
    const { engine } = await openWith();
    const sql = "SELECT a FROM t ORDER BY a";
    const cut = { rows: [[1], [2]], row_count: 2, truncated: true, truncated_by: "max_rows", total_rows: 3 };
    for (let round = 0; round < 2; round++) {
      expect(await engine.query(sql, { maxRows: 2 })).toMatchObject(cut);
      expect(await engine.query(sql, { maxRows: 3 })).toMatchObject({ row_count: 3, truncated: false });
      const small = await engine.query(sql, { maxRows: 3, maxBytes: 40 });
      expect(small).toMatchObject({ truncated: true, truncated_by: "max_bytes" });
    }
    expect(hits(engine)).toBe(3);
  });

  test("not by statements that fail or are cancelled", async () => {
    const { engine } = await openWith();
    const fails = "SELECT CASE WHEN a = 3 THEN error('no') END FROM t";
    for (let round = 0; round < 2; round++)
      await expect(engine.query(fails)).rejects.toMatchObject({ kind: "invalid" });
    const long = "SELECT count(*) AS n FROM range(100000000) a, range(100000000) b WHERE (a.range * b.range) % 7 = 3";
    for (let round = 0; round < 2; round++) {
      await expect(engine.query(long, { timeoutMs: 50 })).rejects.toMatchObject({ kind: "limit" });
    }
    expect(engine.stats().results).toMatchObject({ entries: 0, hits: 0, misses: 0 });
    await engine.query(COUNT);
    await expect(engine.query(COUNT, { signal: AbortSignal.abort() })).rejects.toMatchObject({ kind: "unavailable" });
  });

  test("without the end of the engine in its way", async () => {
    const { engine } = await openWith();
    await engine.query(COUNT);
    await engine.close();
    await expect(engine.query(COUNT)).rejects.toMatchObject({ kind: "closed" });
  });
});

describe("memory", () => {
  test("is bounded: the last used results stay", async () => {
    const { engine } = await openWith({ queryCacheBytes: 64 * 1024 });
    const ask = (n: number) => engine.query("SELECT repeat('x', 5000) || $1 AS text", { params: [n] });
    await ask(0);
    for (let n = 1; n < 30; n++) {
      await ask(n);
      await ask(0);
      expect(engine.stats().results.bytes).toBeLessThanOrEqual(64 * 1024);
    }
    const { entries, hits: answered, misses } = engine.stats().results;
    expect(entries).toBeGreaterThan(2);
    expect(entries).toBeLessThan(10);
    expect({ answered, misses }).toEqual({ answered: 29, misses: 30 });
    // One that is larger than all of it is not kept, and drives out nothing.
    await engine.query("SELECT repeat('x', 50000) AS text");
    expect(engine.stats().results.entries).toBe(entries);
  });

  test("of 0 keeps nothing", async () => {
    const { engine } = await openWith({ queryCacheBytes: 0 });
    expect(await isKept(engine, COUNT)).toBe(false);
    expect(engine.stats().results).toEqual({ entries: 0, bytes: 0, maxBytes: 0, hits: 0, misses: 0 });
  });

  test("is not taken by long statements and parameters", async () => {
    const { engine } = await openWith();
    expect(await isKept(engine, `SELECT 1 /* ${"x".repeat(20_000)} */`)).toBe(false);
    expect(await isKept(engine, "SELECT length($1) AS n", { params: ["x".repeat(100_000)] })).toBe(false);
  });
});

test("the fence around what is kept has an id of its own each time", async () => {
  const lake = await openWith();
  const texts: string[] = [];
  for (let round = 0; round < 3; round++) {
    const { content } = await lake.raw("sql", { sql: COUNT });
    texts.push(content.map((part) => (part.type === "text" ? part.text : "")).join());
  }
  const ids = texts.map((text) => /\[data ([0-9a-f]{8}):/.exec(text)?.[1]);
  expect(hits(lake.engine)).toBe(2);
  expect(new Set(ids).size).toBe(3);
  expect(ids).not.toContain(undefined);
});
