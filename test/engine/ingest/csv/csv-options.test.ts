import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { CsvOptions } from "../../../../src/engine/ingest/types.ts";
import { type Ingesting, openIngesting } from "../../../support/ingesting.ts";

let lake: Ingesting;
let names = 0;

beforeAll(async () => {
  lake = await openIngesting();
});
afterAll(() => lake[Symbol.asyncDispose]());

const csv = async (content: string | Uint8Array, options: CsvOptions, file = "data.csv") => {
  const result = await lake.csv(content, { name: `t${names++}`, csv: options, file });
  return { ...result, header: result.columns.map(({ name }) => name) };
};
const refused = async (content: string | Uint8Array, options: CsvOptions, file = "bad.csv") =>
  lake.refused({ source: { path: await lake.file(file, content) }, name: `t${names++}`, csv: options });

describe("header and skip_lines", () => {
  it("say what the first lines are", async () => {
    expect((await csv("a,b\n1,2\n", { header: false })).values).toEqual([
      ["a", "b"],
      ["1", "2"],
    ]);
    expect(await csv("1,2\n3,4\n", { header: true })).toMatchObject({ header: ["1", "2"], values: [["3", "4"]] });
    const third = await csv("x\ny,z\nid,n\n1,2\n", { skipLines: 2 });
    expect(third).toMatchObject({ header: ["id", "n"], values: [["1", "2"]] });
    expect(third.notes.dialect).toMatchObject({ header_line: 3, skipped_lines: { count: 2, lines: [] } });
    const rows = await csv("id,n\r\n1,2\r\n", { skipLines: 1, header: false });
    expect(rows).toMatchObject({ header: ["column0", "column1"], values: [["1", "2"]] });
  });

  it("make a row of what would be left out", async () => {
    expect((await csv("sep=;\nid;n\n", { skipLines: 0, header: false, delimiter: "," })).values).toEqual([
      ["sep=;"],
      ["id;n"],
    ]);
    expect((await csv("Report\nid,n,m\n1,2,3\n4,5,6\n", { skipLines: 1 })).header).toEqual(["id", "n", "m"]);
  });

  it("go beyond the first kilobytes", async () => {
    const { header, notes, rows } = await csv(`${"x,y\r".repeat(60_000)}id,n\r1,2\r`, { skipLines: 60_000 });
    expect([header, rows, notes.dialect?.header_line]).toEqual([["id", "n"], 1, 60_001]);
  });

  it("refuse to leave out everything", async () => {
    for (const skipLines of [2, 5]) {
      const { kind, message } = await refused("id,n\n1,2\n", { skipLines });
      expect([kind, message]).toEqual(["invalid", `bad.csv ends before line ${skipLines + 1}. Nothing was ingested.`]);
    }
    const { message, hint, facts } = await refused("id,n\n1,2\n", { skipLines: -1 });
    expect([message, facts?.argument]).toEqual(["-1 lines cannot be left out.", "skip_lines"]);
    expect(hint).toBe("Give the number of lines before the header as skip_lines.");
  });
});

describe("delimiter", () => {
  it.each([":", " ", "^", "\\t", "\t", "\u0001", "|"])("%j", async (delimiter) => {
    const char = delimiter === "\\t" ? "\t" : delimiter;
    const { header, values } = await csv(`a${char}b\n1,5${char}x;y\n`, { delimiter });
    expect([header, values]).toEqual([["a", "b"], [["1,5", "x;y"]]]);
  });

  it("goes before sep= and before the format", async () => {
    expect((await csv("sep=;\na,b\n1,2\n", { delimiter: "," })).header).toEqual(["a", "b"]);
    expect((await csv("a;b\n1;2\n", { delimiter: ";" }, "data.tsv")).header).toEqual(["a", "b"]);
  });

  it.each(["", "ab", '"', "\n", "é", "\\"])("refuses %j", async (delimiter) => {
    expect((await refused("a,b\n", { delimiter })).message).toContain("cannot be a delimiter");
  });
});

describe("null_values", () => {
  it("are NULL in every column, besides what is so by itself", async () => {
    const { types, values } = await csv('n,t\n-,-\n5,missing\nNA,NA\n"-",x\n', { nullValues: ["-", "missing"] });
    expect(types).toEqual(["BIGINT", "VARCHAR"]);
    expect(values).toEqual([
      [null, null],
      ["5", null],
      [null, "NA"],
      [null, "x"],
    ]);
  });

  it("refuse what cannot be in a field", async () => {
    expect((await refused("a,b\n", { nullValues: ['"'] })).kind).toBe("invalid");
    const { message, hint } = await refused("a,b\n1,2\n", { nullValues: ["x,y"] });
    expect(message).toBe('A text with the delimiter, ",", cannot stand for NULL.');
    expect(hint).toContain("Leave it out of null_values");
  });
});

