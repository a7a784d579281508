import { expect, test } from "vitest";
import { openWriter } from "../../src/cli/formats.ts";
import { readParams } from "../../src/cli/params.ts";
import { plan } from "../../src/cli/sources.ts";
import { renderTable } from "../../src/cli/table.ts";
import { cellText } from "../../src/cli/text.ts";
import { COMMAND_WORDS } from "../../src/cli/words.ts";
import { LakeError } from "../../src/engine/kernel/errors.ts";
import { ExactNumber } from "../../src/engine/kernel/exact-json.ts";
import { action, argument, inWords, next, setting } from "../../src/engine/kernel/next-step.ts";
import { visible } from "../../src/engine/kernel/visible.ts";
import { TOOL_WORDS } from "../../src/tools/words.ts";

const columns = (...names: string[]) => names.map((name) => ({ name, type: name === "n" ? "BIGINT" : "VARCHAR" }));
const lines = (text: string) => text.trimEnd().split("\n");

test("numbers go to the right, wide characters take two columns, NULL is told from the text", () => {
  const rows = [
    [1, "日本語"],
    [1000, "e\u0301"],
    [null, "NULL"],
    [2, ""],
  ];
  expect(renderTable(columns("n", "text"), rows).text).toBe(`   n  text
────  ──────
   1  日本語
1000  e\u0301
NULL  "NULL"
   2  ""
`);
});

test("a wide table fits its terminal: wide columns are cut first, then columns are left out", () => {
  const rows = [[1, "x".repeat(200), "short"]];
  const cut = renderTable(columns("n", "long", "last"), rows, 40);
  expect(cut).toMatchObject({ hidden: 0, cut: true });
  expect(lines(cut.text)[2]).toBe(`1  ${"x".repeat(29)}…  short`);
  const many = columns(...Array.from({ length: 50 }, (_, at) => `column_${at}`));
  const narrow = renderTable(many, [many.map(({ name }) => name)], 80);
  expect(narrow.hidden).toBe(42);
  for (const line of lines(narrow.text)) expect(line.length).toBeLessThanOrEqual(80);
  const wide = renderTable(columns("t"), [["日本語".repeat(30)]], 11);
  expect(lines(wide.text)[2]).toBe("日本語日本…");
});

test("a cell of megabytes is cut without walking it", () => {
  const started = performance.now();
  expect(renderTable(columns("t"), [["é".repeat(4_000_000)]], 20).text.length).toBeLessThan(80);
  expect(renderTable(columns("t"), [["x".repeat(4_000_000)]]).cut).toBe(true);
  expect(performance.now() - started).toBeLessThan(5_000);
});

test("no rows, no columns, and a terminal of one column are no trouble", () => {
  expect(renderTable(columns("n"), []).text).toBe("n\n─\n");
  expect(renderTable([], []).text).toBe("");
  expect(lines(renderTable(columns("n", "text"), [[1, "abc"]], 1).text)).toEqual(["n", "─", "1"]);
});

test.each([
  ["a\u001b[31mred", '"a\\u001b[31mred"'],
  ["line\nline", '"line\\nline"'],
  ["c1 \u009b2J", '"c1 \\u009b2J"'],
  ["right\u202eleft", "right\\u202eleft"],
  ["👩‍👩‍👧", "👩‍👩‍👧"],
  [{ a: "\u001b" }, '{"a":"\\u001b"}'],
])("a terminal only shows %j", (value, shown) => {
  expect(cellText(value)).toBe(shown);
  expect(visible("\u001b]0;title\u0007")).toBe("\\u001b]0;title\\u0007");
});

test("CSV is RFC 4180, with NULL told from the empty text", () => {
  const csv = openWriter("csv", columns("n", 'a "b"'));
  expect(csv.head).toBe('n,"a ""b"""\r\n');
  const rows = [
    [1, null],
    [2, ""],
    [3, 'say "hi", you\n'],
    [4, [1, "x"]],
    [5, " edge "],
  ];
  expect(csv.rows(rows)).toBe('1,\r\n2,""\r\n3,"say ""hi"", you\n"\r\n4,"[1,""x""]"\r\n5," edge "\r\n');
});

