import type { ColumnStats, DataFile, Manifest } from "../../catalog/types.ts";
import { literal } from "../../duckdb/duckdb.ts";
import { isExactNumber, wholeIn } from "../../kernel/exact-json.ts";
import { foldCase } from "../guard/tokens.ts";
import type { FileFilter, FilterTest, FilterValue, ValueKind } from "./file-filters.ts";

export interface NeededParts {
  /** By relation: the filters on its rows at every place where the statement names it. */
  filters: ReadonlyMap<string, FileFilter[][]>;
  manifests: ReadonlyMap<string, Manifest>;
  param(name: string): unknown;
  /** Runs a query of one text column, with the statement's own parameters. */
  ask(sql: string): Promise<string[]>;
}

/**
 * Manifests without the files whose least and greatest values tell that the statement uses none of their rows.
 * Manifests whose files are all needed are left out. DuckDB compares the values, as it does in the statement.
 */
export async function neededFiles({ filters, manifests, param, ask }: NeededParts): Promise<Map<string, Manifest>> {
  const places: Place[] = [];
  const questions: string[] = [];
  for (const [relation, conditions] of filters) {
    const manifest = manifests.get(relation);
    if (manifest?.kind !== "table") continue;
    const tests = conditions.flat().length * manifest.files.length;
    if (tests === 0 || tests > MAX_TESTS) continue;
    for (const own of conditions) {
      const place = { relation, useless: new Set<number>() };
      for (const filter of own) {
        const question = examine(filter, manifest, place.useless, param);
        if (question !== undefined) questions.push(`SELECT '${places.length}/' || file FROM ${question}`);
      }
      places.push(place);
    }
  }
  for (const answer of questions.length > 0 ? await ask(questions.join("\nUNION ALL ")) : []) {
    const [place, file] = answer.split("/").map(Number);
    if (place !== undefined && file !== undefined) places[place]?.useless.add(file);
  }
  return new Map([...manifests].flatMap(([relation, manifest]) => withoutUseless(relation, manifest, places)));
}

/** One place where a relation is named, and the files without a row for it. */
interface Place {
  relation: string;
  useless: Set<number>;
}

/** Files times conditions: comparing more could take longer than it saves. */
const MAX_TESTS = 100_000;

function withoutUseless(relation: string, manifest: Manifest, places: Place[]): [string, Manifest][] {
  const own = places.filter((place) => place.relation === relation);
  if (own.length === 0) return [];
  const files = manifest.files.filter((_, index) => own.some(({ useless }) => !useless.has(index)));
  return files.length === manifest.files.length ? [] : [[relation, { ...manifest, files }]];
}

/** Adds files to `useless` that need no comparing; returns the FROM and WHERE of a query for the others. */
function examine(
  { column, test, values }: FileFilter,
  { columns, files }: Manifest,
  useless: Set<number>,
  param: NeededParts["param"],
): string | undefined {
  const found = columns.filter(({ name }) => foldCase(name) === column);
  const [{ name, type } = { name: "", type: "" }] = found;
  const kinds = comparable(type);
  if (found.length !== 1 || kinds === undefined) return undefined;
  const given = values.map((value) => known(value, param));
  const [first] = given;
  // Values of one list are compared in one type that holds all of them.
  if (given.some((value) => !value || !kinds.has(value.kind) || value.kind !== first?.kind)) return undefined;
  const bounds: string[] = [];
  files.forEach((file, index) => {
    const stats = statsOf(file, name);
    if (!stats) return;
    if (test === "null" ? stats.nulls === 0 : stats.nulls >= file.rows) useless.add(index);
    else if (isSound(stats.min) && isSound(stats.max)) {
      bounds.push(`(${index}, ${literal(stats.min)}, ${literal(stats.max)})`);
    }
  });
  const may = MAY_HOLD[test](given.map((value) => value?.sql ?? "NULL"));
  if (bounds.length === 0 || may === undefined || (type === "DOUBLE" && NEVER_NAN[test] === undefined))
    return undefined;
  return `(SELECT file, CAST(low AS ${type}) AS low, CAST(high AS ${type}) AS high
    FROM (VALUES ${bounds.join(", ")}) AS bounds(file, low, high)) WHERE (${may}) IS NOT TRUE`;
}

