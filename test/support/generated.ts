import fc from "fast-check";

/** A generated column: its name, and an SQL expression of one type for each row. */
export interface GeneratedColumn {
  name: string;
  values: string[];
}

/** Rows that a generated SELECT yields. */
export const ROWS = 3;

/** Every scalar type of DuckDB with values from its ends and its middle. */
const SCALARS: [type: string, ...values: string[]][] = [
  ["BOOLEAN", "true", "false"],
  ["TINYINT", "-128", "127"],
  ["SMALLINT", "-32768", "7"],
  ["INTEGER", "-2147483648", "0"],
  ["BIGINT", "-9223372036854775808", "9007199254740993"],
  ["HUGEINT", "-99999999999999999999999999999999999999", "18446744073709551616"],
  ["UTINYINT", "255", "0"],
  ["USMALLINT", "65535", "0"],
  ["UINTEGER", "4294967295", "1"],
  ["UBIGINT", "18446744073709551615", "1"],
  ["UHUGEINT", "99999999999999999999999999999999999999", "1"],
  ["FLOAT", "0.1", "nan", "-inf", "3.4028235e38"],
  ["DOUBLE", "0.1", "nan", "inf", "5e-324"],
  ["DECIMAL(4,2)", "-0.05", "99.99"],
  ["DECIMAL(18,0)", "-999999999999999999", "7"],
  ["DECIMAL(38,10)", "-9999999999999999999999999999.9999999999", "0.0000000001"],
  ["VARCHAR", "", "a", "NULL", " x ", 'say "hi"\n', "é😀\u202e", "a|b\\", "<script>"],
  ["BLOB", "", "\\x00\\xFF"],
  ["BIT", "0", "111100001"],
  ["DATE", "2024-02-29", "0044-03-15 (BC)", "infinity", "-infinity"],
  ["TIME", "00:00:00", "23:59:59.999999", "24:00:00"],
  ["TIME_NS", "23:59:59.999999999", "00:00:00.000000001", "24:00:00"],
  ["TIMETZ", "12:00:00+05:30", "00:00:00-15:59:59", "24:00:00+00"],
  ["TIMESTAMP", "1969-12-31 23:59:59.999999", "infinity", "9999-12-31 23:59:59.999999"],
  ["TIMESTAMP_S", "2024-01-01 00:00:01", "-infinity"],
  ["TIMESTAMP_MS", "2024-01-01 00:00:00.001", "infinity", "-infinity"],
  ["TIMESTAMP_NS", "1969-12-31 23:59:59.999999999", "2262-04-11 23:47:16.854775806", "infinity"],
  ["TIMESTAMPTZ", "2024-01-01 00:00:00+02", "infinity", "-infinity"],
  ["INTERVAL", "1 year 2 months -3 days 04:05:06.789", "-00:00:00.000001"],
  ["UUID", "00000000-0000-0000-0000-000000000005", "ffffffff-ffff-ffff-ffff-ffffffffffff"],
  ["JSON", '{"a": [1, 1.0]}', "null", '"x"'],
  ["ENUM('a', 'b''c', '', 'TIMESTAMP_S')", "a", "b'c", ""],
  ["GEOMETRY", "POINT (1 2)", "POINT Z (1 2 3)", "POINT M (1 2 3)", "LINESTRING ZM (1 2 3 4, 5 6 7 8)", "POINT EMPTY"],
  ["BIGNUM", "340282366920938463463374607431768211456", "-1"],
  ['UNION(n INTEGER, "a b" VARCHAR)', "1", "x"],
];

/** Names that mean something to SQL, Parquet, Arrow, JSON, JavaScript or terminals, or look like types. */
const NAMES = [
  "a",
  "b",
  "element",
  "list",
  "key",
  "value",
  "key_value",
  "item",
  "array",
  "select",
  "order",
  "é",
  'say "hi"',
  "it's",
  "a.b",
  "a,b",
  " ",
  "__proto__",
  "TIMESTAMP_S",
  "HUGEINT",
  "x VARCHAR)",
  "STRUCT(",
  "😀",
  "1",
  "C0",
  "file_row_number",
  "filename",
  "rowid",
  "new\nline",
  "?column?",
  "UNION",
];

const text = (value: string): string => `'${value.replaceAll("'", "''")}'`;
const uniqueNames = (most: number): fc.Arbitrary<string[]> =>
  fc.uniqueArray(fc.constantFrom(...NAMES), { minLength: 1, maxLength: most, selector: (name) => name.toLowerCase() });

/** Makes an expression out of a number for each choice in it, all of one type. */
type Shape = (next: () => number) => string;

const scalar: fc.Arbitrary<Shape> = fc.constantFrom(...SCALARS).map(
  ([type, ...values]) =>
    (next) =>
      `CAST(${text(values[next() % values.length] ?? "")} AS ${type})`,
);
/** A map's keys: what has an equality that everybody agrees on. */
const key: fc.Arbitrary<Shape> = fc
  .constantFrom("VARCHAR", "INTEGER", "DATE", "BIGINT")
  .map(
    (type) => (next) => (type === "DATE" ? `DATE '2024-01-0${1 + (next() % 9)}'` : `CAST('${next() % 9}' AS ${type})`),
  );

const { shape } = fc.letrec<{ shape: Shape }>((tie) => ({
  shape: fc.oneof(
    { maxDepth: 3, depthSize: "small" },
    { weight: 4, arbitrary: scalar },
    {
      weight: 1,
      arbitrary: tie("shape").map(
        (item): Shape =>
          (next) => {
            const items = [item(next), `CASE WHEN false THEN ${item(next)} END`, item(next)];
            return `[${items.join(", ")}][1:${next() % 4}]`;
          },
      ),
    },
    {
      weight: 2,
      arbitrary: uniqueNames(3).chain((names) =>
        fc.tuple(...names.map(() => tie("shape"))).map(
          (fields): Shape =>
            (next) => {
              const packed = fields.map((field, at) => `${text(names[at] ?? "")}: ${orNull(field(next), next)}`);
              return `{${packed.join(", ")}}`;
            },
        ),
      ),
    },
    {
      weight: 1,
      arbitrary: fc.tuple(key, tie("shape")).map(
        ([keys, values]): Shape =>
          (next) =>
            `map([${keys(next)}], [${orNull(values(next), next)}])`,
      ),
    },
  ),
}));

/** NULL of the same type, now and then. */
function orNull(expression: string, next: () => number): string {
  return next() % 4 === 0 ? `CASE WHEN false THEN ${expression} END` : expression;
}

export const generatedColumns: fc.Arbitrary<GeneratedColumn[]> = uniqueNames(5).chain((names) =>
  fc.tuple(
    ...names.map((name) =>
      fc
        .tuple(shape, fc.array(fc.nat(1000), { minLength: 24, maxLength: 24 }))
        .map(([made, choices]): GeneratedColumn => {
          let at = 0;
          const next = (): number => choices[at++ % choices.length] ?? 0;
          return { name, values: Array.from({ length: ROWS + 1 }, () => orNull(made(next), next)) };
        }),
    ),
  ),
);

/** A SELECT of the columns: `ROWS` rows, or the one that is another. */
export function selectOf(columns: readonly GeneratedColumn[], rows: "all" | "other"): string {
  const of = rows === "all" ? Array.from({ length: ROWS }, (_, row) => row) : [ROWS];
  return of
    .map((row) => {
      const cells = columns.map(({ name, values }) => `${values[row]} AS "${name.replaceAll('"', '""')}"`);
      return `SELECT ${[`${row} AS n`, ...cells].join(", ")}`;
    })
    .join(" UNION ALL ");
}