test("JSON has all columns, those of one name too, and is JSON whatever the data", () => {
  const writer = openWriter("json", columns("a", "a", "__proto__", "a_1"));
  const text =
    writer.head + writer.rows([[1, 2, 3, 4]]) + writer.rows([["\u009b", "\u2028", null, null]]) + writer.tail;
  expect(text).toBe(
    '[\n{"a":1,"a_2":2,"__proto__":3,"a_1":4},\n{"a":"\\u009b","a_2":"\\u2028","__proto__":null,"a_1":null}\n]\n',
  );
  const none = openWriter("json", columns("a"));
  expect(JSON.parse(none.head + none.rows([]) + none.tail)).toEqual([]);
});

test("Markdown cells cannot end their cell", () => {
  const writer = openWriter("markdown", columns("a"));
  expect(writer.head + writer.rows([["x|y\\"], ["a\nb"]])).toBe(`| a |\n| --- |\n| x\\|y\\\\ |\n| "a\\\\nb" |\n`);
});

test("parameters are JSON where they are JSON, by name or by place", () => {
  expect(readParams([])).toBeUndefined();
  expect(readParams(["5", "x", '"5"', "null", "007", "[1,2]"])).toEqual([5, "x", "5", null, "007", [1, 2]]);
  expect(readParams(["a=1", "$b=x=y", "c="])).toEqual({ a: 1, b: "x=y", c: "" });
  expect(readParams(["9007199254740993", "[0.1234567890123456789]"])).toEqual([
    new ExactNumber("9007199254740993"),
    [new ExactNumber("0.1234567890123456789")],
  ]);
  expect(readParams(["id=9007199254740993"])).toEqual({ id: new ExactNumber("9007199254740993") });
  expect(readParams(['"a=b"'])).toEqual(["a=b"]);
  for (const wrong of [
    ["a=1", "2"],
    ["a=1", "a=2"],
  ])
    expect(() => readParams(wrong)).toThrow(LakeError);
});

test("datasets are named after their files, as they can be", () => {
  expect(plan(["in/workers.csv.gz", "Q3 Sales.PARQUET", "1.2.json"], undefined, false)).toEqual([
    { file: "in/workers.csv.gz", dataset: "workers" },
    { file: "Q3 Sales.PARQUET", dataset: "q3_sales", corrected: "Q3 Sales" },
    { file: "1.2.json", dataset: "t_1_2", corrected: "1.2" },
  ]);
  expect(plan(["a.csv", "b.csv"], "all", true).map(({ dataset }) => dataset)).toEqual(["all", "all"]);
});

test.each([
  [["a.csv", "b/a.csv"], undefined, "would both become a"],
  [["a.csv", "b.csv"], "all", "would replace each other"],
  [["-"], undefined, "has no name"],
  [["-", "-"], "x", "once only"],
])("%j into %s is refused before anything is read", (files, name, message) => {
  expect(() => plan(files, name, false)).toThrow(message);
});

test.each([
  [
    next`Call with ${argument("on_bad_rows", "skip")}; ${action("list")} shows all.`,
    "Call with --on-bad-rows skip; lakehouse-mcp list shows all.",
    'Call with on_bad_rows: "skip"; catalog-list shows all.',
  ],
  [next`Give a smaller ${argument("skip_lines")}.`, "Give a smaller --skip-lines.", "Give a smaller skip_lines."],
  [
    next`${{ parameters: ["$1", "$2"], as: "list" }}`,
    "Give --param once for each, in this order: $1, $2.",
    "Pass params as a list of 2: values for $1, $2.",
  ],
  [
    next`${{ parameters: ["state", "city"], as: "object" }}`,
    "Give --param NAME=VALUE for each of state, city.",
    "Pass params as an object with state, city.",
  ],
  [
    next`Raise ${setting("max_ingest_rows")}.`,
    "Raise --max-ingest-rows.",
    "Raise max_ingest_rows (LAKEHOUSE_MAX_INGEST_ROWS).",
  ],
  [
    next`Keep it with ${action("ingest", { name: undefined, sql: undefined })}.`,
    "Keep it with the tool ingest {name, sql}.",
    "Keep it with ingest {name, sql}.",
  ],
  ["Write it again.", "Write it again.", "Write it again."],
])("the step %j is worded for people and for agents", (step, forPeople, forAgents) => {
  expect(inWords(step, COMMAND_WORDS)).toBe(forPeople);
  expect(inWords(step, TOOL_WORDS)).toBe(forAgents);
});
