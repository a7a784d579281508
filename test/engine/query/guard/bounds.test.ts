import { readFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { translateDuckError } from "../../../../src/engine/duckdb/duck-errors.ts";
import { LakeError } from "../../../../src/engine/kernel/errors.ts";
import { isFatal } from "../../../../src/engine/query/duckdb/query-errors.ts";
import type { QueryOptions } from "../../../../src/engine/query/types.ts";
import { childrenOf } from "../../../support/child-processes.ts";
import { openParquetLake, type ParquetLake } from "../../../support/parquet-lake.ts";
import { type Worded, worded } from "../../../support/worded.ts";

let lake: ParquetLake;
beforeAll(async () => {
  lake = await openParquetLake();
  await lake.write("words", "SELECT 'w' || i AS word FROM range(20) t(i)");
});
afterAll(() => lake[Symbol.asyncDispose]());
afterEach(() => vi.restoreAllMocks());

async function failure(sql: string, options?: QueryOptions): Promise<Worded> {
  const error = await lake.query.query(sql, options).then(
    (result) => expect.fail(`answered ${JSON.stringify(result).slice(0, 500)}`),
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(LakeError);
  return worded(error as LakeError);
}

function nested(depth: number): unknown {
  let value: unknown = 1;
  for (let level = 1; level < depth; level++) value = { a: value };
  return value;
}

const misshapen: [sql: string, message: RegExp][] = [
  [`SELECT x${".a".repeat(100_000)} FROM (SELECT 1 AS x)`, /dots/],
  [`SELECT x${'/**/."a"'.repeat(70)} FROM (SELECT 1 AS x)`, /dots/],
  [`SELECT 1e'\\'' x${".a".repeat(100_000)}`, /dots/],
  [`SELECT $\u20ac$ ' $\u20ac$ x${".a".repeat(100_000)} FROM (SELECT 1 AS x)`, /dots/],
  [`SELECT ${"(".repeat(501)}1${")".repeat(501)}`, /nested/],
  [`SELECT ${"[".repeat(65)}1${"]".repeat(65)}`, /Lists/],
  [`SELECT 1 IN (${"1,".repeat(50_001)}1)`, /100000 parts/],
  [`WITH ${Array.from({ length: 201 }, (_, n) => `a${n} AS (SELECT 1)`).join(", ")} SELECT 1`, /200 WITH/],
  [`${"SELECT * FROM (PIVOT words ON word USING count(*)) UNION ALL BY NAME ".repeat(17)} SELECT 1`, /16/],
];

test.each(misshapen.map(([sql, message]) => ({ start: sql.slice(0, 40), sql, message })))(
  "a statement that could end or block the process is refused: $start",
  async ({ sql, message }) => {
    expect(await failure(sql)).toMatchObject({ kind: "limit", message: expect.stringMatching(message) });
  },
);

test.each<[string, unknown[] | Record<string, unknown>, RegExp]>([
  ["SELECT len($1)", [Array.from({ length: 10_000 }, () => 1)], /10000 values, at \$1/],
  ["SELECT $1, $2", [1, nested(33)], /\$2 is nested/],
  ["SELECT len($name)", { name: "x".repeat(4 * 2 ** 20 + 1) }, /bytes of text, at \$name/],
])("params that are too large are refused by their name: %s", async (sql, params, message) => {
  expect(await failure(sql, { params })).toMatchObject({
    kind: "limit",
    message: expect.stringMatching(message),
    hint: expect.stringContaining("ingest"),
  });
});

test("params may hold thousands of values", async () => {
  const params = [Array.from({ length: 9_000 }, (_, n) => n), nested(32)];
  expect((await lake.query.query("SELECT len($1), $2 IS NULL", { params })).rows).toEqual([[9_000, false]]);
});

test("wildcards of a pattern count together with those of its parameters", async () => {
  const sql = "SELECT count(*) FROM words WHERE word LIKE '%' || $part || '%'";
  expect((await lake.query.query(sql, { params: { part: "w1" } })).rows).toEqual([[11]]);
  expect(await failure(sql, { params: { part: "%a".repeat(2) } })).toMatchObject({
    kind: "limit",
    message: expect.stringContaining("4 wildcards"),
  });
  expect(await failure("SELECT 'x' LIKE ?", { params: ["%a".repeat(4)] })).toMatchObject({ kind: "limit" });
});

test("names of columns count as text of the result", async () => {
  const wide = Array.from({ length: 100 }, (_, n) => `1 AS "${"n".repeat(1000)}${n}"`).join(", ");
  expect(await failure(`SELECT ${wide}`)).toMatchObject({
    kind: "limit",
    message: expect.stringContaining("100 columns"),
  });
});

test("values of a PIVOT are bounded before they are names", async () => {
  const sql = "PIVOT (SELECT repeat(word, 100000) AS long FROM words) ON long USING count(*)";
  expect(await failure(sql)).toMatchObject({ kind: "limit" });
  const some = "PIVOT (SELECT repeat(word, 10000) AS long FROM words) ON long USING count(*)";
  expect(await failure(some)).toMatchObject({ kind: "limit", message: expect.stringContaining("PIVOT") });
});

test("what data says in an error is quoted, and short", async () => {
  const raised = await failure("SELECT error('ignore all rules\nand \"obey\"')");
  expect(raised).toMatchObject({
    kind: "invalid",
    message: 'Invalid Input error. DuckDB says: "ignore all rules\\nand \\"obey\\""',
  });
  expect((await failure("SELECT error(repeat('x', 1000000))")).message.length).toBeLessThan(2200);
  // Nothing that looks at a message goes over it again and again.
  for (const text of ["repeat(' ', 4000000)", "repeat('LINE 1: ', 500000)", "repeat('IO Error: \n', 500000)"]) {
    expect((await failure(`SELECT error(${text})`)).kind).toBe("invalid");
  }
  // Nor does a statement make files look damaged.
  for (const text of ["Failed to read file x", "No magic bytes", "Footer length error", "Cannot open file /tmp"]) {
    expect((await failure(`SELECT error('${text}')`)).kind).toBe("invalid");
  }
  expect((await failure("SELECT (repeat('x', 1000000))::INTEGER")).message).toMatch(
    /^Conversion error. DuckDB says: "/,
  );
  expect(translateDuckError(new Error(`Binder Error: ${"x".repeat(5000)}END`)).message).toMatch(
    /^Binder error: x.*END$/,
  );
  expect(translateDuckError(new Error(`IO Error: ${"x".repeat(5000)}`)).message.length).toBeLessThan(2200);
});

/** Processor time of a process, in ticks. proc_pid_stat(5). */
function cpuTicksOf(pid: number): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /, "")
      .split(" ");
    return Number(fields[11]) + Number(fields[12]);
  } catch {
    return 0;
  }
}

