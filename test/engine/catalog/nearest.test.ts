import { expect, test } from "vitest";
import { didYouMean, nearest } from "../../../src/engine/catalog/nearest.ts";

const NAMES = ["workers", "worker_pay", "candidates", "placements", "sales_2024", "sales_2023", "a", "id"];

test.each([
  ["wrokers", ["workers"]],
  ["Workers", ["workers"]],
  ["worker", ["workers", "worker_pay"]],
  ["sales", ["sales_2023", "sales_2024"]],
  ["sales_2025", ["sales_2023", "sales_2024"]],
  ["placement", ["placements"]],
  ["candiates", ["candidates"]],
  ["zzzzzz", []],
  ["", []],
])("%j is meant as %j", (wanted, expected) => {
  expect(nearest(wanted, NAMES)).toEqual(expected);
});

test("at most three, the nearest first, ties by name", () => {
  expect(nearest("abcdef", ["abcdxx", "abcdeg", "abcdeh", "abcdef_", "abcdei"])).toEqual([
    "abcdef_",
    "abcdeg",
    "abcdeh",
  ]);
});

test("a long or hostile name costs no more than a short one", () => {
  const names = Array.from({ length: 10_000 }, (_, i) => `dataset_${i}`);
  expect(nearest("x".repeat(1_000_000), names)).toEqual([]);
});

test("is said in one sentence", () => {
  expect(didYouMean("wrokers", NAMES)).toBe(" Did you mean workers?");
  expect(didYouMean("sales", NAMES)).toBe(" Did you mean sales_2023 or sales_2024?");
  expect(didYouMean("zzzzzz", NAMES)).toBe("");
});
