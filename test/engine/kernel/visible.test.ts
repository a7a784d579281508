import { expect, test } from "vitest";
import { visible, visibleLines } from "../../../src/engine/kernel/visible.ts";

test.each([
  ["\u001b]0;title\u0007", "\\u001b]0;title\\u0007"],
  ["right\u202eleft", "right\\u202eleft"],
  ["soft\u00adhyphen, zero\u200bwidth", "soft\\u00adhyphen, zero\\u200bwidth"],
  ["a tag \u{e0041}", "a tag \\udb40\\udc41"],
  ["👩‍👩‍👧 and Ж", "👩‍👩‍👧 and Ж"],
])("what would be obeyed or not seen is shown: %j", (text, shown) => {
  expect(visible(text)).toBe(shown);
  expect(JSON.parse(visible(JSON.stringify(text)))).toBe(text);
});

test("lines stay lines", () => {
  expect(visibleLines("one\ntwo\r\n")).toBe("one\ntwo\\u000d\n");
});
