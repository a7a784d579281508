import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Format } from "../../../../src/engine/ingest/formats.ts";
import { convertJson, convertNdjson } from "../../../../src/engine/ingest/json/json.ts";
import type { ConvertContext } from "../../../../src/engine/ingest/types.ts";
import { LakeError } from "../../../../src/engine/kernel/errors.ts";
import { type Converting, openConverting } from "../../../support/converting.ts";
import { worded } from "../../../support/worded.ts";

let bench: Converting;
beforeAll(async () => {
  bench = await openConverting();
});
afterAll(() => bench[Symbol.asyncDispose]());

async function convert(data: string | Uint8Array, format: Format = "json", overrides: Partial<ConvertContext> = {}) {
  const source = await bench.source("some.json", data);
  const { columns, ...rest } = await bench.convert(
    format === "ndjson" ? convertNdjson : convertJson,
    source,
    overrides,
  );
  return { ...rest, types: Object.fromEntries(columns.map(({ name, type }) => [name, type])) };
}

async function failure(data: string | Uint8Array, format: Format = "json", overrides: Partial<ConvertContext> = {}) {
  return convert(data, format, overrides).then(
    () => expect.fail("it was accepted"),
    (error: unknown) => (error instanceof LakeError ? worded(error) : error),
  );
}

/** The values of column `a`, one object a line. */
const column = (...values: string[]): string => values.map((value) => `{"a":${value}}`).join("\n");

describe("forms", () => {
  const forms: [string, string, Format][] = [
    ["a list of objects", '[{"a":1},{"a":2}]', "json"],
    ["a list, pretty-printed", '[\n  {\n    "a": 1\n  },\r\n\t{\n    "a": 2\n  }\n]\n', "json"],
    ["one object a line", '{"a":1}\n{"a":2}', "json"],
    ["objects one after the other", '{"a":1}{\n"a":\n2}', "json"],
    ["NDJSON", '{"a":1}\n{"a":2}\n', "ndjson"],
    ["NDJSON with blank lines, spaces and CRLF", '\r\n {"a":1} \r\n\r\n\t{"a":2}\r\n\n', "ndjson"],
    ["a byte order mark", '\u{FEFF}[{"a":1},{"a":2}]', "json"],
  ];
  test.each(forms)("%s", async (_name, data, format) => {
    const { types, values, rows } = await convert(data, format);
    expect([types, values, rows]).toEqual([{ a: "BIGINT" }, [{ a: "1" }, { a: "2" }], 2]);
  });

  test("one object is one row", async () => {
    expect((await convert('{"a":1,"b":{"c":[]}}')).rows).toBe(1);
  });

  test("gzip and zstd", async () => {
    const text = '[{"a":"é"},\n{"a":"x"}]';
    // DuckDB writes what Node 20 cannot: a column of text as it is, compressed.
    const raw = "FORMAT csv, HEADER false, QUOTE '', ESCAPE '', DELIMITER '|', COMPRESSION zstd";
    await bench.make(`COPY (SELECT '${text}') TO '$folder/text.zst' (${raw})`);
    const packed = { gzip: gzipSync(text), zstd: await readFile(join(bench.folder, "text.zst")) };
    for (const compression of ["gzip", "zstd"] as const) {
      const source = await bench.source("packed.json", packed[compression], compression);
      expect((await bench.convert(convertJson, source)).values).toEqual([{ a: "é" }, { a: "x" }]);
    }
  });

  test("UTF-16 is decoded, and the notes say so", async () => {
    const { values, notes } = await convert(Buffer.from('\u{FEFF}[{"a":"é😀"}]', "utf16le"));
    expect([values, notes.encoding]).toEqual([[{ a: "é😀" }], "utf-16le"]);
  });

  test("objects that lie across the parts a file is read in", async () => {
    const sizes = [700_000, 10, 1_048_570, 1, 2_500_000, 0, 999_999];
    const data = sizes.map((size, index) => `{"n":${index},\n"text":"${"é\\n".repeat(size / 4)}","l":[1,\n${index}]}`);
    const { values } = await convert(`[${data.join(",")}]`);
    expect(values.map(({ n, text, l }) => [n, String(text).length, l])).toEqual(
      sizes.map((size, index) => [String(index), 2 * Math.floor(size / 4), ["1", String(index)]]),
    );
  });

  test("only the Parquet files are left in the folder", async () => {
    const { files } = await convert(column("1"));
    const folder = join(files[0]?.path ?? "", "..");
    expect(await readdir(folder)).toEqual(files.map(({ path }) => path.slice(folder.length + 1)));
  });
});

