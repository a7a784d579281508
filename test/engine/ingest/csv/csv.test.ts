import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Ingesting, openIngesting, readParquet } from "../../../support/ingesting.ts";

let lake: Ingesting;
let names = 0;

beforeAll(async () => {
  lake = await openIngesting();
});
afterAll(() => lake[Symbol.asyncDispose]());

/** A dataset of its own for each file. */
const csv = (content: string | Uint8Array, request: Parameters<Ingesting["csv"]>[1] = {}) =>
  lake.csv(content, { name: `t${names++}`, ...request });
const refused = async (content: string | Uint8Array, onBadRows: "fail" | "skip" = "fail") =>
  lake.refused({ source: { path: await lake.file("bad.csv", content) }, name: `t${names++}`, onBadRows });
const lines = (header: string, count: number, line: (index: number) => string): string =>
  `${header}\n${Array.from({ length: count }, (_, index) => line(index)).join("\n")}\n`;

describe("dialect", () => {
  it.each([
    ["commas", "a,b\n1,x\n", ","],
    ["semicolons", "a;b\n1;x\n", ";"],
    ["tabs", "a\tb\n1\tx\n", "\t"],
    ["bars", "a|b\n1|x\n", "|"],
    ["CR LF", "a,b\r\n1,x\r\n", ","],
    ["CR", "a,b\r1,x\r", ","],
    ["a mix of line ends", "a,b\r\n1,x\n2,y\r\n", ","],
    ["a byte order mark", "\ufeffa,b\n1,x\n", ","],
    ["no line end after the last row", "a,b\n1,x", ","],
    ["blank lines", "a,b\n\n1,x\n\n", ","],
  ])("reads %s", async (_, text, delimiter) => {
    const { columns, values, notes } = await csv(text);
    expect(columns).toEqual([
      { name: "a", type: "BIGINT" },
      { name: "b", type: "VARCHAR" },
    ]);
    expect(values[0]).toEqual(["1", "x"]);
    expect(notes.dialect).toEqual({
      delimiter,
      quote: '"',
      header: true,
      header_line: 1,
      header_names: ["a", "b"],
      skipped_lines: null,
      warning: null,
    });
  });

  it("reads quoted delimiters, line ends and doubled quotes", async () => {
    const { values } = await csv('a,b\n"x, y","say ""hi"""\n"1\n\n2",""\n5" pipe,z\n');
    expect(values).toEqual([
      ["x, y", 'say "hi"'],
      ["1\n\n2", null],
      ['5" pipe', "z"],
    ]);
  });

  it("reads quotes escaped by a backslash", async () => {
    expect((await csv('a,b\n"x\\"y",2\n')).values).toEqual([['x"y', "2"]]);
  });

  it("reads tabs only from a TSV file", async () => {
    const { values } = await csv("a\tb\n1,5\tx,y\n", { file: "data.tsv" });
    expect(values).toEqual([["1,5", "x,y"]]);
  });

  it("takes the first line for data where it looks like the rest", async () => {
    const { columns, notes, rows } = await csv("1,2,x\n3,4,y\n");
    expect(columns.map(({ name }) => name)).toEqual(["column0", "column1", "column2"]);
    expect([notes.dialect?.header, rows]).toEqual([false, 2]);
  });

  it("reads one column, where a blank line is a value", async () => {
    expect((await csv("n\n1\n\n3\n")).values).toEqual([["1"], [null], ["3"]]);
  });

  it("reads a header without rows", async () => {
    const { columns, rows } = await csv("a,b\n");
    expect([columns.map(({ type }) => type), rows]).toEqual([["VARCHAR", "VARCHAR"], 0]);
  });
});

describe("header", () => {
  it("keeps names that are SQL keywords or hold quotes", async () => {
    const { columns } = await csv('select,"from","a ""b"""\n1,2,3\n');
    expect(columns.map(({ name }) => name)).toEqual(["select", "from", 'a "b"']);
  });

  it("renames what is empty, or repeated but for case, and says so", async () => {
    const { columns, notes } = await csv("a,,A,a,a_1\n1,2,3,4,5\n");
    expect(columns.map(({ name }) => name)).toEqual(["a", "column1", "A_2", "a_3", "a_1"]);
    expect(notes.renamed_columns).toEqual([
      { from: "", to: "column1" },
      { from: "A", to: "A_2" },
      { from: "a", to: "a_3" },
    ]);
  });

  it("reads 1500 columns", { tags: ["slow"] }, async () => {
    const header = Array.from({ length: 1500 }, (_, index) => `c${index}`).join(",");
    const { columns, values } = await csv(
      lines(header, 100, (row) =>
        Array.from({ length: 1500 }, (_, index) => (row === 99 && index === 7 ? "x" : row * index)).join(","),
      ),
    );
    expect(columns.slice(6, 9).map(({ type }) => type)).toEqual(["BIGINT", "VARCHAR", "BIGINT"]);
    expect(values[2]?.slice(6, 9)).toEqual(["12", "14", "16"]);
  });
});