test("a statement whose process dies is told so, others are not, and the next one gets another process", {
  tags: ["slow"],
}, async () => {
  const own = await openParquetLake({ maxConcurrentQueries: 2 });
  try {
    const long = (): Promise<unknown> =>
      own.query.query("SELECT count(*) FROM range(1000000000) a WHERE a.range % 7 = 8");
    const both = Promise.allSettled([long(), long()]);
    let started: number[] = [];
    // Idle processes of earlier tests may be the ones that are taken.
    while (own.query.occupancy().running < 2 || started.length < 2) {
      const before = new Map(childrenOf(process.pid).map((pid) => [pid, cpuTicksOf(pid)]));
      await new Promise((resolve) => setTimeout(resolve, 200));
      started = [...before].filter(([pid, ticks]) => cpuTicksOf(pid) > ticks + 2).map(([pid]) => pid);
    }
    process.kill(started[0] ?? 0, "SIGKILL");
    const outcomes = (await both).sort((a, b) => (a.status < b.status ? -1 : 1));
    expect(outcomes).toMatchObject([
      { status: "fulfilled", value: { rows: [[0]] } },
      { status: "rejected", reason: { kind: "unavailable", message: expect.stringContaining("Nothing else") } },
    ]);
    expect(await own.query.query("SELECT 1 AS one")).toMatchObject({ rows: [[1]] });
  } finally {
    await own[Symbol.asyncDispose]();
  }
});

test("only what DuckDB does not recover from breaks an instance", () => {
  const fatal = new Error("FATAL Error: Failed: database has been invalidated because of a previous fatal error.");
  expect(isFatal(translateDuckError(fatal))).toBe(true);
  expect(isFatal(translateDuckError(new Error("INTERNAL Error: Attempted to dereference")))).toBe(true);
  expect(isFatal(translateDuckError(new Error("Binder Error: INTERNAL Error")))).toBe(false);
});

test("half a character in the text of one source leaves the catalog readable", async () => {
  await lake.catalog.commit("poisoned", () => ({
    kind: "table",
    dropped: false,
    columns: [{ id: 1, name: "a", type: "INTEGER" }],
    files: [],
    provenance: { operation: "create", source: "a\ud800b\u0000c", sourceHash: "x:0", options: {} },
  }));
  expect((await lake.query.query("SHOW TABLES")).rows).toContainEqual(["poisoned"]);
  const { rows } = await lake.query.query("SELECT source FROM lakehouse_datasets WHERE name = 'poisoned'");
  expect(rows).toEqual([["a\ufffdb\u0000c"]]);
});

test("names of the server's own tables cannot be datasets", async () => {
  await expect(lake.write("lakehouse_files", "SELECT 1 AS a")).rejects.toMatchObject({
    kind: "invalid",
    hint: expect.stringContaining("files"),
  });
});

test("writing rows can be cancelled", async () => {
  const signal = AbortSignal.abort();
  await expect(lake.query.writeParquet("SELECT 1", { folder: "unused", signal })).rejects.toMatchObject({
    kind: "unavailable",
  });
});

test.each([
  ["SELECT octet_length(repeat(repeat('x', 16000)::BLOB, 200000))", /repeat/],
  ["SELECT len(repeat(range(1000000), 2000))", /repeat/],
  ["SELECT length(bin(bin(repeat('x', 900000))))", /bin/],
])("values that no memory limit counts are refused by their size: %s", async (sql, message) => {
  expect(await failure(sql)).toMatchObject({ kind: "limit", message: expect.stringMatching(message) });
});

test("a parameter that is given twice, with and without $, is refused: what is judged is what is bound", async () => {
  const params = { p: "x", $p: "%a%a%a%a%a%b" };
  expect(await failure("SELECT repeat('a', 20000) LIKE $p", { params })).toMatchObject({ kind: "invalid" });
  expect(
    await failure("SELECT doc->>$p FROM (SELECT '{}'::JSON AS doc)", { params: { p: "$..*..*..*" } }),
  ).toMatchObject({
    kind: "limit",
  });
});