describe("types of columns", () => {
  const cases: [name: string, values: string[], type: string, kept: unknown[]][] = [
    [
      "integers",
      ["9223372036854775807", "-9223372036854775808", "0"],
      "BIGINT",
      ["9223372036854775807", "-9223372036854775808", "0"],
    ],
    [
      "decimals",
      ["1.10", "1", "1e5", "-0.5", "1.7976931348623157e308"],
      "DOUBLE",
      [1.1, 1, 100000, -0.5, 1.7976931348623157e308],
    ],
    ["not a number", ["NaN", "-Infinity", "0.5"], "DOUBLE", ["NaN", "-Infinity", 0.5]],
    ["17 digits that DOUBLE keeps", ["0.30000000000000004"], "DOUBLE", [0.30000000000000004]],
    ["booleans", ["true", "false", "null"], "BOOLEAN", [true, false, null]],
    ["nulls only", ["null", "null"], "VARCHAR", [null, null]],
    ["codes", ['"007"', '"12"'], "VARCHAR", ["007", "12"]],
    ["dates", ['"2024-02-29"', '"1999-12-31"'], "DATE", ["2024-02-29", "1999-12-31"]],
    ["no such date", ['"2023-02-29"'], "VARCHAR", ["2023-02-29"]],
    ["dates that depend on the country", ['"01/02/2024"'], "VARCHAR", ["01/02/2024"]],
    [
      "times",
      ['"2024-01-01T10:00:00.5"', '"2024-01-01 00:00:00"'],
      "TIMESTAMP",
      ["2024-01-01 10:00:00.5", "2024-01-01 00:00:00"],
    ],
    ["times in UTC", ['"2024-01-01T10:00:00Z"'], "TIMESTAMP WITH TIME ZONE", ["2024-01-01 10:00:00+00"]],
    [
      "times with an offset, which would be lost",
      ['"2024-01-01T10:00:00+02:00"'],
      "VARCHAR",
      ["2024-01-01T10:00:00+02:00"],
    ],
    [
      "nanoseconds, which would be lost",
      ['"2024-01-01T10:00:00.123456789"'],
      "VARCHAR",
      ["2024-01-01T10:00:00.123456789"],
    ],
    ["escapes", ['"\\ud83d\\ude00\\u0000\\""'], "VARCHAR", ['😀\0"']],
    [
      "objects",
      ['{"x":1}', '{"y":["a",null]}'],
      "STRUCT(x BIGINT, y VARCHAR[])",
      [
        { x: "1", y: null },
        { x: null, y: ["a", null] },
      ],
    ],
    ["dates inside objects stay strings", ['{"d":"2024-01-01"}'], "STRUCT(d VARCHAR)", [{ d: "2024-01-01" }]],
    ["empty objects and lists", ['{"e":{},"l":[]}'], "STRUCT(e JSON, l VARCHAR[])", [{ e: "{}", l: [] }]],
    ["objects and lists mixed", ['{"b":1.5}', "[1]"], "JSON", ['{"b":1.5}', "[1]"]],
    ["large ids inside objects", ['{"id":1234567890123456789}'], "STRUCT(id BIGINT)", [{ id: "1234567890123456789" }]],
    ["inner keys that differ by case only", ['{"x":1,"X":2}'], "JSON", ['{"x":1,"X":2}']],
    ["an empty inner key", ['{"":1}'], "JSON", ['{"":1}']],
  ];
  test.each(cases)("%s", async (_name, given, type, kept) => {
    const { types, values, notes } = await convert(column(...given));
    expect(types).toEqual({ a: type });
    expect(values.map(({ a }) => a)).toEqual(kept);
    expect(notes.kept_as_text).toEqual([]);
  });

  const mixed: [
    name: string,
    values: string[],
    type: string,
    kept: unknown[],
    inferred: string,
    line: number,
    value: string,
  ][] = [
    [
      "beyond 64 bits",
      ["1", "12345678901234567890123"],
      "VARCHAR",
      ["1", "12345678901234567890123"],
      "BIGINT",
      2,
      "12345678901234567890123",
    ],
    ["beyond DOUBLE", ["1e400", "1.50"], "VARCHAR", ["1e400", "1.50"], "DOUBLE", 1, "1e400"],
    [
      "more digits than DOUBLE has",
      ["0.1234567890123456789"],
      "VARCHAR",
      ["0.1234567890123456789"],
      "DOUBLE",
      1,
      "0.1234567890123456789",
    ],
    [
      "a large integer among decimals",
      ["1.5", "9007199254740993"],
      "VARCHAR",
      ["1.5", "9007199254740993"],
      "DOUBLE",
      2,
      "9007199254740993",
    ],
    [
      "a word among numbers, which stay as written",
      ["1.10", "2E3", '"n/a"'],
      "VARCHAR",
      ["1.10", "2E3", "n/a"],
      "DOUBLE",
      3,
      "n/a",
    ],
    ["a boolean among numbers", ["1", "2", "true"], "VARCHAR", ["1", "2", "true"], "BIGINT", 3, "true"],
    [
      "a word among dates",
      ['"2024-01-01"', '"2024-01-02"', '"soon"'],
      "VARCHAR",
      ["2024-01-01", "2024-01-02", "soon"],
      "DATE",
      3,
      "soon",
    ],
    [
      "an object among numbers",
      ["1", "1.5", "2", '{"b":"x"}'],
      "JSON",
      ["1", "1.5", "2", '{"b":"x"}'],
      "BIGINT",
      2,
      "1.5",
    ],
    [
      "digits inside a list",
      ["[12345678901234567890123]"],
      "VARCHAR[]",
      [["12345678901234567890123"]],
      "DOUBLE",
      1,
      "12345678901234567890123",
    ],
  ];
  test.each(mixed)("kept as text: %s", async (_name, given, type, kept, inferred, line, value) => {
    const { types, values, notes } = await convert(column(...given));
    expect(types).toEqual({ a: type });
    expect(values.map(({ a }) => a)).toEqual(kept);
    expect(notes.kept_as_text).toMatchObject([{ column: "a", inferred, line, value, reason: expect.any(String) }]);
  });

  test("large integers beside decimals inside lists are not rounded", async () => {
    const { types, values } = await convert(column("[9007199254740993, 1.5]"));
    expect([types, values]).toEqual([{ a: "JSON" }, [{ a: "[9007199254740993,1.5]" }]]);
  });

  test("a value that breaks the type in the last row, and a key that only the last row has", async () => {
    const { types, rows } = await convert(`${column("1").concat("\n").repeat(30_000)}{"a":"x","late":true}`, "ndjson");
    expect([types, rows]).toEqual([{ a: "VARCHAR", late: "BOOLEAN" }, 30_001]);
  });

  test("an object used as a map with thousands of keys is a MAP", async () => {
    const map = Object.fromEntries(Array.from({ length: 3000 }, (_, index) => [`k${index}`, index]));
    const { types, values } = await convert(JSON.stringify({ m: map }));
    expect(types).toEqual({ m: "MAP(VARCHAR, BIGINT)" });
    expect(values[0]?.m).toHaveLength(3000);
  });

  test("records without common keys become one JSON column", async () => {
    const record = Object.fromEntries(Array.from({ length: 1600 }, (_, index) => [`k${index}`, index]));
    const { types, values, notes } = await convert(JSON.stringify(record));
    expect(types).toEqual({ json: "JSON" });
    expect(JSON.parse(String(values[0]?.json))).toEqual(record);
    expect(notes.kept_as_text).toMatchObject([{ column: "json", line: 1 }]);
  });

  test("inner levels beyond the 12th are JSON", async () => {
    const { types, values } = await convert(column("[".repeat(100) + "]".repeat(100)));
    expect(types).toEqual({ a: `JSON${"[]".repeat(13)}` });
    expect(JSON.stringify(values)).toContain("[".repeat(87));
  });

  test("the types that the dataset has go first", async () => {
    const target = {
      columns: [
        { id: 1, name: "zip", type: "VARCHAR" },
        { id: 2, name: "pay", type: "DOUBLE" },
        { id: 3, name: "any", type: "JSON" },
        { id: 4, name: "day", type: "DATE" },
      ],
      settle: async (columns: readonly { name: string; type: string }[]) =>
        columns.map((given, index) => ({ id: index + 1, ...given })),
    };
    const { types, values, notes } = await convert('{"zip":1.10,"pay":3,"any":1,"day":null}', "json", { target });
    expect(types).toEqual({ zip: "VARCHAR", pay: "DOUBLE", any: "JSON", day: "DATE" });
    expect(values).toEqual([{ zip: "1.10", pay: 3, any: "1", day: null }]);
    expect(notes.kept_as_text).toEqual([]);
  });
});

