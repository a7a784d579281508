import { cteEntries, isNode, type Node, nodesOf, text } from "./nodes.ts";
import { type Bound, bind, bindAll, type Names, type Source, sizeOf } from "./planned-expressions.ts";
import {
  assertGroupingSets,
  assertJoined,
  assertLevels,
  assertPivotCells,
  assertTypeParts,
  COST,
  joinCost,
  openWork,
  type Work,
} from "./planning-cost.ts";
import { foldCase } from "./tokens.ts";

/** Assumed number of columns of a dataset: datasets are not looked up here. */
const WIDTH = 10;

interface Planned extends Source {
  /** Work of each further use; 0 where all uses share one plan. */
  again: number;
}

interface Place {
  ctes: ReadonlyMap<string, Planned>;
  outer: Names | undefined;
  work: Work;
  level: number;
  /** Each use of a WITH entry is planned anew. */
  inlined: boolean;
  growing: { calls: number };
}

/**
 * Throws `limit` for a statement whose planning would take long. `inlined`: it may have NOT MATERIALIZED in it, which
 * the tree does not tell. Returns the number of calls that may make a large value for every row.
 */
export function assertPlannable(statement: Node, inlined: boolean): number {
  const growing = { calls: 0 };
  planQuery(statement.node, { ctes: new Map(), outer: undefined, work: openWork(), level: 0, inlined, growing });
  return growing.calls;
}

function planQuery(node: unknown, place: Place): Source {
  assertLevels(place.level);
  if (!isNode(node)) return unknown();
  const inner = { ...place, ctes: planEntries(node, place), level: place.level + 1 };
  if (node.type === "SET_OPERATION_NODE") return planSetOperation(node, inner);
  if (node.type === "RECURSIVE_CTE_NODE") return planRecursive(node, inner);
  if (node.type === "SELECT_NODE") return planSelect(node, inner);
  // Its WITH entries belong to its child.
  if (node.type === "CTE_NODE") return planQuery(node.child, inner);
  return unknown();
}

function unknown(): Source {
  return { columns: new Map(), width: WIDTH, joined: 1 };
}

function planEntries(node: Node, place: Place): ReadonlyMap<string, Planned> {
  const entries = cteEntries(node);
  if (entries.length === 0) return place.ctes;
  const ctes = new Map(place.ctes);
  for (const { key, value } of entries) {
    const entry = isNode(value) ? value : {};
    const query = isNode(entry.query) ? entry.query.node : undefined;
    const counted = countedWork(place.work);
    const source = planQuery(query, { ...place, ctes, work: counted, level: place.level + 1 });
    const named = renamed(source, entry.aliases);
    ctes.set(foldCase(text(key)), { ...named, again: place.inlined ? counted.added() : 0 });
  }
  return ctes;
}

/** Adds to `work`, and counts what it has added. */
function countedWork(work: Work): Work & { added(): number } {
  let sum = 0;
  return {
    add: (part, amount) => {
      sum += amount;
      work.add(part, amount);
    },
    added: () => sum,
  };
}

function renamed(source: Source, aliases: unknown): Source {
  if (!Array.isArray(aliases) || aliases.length === 0) return source;
  const largest = Math.max(1, ...source.columns.values());
  const columns = new Map(source.columns);
  for (const alias of aliases) columns.set(foldCase(text(alias)), largest);
  return { ...source, columns };
}

/** A loop, because a long UNION is a deep tree to the right, or to the left. */
function planSetOperation(node: Node, place: Place): Source {
  const queries: unknown[] = [];
  const todo: unknown[] = [node];
  let byName = false;
  while (todo.length > 0) {
    const next = todo.pop();
    if (!isNode(next) || next.type !== "SET_OPERATION_NODE" || (next !== node && isNode(next.cte_map))) {
      queries.push(next);
      continue;
    }
    byName ||= next.setop_type === "UNION_BY_NAME";
    if (next !== node) planModifiers(next, emptyNames(place), place);
    todo.push(next.right, next.left, ...(Array.isArray(next.children) ? next.children : []));
  }
  const columns = new Map<string, number>();
  let width = 0;
  for (const query of queries.filter(isNode)) {
    const source = planQuery(query, place);
    for (const [name, size] of source.columns) columns.set(name, Math.max(size, columns.get(name) ?? 1));
    width = Math.max(width, source.width, byName ? columns.size : 0);
  }
  if (byName) place.work.add("stars", COST.byName * width * queries.length);
  const whole = { columns, width, joined: 1 };
  planModifiers(node, { ...emptyNames(place), sources: new Map([["", whole]]) }, place);
  return whole;
}

/** The part after UNION sees the columns of the part before it. */
function planRecursive(node: Node, place: Place): Source {
  const left = renamed(planQuery(node.left, place), node.aliases);
  const ctes = new Map(place.ctes).set(foldCase(text(node.cte_name)), { ...left, again: 0 });
  planQuery(node.right, { ...place, ctes });
  return { ...left, joined: 1 };
}

function emptyNames({ outer, work, inlined, ctes, growing }: Place): Names {
  return {
    sources: new Map(),
    aliases: new Map(),
    outer,
    work,
    counts: { windows: 0, growing },
    query: (node, names, level) => planQuery(node, { ctes, outer: names, work, level, inlined, growing }),
  };
}

