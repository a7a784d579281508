import type { Example } from "./json-copy.ts";
/** What is known about the values under one top-level key. */
export interface ColumnSurvey {
  key: string;
  /** How many values are of each kind, in the order of `KINDS`; null is none of them. */
  counts: number[];
  /** The first value of each kind. */
  first: (Example | null)[];
  /** Nested values hold integers that DOUBLE would round. */
  nestedBigint: boolean;
  /** The first number inside nested values that had to become a string. */
  nestedNumber: Example | null;
  /** The first key that occurs twice in an object inside. */
  nestedKey: Example | null;
  /** The type of the nested values, set when all have been read. */
  nestedType: string;
}