describe("keys", () => {
  test("missing ones are null, in any order", async () => {
    const { values } = await convert('{"a":1,"b":2}\n{"b":3}\n{"c":5,"b":4,"a":6}\n{}');
    expect(values).toEqual([
      { a: "1", b: "2", c: null },
      { a: null, b: "3", c: null },
      { a: "6", b: "4", c: "5" },
      { a: null, b: null, c: null },
    ]);
  });

  test("ones that differ by case only, or are empty, are renamed and reported", async () => {
    const { values, notes } = await convert('{"a":1,"A":"x"}\n{"A":"y","":true}');
    expect(values).toEqual([
      { a: "1", A_1: "x", column2: null },
      { a: null, A_1: "y", column2: true },
    ]);
    expect(notes.renamed_columns).toEqual([
      { from: "A", to: "A_1" },
      { from: "", to: "column2" },
    ]);
  });

  test("quotes, spaces, SQL words and escapes in them", async () => {
    const { values } = await convert('{"a b":1,"sel\\"ect":2,"select":3,"\\u00e9t\\u00e9":4,"it\'s":5,"ключ":6}');
    expect(values).toEqual([{ "a b": "1", 'sel"ect': "2", select: "3", été: "4", "it's": "5", ключ: "6" }]);
  });
});

describe("what is not JSON", () => {
  const cases: [name: string, data: string | Uint8Array, format: Format, where: string][] = [
    ["a cut line", '{"a":1}\n{"a":2\n{"a":3}', "ndjson", "line 2, column 7: the line ends before its object does"],
    ["two objects on a line", '{"a":1}\n{"a":2} {"a":3}', "ndjson", "line 2, column 9: something follows the object"],
    ["a list as NDJSON", '[{"a":1}]', "ndjson", "line 1, column 1: a list where an object is expected"],
    ["no comma", '[{"a":1}\n {"a":2}]', "json", 'line 2, column 2: "," or "]" is expected'],
    ["a trailing comma", '[{"a":1},]', "json", 'line 1, column 10: "]" where an object is expected'],
    ["a trailing comma in an object", '{"a":1,}', "json", "line 1, column 8: a key in double quotes is expected"],
    ["text after the list", '[{"a":1}]\nx', "json", "line 2, column 1: something follows the end of the list"],
    ["a list without an end", '[{"a":1},\n{"a":2}', "json", "line 2, column 8: the list has no end"],
    ["a string without an end", '[{"a":"abc', "json", "line 1, column 11: a string has no end"],
    ["an object without an end", '{"a":[1,\n', "json", "line 2, column 1: the file ends inside a record"],
    ["single quotes", "{'a':1}", "json", "line 1, column 2: a key in double quotes is expected"],
    ["a comment", '{"a":1} // one', "json", 'line 1, column 9: "/" where an object is expected'],
    ["no colon", '{"a" 1}', "json", 'line 1, column 6: ":" after a key is expected'],
    ["a bare word", '{"a":yes}', "json", "line 1, column 6: a value is expected"],
    ["a number with a leading zero", '{"a":01}', "json", "line 1, column 6: a number that is not JSON"],
    ["a number without digits", '{"a":-}', "json", "line 1, column 6: a number that is not JSON"],
    [
      "a raw tab in a string",
      '{"a":"x\ty"}',
      "json",
      "line 1, column 8: a string holds the raw control character 0x09",
    ],
    ["half a surrogate pair", '{"a":"\\ud800x"}', "json", "line 1, column 7: half of a surrogate pair"],
    ["an unknown escape", '{"a":"\\x41"}', "json", "line 1, column 7: an escape that JSON does not have"],
    ["a key twice", '{"a":1,"b":2,"\\u0061":3}', "json", 'line 1, column 14: the key "a" appears twice'],
    ["10 000 levels", `{"a":${"[".repeat(10_000)}${"]".repeat(10_000)}}`, "json", "it nests deeper than 200 levels"],
    ["10 000 levels of objects", '{"a":'.repeat(10_000), "json", "it nests deeper than 200 levels"],
    ["a number", "5", "json", "line 1, column 1: a number where an object is expected"],
    ["a list of strings", '["a","b"]', "json", "line 1, column 2: a string where an object is expected"],
    ["a null among objects", '[{"a":1},null]', "json", "line 1, column 10: a plain value where an object is expected"],
    ["CSV", "a,b\n1,2\n", "json", 'line 1, column 1: "a" where an object is expected'],
  ];
  test.each(cases)("%s", async (_name, data, format, where) => {
    expect(await failure(data, format)).toMatchObject({
      kind: "invalid",
      message: expect.stringContaining(where),
      hint: expect.any(String),
    });
  });

  test.each([
    ["an empty file", ""],
    ["an empty list", " [ ] "],
  ])("%s has no objects", async (_name, data) => {
    expect(await failure(data)).toMatchObject({ kind: "invalid", message: expect.stringContaining("has no objects") });
  });

  test("objects without keys have no columns", async () => {
    expect(await failure("[{},{}]")).toMatchObject({
      kind: "invalid",
      message: expect.stringContaining("some.json has only objects without keys"),
    });
  });

  test("messages name the source as the caller did, and no path", async () => {
    expect(String(await failure('{"a":1'))).not.toContain(bench.folder);
    expect(await failure('{"a":1')).toMatchObject({
      message: expect.stringMatching(/^some\.json, line 1, column 7: /),
    });
  });
});

