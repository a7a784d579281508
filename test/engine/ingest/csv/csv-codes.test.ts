// @module-tag slow
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Ingesting, openIngesting } from "../../../support/ingesting.ts";

let lake: Ingesting;
let names = 0;

beforeAll(async () => {
  lake = await openIngesting();
});
afterAll(() => lake[Symbol.asyncDispose]());

const column = (values: string[]): string =>
  `v,t\n${values.map((value) => `${value.includes(",") ? `"${value}"` : value},x`).join("\n")}\n`;
const load = (values: string[], request: Parameters<Ingesting["csv"]>[1] = {}) =>
  lake.csv(column(values), { name: `t${names++}`, ...request });
const E_CODE = "digits around an E may be a code";
const ZEROS = "zeros at the end would be lost, which tell versions such as 1.1 and 1.10 apart";

describe("codes that look like numbers", () => {
  it.each([
    ["digits, E, digits", ["12E4", "120E3", "7E2"], "12E4", E_CODE],
    ["with a capital E beside measurements with a small one", ["12E4", "1.5e3", "45E10"], "12E4", E_CODE],
    ["with a capital E beside decimals", ["1.5", "2", "12E4"], "12E4", E_CODE],
    ["one of them", ["1e5"], "1e5", E_CODE],
    ["such among integers", ["101", "101E1", "1010E0"], "101E1", E_CODE],
    ["zeros after the E", ["12e04", "12e4"], "12e04", E_CODE],
    ["versions that would be one number", ["1.1", "1.10", "1.2"], "1.10", ZEROS],
    ["versions that would lose a zero", ["1.9", "1.10", "1.11"], "1.10", ZEROS],
    ["versions with and without parts", ["3", "3.10", "3.9"], "3.10", ZEROS],
    ["sections with zeros inside", ["2.01", "2.1", "2.10"], "2.10", ZEROS],
    ["1.0 and 1.00", ["1.0", "1.00", "2.5"], "1.00", ZEROS],
    ["underscores", ["1_000", "2_000"], "1_000", "the underscores would be lost"],
    ["hexadecimal digits", ["0x1F", "0x2A"], "0x1F", "digits of another base may be a code"],
    ["hexadecimal digits among integers", ["5", "0x1F", "6"], "0x1F", "digits of another base may be a code"],
    ["binary digits", ["0b1", "0b10"], "0b1", "digits of another base may be a code"],
    ["plus signs", ["+4915112345678", "+4915112345679"], "+4915112345678", "the plus sign would be lost"],
    ["plus signs of decimals", ["+1.5", "2.5"], "+1.5", "the plus sign would be lost"],
    ["thousands separators", ["1,234", "567"], "1,234", "it has a thousands separator"],
    ["thousands separators of decimals", ["1,234.50", "567.10"], "1,234.50", "it has a thousands separator"],
    ["decimal commas", ["1,5", "2,25"], "1,5", "it has a decimal comma"],
    ["20 digits", ["12345678901234567890", "1"], "12345678901234567890", "more digits than a DOUBLE holds"],
    [
      "30 digits",
      ["123456789012345678901234567890", "2"],
      "123456789012345678901234567890",
      "more digits than a DOUBLE holds",
    ],
    ["leading zeros", ["007", "7"], "007", "leading zeros would be lost"],
    ["a signed zero", ["-0", "0"], "-0", "the sign of zero would be lost"],
    ["numbers beyond a double", ["1E400", "2E5"], "1E400", "more digits than a DOUBLE holds"],
  ])("stay text: %s", async (_, texts, value, reason) => {
    const { types, values, notes } = await load(texts);
    expect([types[0], values.map(([text]) => text)]).toEqual(["VARCHAR", texts]);
    expect(notes.kept_as_text).toMatchObject([{ column: "v", line: texts.indexOf(value) + 2, value, reason }]);
  });

  it.each([
    ["words for infinity", ["Infinity", "inf", "Nan"], "Infinity"],
    ["words that are dates to DuckDB", ["infinity", "-infinity"], "infinity"],
  ])("stay text: %s", async (_, texts, value) => {
    const { types, values, notes } = await load(texts);
    expect([types[0], values.map(([text]) => text)]).toEqual(["VARCHAR", texts]);
    expect(notes.kept_as_text).toMatchObject([{ column: "v", line: null, value, reason: "nothing but words" }]);
  });

  it.each([
    ["names", ["Nan", "Inf", "Bob"]],
    ["ranges", ["1-2", "3-4"]],
    ["days of months", ["Mar-5", "Apr-6"]],
    ["fractions", ["1/2", "3/4"]],
    ["UUIDs in any case", ["A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]],
    ["versions of three parts", ["1.2.3", "1.2.10"]],
    ["percentages", ["5%", "6%"]],
  ])("are text from the start: %s", async (_, texts) => {
    const { types, values, notes } = await load(texts);
    expect([types[0], values.map(([text]) => text)]).toEqual(["VARCHAR", texts]);
    expect(notes.kept_as_text).toEqual([]);
  });

  it("are found far from the start", async () => {
    const many = (first: (index: number) => string, odd: string): string[] =>
      Array.from({ length: 30_000 }, (_, index) => (index === 29_000 ? odd : first(index)));
    const cases: [string[], number, string][] = [
      [many((index) => `1.${(index % 9) + 1}`, "1.10"), 29_002, "1.10"],
      [many((index) => `1.${(index % 9) + 1}0`, "1.1"), 2, "1.10"],
      [many((index) => String(index), "12E4"), 29_002, "12E4"],
      [many((index) => String(index), "x"), 29_002, "x"],
    ];
    for (const [texts, line, value] of cases) {
      const { types, notes, rows } = await load(texts);
      expect([types[0], rows]).toEqual(["VARCHAR", 30_000]);
      expect(notes.kept_as_text).toMatchObject([{ column: "v", line, value }]);
    }
  });

  it("are named also where DuckDB calls the column text", async () => {
    const texts = Array.from({ length: 3000 }, (_, index) => (index === 2900 ? "n/k" : String(index)));
    expect((await load(texts)).notes.kept_as_text).toMatchObject([{ inferred: "BIGINT", line: 2902, value: "n/k" }]);
  });
});

describe("fractions under a name that says identifier", () => {
  const under = (name: string, texts: string[], request: Parameters<Ingesting["csv"]>[1] = {}) =>
    lake.csv(`${name},t\n${texts.map((text) => `${text},x`).join("\n")}\n`, { name: `t${names++}`, ...request });

  it.each([
    ["version", ["1.10", "1.20", "1.30"]],
    ["Version", ["1.1", "1.2"]],
    ["Release No", ["1.0", "2.0", "10.0"]],
    ["packageVersion", ["1.10", "2.20"]],
    ["api_version", ["1.10", "2.20"]],
    ["section", ["1.10", "2.20"]],
    ["chapter.id", ["1.10", "2.20"]],
    ["code", ["250.00", "401.90"]],
    ["Article Number", ["12.50", "12.60"]],
  ])("stay text: %s", async (name, texts) => {
    const { types, values, notes } = await under(name, texts);
    expect([types[0], values.map(([text]) => text)]).toEqual(["VARCHAR", texts]);
    const reason = "the name says that it is an identifier, in which 1.10 is not 1.1";
    expect(notes.kept_as_text).toEqual([{ column: name, inferred: "DOUBLE", line: null, value: texts[0], reason }]);
  });

  it.each([
    ["price", ["1.10", "12.50", "3.00"], "DOUBLE", [1.1, 12.5, 3]],
    ["article price", ["1.10", "12.50"], "DOUBLE", [1.1, 12.5]],
    ["section_length", ["1.10", "12.50"], "DOUBLE", [1.1, 12.5]],
    ["conversion", ["1.10", "12.50"], "DOUBLE", [1.1, 12.5]],
    ["code", ["-1.50", "12.50"], "DOUBLE", [-1.5, 12.5]],
    ["code", ["12345.50", "12.50"], "DOUBLE", [12_345.5, 12.5]],
    ["version", ["1", "2"], "BIGINT", [1, 2]],
  ])("are numbers where they are: %s %j", async (name, texts, type, expected) => {
    const { types, values, notes } = await under(name, texts);
    expect([types[0], values.map(([value]) => value).map(Number), notes.kept_as_text]).toEqual([type, expected, []]);
  });

  it("are numbers where the caller or the dataset says so", async () => {
    const given = { csv: { types: { version: "DOUBLE" } }, name: "versions" };
    expect((await under("version", ["1.10", "2.20"], given)).types[0]).toBe("DOUBLE");
    expect((await under("version", ["3.10"], { name: "versions", mode: "append" })).rows).toBe(3);
  });
});

describe("dots before three digits", () => {
  it("may be thousands where another column has decimal commas", async () => {
    const { types, values, notes } = await lake.csv("n;p;w\n1.234;1,5;0.125\n2.500;2.000,25;12.55\n12;3,0;1.5\n", {
      name: `t${names++}`,
    });
    expect(types).toEqual(["VARCHAR", "VARCHAR", "DOUBLE"]);
    expect(values[0]).toEqual(["1.234", "1,5", 0.125]);
    const reason = "the dot may separate thousands, since other columns have decimal commas";
    expect(notes.kept_as_text).toContainEqual({ column: "n", inferred: "DOUBLE", line: null, value: "1.234", reason });
  });

  it("are decimals elsewhere", async () => {
    for (const text of ["n;p\n1.234;1\n2.500;2\n", "n;p\n1.234;a,5\n2.500;b\n", 'n,p\n1.234,"1,5"\n2.500,"2,5"\n']) {
      expect((await lake.csv(text, { name: `t${names++}` })).types[0]).toBe("DOUBLE");
    }
  });
});

describe("measurements", () => {
  it.each([
    ["decimal points and signed exponents", ["1.5e-3", "6.02E+23", "1e5"], [0.0015, 6.02e23, 100_000]],
    ["capital exponents with and without a point", ["12E4", "1.5E3", "2e5"], [120_000, 1500, 200_000]],
    ["signed exponents", ["1e-3", "6E+23", "1e5"], [0.001, 6e23, 100_000]],
    ["decimals among exponents", ["1.5", "2", "1e5"], [1.5, 2, 100_000]],
    ["as many decimals everywhere", ["1.10", "2.50", "3.00"], [1.1, 2.5, 3]],
    ["as many decimals, and integers", ["5", "2.50", "3.10"], [5, 2.5, 3.1]],
    ["numbers as programs write them", ["1.0", "2.25", "3.5"], [1, 2.25, 3.5]],
    ["signs", ["-1.5", "1.50", "2.25"], [-1.5, 1.5, 2.25]],
    ["four decimals", ["1.5", "1.50", "2.2512"], [1.5, 1.5, 2.2512]],
    ["thousands", ["12000.5", "1.50", "2.2"], [12_000.5, 1.5, 2.2]],
    ["infinity among numbers", ["1.5", "inf", "-inf"], [1.5, "Infinity", "-Infinity"]],
    ["blanks among numbers", ["1.5", " ", "2.5"], [1.5, null, 2.5]],
  ])("are numbers: %s", async (_, texts, expected) => {
    const { types, values, notes } = await load(texts);
    expect([types[0], values.map(([value]) => value), notes.kept_as_text]).toEqual(["DOUBLE", expected, []]);
  });

  it("are told by a value far from the start", async () => {
    const texts = Array.from({ length: 30_000 }, (_, index) => (index === 29_000 ? "-1.10" : `1.${(index % 9) + 1}`));
    const { types, notes } = await load(texts);
    expect([types[0], notes.kept_as_text]).toEqual(["DOUBLE", []]);
  });
});

describe("a dataset's column of numbers", () => {
  it("takes numbers as they are written, and no codes", async () => {
    await load(["1.5", "2.25"], { name: "known" });
    const more = await load(["1.5", "1.50"], { name: "known", mode: "append" });
    expect([more.rows, more.types[0]]).toEqual([4, "DOUBLE"]);
    const path = await lake.file("codes.csv", column(["12E4", "120E3"]));
    const { kind, message } = await lake.refused({ name: "known", mode: "append", source: { path } });
    expect([kind, message]).toEqual(["conflict", expect.stringContaining("v DOUBLE → VARCHAR")]);
    expect(message).toContain('codes.csv, line 2, column "v": "12E4" does not fit DOUBLE: digits around an E');
    const said = await load(["12E4"], { name: "known", mode: "append", csv: { types: { v: "DOUBLE" } } });
    expect(said.rows).toBe(5);
  });
});
