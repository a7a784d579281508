// @module-tag slow
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Ingesting, openIngesting } from "../../../support/ingesting.ts";

let lake: Ingesting;
let names = 0;

beforeAll(async () => {
  lake = await openIngesting();
});
afterAll(() => lake[Symbol.asyncDispose]());

const csv = async (content: string, request: Parameters<Ingesting["csv"]>[1] = {}) => {
  const result = await lake.csv(content, { name: `t${names++}`, ...request });
  return { ...result, header: result.columns.map(({ name }) => name), dialect: result.notes.dialect };
};

describe("a header", () => {
  it.each([
    ["years", "site,2021,2022\nNorth,10,20\nSouth,30,40\n"],
    ["years over decimals", "site,2021,2022\nNorth,1.5,2.5\nSouth,3.5,4.5\n"],
    ["years backwards after words", "country,code,2022,2021,2020\nA,AA,1,2,3\nB,BB,4,5,6\n"],
    ["years alone", "2020,2021,2022\n5,6,7\n8,9,1\n"],
    ["one year", "site,2021\nNorth,10\nSouth,20\n"],
    ["a count", "shift,1,2,3\nday,8,8,7\nnight,6,6,6\n"],
    ["a count over some counts", "day,0,1,2,3\nMon,5,6,7,8\nTue,1,1,2,9\n"],
    ["hours over numbers", "day,00:00,01:00\nMon,5,6\nTue,1,1\n"],
    ["dates over numbers", "site,2021-01-01,2021-02-01\nNorth,5,6\nSouth,7,8\n"],
    ["truth values over numbers", "site,true,false\nNorth,5,6\nSouth,7,8\n"],
    ["percentages over numbers", "site,10%,50%\nNorth,5,6\nSouth,7,8\n"],
    ["numbers in quotes over numbers without", '"site","10","35"\n"North",5,6\n"South",7,8\n'],
    ["years over numbers like years, under a word", "name,2019,2020\nA,2001,1999\nB,1980,2010\n"],
    ["years over a row of years, under a word", "region,2019,2020\nnorth,2018,2021\n"],
    ["years over years that follow one another", "country,2019,2020\nA,2015,2016\nB,2017,2018\n"],
    ["one year over years, under a word", "region,2019\nnorth,2018\nsouth,2017\n"],
    ["every fifth year", "region,2010,2015,2020\nnorth,1990,2000,2010\n"],
    ["a count over one row", "month,1,2,3\njan,4,2,9\n"],
    ["a count over counts, under a word", "month,1,2,3\njan,4,5,6\nfeb,7,8,9\n"],
    ["a count of two, under a word", "store,1,2\nA,10,20\nB,30,40\n"],
    ["weeks with zeros", "week,01,02,03\nA,10,20,30\nB,1,2,3\n"],
    ["months of two years", "site,202012,202101\nA,202001,202002\n"],
    ["a count under a name with _id", "site_id,1,2\nA,10,20\n"],
    ["a count under two words", "age group,0,1\n10-20,5,6\n"],
    ["quarters over quarters", "team,Q1,Q2\nA,Q3,Q1\nB,Q2,Q4\n"],
    ["fiscal years over words", "plan,FY2020,FY2021\nA,FY1999,FY2003\nB,none,FY2001\n"],
    ["words over words", "name,city\nBo,Rome\nAl,Oslo\n"],
    ["words over numbers and words of missing values", "id,n\n1,NA\n2,5\n"],
    ["words over a row of units", "time,speed\ns,m/s\n1,2.5\n2,3.5\n3,4.5\n"],
    ["words that come again where files were joined", "a,b\n1,2\na,b\n3,4\n"],
    ["a # before the first name", "#id,name\n1,x\n3,y\n"],
  ])("is recognised by %s", async (_, text) => {
    const { header, dialect, rows } = await csv(text);
    const [first = "", ...rest] = text.trim().split("\n");
    const expected = first.split(",").map((name) => name.replaceAll('"', ""));
    expect([header, dialect?.header_names, dialect?.header_line]).toEqual([expected, expected, 1]);
    expect(rows).toBe(rest.length);
  });

  it("may have an empty corner over the names of rows", async () => {
    expect((await csv('"",2021,2022\nNorth,1,2\nSouth,3,4\n')).header).toEqual(["column0", "2021", "2022"]);
    expect((await csv(",2019,2020\nA,2018,2021\nB,2000,1999\n")).header).toEqual(["column0", "2019", "2020"]);
    expect((await csv(",2019,2020\nA,2015,2016\n")).header).toEqual(["column0", "column1", "column2"]);
    expect((await csv(",0,1\n0,5.1,3.5\n1,4.9,3.0\n")).header).toEqual(["column0", "0", "1"]);
  });

  it("may span lines", async () => {
    for (const text of ['"a\nb",c\r\n1,2\r\n3,4\r\n', '"a\r\nb",c\n1,2\n3,4\n', '"a\r\nb",c\n1,"x\r\ny"\r\n3,4\n']) {
      const { header, rows, dialect } = await csv(text);
      expect([header, rows, dialect?.header_line]).toEqual([["a b", "c"], 2, 1]);
    }
  });

  it("is what the dataset has, where all of its columns are named", async () => {
    await lake.csv("x,2500,3100\nNorth,1,2\n", { name: "known", csv: { header: true } });
    const again = await lake.csv("x,2500,3100\nEast,2700,9\n", { name: "known", mode: "append" });
    expect([again.rows, again.columns.map(({ name }) => name)]).toEqual([2, ["x", "2500", "3100"]]);
  });

  it("alone has no rows", async () => {
    expect((await csv("site,2021,2022\n")).rows).toBe(0);
  });
});