describe("skipping bad rows", () => {
  const damaged = '{"a":1}\n{"a":2\n{"a":3}\nnope\n{"a":4} x\n{"b":"\xff"}\n{"a":5}\n{"a":6,"b":"\xc3\xa9"}';

  test("of NDJSON reports how many and which lines", async () => {
    const { values, notes, types } = await convert(Buffer.from(damaged, "latin1"), "ndjson", { onBadRows: "skip" });
    expect(values.map(({ a }) => a)).toEqual(["1", "3", "5", "6"]);
    expect(types).toEqual({ a: "BIGINT", b: "VARCHAR" });
    expect(notes.skipped_rows?.count).toBe(4);
    expect(notes.skipped_rows?.lines.map(({ line }) => line)).toEqual([2, 4, 5, 6]);
  });

  test("also where the format is only said to be JSON", async () => {
    const { notes } = await convert('{"a":1}\n{"a":2\n{"a":3}\n', "json", { onBadRows: "skip" });
    expect(notes.skipped_rows).toEqual({ count: 1, lines: [{ line: 2, reason: expect.any(String) }] });
  });

  test("a bad line longer than what is read at once", async () => {
    const data = `{"a":1}\n{"a":"${"x".repeat(3_000_000)}\n{"a":2}`;
    const { values } = await convert(data, "ndjson", { onBadRows: "skip" });
    expect(values).toEqual([{ a: "1" }, { a: "2" }]);
  });

  test("many bad lines: the first twenty are listed", async () => {
    const { notes } = await convert(`{"a":1}\n${"x\n".repeat(500)}`, "ndjson", { onBadRows: "skip" });
    expect([notes.skipped_rows?.count, notes.skipped_rows?.lines.length]).toEqual([500, 20]);
  });

  test("nothing skipped is null, nothing left is an error", async () => {
    expect((await convert(column("1"), "ndjson", { onBadRows: "skip" })).notes.skipped_rows).toBeNull();
    expect(await failure("x\ny\n", "ndjson", { onBadRows: "skip" })).toMatchObject({
      kind: "invalid",
      message: expect.stringContaining("has no good line"),
    });
  });

  test("a list cannot skip, and says why", async () => {
    expect(await failure('[{"a":1},\n{"a":2,}]', "json", { onBadRows: "skip" })).toMatchObject({
      kind: "invalid",
      message: expect.stringContaining("line 2, column 8"),
      hint: expect.stringContaining("only where each line is an object"),
    });
  });
});

