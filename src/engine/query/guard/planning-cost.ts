import { LakeError } from "../../kernel/errors.ts";
import { action, type NextStep, next } from "../../kernel/next-step.ts";

/**
 * Planning cannot be interrupted, and DuckDB limits neither its time nor its memory. So its work is estimated from the
 * parse tree, in microseconds of one processor, as measured with DuckDB 1.5 for one kind of statement at a time.
 */
export const COST = {
  expression: 5,
  /** A SELECT, or a table in FROM. */
  query: 200,
  /** A query in an expression, which becomes a join. */
  subquery: 4000,
  /** A call of a macro; its arguments are bound as often as it uses them. */
  macro: 500,
  /** A part that is bound again because the name of an earlier column stands for it. */
  aliasPart: 100,
  /** A column that a star expands to. */
  starColumn: 100,
  /** A pair of columns of UNION BY NAME. */
  byName: 4,
  /** A pair of parts of AND or OR, of branches of CASE, or of values of IN that are no constants. */
  pair: 0.2,
  /** A pair of window functions. */
  windowPair: 0.4,
} as const;

/** Types of calls are resolved again at each level: cubic in the levels below. */
export function nestingCost(height: number): number {
  return 0.002 * height ** 3;
}

/** Quartic in the levels of the expression that an alias stands for. */
export function aliasCost(parts: number, height: number): number {
  return COST.aliasPart * parts + 0.005 * height ** 4;
}

/** The optimizer tries orders of joins: quartic in the tables. */
export function joinCost(tables: number): number {
  return tables > 1 ? 0.6 * tables ** 4 : 0;
}

export const MAX_WORK = 1_500_000;
export const MAX_JOINED = 48;
export const MAX_GROUPING_SETS = 512;
export const MAX_PIVOT_CELLS = 5000;
/** Fields of one value's type, nested ones included. */
export const MAX_TYPE_PARTS = 5000;
/** Levels of the tree. */
export const MAX_LEVELS = 900;

/** Parts of the work, so that a refusal can name the largest. */
export type Part = "expressions" | "aliases" | "stars" | "subqueries" | "joins" | "queries";

const KEEP_PART = next`keep a part as a dataset with ${action("ingest", { name: undefined, sql: undefined })}.`;

const WHY: Readonly<Record<Part, [what: string, hint: NextStep]>> = {
  expressions: [
    "its expressions are nested or repeated too often: each -> inside of another doubles the work, and so does each nullif() or BETWEEN",
    "Write paths in JSON as doc->>'$.a.b', and compute inner values in a WITH clause first.",
  ],
  aliases: [
    "its columns are made of one another by name, which copies each of them into the next",
    "Compute the inner ones in a WITH clause, and select from that.",
  ],
  stars: ["its stars stand for too many columns", "Select the columns that are needed by name."],
  subqueries: [
    "it has too many subqueries",
    "Join, or aggregate with FILTER (WHERE …), instead of one subquery a value.",
  ],
  joins: ["it joins too many tables at once", "Join some of them first, in a WITH clause marked AS MATERIALIZED."],
  queries: [
    "its parts are put into one another too often: each use of a WITH entry that is NOT MATERIALIZED is planned again",
    next`Leave NOT MATERIALIZED out, or ${KEEP_PART}`,
  ],
};

/** The sum of the work. `add` throws `limit` as soon as it is too much. */
export interface Work {
  add(part: Part, amount: number): void;
}

export function openWork(): Work {
  const sums: Record<Part, number> = { expressions: 0, aliases: 0, stars: 0, subqueries: 0, joins: 0, queries: 0 };
  let all = 0;
  return {
    add: (part, amount) => {
      sums[part] += amount;
      all += amount;
      if (all <= MAX_WORK) return;
      const [most] = (Object.keys(sums) as Part[]).sort((a, b) => sums[b] - sums[a]);
      const [what, hint] = WHY[most ?? "expressions"];
      throw new LakeError("limit", `Planning this statement would take too long: ${what}.`, { hint });
    },
  };
}

export function assertLevels(level: number): void {
  if (level <= MAX_LEVELS) return;
  throw new LakeError("limit", `The statement is nested more than ${MAX_LEVELS} levels deep.`, {
    hint: "Compute inner parts in a WITH clause first.",
  });
}

export function assertTypeParts(size: number): void {
  if (size <= MAX_TYPE_PARTS) return;
  throw new LakeError("limit", `A value would have a type of more than ${MAX_TYPE_PARTS} fields.`, {
    hint: "Put structs into one another less often, or keep the parts in columns of their own.",
  });
}

export function assertJoined(tables: number): void {
  if (tables <= MAX_JOINED) return;
  throw new LakeError("limit", `The statement joins ${tables} tables at once; ${MAX_JOINED} are allowed.`, {
    hint: next`Join some of them first, in a WITH clause with GROUP BY, or ${KEEP_PART}`,
  });
}

export function assertGroupingSets(sets: number): void {
  if (sets <= MAX_GROUPING_SETS) return;
  throw new LakeError("limit", `The statement has ${sets} grouping sets; ${MAX_GROUPING_SETS} are allowed.`, {
    hint: "CUBE of n columns has 2^n: name the sets that are needed with GROUPING SETS.",
  });
}

export function assertPivotCells(cells: number): void {
  if (cells <= MAX_PIVOT_CELLS) return;
  throw new LakeError("limit", `This PIVOT would make ${cells} columns; ${MAX_PIVOT_CELLS} are allowed.`, {
    hint: "List fewer values, or GROUP BY the columns instead.",
  });
}
