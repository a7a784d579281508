import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Params } from "../../src/engine/kernel/json.ts";

import { openRemoteLake, type RemoteLake } from "../support/remote-lake.ts";

/*
 * Tables of several files, and conditions on them: what a statement says must not depend on whether files are left out
 * that it does not need.
 */

/** Of each type, values in order, so that a file with some of them has bounds; edges included. */
const VALUES = {
  i: ["-9223372036854775808", "-1", "0", "1", "5", "9007199254740992", "9007199254740993", "9223372036854775807"],
  u: ["0", "1", "200", "4294967295"],
  n: ["-999999.99", "-0.05", "0.00", "0.01", "2.50", "999999.99"],
  x: ["'-inf'", "-1e300", "-0.0", "0", "0.1", "5e-324", "0.30000000000000004", "9007199254740993", "'inf'", "'nan'"],
  s: [
    "''",
    "' '",
    "'10'",
    "'9'",
    "'B'",
    "'a'",
    "'a\\%'",
    "'ab'",
    "'b'",
    "'é'",
    "'日本'",
    "chr(128512)",
    "repeat('z', 300)",
  ],
  d: ["'0044-03-15 (BC)'", "'1969-12-31'", "'2024-01-31'", "'2024-02-01'", "'10000-01-01'", "'infinity'"],
  m: ["'-infinity'", "'1969-12-31 23:59:59.999999'", "'2024-01-31'", "'2024-01-31 00:00:00.000001'", "'10000-01-01'"],
  b: ["false", "true"],
} as const;
const TYPES = {
  i: "BIGINT",
  u: "UINTEGER",
  n: "DECIMAL(8,2)",
  x: "DOUBLE",
  s: "VARCHAR",
  d: "DATE",
  m: "TIMESTAMP",
  b: "BOOLEAN",
};
type ColumnName = keyof typeof VALUES;
const COLUMNS = Object.keys(VALUES) as ColumnName[];

/** Mostly neighbours in the order of values, as in data that arrives sorted. */
const cell = (column: ColumnName, from: number) =>
  fc
    .oneof(
      {
        weight: 8,
        arbitrary: fc.nat({ max: 2 }).map((step) => VALUES[column][Math.floor(from * VALUES[column].length) + step]),
      },
      { weight: 1, arbitrary: fc.constantFrom(...VALUES[column]) },
      { weight: 1, arbitrary: fc.constant(undefined) },
    )
    .map((value) => `CAST(${value ?? "NULL"} AS ${TYPES[column]}) AS ${column}`);

const file = fc
  .double({ min: 0, max: 0.999, noNaN: true })
  .chain((from) => fc.array(fc.tuple(...COLUMNS.map((column) => cell(column, from))), { minLength: 1, maxLength: 4 }))
  .map((rows) => rows.map((row) => `SELECT ${row.join(", ")}`).join(" UNION ALL "));

const CONSTANTS: Record<ColumnName, string[]> = {
  i: [...VALUES.i, "2.5", "-0.0", "9007199254740993e0", "1e19", "99999999999999999999", "'5'", "5::BIGINT", "NULL"],
  u: [...VALUES.u, "-1", "0.5", "1e10", "'1'"],
  n: [...VALUES.n, "2.495", "2.5e0", "0.010000000000000001", "3", "1e9", "'0.01'", "0.1::FLOAT"],
  x: [
    "-1e300",
    "0",
    "-0.0",
    "0.1",
    "0.3",
    "1e-1",
    "9007199254740993",
    "'0.1'",
    "'nan'::DOUBLE",
    "'inf'::DOUBLE",
    "1.5",
  ],
  s: [...VALUES.s, "'aa'", "'z'", "'zzz'", "10", "'a' COLLATE NOCASE", "NULL", "'\uFFFD'"],
  d: [...VALUES.d, "DATE '2024-02-01'", "TIMESTAMP '2024-01-31 12:00'", "'2024-01-31 12:00'", "DATE '2024-01-30' + 1"],
  m: [
    ...VALUES.m,
    "DATE '2024-01-31'",
    "TIMESTAMP '2024-01-31 00:00:00.000001'",
    "'2024-01-31 00:00:00'",
    "'1969-12-31'::DATE",
  ],
  b: ["true", "false", "1", "'t'", "NULL"],
};
const PARAMS: Record<ColumnName, unknown[]> = {
  i: [-1, 5, 2.5, 9007199254740991, 1e19, "5", null, true],
  u: [0, 1, -1, 0.5, 1e10],
  n: [0, 2.5, 0.01, -0.05, "0.01"],
  x: [0, 0.1, -1e300, 0.30000000000000004, 1e308],
  s: ["", "a", "ab", "日本", "a\0b", "zz", 10],
  d: ["2024-02-01", "1969-12-31", "10000-01-01", "2024-01-31 12:00", "soon"],
  m: ["2024-01-31", "2024-01-31 00:00:00.000001", "infinity"],
  b: [true, false, 1],
};

