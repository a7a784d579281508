import type { Example } from "./json-copy.ts";

/** Hint for a file without objects. */
export const RECORDS_ARE_OBJECTS =
  'Records have to be objects, such as {"value": 1}: a list of them, or one on each line.';

/** Facts about the values under one top-level key that decide the type of its column. */
export interface ColumnSurvey {
  key: string;
  /** Number of values of each kind, in the order of `KINDS`. A null is of no kind. */
  counts: number[];
  /** The first value of each kind. */
  first: (Example | null)[];
  /** Whether nested values hold integers that DOUBLE would round. */
  nestedBigint: boolean;
  /** The first number inside nested values that had to become a string. */
  nestedNumber: Example | null;
  /** The first key that occurs twice in one nested object. */
  nestedKey: Example | null;
  /** The type of the nested values, in SQL; JSON until all have been read. */
  nestedType: string;
}
