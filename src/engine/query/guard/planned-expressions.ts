import { isShrinking } from "./calls.ts";
import { LIMITED_BY_ROW } from "./cell-limits.ts";
import { isNode, type Node, nodesOf, text } from "./nodes.ts";
import { aliasCost, assertLevels, assertTypeParts, COST, nestingCost, type Work } from "./planning-cost.ts";
import { REPEATED_ARGUMENTS, UNREPEATABLE_FUNCTIONS } from "./policy.ts";
import { foldCase } from "./tokens.ts";

/** An estimate of binding an expression. */
export interface Bound {
  /** Microseconds. */
  work: number;
  /** Number of its expressions, those of earlier columns that it refers to included. */
  parts: number;
  height: number;
  /** Fields of its type, nested ones included. */
  size: number;
  /** Columns that a star in it expands to; 0 without a star. */
  stars: number;
  /** It is the same for every row. */
  constant: boolean;
  /** Its calls that may make a large value once for all rows. */
  large: number;
}

/** A table in FROM, or a query: the sizes of its columns by name, as far as they are known. */
export interface Source {
  columns: Map<string, number>;
  /** Columns that a star expands to. */
  width: number;
  /** Tables that the optimizer orders in a join. */
  joined: number;
}

/** What names mean in an expression. */
export interface Names {
  sources: Map<string, Source>;
  /** Earlier columns of the same SELECT. */
  aliases: Map<string, Bound>;
  outer: Names | undefined;
  work: Work;
  /** Estimates a query in an expression. */
  query(node: unknown, names: Names, level: number): Source;
  counts: Counts;
}

/** Window functions of the SELECT, and calls of the statement that may make a large value for every row. */
export interface Counts {
  windows: number;
  readonly growing: { calls: number };
}

/** Functions whose type contains the types of all arguments. */
const JOINS_TYPES =
  /^(struct_(pack|insert|update|concat)|row|list_zip|array_zip|map|map_from_entries|map_concat|union_value|json_.*)$/;

const LEAF: Bound = {
  work: COST.expression,
  parts: 1,
  height: 1,
  size: 1,
  stars: 0,
  constant: true,
  large: 0,
};
const VARYING: Bound = { ...LEAF, constant: false };

export function bind(node: unknown, names: Names, level: number): Bound {
  assertLevels(level);
  if (!isNode(node)) return LEAF;
  switch (node.class) {
    case "CONSTANT":
    case "PARAMETER":
      return LEAF;
    case "COLUMN_REF":
      return bindName(node, names);
    case "STAR":
      return bindStar(node, names, level);
    case "LAMBDA":
      return sum([node.lhs, node.expr], names, level, { times: 2 });
    case "BETWEEN":
      return sum([node.input, node.lower, node.upper], names, level, { times: 2 });
    case "SUBQUERY":
      return bindSubquery(node, names, level);
    case "FUNCTION":
      return bindCall(node, names, level);
    case "WINDOW":
      names.counts.windows++;
      return bindCall(node, names, level);
    case "CAST": {
      const bound = sum([node.child], names, level);
      return { ...bound, size: Math.max(bound.size, JSON.stringify(node.cast_type ?? null).length / 100) };
    }
    default:
      return sum(childrenOf(node), names, level, { pairs: true });
  }
}

/** The expressions below an expression, in the order of the tree. */
function childrenOf(node: Node): unknown[] {
  const children: unknown[] = [];
  for (const key in node) {
    const value = node[key];
    if (typeof value !== "object" || value === null) continue;
    if (!Array.isArray(value)) children.push(value);
    else for (const item of value) addItem(item, children);
  }
  return children;
}

/** CASE and ORDER BY wrap their expressions. */
function addItem(item: unknown, children: unknown[]): void {
  if (!isNode(item)) return;
  if (typeof item.class === "string") children.push(item);
  else for (const value of Object.values(item)) if (isNode(value)) children.push(value);
}