/** SQL of a condition, in which `@` stands for what columns are qualified with, and the values of its parameters. */
interface Condition {
  sql: string;
  params: unknown[];
}

const joined = (parts: readonly Condition[], by: string): Condition => ({
  sql: parts.map(({ sql }) => sql).join(by),
  params: parts.flatMap(({ params }) => params),
});
const operand = (column: ColumnName): fc.Arbitrary<Condition> =>
  fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom(...CONSTANTS[column]).map((sql) => ({ sql, params: [] })) },
    { weight: 1, arbitrary: fc.constantFrom(...PARAMS[column]).map((value) => ({ sql: "?", params: [value] })) },
  );
const atom: fc.Arbitrary<Condition> = fc.constantFrom(...COLUMNS).chain((column) => {
  const comparison = fc.constantFrom("=", "<", "<=", ">", ">=", "<>", "IS NOT DISTINCT FROM");
  const value = operand(column);
  const plain = (sql: string): fc.Arbitrary<Condition> => fc.constant({ sql, params: [] });
  const column_ = { sql: `@${column}`, params: [] };
  return fc.oneof(
    { weight: 6, arbitrary: fc.tuple(comparison, value).map(([by, right]) => joined([column_, right], ` ${by} `)) },
    { weight: 2, arbitrary: fc.tuple(comparison, value).map(([by, left]) => joined([left, column_], ` ${by} `)) },
    {
      weight: 2,
      arbitrary: fc.tuple(value, value).map(([from, to]) => {
        const { sql, params } = joined([from, to], " AND ");
        return { sql: `@${column} BETWEEN ${sql}`, params };
      }),
    },
    {
      weight: 2,
      arbitrary: fc.array(value, { minLength: 1, maxLength: 3 }).map((values) => {
        const { sql, params } = joined(values, ", ");
        return { sql: `@${column} IN (${sql})`, params };
      }),
    },
    { weight: 1, arbitrary: fc.constantFrom("NULL", "NOT NULL").chain((what) => plain(`@${column} IS ${what}`)) },
    {
      weight: 1,
      arbitrary: fc
        .constantFrom("a%", "a", "é%", "a\\%", "%a", "_b", "a_", "日%", "z%")
        .chain((like) => plain(`@s LIKE '${like}'`)),
    },
  );
});
const condition: fc.Arbitrary<Condition> = fc.oneof(
  { weight: 4, arbitrary: atom },
  { weight: 3, arbitrary: fc.array(atom, { minLength: 2, maxLength: 3 }).map((atoms) => joined(atoms, " AND ")) },
  { weight: 1, arbitrary: fc.array(atom, { minLength: 2, maxLength: 2 }).map((atoms) => joined(atoms, " OR ")) },
  { weight: 1, arbitrary: atom.map(({ sql, params }) => ({ sql: `NOT (${sql})`, params })) },
);

