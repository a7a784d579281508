import { rm } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { type Engine, openEngine } from "../../../src/engine/engine.ts";
import type { QueryResult } from "../../../src/engine/query/types.ts";
import type { EngineSettings } from "../../../src/engine/settings.ts";
import { type Lake, openLake, testSettings } from "../../support/lake.ts";
import { openRemoteLake } from "../../support/remote-lake.ts";

const OFTEN = 3;
const SLOWLY = { timeout: 20_000 };

/** Every statement runs: no result is kept. */
async function openWith(settings: Partial<EngineSettings> = {}): Promise<Lake> {
  const lake = await openLake({ settings: { queryCacheBytes: 0, ...settings } });
  onTestFinished(() => lake[Symbol.asyncDispose]());
  return lake;
}

const put = (engine: Engine, text: string, name = "t") => engine.ingest({ name, source: { text } });

const pick = ({ columns, rows }: QueryResult) => ({ columns, rows });

async function rowsOf(engine: Engine, sql: string): Promise<unknown[][]> {
  return (await engine.query(sql)).rows;
}

/** What a statement reads, as DuckDB plans it. */
async function readsFrom(engine: Engine, sql = "FROM t"): Promise<"files" | "memory"> {
  const { rows } = await engine.query(`EXPLAIN ${sql}`);
  return /hot\./.test(JSON.stringify(rows)) ? "memory" : "files";
}

/** Asks until the dataset is in memory. */
async function heat(engine: Engine, sql = "FROM t"): Promise<void> {
  for (let times = 0; times < OFTEN; times++) await engine.query(sql);
  await expect.poll(() => engine.stats().hot.tables, SLOWLY).toBe(1);
}

describe("a small dataset that is asked for often", () => {
  test("is read from memory, with the same rows", async () => {
    const { engine } = await openWith();
    await put(engine, "a,b\n1,x\n2,y\n3,z\n");
    for (let times = 1; times < OFTEN; times++) {
      await rowsOf(engine, "FROM t");
      expect(engine.stats().hot).toMatchObject({ tables: 0, bytes: 0 });
    }
    await rowsOf(engine, "FROM t");
    await expect.poll(() => engine.stats().hot.tables, SLOWLY).toBe(1);
    expect(engine.stats().hot.bytes).toBeGreaterThan(0);
    expect(await readsFrom(engine)).toBe("memory");
    expect(await engine.query("FROM t WHERE a > $1", { params: [1] })).toMatchObject({
      columns: [
        { name: "a", type: "BIGINT" },
        { name: "b", type: "VARCHAR" },
      ],
      rows: [
        [2, "y"],
        [3, "z"],
      ],
      datasets: ["t@1"],
    });
  });

  test("and whatever its types are", async () => {
    const { engine, folder } = await openWith();
    const cold = await openEngine(testSettings(folder, { queryCacheBytes: 0, tableCacheBytes: 0 }));
    onTestFinished(() => cold.close());
    await engine.ingest({
      name: "t",
      source: {
        sql: `SELECT i, (i % 256)::UTINYINT u, i * 1.5::DECIMAL(18, 3) d, i / 3 f, 'é' || i s, i % 2 = 0 b, DATE '2024-01-01' + i::INTEGER da,
          TIMESTAMPTZ '2024-01-01 00:00:00Z' + to_hours(i) tz, TIME '10:00:00' + to_minutes(i) ti, [i, NULL] l,
          {'x': i, 'y': [{'z': 'q' || i}]} st, MAP {'k': i} m, encode('b' || i) bl, to_days(i::INTEGER) iv,
          (i % 3)::VARCHAR::ENUM ('0', '1', '2') e, gen_random_uuid() uu, ('{"j": ' || i || '}')::JSON j,
          CASE WHEN i % 5 > 0 THEN i END n, i::HUGEINT * 10000000000000000000 h
          FROM range(3000) r(i)`,
      },
    });
    const asked = [
      "FROM t",
      "FROM t OFFSET 2990",
      "SUMMARIZE t",
      "DESCRIBE t",
      "SELECT e, count(*) FROM t GROUP BY ALL ORDER BY 1",
    ];
    await heat(engine);
    for (const sql of asked) {
      const { columns, rows } = await engine.query(sql, { maxRows: 5000, maxBytes: 2 ** 24 });
      expect({ columns, rows }).toEqual(pick(await cold.query(sql, { maxRows: 5000, maxBytes: 2 ** 24 })));
    }
    expect(await readsFrom(engine)).toBe("memory");
    expect(await readsFrom(cold)).toBe("files");
  });

  test("has rows in their order, those of several files and of older columns too", async () => {
    const { engine } = await openWith();
    await put(engine, "a\n1\n2\n");
    await engine.ingest({ name: "t", source: { text: "a,b\n3,x\n" }, mode: "append", schemaChange: "allow" });
    const rows = [
      [1, null],
      [2, null],
      [3, "x"],
    ];
    expect(await rowsOf(engine, "FROM t")).toEqual(rows);
    await heat(engine);
    expect(await rowsOf(engine, "FROM t")).toEqual(rows);
    expect(await readsFrom(engine)).toBe("memory");
  });

  test("by another name, in a CTE, and twice in one statement", async () => {
    const { engine } = await openWith();
    await put(engine, "a\n1\n2\n");
    await heat(engine);
    const sql = 'WITH c AS (FROM t) SELECT count(*) FROM c JOIN t USING (a) JOIN "t@1" v USING (a)';
    expect(await rowsOf(engine, sql)).toEqual([[2]]);
    expect(await rowsOf(engine, "WITH t AS (SELECT 7 AS a) FROM t")).toEqual([[7]]);
  });

  test("is followed by its next version at once", async () => {
    const { engine } = await openWith();
    await put(engine, "a\n1\n");
    await heat(engine);
    for (let version = 2; version < 6; version++) {
      await put(engine, `a\n${version}\n`);
      expect(await engine.query("FROM t")).toMatchObject({ rows: [[version]], datasets: [`t@${version}`] });
      expect(await rowsOf(engine, 'FROM "t@1"')).toEqual([[1]]);
    }
    expect(await readsFrom(engine)).toBe("files");
    expect(await readsFrom(engine, 'FROM "t@1"')).toBe("memory");
    await engine.drop("t");
    await expect(engine.query("FROM t")).rejects.toMatchObject({ kind: "not_found" });
  });

  test("can be reached by its name only", async () => {
    const { engine } = await openWith();
    await put(engine, "a\n1\n");
    await heat(engine);
    for (const sql of ['FROM hot."t@1"', 'FROM memory.hot."t@1"', "SELECT rowid FROM t", "FROM duckdb_tables()"]) {
      await expect(engine.query(sql)).rejects.toThrow(/schema|rowid|duckdb_tables/);
    }
    expect(await rowsOf(engine, "SHOW TABLES")).toEqual([["t"]]);
  });

  test("makes what is wrong no different", async () => {
    const { engine } = await openWith();
    await put(engine, "a\nx\n");
    const wrong = ["SELECT b FROM t", "SELECT a::INTEGER FROM t", "SELECT a + 1 FROM t", "FROM t, t"];
    const messages = (): Promise<string[]> =>
      Promise.all(wrong.map((sql) => engine.query(sql).then(JSON.stringify, ({ message }) => message)));
    const before = await messages();
    await heat(engine);
    expect(await messages()).toEqual(before);
  });

  test("of a bucket is not fetched again", async () => {
    const lake = await openRemoteLake({ queryCacheBytes: 0, tableCacheBytes: 2 ** 26 });
    onTestFinished(() => lake[Symbol.asyncDispose]());
    await lake.write("t", "SELECT 1 AS a", "SELECT 2 AS a");
    for (let times = 0; times < OFTEN; times++) await lake.remote.query("SELECT a FROM t");
    await expect.poll(() => lake.remote.hot()?.tables, SLOWLY).toBe(1);
    lake.fetched.clear();
    expect((await lake.remote.query("FROM t WHERE a = 2")).rows).toEqual([[2]]);
    expect([...lake.fetched]).toEqual([]);
  });
});