function planSelect(node: Node, place: Place): Source {
  const { work, level } = place;
  work.add("queries", COST.query);
  const names = emptyNames(place);
  const joined = planFrom(node.from_table, names, place);
  assertJoined(joined);
  work.add("joins", joinCost(joined));
  const columns = new Map<string, number>();
  let width = 0;
  let stars = 0;
  for (const item of nodesOf(node.select_list)) {
    const bound = bind(item, names, level);
    work.add("expressions", bound.work * Math.max(1, bound.stars));
    width += Math.max(1, bound.stars);
    stars += bound.stars;
    if (bound.stars > 0) addStar(item, bound, names, columns);
    const name = nameOf(item);
    if (name === undefined) continue;
    columns.set(name, Math.max(bound.size, columns.get(name) ?? 1));
    if (text(item.alias) !== "") names.aliases.set(name, bound);
  }
  work.add("stars", COST.starColumn * stars);
  for (const part of [node.where_clause, node.group_expressions, node.having, node.qualify])
    bindAll(part, names, level);
  planModifiers(node, names, place);
  const sets = Array.isArray(node.group_sets) ? node.group_sets.length : 0;
  assertGroupingSets(sets);
  work.add("expressions", COST.windowPair * names.counts.windows ** 2);
  const whole = { columns, width, joined: isPlain(node) ? joined : 1 };
  assertTypeParts(sizeOf(whole) - width);
  return whole;
}

/** Whether DuckDB merges a subquery's joins into those of the query around it. */
function isPlain(node: Node): boolean {
  return node.group_expressions === undefined && node.modifiers === undefined && node.having === undefined;
}

function nameOf(item: Node): string | undefined {
  if (text(item.alias) !== "") return foldCase(text(item.alias));
  if (item.class !== "COLUMN_REF" || !Array.isArray(item.column_names)) return undefined;
  return foldCase(text(item.column_names.at(-1)));
}

/** Columns of a star keep their sizes, except those that REPLACE or COLUMNS computes. */
function addStar(item: Node, bound: Bound, names: Names, columns: Map<string, number>): void {
  for (const { columns: all } of names.sources.values()) {
    for (const [name, size] of all) columns.set(name, Math.max(size, columns.get(name) ?? 1));
  }
  for (const { key, value } of nodesOf(item.replace_list)) {
    const replaced = bind(value, names, 0);
    const name = foldCase(text(key));
    columns.set(name, Math.max(replaced.size, columns.get(name) ?? 1));
  }
  if (item.class !== "STAR")
    for (const name of columns.keys()) columns.set(name, Math.max(bound.size, columns.get(name) ?? 1));
}

function planModifiers(node: Node, names: Names, place: Place): void {
  for (const modifier of nodesOf(node.modifiers)) {
    for (const order of nodesOf(modifier.orders)) bindAll(order.expression, names, place.level);
    for (const part of [modifier.distinct_on_targets, modifier.limit, modifier.offset]) {
      if (part !== undefined) bindAll(part, names, place.level);
    }
  }
}

/** Adds the tables to the names in sight. Returns how many of them are joined. */
function planFrom(table: unknown, names: Names, place: Place): number {
  const todo: unknown[] = [table];
  const conditions: unknown[] = [];
  let joined = 0;
  while (todo.length > 0) {
    const next = todo.pop();
    if (!isNode(next) || next.type === "EMPTY") continue;
    if (next.type === "JOIN") {
      todo.push(next.right, next.left);
      conditions.push(next.condition);
      continue;
    }
    place.work.add("queries", COST.query);
    const source = renamed(planTable(next, names, place), next.column_name_alias);
    const name = foldCase(text(next.alias) || text(next.table_name)) || `#${names.sources.size}`;
    names.sources.set(names.sources.has(name) ? `${name}#${names.sources.size}` : name, source);
    joined += source.joined;
  }
  for (const condition of conditions) if (condition !== undefined) bindAll(condition, names, place.level);
  return joined;
}

function planTable(node: Node, names: Names, place: Place): Source {
  const level = place.level + 1;
  // LATERAL sees the tables before it.
  const within = { ...place, level, outer: names };
  switch (node.type) {
    case "BASE_TABLE": {
      const entry = place.ctes.get(foldCase(text(node.table_name)));
      if (!entry) return unknown();
      place.work.add("queries", entry.again);
      return entry.again > 0 ? entry : { ...entry, joined: 1 };
    }
    case "SUBQUERY":
      return planQuery(isNode(node.subquery) ? node.subquery.node : undefined, within);
    case "EXPRESSION_LIST":
      for (const row of Array.isArray(node.values) ? node.values : []) bindAll(row, names, level);
      return unknown();
    case "TABLE_FUNCTION": {
      if (isNode(node.function)) bindAll(node.function.children, names, level);
      return { columns: new Map(), width: 2, joined: 1 };
    }
    case "PIVOT":
      return planPivot(node, names, within);
    case "SHOW_REF":
      planQuery(node.query, within);
      return unknown();
    default:
      return unknown();
  }
}

function planPivot(node: Node, names: Names, place: Place): Source {
  const inner = { ...emptyNames(place), outer: names };
  planFrom(node.source, inner, place);
  const pivots = nodesOf(node.pivots);
  const cells = pivots.reduce((all, { entries }) => all * Math.max(1, nodesOf(entries).length), 1);
  const aggregates = Math.max(1, nodesOf(node.aggregates).length);
  if (nodesOf(node.aggregates).length > 0) assertPivotCells(cells * aggregates);
  bindAll(node.aggregates ?? [], inner, place.level);
  for (const { pivot_expressions } of pivots) bindAll(pivot_expressions ?? [], inner, place.level);
  const columns = new Map<string, number>();
  let width = 0;
  for (const source of inner.sources.values()) {
    width += source.width;
    for (const [name, size] of source.columns) columns.set(name, size);
  }
  place.work.add("stars", COST.starColumn * width);
  return { columns, width: width + cells * aggregates, joined: 1 };
}
