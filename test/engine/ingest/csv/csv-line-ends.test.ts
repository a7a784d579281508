import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Ingesting, openIngesting } from "../../../support/ingesting.ts";

let lake: Ingesting;
let names = 0;

beforeAll(async () => {
  lake = await openIngesting();
});
afterAll(() => lake[Symbol.asyncDispose]());

const csv = (content: string, request: Parameters<Ingesting["csv"]>[1] = {}) =>
  lake.csv(content, { name: `t${names++}`, ...request });

it.each([
  ["quoted CR LF in a file of LF", 'id,n\n1,"a\r\nb"\n2,c\n', ["a\r\nb", "c"]],
  ["quoted LF in a file of CR LF", 'id,n\r\n1,"a\nb"\r\n2,c\r\n', ["a\nb", "c"]],
  ["quoted CR in a file of CR LF", 'id,n\r\n1,"a\rb"\r\n2,c', ["a\rb", "c"]],
  ["quoted CR LF in a file of CR", 'id,n\r1,"a\r\nb"\r2,c\r', ["a\r\nb", "c"]],
  ["CR without one at the end", "id,n\r1,b\r2,c", ["b", "c"]],
  ["all of them", 'id,n\r\n1,"a\r\nb"\n2,"c\nd"\r3,"e\rf"\r\n4,g', ["a\r\nb", "c\nd", "e\rf", "g"]],
  ["joined exports", 'id,n\n1,a\n2,"x\r\ny"\r\n3,"x\ny"\r', ["a", "x\r\ny", "x\ny"]],
  ["a header over lines", '"i\r\nd",n\n1,"a\r\nb"\r\n2,c\n', ["a\r\nb", "c"]],
  ["no header", '1,"a\r\nb"\n2,"c\rd"\r\n3,e\n', ["a\r\nb", "c\rd", "e"]],
  ["quotes doubled before an end", 'id,n\r\n1,"a""\r\n""b"\n2,"c"""\r\n', ['a"\r\n"b', 'c"']],
  ["quotes escaped before an end", 'id,n\r\n1,"a\\"\r\nb"\n2,c\r\n', ['a"\r\nb', "c"]],
  ["CR CR LF", "id,n\r\r\n1,a\r\r\n2,b\r\r\n", ["a", "b"]],
])("keeps %s", async (_, text, expected) => {
  const { values, notes } = await csv(text);
  expect([values.map(([, value]) => value), notes.kept_as_text]).toEqual([expected, []]);
});

it("keeps line ends in one column, where a blank line is a value", async () => {
  expect((await csv('n\r\n"a\r\nb"\n\r\nc\n')).values).toEqual([["a\r\nb"], [null], ["c"]]);
});

it("keeps line ends of windows-1252, and in chunks", async () => {
  const accents = Buffer.from('id,n\r\n1,"\xe9\r\nb"\n2,"x\ny"\r\n', "latin1");
  expect((await lake.csv(accents, { name: "accents" })).values).toEqual([
    ["1", "é\r\nb"],
    ["2", "x\ny"],
  ]);
  const text = `id,n\n${'1,"a\r\nb"\n'.repeat(40_000)}${'2,"x\r\ny"\r\n'.repeat(40_000)}`;
  const { rows, values } = await csv(text);
  expect([rows, values[0]]).toEqual([80_000, ["1", "a\r\nb"]]);
});

it("names the lines of bad rows and odd values among mixed ends", async () => {
  const bad = await lake.refused({ source: { path: await lake.file("bad.csv", 'a,b\r\n1,"x\r\ny"\n2\r\n3,c\n') } });
  expect(bad.message).toBe('bad.csv, line 4, column "b": expected 2 columns, found 1. Nothing was ingested.');
  const odd = await csv('a,b\r\n1,"x\r\ny"\n2,"x\ny"\r\nq,c\n3,d\r\n4,e\r\n');
  expect(odd.notes.kept_as_text).toMatchObject([{ column: "a", line: 6, value: "q" }]);
});

it("keeps every value of files with any mix of ends", { tags: ["slow"] }, async () => {
  const end = fc.constantFrom("\n", "\r\n", "\r");
  const part = fc.constantFrom("a", "\n", "\r\n", "\r", '""', ",");
  const value = fc.oneof(
    fc.constant("v"),
    fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => `"x${parts.join("")}"`),
  );
  const file = fc.array(fc.tuple(value, value, end), { minLength: 1, maxLength: 6 });
  await fc.assert(
    fc.asyncProperty(file, end, fc.boolean(), async (rows, headEnd, ended) => {
      const body = rows.map(([a, b, after], index) => `${a},${b}${index === rows.length - 1 && !ended ? "" : after}`);
      const { values } = await csv(`id,n${headEnd}${body.join("")}`, { csv: { header: true } });
      const plain = (text: string): string => text.replace(/^"|"$/g, "").replaceAll('""', '"');
      expect(values).toEqual(rows.map(([a, b]) => [plain(a), plain(b)]));
    }),
    { numRuns: 60 },
  );
});