describe("is read from its files", () => {
  test("as long as some of them are in the bucket only", async () => {
    const lake = await openRemoteLake({ queryCacheBytes: 0, tableCacheBytes: 2 ** 26 });
    onTestFinished(() => lake[Symbol.asyncDispose]());
    await lake.write("t", "SELECT 1 AS a", "SELECT 2 AS a");
    for (let times = 0; times < 3 * OFTEN; times++) await lake.remote.query("FROM t WHERE a = 2");
    expect(lake.fetched.size).toBe(1);
    expect(lake.remote.hot()?.tables).toBe(0);
    // From there on it is asked for as a whole.
    for (let times = 0; times < OFTEN; times++) await lake.remote.query("SELECT a FROM t");
    await expect.poll(() => lake.remote.hot()?.tables, SLOWLY).toBe(1);
  });

  test("when it is not small", async () => {
    const { engine } = await openWith({ tableCacheBytes: 16 * 1024 });
    await engine.ingest({ name: "t", source: { sql: "SELECT hash(range) AS a FROM range(1000)" } });
    for (let times = 0; times < 3 * OFTEN; times++) await engine.query("FROM t LIMIT 1");
    expect(engine.stats().hot).toMatchObject({ tables: 0, bytes: 0, maxBytes: 16 * 1024 });
  });

  test("when it is only small as a file", async () => {
    const maxBytes = 2 ** 20;
    const { engine } = await openWith({ tableCacheBytes: maxBytes });
    const { bytes } = await engine.ingest({
      name: "t",
      source: { sql: "SELECT repeat('x', 1000) AS a FROM range(5000)" },
    });
    expect(bytes).toBeLessThan(maxBytes / 16);
    for (const name of ["before", "after"]) await put(engine, "a\n1\n", name);
    await heat(engine, "FROM before");
    for (let times = 0; times < OFTEN; times++) await engine.query("FROM t LIMIT 1");
    // One is loaded after the other.
    await expect
      .poll(async () => {
        await engine.query("FROM after");
        return engine.stats().hot.tables;
      }, SLOWLY)
      .toBe(2);
    expect(await rowsOf(engine, "SELECT count(*) FROM t")).toEqual([[5000]]);
    expect(await readsFrom(engine)).toBe("files");
    expect(await readsFrom(engine, "FROM before")).toBe("memory");
  });

  test("when it has many rows, however few bytes", async () => {
    const { engine } = await openWith({ tableCacheBytes: 2 ** 20 });
    await engine.ingest({ name: "t", source: { sql: "SELECT 1 AS a FROM range(100000)" } });
    for (let times = 0; times < 3 * OFTEN; times++) await engine.query("FROM t LIMIT 1");
    expect(await readsFrom(engine)).toBe("files");
  });

  test("when none may be in memory", async () => {
    const { engine } = await openWith({ tableCacheBytes: 0 });
    await put(engine, "a\n1\n");
    for (let times = 0; times < 3 * OFTEN; times++) await engine.query("FROM t");
    expect(await readsFrom(engine)).toBe("files");
  });

  test("when it is an index", async () => {
    const { engine } = await openWith();
    await engine.createIndex({ name: "i", dimension: 2 });
    await engine.upsert("i", [{ id: "a", vector: [1, 0] }]);
    for (let times = 0; times < 3 * OFTEN; times++) await engine.query("SELECT id FROM i");
    expect(engine.stats().hot.tables).toBe(0);
  });

  test("when it cannot be loaded, which is tried once", async () => {
    const lines: string[] = [];
    const { engine, folder } = await openWith({ log: (_, message) => void lines.push(message) });
    await put(engine, "a\n1\n");
    for (let times = 1; times < OFTEN; times++) await engine.query("FROM t");
    await rm(join(folder, "lake", "data"), { recursive: true });
    for (let times = 0; times < 3 * OFTEN; times++) await engine.query("FROM t").catch(() => undefined);
    await expect.poll(() => lines.filter((line) => line === "a dataset was not loaded into memory")).toHaveLength(1);
  });
});