describe("encoding", () => {
  it("reads what does not look like it", async () => {
    const { header, values, notes } = await csv(Buffer.from("Gr\xf6\xdfe,n\n\xc3\xa9,1\n", "latin1"), {
      encoding: "latin1",
    });
    expect([header[0], values, notes.encoding]).toEqual(["Größe", [["Ã©", "1"]], "windows-1252"]);
    expect((await csv(Buffer.from("имя\nБоб\n", "utf16le"), { encoding: "utf-16le" })).values).toEqual([["Боб"]]);
    expect((await csv(gzipSync(Buffer.from("é\nè\n", "latin1")), { encoding: "latin1" }, "g.csv.gz")).values).toEqual([
      ["è"],
    ]);
  });

  it("refuses what is not", async () => {
    const bytes = Buffer.from("a,b\n\xe9,1\n", "latin1");
    expect((await refused(bytes, { encoding: "utf-8" })).message).toContain(
      'line 2, column "a": bytes that are not UTF-8',
    );
    expect((await refused(Buffer.from("a\nb"), { encoding: "utf-16be" })).message).toContain(
      "line 1: bytes that are not utf-16be",
    );
  });
});

describe("types", () => {
  it.each([
    ["int", "007", 7],
    ["BIGINT", "+5", "5"],
    ["DOUBLE", "12E4", 120_000],
    ["double precision", "+1.50", 1.5],
    ["real", "0.5", 0.5],
    ["DECIMAL(10, 2)", "1.5", "1.50"],
    ["numeric", "1.125", "1.125"],
    ["VARCHAR", "12", "12"],
    ["text", "2020-01-31", "2020-01-31"],
    ["varchar(20)", "1.50", "1.50"],
    ["bool", "yes", true],
    ["DATE", "2020-01-31", "2020-01-31"],
    ["time", "10:20", "10:20:00"],
    ["datetime", "2020-01-31 10:20", "2020-01-31 10:20:00"],
    ["uuid", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
  ])("%s reads %s", async (type, text, value) => {
    const { values, notes } = await csv(`v,t\n${text},x\n,y\n`, { types: { v: type } });
    expect([values, notes.kept_as_text]).toEqual([
      [
        [value, "x"],
        [null, "y"],
      ],
      [],
    ]);
  });

  it.each([
    ["INTEGER", "x", "not an INTEGER"],
    ["INTEGER", "1.5", "not an INTEGER"],
    ["INTEGER", "3000000000", "more digits than an INTEGER holds"],
    ["INTEGER", "1_000", "the underscores would be lost"],
    ["DOUBLE", "0.1234567890123456789", "more digits than a DOUBLE holds"],
    ["DECIMAL(10,2)", "1.555", "not a DECIMAL(10,2)"],
    ["DATE", "31.01.2020", "not a DATE"],
    ["BOOLEAN", "maybe", "not a BOOLEAN"],
  ])("%s refuses %s with its line, near and far", async (type, text, reason) => {
    for (const before of [1, 30_000]) {
      const rows = `${Array(before)
        .fill(type === "DATE" ? "2020-01-01,x" : "1,x")
        .join("\n")}\n${text},"a\nb"\n`;
      const { kind, message } = await refused(`v,t\n${rows}`, { types: { v: type } });
      const where = `bad.csv, line ${before + 2}, column "v"`;
      expect([kind, message]).toEqual([
        "invalid",
        `${where}: ${JSON.stringify(text)} cannot be read as ${type}: ${reason}. Nothing was ingested.`,
      ]);
    }
  });

  const DATE = "A DATE is written as YYYY-MM-DD.";
  const TIME = "A TIME is written as HH:MM or HH:MM:SS";
  const TIMESTAMP = "A TIMESTAMP is written as YYYY-MM-DD and a time";
  const BOOLEAN = "A BOOLEAN is written as true or false";
  const UUID = "A UUID is written as 32 hexadecimal digits";
  it.each([
    ...["2", "-0", "007", "+1", "0x1F", "1_000", "1,000", "1,5", "2020-02-30"].map((text) => ["DATE", text, DATE]),
    ...["2", "10", "007", "01:02:99", "1,5"].map((text) => ["TIME", text, TIME]),
    ...["2", "1700000000", "007", "2020-01-01 25:00:00"].map((text) => ["TIMESTAMP", text, TIMESTAMP]),
    ["TIMESTAMPTZ", "2020-01-01 00:00:00", "and Z or an offset such as +02:00."],
    ...["2", "-0", "00", "+1", "0x1", "1,0"].map((text) => ["BOOLEAN", text, BOOLEAN]),
    ...["2", "00eebc99", "0x1F", "+7"].map((text) => ["UUID", text, UUID]),
  ])("%s: %s is not one, and the hint says what is", async (type = "", text, form) => {
    const { message, hint } = await refused(`v;t\n${text};x\n`, { types: { v: type }, delimiter: ";" });
    const name = type.replace(/TZ$/, " WITH TIME ZONE");
    expect(message).toContain(`"${text}" cannot be read as ${name}: not a ${name}. Nothing`);
    expect(hint).toContain(form);
  });

  it.each([
    ["UINTEGER", "-1", "below 0, the least that a UINTEGER holds", "a whole number from 0 to 4294967295."],
    ["TINYINT", "2000", "more digits than a TINYINT holds", "a whole number from -128 to 127."],
    [
      "DECIMAL(10,2)",
      "123456789012",
      "more digits than a DECIMAL(10,2) holds",
      "at most 8 digits before the point and 2",
    ],
    ["DECIMAL(10,2)", "1,5", "it has a decimal comma", "after it."],
    ["TIME", "01:02:03.1234567", "finer than a microsecond", "up to 6 digits of a second."],
    ["DATE", "–", "it may stand for no value", DATE],
  ])("%s says of %s what is true", async (type, text, reason, form) => {
    const { message, hint } = await refused(`v;t\n${text};x\n`, { types: { v: type }, delimiter: ";" });
    expect(message).toContain(`cannot be read as ${type}: ${reason}. Nothing`);
    expect(hint).toContain(form);
  });

  it("refuse unknown columns and types with the nearest", async () => {
    const column = await refused("alpha,b\n1,2\n", { types: { alpah: "INTEGER" } });
    expect([column.message, column.hint]).toEqual(["bad.csv has no column alpah.", "Did you mean alpha?"]);
    expect(column.facts).toEqual({ argument: "types", column: "alpah", nearest: ["alpha"] });
    for (const type of ["STRUCT(a INT)", "HUGEINT", "DECIMAL(40,2)", "x' OR 1"]) {
      expect((await refused("a,b\n1,2\n", { types: { a: type } })).kind).toBe("invalid");
    }
    expect((await refused("a,b\n1,2\n", { types: { a: "BIGNT" } })).hint).toContain("Did you mean BIGINT");
  });
});

describe("options", () => {
  it("are refused for other formats by name", async () => {
    const path = await lake.file("o.json", '[{"a":1}]');
    const { kind, message, hint } = await lake.refused({ source: { path }, csv: { delimiter: ";", skipLines: 1 } });
    expect([kind, message]).toEqual(["invalid", "Options of CSV and TSV do not apply to json."]);
    expect(hint).toBe('Leave out skip_lines, delimiter, or give format: "csv" if it is CSV.');
    const query = await lake.refused({ source: { sql: "SELECT 1 AS a" }, csv: { header: true } });
    expect(query.message).toBe("Options of CSV and TSV do not apply to the result of a query.");
    expect([query.hint, query.facts]).toEqual(["Leave out header.", { argument: "header" }]);
  });

  it("are part of what makes a source the same, and are recorded", async () => {
    const text = "a,b\n1,2\n";
    const load = (options?: CsvOptions) =>
      lake.csv(text, { name: "same", schemaChange: "allow", ...(options && { csv: options }) });
    expect((await load()).unchanged).toBe(false);
    expect((await load({})).unchanged).toBe(true);
    expect((await load({ types: { a: "text" } })).version).toBe(2);
    expect((await load({ types: { a: "VARCHAR" } })).unchanged).toBe(true);
    expect((await load({ header: false })).columns.map(({ name }) => name)).toEqual(["column0", "column1"]);
    const { provenance } = await lake.catalog.load("same");
    expect(provenance.options).toMatchObject({ format: "csv", header: false });
  });
});