describe("a first row of data", () => {
  it.each([
    ["numbers and words", "5.1,3.5,setosa\n4.9,3.0,setosa\n"],
    ["a blank among numbers", "1, ,3\n4,5,6\n"],
    ["nothing among numbers", "1,,3\n4,5,6\n"],
    ["a dash among numbers", "-,2,3\n4,5,6\n7,8,9\n"],
    ["a word for a missing value", "missing,2,3\n4,5,6\n7,8,9\n"],
    ["a number like a year over others", "North,2000\nSouth,3000\nEast,2500\n"],
    ["years over years", "Bob,2019,2020\nAl,2015,2016\n"],
    ["a count over counts", "a,1,2,3\nb,4,5,6\nc,7,8,9\n"],
    ["years over years, two of them ranges", "Bob,2019,2020\nAl,2010,2015\n"],
    ["numbers that are no run, after a word", "name,5,7\nBob,3,4\n"],
    ["a count over one count", "a,1,2,3\nb,4,5,6\n"],
    ["a count of two after a name", "Bob,1,2\nAl,10,20\n"],
    ["a word that comes again", "region,1,2\nregion,3,5\ncity,4,5\n"],
    ["a place that ends with such a word", "Mexico City,1,2\nBoston,8,5\n"],
    ["words that columns are called by, over such", "city,1,2\ntown,3,8\nvillage,2,5\n"],
    ["quarters that come again", "team,Q1,Q2\nA,Q1,Q3\nB,Q2,Q4\n"],
    ["codes that run, over such", "x,A1,A2\ny,A3,A4\nz,A5,A6\n"],
    ["numbers alone", "2019\n2020\n2021\n"],
    ["runs of numbers alone", "1,2,3\n4,5,6\n"],
    ["dates over dates", "2024-01-01,5\n2024-01-02,6\n"],
    ["words that come again", "red,apple\nred,cherry\ngreen,pear\n"],
    ["serial codes", "P001,North\nP002,South\nP003,East\n"],
    ["addresses", "bo@x.org,Bo\nal@x.org,Al\n"],
    ["a word and a number, alone", "Bo,5\n"],
    ["numbers in quotes over such", '"1","2"\n"3","4"\n'],
  ])("is not swallowed: %s", async (_, text) => {
    const { header, dialect, rows } = await csv(text);
    expect(header).toEqual(header.map((__, index) => `column${index}`));
    expect([dialect?.header, dialect?.header_line, dialect?.header_names]).toEqual([false, null, []]);
    expect(rows).toBe(text.trim().split("\n").length);
  });
});