function sum(
  children: unknown[],
  names: Names,
  level: number,
  { times = 1, own = COST.expression as number, joinsTypes = false, pairs = false } = {},
): Bound {
  const total: Bound = { ...LEAF, work: 0, height: 0 };
  let size = 0;
  let computed = 0;
  for (const child of children) {
    const bound = bind(child, names, level + 1);
    if (bound !== LEAF) computed++;
    total.work += bound.work;
    total.parts += bound.parts;
    total.height = Math.max(total.height, bound.height);
    total.size = Math.max(total.size, bound.size);
    total.stars = Math.max(total.stars, bound.stars);
    total.constant &&= bound.constant;
    total.large += bound.large;
    size += bound.size;
  }
  if (joinsTypes) total.size = Math.max(1, size);
  total.height++;
  total.parts *= times;
  total.work = own + total.work * times + (pairs ? COST.pair * computed ** 2 : nestingCost(total.height));
  assertTypeParts(total.size);
  return total;
}

/** Counts calls that make a large value for every row: of a column, or of a large constant together with one. */
function grown(bound: Bound, grows: boolean, names: Names): Bound {
  const large = bound.large + (grows ? 1 : 0);
  if (bound.constant) return { ...bound, large };
  names.counts.growing.calls += large;
  return { ...bound, large: 0 };
}

function bindCall(node: Node, names: Names, level: number): Bound {
  const name = foldCase(text(node.function_name));
  const times = REPEATED_ARGUMENTS.get(name);
  const joinsTypes = JOINS_TYPES.test(name);
  const macro = times === undefined ? {} : { times, own: COST.macro };
  const bound = sum(childrenOf(node), names, level, { ...macro, joinsTypes });
  // unnest() makes rows of a list that exists once.
  const repeats = name === "unnest" || !UNREPEATABLE_FUNCTIONS.has(name);
  const constant = bound.constant && node.class !== "WINDOW" && repeats;
  const grows = LIMITED_BY_ROW.has(name) && !(name === "replace" && isShrinking(node));
  return grown({ ...bound, constant }, grows, names);
}

function bindName(node: Node, names: Names): Bound {
  const path = Array.isArray(node.column_names) ? node.column_names.map((part) => foldCase(text(part))) : [];
  const alias = path.length === 1 ? names.aliases.get(path[0] ?? "") : undefined;
  if (alias) {
    names.work.add("aliases", aliasCost(alias.parts, alias.height));
    return { ...alias, work: COST.expression, parts: alias.parts + 1, height: alias.height + 1 };
  }
  let size = 1;
  for (let at: Names | undefined = names; at; at = at.outer) {
    for (const part of path) {
      for (const source of at.sources.values()) size = Math.max(size, source.columns.get(part) ?? 1);
      const row = at.sources.get(part);
      // The name of a table is its row as a struct.
      if (row && part === path.at(-1)) size = Math.max(size, sizeOf(row));
    }
  }
  return size === 1 ? VARYING : { ...VARYING, size };
}

export function sizeOf({ columns, width }: Source): number {
  let size = Math.max(0, width - columns.size);
  for (const each of columns.values()) size += each;
  return Math.max(1, size);
}

function bindStar(node: Node, names: Names, level: number): Bound {
  const relation = foldCase(text(node.relation_name));
  const sources = relation === "" ? [...names.sources.values()] : [names.sources.get(relation)].filter((s) => !!s);
  const stars = Math.max(
    1,
    sources.reduce((all, { width }) => all + width, 0),
  );
  const within = sum(childrenOf(node), names, level);
  return { ...within, constant: false, stars, size: Math.max(1, ...sources.map(sizeOf)) };
}

function bindSubquery(node: Node, names: Names, level: number): Bound {
  names.work.add("subqueries", COST.subquery);
  const inner = isNode(node.subquery) ? names.query(node.subquery.node, names, level + 1) : undefined;
  const child = node.child === undefined ? LEAF : bind(node.child, names, level + 1);
  const size = Math.max(1, ...(inner?.columns.values() ?? []));
  return { ...child, constant: false, height: child.height + 1, size };
}

/** Binds the expressions of a list, or a single one. */
export function bindAll(value: unknown, names: Names, level: number): void {
  const expressions = Array.isArray(value) ? nodesOf(value) : [value];
  for (const expression of expressions) {
    const bound = bind(expression, names, level);
    names.work.add("expressions", bound.work * Math.max(1, bound.stars));
  }
}