/** `@1` and `@2` stand for conditions. */
const STATEMENTS = [
  "SELECT * FROM t WHERE @1 ORDER BY ALL",
  "SELECT * FROM t WHERE @1 ORDER BY ALL",
  "SELECT count(*), min(s), max(d) FROM t AS p WHERE @p.1",
  "SELECT * FROM t WHERE @1 UNION ALL SELECT * FROM t WHERE @2 ORDER BY ALL",
  "SELECT p.*, q.i FROM t p JOIN u q ON p.b = q.b WHERE @p.1 AND @q.2 ORDER BY ALL",
  "SELECT p.*, q.i FROM t p LEFT JOIN u q ON p.b = q.b WHERE @p.1 AND @q.2 ORDER BY ALL",
  "SELECT p.*, q.i FROM t p FULL JOIN u q ON p.b = q.b WHERE @p.1 AND @q.2 ORDER BY ALL",
  // Of rows with the same i it takes any: nothing may be asked of the others' columns.
  "SELECT p.i, q.i FROM t p ASOF JOIN u q ON p.i >= q.i WHERE @p.1 AND q.i < 0 ORDER BY ALL",
  "SELECT p.*, q.i FROM t p, t q WHERE @p.1 AND @q.2 ORDER BY ALL",
  "SELECT * FROM t p ANTI JOIN u q ON p.s = q.s WHERE @p.1 ORDER BY ALL",
  "WITH c AS (SELECT * FROM t WHERE @1) SELECT * FROM c WHERE @2 ORDER BY ALL",
  "SELECT * FROM t WHERE @1 AND i IN (SELECT i FROM u WHERE @2) ORDER BY ALL",
  "SELECT * FROM (SELECT i AS u, u AS i, n, x, s, d, m, b FROM t) WHERE @1 ORDER BY ALL",
  "SELECT -i AS i, s FROM t WHERE @1 ORDER BY ALL",
];

const statement = fc.record({ sql: fc.constantFrom(...STATEMENTS), one: condition, two: condition });

let lake: RemoteLake;
beforeAll(async () => {
  lake = await openRemoteLake();
});
afterAll(() => lake[Symbol.asyncDispose]());

async function answer(engine: Pick<RemoteLake["remote"], "query">, sql: string, params: Params) {
  const { rows, columns, total_rows, datasets } = await engine.query(sql, {
    params,
    maxRows: 10_000,
    maxBytes: 2 ** 24,
  });
  return { rows, columns, total_rows, datasets };
}

test("a statement says the same with files left out", async () => {
  let [answers, leftOut, needed] = [0, 0, 0];
  const tables = fc.tuple(
    fc.array(file, { minLength: 2, maxLength: 5 }),
    fc.array(file, { minLength: 1, maxLength: 3 }),
  );
  await fc.assert(
    fc.asyncProperty(tables, fc.array(statement, { minLength: 40, maxLength: 40 }), async ([t, u], statements) => {
      await lake.write("t", ...t);
      await lake.write("u", ...u);
      await lake.remote.query("SELECT 1");
      const files = new Map<string, number>();
      for (const name of ["t", "u"]) {
        const described = await lake.engine.query(
          `SELECT count(*)::INTEGER FROM lakehouse_files WHERE name = '${name}'`,
        );
        files.set(name, Number(described.rows[0]?.[0]));
      }
      for (const { sql, one, two } of statements) {
        const params: unknown[] = [];
        const text = sql.replace(/@(\w\.)?([12])/g, (_, qualifier = "", which) => {
          const chosen = which === "1" ? one : two;
          params.push(...chosen.params);
          return `(${chosen.sql.replaceAll("@", qualifier)})`;
        });
        const whole = await answer(lake.engine, text, params as Params).catch(() => undefined);
        // What fails on all rows may well go through on fewer.
        if (!whole) continue;
        lake.fetched.clear();
        expect([text, params, await answer(lake.remote, text, params as Params)]).toEqual([text, params, whole]);
        answers++;
        const named = (files.get("t") ?? 0) + (/\bu q\b|FROM u\b/.test(text) ? (files.get("u") ?? 0) : 0);
        needed += lake.fetched.size;
        leftOut += named - lake.fetched.size;
      }
    }),
    { numRuns: 5, endOnFailure: true },
  );
  // Else nothing was put to the test.
  expect(answers).toBeGreaterThan(20);
  expect(needed).toBeGreaterThan(20);
  expect(leftOut).toBeGreaterThan(20);
}, 180_000);