describe("lines before the header", () => {
  const skipped = (...lines: [number, string][]) => lines.map(([line, text]) => ({ line, text }));

  it.each([
    ["blank lines", "\n \n\nid,n\n1,2\n", 4, []],
    ["blank lines over one column", "\n\nid\n1\n", 3, []],
    ["sep=;", "sep=;\r\nid;n\r\n1;2\r\n", 2, skipped([1, "sep=;"])],
    ["sep=, after a byte order mark", "\ufeffsep=,\r\nid,n\r\n1,2\r\n", 2, skipped([1, "sep=,"])],
    ['"sep=;" in quotes', '"sep=;"\nid;n\n1;2\n', 2, skipped([1, '"sep=;"'])],
    ["sep with a tab", "sep=\t\nid\tn\n1\t2\n", 2, skipped([1, "sep=\t"])],
    ["a title", "Report 2024\n\nid,name,n\n1,x,2\n", 3, skipped([1, "Report 2024"])],
    ["a title with a delimiter", "Sales, 2024\nid,name,n\n1,x,2\n2,y,3\n", 2, skipped([1, "Sales, 2024"])],
    ["a title over words", "Staff\nname,city\nBo,Rome\nAl,Oslo\n", 2, skipped([1, "Staff"])],
    ["a padded title", "Report,,\n,,\nid,name,n\n1,x,2\n", 3, skipped([1, "Report,,"], [2, ",,"])],
    [
      "names and values",
      "Station:,Oslo\nDate:,2024-01-01\n\ntime,temp,hum\n10:00,1.5,20\n11:00,2.5,30\n",
      4,
      skipped([1, "Station:,Oslo"], [2, "Date:,2024-01-01"]),
    ],
    ["comments", '# made by x\n# for "Bob, 2\nid,n\n1,2\n', 3, skipped([1, "# made by x"], [2, '# for "Bob, 2'])],
    ["comments before a header with #", "##v=1\n##x,2\n#id\tn\n1\t2\n", 3, skipped([1, "##v=1"], [2, "##x,2"])],
  ])("are left out and told: %s", async (_, text, line, lines) => {
    const { dialect, values, header } = await csv(text);
    expect(dialect).toMatchObject({ header: true, header_line: line, skipped_lines: { count: line - 1, lines } });
    expect(header.length).toBe(values[0]?.length);
    expect(values.flat()).not.toContain(header[0]);
  });

  it("may come before rows without a header", async () => {
    const { dialect, values } = await csv("Report\n1,2,3\n4,5,6\n");
    expect([values.length, dialect]).toMatchObject([2, { header: false, skipped_lines: { count: 1 } }]);
    expect((await csv("a;b\n1,5;2,5\n3,5;4,5\n")).header).toEqual(["a", "b"]);
  });

  it("may be a comment that has the names", async () => {
    const { dialect, header, rows } = await csv("# made by x\n# id,n\n1,2\n3,4\n");
    expect([header, rows, dialect?.header_line]).toEqual([["# id", "n"], 2, 2]);
  });

  it("count in the lines that notes and errors name", async () => {
    const head = 'Report\n\n"i\nd",n\n';
    const { notes } = await csv(`${head}1,2\n"x\ny",3\n5,4\n6,7\n8,9\n`);
    expect(notes.kept_as_text).toMatchObject([{ line: 6, value: "x\ny" }]);
    const bad = await lake.refused({ source: { path: await lake.file("bad.csv", `${head}1,2\n3\n4,5\n`) } });
    expect(bad.message).toContain('bad.csv, line 6, column "n": expected 2 columns, found 1.');
    const left = await csv(`${head}1,2\n3\n4,5\n`, { onBadRows: "skip" });
    expect([left.rows, left.notes.skipped_rows?.lines[0]?.line]).toEqual([2, 6]);
  });

  it("are rows where nothing shows that they are not", async () => {
    const { values, dialect } = await csv("comment\nhello, world\nbye, moon\n");
    expect([values, dialect?.skipped_lines]).toEqual([[["hello, world"], ["bye, moon"]], null]);
    expect((await csv("#ff0000,warm\n#0000ff,cold\n#ffff00,warm\n")).rows).toBe(3);
  });
});

describe("one column of text", () => {
  it("comes with a warning, unless the delimiter was given", async () => {
    expect((await csv("a:b\n1:2\n")).dialect?.warning).toContain("delimiter");
    expect((await csv("name\nBo\n", { csv: { delimiter: "," } })).dialect?.warning).toBeNull();
    expect((await csv("n\n1\n")).dialect?.warning).toBeNull();
    const { header, dialect } = await csv("a:b\n1:2\n", { csv: { delimiter: ":" } });
    expect([header, dialect?.warning]).toEqual([["a", "b"], null]);
  });
});