describe("types", () => {
  it.each([
    ["BIGINT", ["1", "-2", "9223372036854775807"]],
    ["DOUBLE", ["1.5", "2", "-0.25", "1e5", "0.30000000000000004"]],
    ["BOOLEAN", ["true", "False"]],
    ["DATE", ["2020-01-31", "1999-12-01"]],
    ["TIMESTAMP", ["2020-01-31 10:00:00", "2020-01-31T10:00:00.123456"]],
    ["TIMESTAMP WITH TIME ZONE", ["2020-01-31T10:00:00Z", "2020-01-31T10:00:00+02:00"]],
    ["TIME", ["10:20", "23:59:59.5"]],
  ])("recognises %s", async (type, values) => {
    const { types, notes } = await csv(`v,t\n${values.map((value) => `${value},x`).join("\n")}\n`);
    expect([types[0], notes.kept_as_text]).toEqual([type, []]);
  });

  it.each([
    ["leading zeros", ["10001", "00501"], "leading zeros would be lost"],
    ["a plus sign", ["15551234", "+15551234"], "the plus sign would be lost"],
    ["integers beyond 64 bits", ["1", "9223372036854775808"], "more digits than a BIGINT holds"],
    ["doubles with too many digits", ["0.5", "0.1234567890123456789"], "more digits than a DOUBLE holds"],
    ["leading zeros of decimals", ["7.5", "007.5"], "leading zeros would be lost"],
    [
      "times finer than a microsecond",
      ["2020-01-01 00:00:00", "2020-01-01 00:00:00.1234567"],
      "finer than a microsecond",
    ],
    ["a time with an offset among others", ["2020-01-01 00:00:00", "2020-01-01 00:00:00+02"], "not a TIMESTAMP"],
    ["mixed dates", ["2020-01-02", "13/02/2020"], "not a DATE"],
    ["digits with underscores", ["1000", "1_000"], "the underscores would be lost"],
    ["a word", ["1", "x"], "not a BIGINT"],
  ])("keeps a column with %s as text", async (_, [first, odd], reason) => {
    // Far from the sample, so that the sniffer does not see it.
    const text = lines("v,t", 30_000, (index) => `${index === 29_999 ? odd : first},x`);
    const { types, notes } = await csv(text);
    expect(types).toEqual(["VARCHAR", "VARCHAR"]);
    expect(notes.kept_as_text).toMatchObject([{ column: "v", line: 30_001, value: odd, reason }]);
  });

  it("keeps every column as text that needs it, in one go, and names physical lines", async () => {
    const text = lines(
      "a,b,c",
      25_000,
      (index) => `${index === 24_000 ? "x" : 1},${index === 21_000 ? "y" : 2},"p\nq"`,
    );
    const { types, notes } = await csv(text);
    expect(types).toEqual(["VARCHAR", "VARCHAR", "VARCHAR"]);
    expect(notes.kept_as_text.map(({ column, line, value }) => [column, line, value])).toEqual([
      ["a", 48_002, "x"],
      ["b", 42_002, "y"],
    ]);
  });

  it("reads dates with day and month only where it is certain which is which", async () => {
    expect((await csv("d\n13/02/2020\n01/02/2020\n")).values).toEqual([["2020-02-13"], ["2020-02-01"]]);
    const unsure = await csv("d\n03/02/2020\n01/02/2020\n");
    expect(unsure.values).toEqual([["03/02/2020"], ["01/02/2020"]]);
    expect(unsure.notes.kept_as_text).toMatchObject([
      { column: "d", line: null, reason: "day and month cannot be told apart" },
    ]);
  });

  it("takes spellings of NULL for NULL, save in text", async () => {
    const spellings = ["", "NULL", "null", "NA", "N/A", "\\N", "None", "nan", "#N/A"];
    const { types, values } = await csv(
      `n,d,t\n${spellings.map((none) => `${none},${none},${none}`).join("\n")}\n5,1.5,x\n`,
    );
    expect(types).toEqual(["BIGINT", "DOUBLE", "VARCHAR"]);
    expect(values).toEqual([
      [null, null, null],
      ...spellings.slice(1).map((none) => [null, null, none]),
      ["5", 1.5, "x"],
    ]);
  });
});