describe("room for some", () => {
  const MANY = 6;
  const BYTES = 2 ** 22;
  /** Decoded it takes more than a quarter of that: three have room. */
  const SQL = "SELECT range % 50 AS a, range % 7 AS b FROM range(26000)";

  async function openMany(): Promise<Engine> {
    const { engine } = await openWith({ tableCacheBytes: BYTES });
    for (let at = 0; at < MANY; at++) await engine.ingest({ name: `t${at}`, source: { sql: SQL } });
    return engine;
  }

  test("is for those asked for last", async () => {
    const engine = await openMany();
    const ask = async (name: string): Promise<void> => {
      for (let times = 0; times < OFTEN; times++) {
        expect(await rowsOf(engine, `SELECT count(*) FROM ${name}`)).toEqual([[26_000]]);
      }
      await expect.poll(() => readsFrom(engine, `FROM ${name}`), SLOWLY).toBe("memory");
    };
    for (let at = 0; at < MANY; at++) {
      await ask(`t${at}`);
      expect(engine.stats().hot.bytes).toBeLessThanOrEqual(BYTES);
    }
    expect(engine.stats().hot.tables).toBe(3);
    expect(await readsFrom(engine, "FROM t0")).toBe("files");
    // One that had to go comes back, and the one used longest ago goes.
    await rowsOf(engine, "FROM t3 LIMIT 1");
    await ask("t0");
    expect(await readsFrom(engine, "FROM t3")).toBe("memory");
    expect(await readsFrom(engine, "FROM t4")).toBe("files");
  });

  test("counts long texts", async () => {
    const { engine } = await openWith({ tableCacheBytes: 2 ** 23 });
    await engine.ingest({ name: "t", source: { sql: "SELECT repeat('x', 10000) AS a FROM range(300)" } });
    await heat(engine, "SELECT count(a) FROM t");
    expect(engine.stats().hot.bytes).toBeGreaterThan(3_000_000);
  });

  test("and whatever comes and goes, statements have their rows", async () => {
    const engine = await openMany();
    let wrong = 0;
    const client = async (own: number): Promise<void> => {
      for (let times = 0; times < 40; times++) {
        const name = `t${(own * 7 + Math.floor(times / 4)) % MANY}`;
        const [[rows] = []] = await rowsOf(engine, `SELECT sum(a)::BIGINT FROM ${name} WHERE b < ${times % 7}`);
        const [[same] = []] = await rowsOf(
          engine,
          `SELECT sum(range % 50)::BIGINT FROM range(26000) WHERE range % 7 < ${times % 7}`,
        );
        if (rows !== same) wrong++;
      }
    };
    await Promise.all([0, 1, 2, 3].map(client));
    expect(wrong).toBe(0);
  });
});

test("an engine closes while one is loading", async () => {
  const lake = await openLake({ settings: { queryCacheBytes: 0 } });
  await lake.engine.ingest({ name: "t", source: { sql: "SELECT range AS a FROM range(200000)" } });
  for (let times = 0; times < OFTEN; times++) await lake.engine.query("FROM t LIMIT 1");
  await lake[Symbol.asyncDispose]();
});