/** Whether a file with values from `low` to `high` may have a value that meets the condition. */
const MAY_HOLD: Readonly<Record<FilterTest, (values: string[]) => string | undefined>> = {
  "=": ([value]) => `low <= ${value} AND high >= ${value}`,
  "<": ([value]) => `low < ${value}`,
  "<=": ([value]) => `low <= ${value}`,
  ">": ([value]) => `high > ${value}`,
  ">=": ([value]) => `high >= ${value}`,
  between: ([from, to]) => `low <= ${to} AND high >= ${from}`,
  in: (values) => values.map((value) => `(low <= ${value} AND high >= ${value})`).join(" OR "),
  prefix: ([value]) => `high >= ${value} AND (low <= ${value} OR starts_with(low, ${value}))`,
  null: () => undefined,
  "not null": () => undefined,
};

/** Conditions that NaN does not meet: it is greater than all numbers, but statistics leave it out. */
const NEVER_NAN: Partial<Record<FilterTest, true>> = { "=": true, "<": true, "<=": true, between: true, in: true };

const WHOLE = /^U?(TINY|SMALL|BIG)?INT(EGER)?$/;
const NUMBERS: ReadonlySet<ValueKind> = new Set(["exact", "double"]);
const MOMENTS: ReadonlySet<ValueKind> = new Set(["text", "moment"]);
const COMPARABLE: Readonly<Record<string, ReadonlySet<ValueKind>>> = {
  DOUBLE: NUMBERS,
  VARCHAR: new Set(["text"]),
  DATE: MOMENTS,
  TIMESTAMP: MOMENTS,
  "TIMESTAMP WITH TIME ZONE": MOMENTS,
  BOOLEAN: new Set(["boolean"]),
};

/**
 * Kinds of constants that keep the order of a column of this type, whichever side DuckDB casts; numbers cast to text
 * would not. Undefined for types whose statistics are not trusted.
 */
function comparable(type: string): ReadonlySet<ValueKind> | undefined {
  if (WHOLE.test(type)) return NUMBERS;
  const [, width] = /^DECIMAL\((\d+),/.exec(type) ?? [];
  // A wider one and a constant may have a common type that cannot hold both.
  if (width !== undefined) return Number(width) <= 15 ? NUMBERS : Number(width) <= 18 ? new Set(["exact"]) : undefined;
  return Object.hasOwn(COMPARABLE, type) ? COMPARABLE[type] : undefined;
}

/** The value as `bindParams` binds it. */
function known(value: FilterValue, param: NeededParts["param"]): { kind: ValueKind; sql: string } | undefined {
  if ("kind" in value) return value;
  const sql = `$${value.param}`;
  const bound = param(value.param);
  if (typeof bound === "string") return { kind: "text", sql };
  if (typeof bound === "boolean") return { kind: "boolean", sql };
  // Up to BIGINT: a wider number may have no common type with a DECIMAL column.
  if (isExactNumber(bound)) {
    const whole = wholeIn(bound);
    return whole !== undefined && BigInt.asIntN(64, whole) === whole ? { kind: "exact", sql } : undefined;
  }
  if (typeof bound !== "number" || !Number.isFinite(bound)) return undefined;
  return { kind: Number.isSafeInteger(bound) ? "exact" : "double", sql };
}

function statsOf({ stats }: DataFile, column: string): ColumnStats | undefined {
  return Object.hasOwn(stats, column) ? stats[column] : undefined;
}

/** DuckDB shortens long texts to bounds of 256 bytes, which may end in the middle of a character. */
const MAX_BOUND_BYTES = 200;

function isSound(bound: string | null): bound is string {
  return bound !== null && !bound.includes("\0") && Buffer.byteLength(bound) <= MAX_BOUND_BYTES;
}