describe("limits", () => {
  test("a cell of 40 MB fits", { tags: ["slow"] }, async () => {
    const { values } = await convert(column(`"${"x".repeat(40_000_000)}"`, '"y"'));
    expect(values.map(({ a }) => String(a).length)).toEqual([40_000_000, 1]);
  });

  test("an object of more than 64 MiB is refused", { tags: ["slow"] }, async () => {
    expect(await failure(`{"a":1}\n${column(`"${"x".repeat(70_000_000)}"`)}`)).toMatchObject({
      kind: "limit",
      message: expect.stringContaining("more than 64 MiB at line 2"),
    });
  });

  test("too many rows", async () => {
    expect(await failure(`${column("1")}\n`.repeat(11), "ndjson", { maxRows: 10 })).toMatchObject({
      kind: "limit",
      hint: expect.stringContaining("max_ingest_rows"),
    });
    expect((await convert(`${column("1")}\n`.repeat(10), "ndjson", { maxRows: 10 })).rows).toBe(10);
  });

  test("cancelling stops the reading", async () => {
    const stop = new AbortController();
    const onProgress = (): void => stop.abort();
    const data = `{"a":"${"x".repeat(1000)}"}\n`.repeat(10_000);
    expect(await failure(data, "ndjson", { signal: stop.signal, onProgress })).toMatchObject({ kind: "unavailable" });
  });

  test("progress goes from reading to writing and never back", async () => {
    const fractions: number[] = [];
    const data = `{"a":"${"x".repeat(1000)}"}\n`.repeat(10_000);
    await convert(data, "ndjson", { onProgress: (fraction) => fractions.push(fraction) });
    expect(fractions.length).toBeGreaterThan(2);
    expect(fractions).toEqual(fractions.toSorted((a, b) => a - b));
    expect(fractions.at(-1)).toBeLessThanOrEqual(1);
  });
});
