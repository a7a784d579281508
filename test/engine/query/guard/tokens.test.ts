import { expect, test } from "vitest";
import { shownSource } from "../../../../src/engine/query/guard/shown-source.ts";
import { withoutLiterals } from "../../../../src/engine/query/guard/tokens.ts";

test.each([
  ["SELECT * FROM t WHERE ssn = '123-45-6789'", "SELECT * FROM t WHERE ssn = ?"],
  ["SELECT 'it''s', E'a\\'b', $$c 'd'$$, $tag$e$tag$", "SELECT ?, ?, ?, ?"],
  ["SELECT 1, 2.5, 1e10, 0x1F, 1_000, -7, .5", "SELECT ?, ?, ?, ?, ?, -?, .?"],
  ["SELECT a -- the password is hunter2\nFROM t", "SELECT a FROM t"],
  ["SELECT a /* hunter2 /* nested */ */, b FROM t --end", "SELECT a , b FROM t"],
  ['SELECT "a 1", x1, t.c2 FROM "t@3"', 'SELECT "a 1", x1, t.c2 FROM "t@3"'],
  ["SELECT DATE '2020-01-01', INTERVAL 5 DAY, x'FF', TRUE, NULL", "SELECT DATE ?, INTERVAL ? DAY, x?, TRUE, NULL"],
  ["select\n  lower(name)\nfrom t\nlimit 5;", "select\n  lower(name)\nfrom t\nlimit ?;"],
  ["FROM t WHERE 'never ends", "FROM t WHERE ?"],
  ["FROM t WHERE a = '\u{1F600}' AND b = 'ß'", "FROM t WHERE a = ? AND b = ?"],
])("%s is shown without what it asks for", (sql, shown) => {
  expect(withoutLiterals(sql)).toBe(shown);
  expect(withoutLiterals(shown)).toBe(shown);
});

test.each([
  ["a statement of an old version", { format: "sql" }, "SELECT 'a', 1", "SELECT ?, ?"],
  ["one that was recorded without its literals", { format: "sql", literals: false }, "SELECT ?, ?", "SELECT ?, ?"],
  ["the name of a file", { format: "csv", on_bad_rows: "fail" }, "report '24 (2).csv", "report '24 (2).csv"],
  ["a restored version", { version: 3 }, "workers@3", "workers@3"],
])("the source of %s is shown as it may be read by all", (_, options, source, shown) => {
  const provenance = { operation: "create" as const, source, sourceHash: "", options, engine: "1" };
  expect(shownSource(provenance)).toBe(shown);
});
