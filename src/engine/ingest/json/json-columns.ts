import type { Example } from "./json-copy.ts";
import { KINDS, type KindIndex } from "./json-kinds.ts";
import type { Nested } from "./json-nested.ts";
import { emptyShape, nestedType, openShapes, type Shape, type Shapes } from "./json-shape.ts";
import type { ColumnSurvey } from "./json-survey.ts";

export interface ScanOptions {
  /** Keys whose numbers are kept as they are written, as strings. */
  verbatim: ReadonlySet<string>;
  /** Calls the keys `c0`, `c1`… */
  rename: boolean;
  /** Does not take records apart: each is the value of one column. */
  whole: boolean;
  /** More different keys are `TooManyKeys`. */
  maxKeys: number;
}

export class TooManyKeys extends Error {}

/** A top-level key and its values. */
export interface Column {
  survey: ColumnSurvey;
  /** The key as it was first written, quotes included. */
  written: Buffer;
  verbatim: boolean;
  /** Number of the record that last had the key. */
  record: number;
  /** Of the nested values; undefined where none is inferred. */
  shape: Shape | undefined;
}

/** The columns of all records so far. The values of a record count only once it has been read to its end. */
export interface Columns {
  readonly options: ScanOptions;
  readonly all: Column[];
  readonly byKey: Map<string, number>;
  readonly shapes: Shapes;
  /** Number of the record being read, from 1. */
  record: number;
  /** The values of that record, as two parallel lists whose first `values` entries count: one object each would be slow. */
  readonly valueColumns: number[];
  readonly valueKinds: KindIndex[];
  values: number;
  /** Its values that are the first of their kind in their column. */
  firsts: { column: number; kind: KindIndex; example: Example }[];
  nested: { column: number; nested: Nested }[];
}

export function openColumns(options: ScanOptions): Columns {
  return {
    options,
    all: [],
    byKey: new Map(),
    shapes: openShapes(),
    record: 1,
    valueColumns: [],
    valueKinds: [],
    values: 0,
    firsts: [],
    nested: [],
  };
}

/** Index of the new column. Throws `TooManyKeys`. */
export function addColumn({ all, byKey, options }: Columns, key: string, written: Buffer): number {
  if (all.length >= options.maxKeys) throw new TooManyKeys();
  byKey.set(key, all.length);
  const survey: ColumnSurvey = {
    key,
    counts: KINDS.map(() => 0),
    first: KINDS.map(() => null),
    nestedBigint: false,
    nestedNumber: null,
    nestedKey: null,
    nestedType: "JSON",
  };
  const shape = options.whole ? undefined : emptyShape();
  return all.push({ survey, written, verbatim: options.verbatim.has(key), record: 0, shape }) - 1;
}

/** Counts the values of the record, and ends it. */
export function keepRecord(columns: Columns): void {
  const { all, valueColumns, valueKinds } = columns;
  for (let index = 0; index < columns.values; index += 1) {
    const counts = all[valueColumns[index] as number]?.survey.counts;
    if (counts) (counts[valueKinds[index] as number] as number) += 1;
  }
  for (const { column, kind, example } of columns.firsts) {
    const survey = all[column]?.survey;
    if (survey) survey.first[kind] ??= example;
  }
  for (const { column, nested } of columns.nested) {
    const survey = all[column]?.survey;
    if (!survey) continue;
    survey.nestedBigint ||= nested.bigint;
    survey.nestedNumber ??= nested.number;
    survey.nestedKey ??= nested.key;
  }
  columns.shapes.keep();
  columns.record += 1;
  clear(columns);
}

/** Takes back all of the record, and its keys too: those would look repeated when it is read again. */
export function undoRecord(columns: Columns, known: number): void {
  const { all, byKey, record } = columns;
  for (const { survey } of all.splice(known)) byKey.delete(survey.key);
  columns.shapes.undo();
  for (const column of all) if (column.record === record) column.record = 0;
  clear(columns);
}

function clear(columns: Columns): void {
  columns.values = 0;
  if (columns.firsts.length > 0) columns.firsts = [];
  if (columns.nested.length > 0) columns.nested = [];
}

/** The surveys of all columns, after the last record. */
export function surveyed({ all }: Columns): ColumnSurvey[] {
  return all.map(({ survey, shape }) =>
    shape && !survey.nestedKey ? { ...survey, nestedType: nestedType(shape, survey.nestedBigint) } : survey,
  );
}
