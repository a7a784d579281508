import { expect, test } from "vitest";
import { uniqueNames } from "../../../src/engine/ingest/unique-names.ts";

const withoutNul = (name: string): string => name.replaceAll("\0", "");

test.each<[originals: string[], names: string[]]>([
  [
    ["a", "A", "a"],
    ["a", "A_1", "a_2"],
  ],
  [
    ["a", "a", "a_1"],
    ["a", "a_2", "a_1"],
  ],
  [
    ["", "b", "column0"],
    ["column0_1", "b", "column0"],
  ],
  // What is nothing but what has to go has no name either; a name that can stay is kept.
  [
    ["\0", "a\0", "a"],
    ["column0", "a_1", "a"],
  ],
])("%j are %j", (originals, names) => {
  const made = uniqueNames(originals, withoutNul);
  expect(made.names).toEqual(names);
  const changed = originals.flatMap((from, at) => (from === names[at] ? [] : [{ from, to: names[at] }]));
  expect(made.renamed).toEqual(changed);
});

test("thousands of the same name take no longer than others", () => {
  const { names } = uniqueNames(Array<string>(20_000).fill("x"), withoutNul);
  expect(new Set(names).size).toBe(20_000);
});