describe("encoding", () => {
  it("reads windows-1252", async () => {
    const { values, notes } = await csv(Buffer.from("name,price\nJos\xe9,\x80 5\n", "latin1"));
    expect([values, notes.encoding]).toEqual([[["José", "€ 5"]], "windows-1252"]);
  });

  it.each(["utf-16le", "utf-16be"] as const)("reads %s with and without a byte order mark", async (encoding) => {
    for (const mark of ["\ufeff", ""]) {
      const bytes = Buffer.from(`${mark}name,n\nJosé,1\n`, "utf16le");
      const { values, notes } = await csv(encoding === "utf-16be" ? bytes.swap16() : bytes);
      expect([values, notes.encoding]).toEqual([[["José", "1"]], encoding]);
    }
  });

  it("refuses a bad byte in UTF-8 with its line and column", async () => {
    const good = lines("name,n", 40_000, (index) => `é${index},${index}`);
    const { kind, message } = await refused(Buffer.concat([Buffer.from(good), Buffer.from("Jos\xe9,5\n", "latin1")]));
    expect([kind, message]).toEqual([
      "invalid",
      'bad.csv, line 40002, column "name": bytes that are not UTF-8. Nothing was ingested.',
    ]);
  });

  it("keeps NUL characters", async () => {
    expect((await csv("a,b\nx\0y,1\n")).values).toEqual([["x\0y", "1"]]);
  });
});

describe("compression", () => {
  it("reads gzip", async () => {
    expect((await csv(gzipSync("a,b\n1,x\n"), { file: "data.csv.gz" })).values).toEqual([["1", "x"]]);
  });

  it("refuses a cut gzip file", async () => {
    const bytes = gzipSync(lines("a", 5000, (index) => String(index * 7919)));
    const { message } = await lake.refused({
      source: { path: await lake.file("cut.csv.gz", bytes.subarray(0, 2000)) },
    });
    expect(message).toContain("damaged gzip");
  });

  it("reads zstd, and refuses it when it is cut", async () => {
    const path = `${lake.inbox}/whole.csv.zst`;
    await readParquet(`COPY (SELECT i AS n, 'a "b", ' || i AS t FROM range(50000) s(i)) TO '${path}' (FORMAT csv)`);
    const { values, rows } = {
      ...(await lake.ingest({ source: { path }, name: "zst" })),
      values: await lake.rows("zst"),
    };
    expect([rows, values[1]]).toEqual([50_000, { n: "1", t: 'a "b", 1' }]);

    const { readFile } = await import("node:fs/promises");
    const bytes = await readFile(path);
    for (const length of [bytes.length - 1, bytes.length >> 1, 30]) {
      const cut = await lake.file("cut.csv.zst", bytes.subarray(0, length));
      expect((await lake.refused({ source: { path: cut } })).message).toContain("damaged zstd");
    }
  });
});

describe("bad rows", () => {
  it("names the line and the column of a row that is short at line 400001", { tags: ["slow"] }, async () => {
    const text = lines("a,b,c", 420_000, (index) => (index === 399_999 ? "1,x" : `${index},x,2`));
    const { kind, message, hint } = await refused(text);
    expect([kind, message]).toEqual([
      "invalid",
      'bad.csv, line 400001, column "c": expected 3 columns, found 2. Nothing was ingested.',
    ]);
    expect(hint).toContain('on_bad_rows: "skip"');

    const skipped = await csv(text, { onBadRows: "skip" });
    expect([skipped.rows, skipped.types]).toEqual([419_999, ["BIGINT", "VARCHAR", "BIGINT"]]);
    expect(skipped.notes.skipped_rows).toEqual({
      count: 1,
      lines: [{ line: 400_001, reason: 'column "c": expected 3 columns, found 2' }],
    });
  });

  it.each([
    ["too few values", "a,b,c\n1,2,3\n4,5\n", 'line 3, column "c": expected 3 columns, found 2.'],
    ["too many values", "a,b\n1,2\n3,4,5,6\n", 'line 3, column "b": expected 2 columns, found 4.'],
    ["text after a quote", 'a,b\n1,2\n"x"y,2\n', 'line 3, column "a": a quoted value does not end where it should.'],
    [
      "a quote that never closes",
      'a,b\n1,2\n"x,2\n3,4\n',
      'line 3, column "a": a quoted value does not end where it should.',
    ],
    ["a bad row after values with line ends", 'a,b\n"1\n2",3\n4\n', 'line 4, column "b": expected 2 columns, found 1.'],
  ])("refuses %s", async (_, text, expected) => {
    expect((await refused(text)).message).toBe(`bad.csv, ${expected} Nothing was ingested.`);
  });

  it("counts all the rows it leaves out and lists the first 20", async () => {
    const text = lines("a,b,c", 30_000, (index) => (index % 3 === 0 ? `${index},"x\ny",${index}` : `${index},x`));
    const { rows, notes, types } = await csv(text, { onBadRows: "skip" });
    expect([rows, types]).toEqual([10_000, ["BIGINT", "VARCHAR", "BIGINT"]]);
    expect(notes.skipped_rows?.count).toBe(20_000);
    expect(notes.skipped_rows?.lines).toHaveLength(20);
    expect(notes.skipped_rows?.lines.slice(0, 3).map(({ line }) => line)).toEqual([4, 5, 8]);
  });

  it("leaves out a last row whose quotes never close, and a row of bad bytes", async () => {
    const bytes = Buffer.concat([
      Buffer.from("a,b\né,1\n"),
      Buffer.from("\xe9,2\n", "latin1"),
      Buffer.from('"x,3\n4,5\n'),
    ]);
    const { values, notes } = await csv(bytes, { onBadRows: "skip" });
    expect(values).toEqual([["é", "1"]]);
    expect(notes.skipped_rows?.lines.map(({ line }) => line)).toEqual([3, 4]);
  });

  it("refuses quotes of which it is not clear what they spoil, even where bad rows may be left out", async () => {
    expect((await refused('a,b\n1,2\n\r\nx\n"a"",""yy""" ,"a"\n', "skip")).message).toContain("bad quotes");
  });

  it("leaves out bad rows of a file with a mix of line ends", async () => {
    const { values, notes } = await csv("a,b\r\n1,2\n3\r\n4,5\n", { onBadRows: "skip" });
    expect([values, notes.skipped_rows?.lines[0]?.line]).toEqual([
      [
        ["1", "2"],
        ["4", "5"],
      ],
      3,
    ]);
  });

  it("counts lines of rows around the ones left out", async () => {
    const text = lines("a,b", 25_000, (index) =>
      index % 1000 === 0 ? "1" : `${index === 24_001 ? "x" : index},"p\nq"`,
    );
    const { notes } = await csv(text, { onBadRows: "skip" });
    expect(notes.kept_as_text).toMatchObject([{ column: "a", value: "x", line: 2 + 24_001 * 2 - 25 }]);
  });
});

describe("size", () => {
  it("reads a cell of 40 MB, also where other rows are bad", { tags: ["slow"] }, async () => {
    const text = `a,b\n1,${"x".repeat(40_000_000)}\n2,y\n`;
    const { name, rows, types } = await lake
      .ingest({ source: { path: await lake.file("long.csv", text) }, name: "long" })
      .then((result) => ({ ...result, types: result.columns.map(({ type }) => type) }));
    expect([rows, types]).toEqual([2, ["BIGINT", "VARCHAR"]]);
    const [file] = (await lake.catalog.load(name)).files;
    const path = await lake.store.localPath(file?.key ?? "");
    expect(await readParquet(`SELECT length(b) AS n FROM '${path}'`)).toEqual([{ n: "40000000" }, { n: "1" }]);

    const skipped = await lake.ingest({
      source: { path: await lake.file("longbad.csv", `${text}3\n`) },
      name: "longbad",
      onBadRows: "skip",
    });
    expect([skipped.rows, skipped.notes.skipped_rows?.lines.map(({ line }) => line)]).toEqual([2, [4]]);
  });

  it("writes the same bytes again, whatever the threads", { tags: ["slow"] }, async () => {
    const text = lines("a,b,c", 200_000, (index) => `${index},${index % 7 ? `foo${index % 1000}` : ""},${index / 4}`);
    const keys = new Set<string>();
    for (const threads of [1, 2, 4]) {
      await using other = await openIngesting({ threads });
      await other.csv(text);
      for (const { key } of (await other.catalog.load("t")).files) keys.add(key);
    }
    expect(keys.size).toBe(1);
    const [key = ""] = keys;
    expect(key).toMatch(/^data\/t\/[0-9a-f]{64}\/[0-9a-f]{64}\.parquet$/);
  });

  it("names files by the SHA-256 of their bytes", async () => {
    await lake.csv("a\n1\n", { name: "named" });
    const [file] = (await lake.catalog.load("named")).files;
    const bytes = (await lake.store.get(file?.key ?? "")) ?? new Uint8Array();
    expect(file?.key).toContain(`/${createHash("sha256").update(bytes).digest("hex")}.parquet`);
    expect(file).toMatchObject({ bytes: bytes.length, rows: 1, stats: { a: { min: "1", max: "1", nulls: 0 } } });
  });
});
