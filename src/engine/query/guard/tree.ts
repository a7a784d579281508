import { DATASET_NAME } from "../../catalog/identity.ts";
import { LakeError } from "../../kernel/errors.ts";
import { action, next } from "../../kernel/next-step.ts";
import { type FileFilter, tableFilters } from "../pruning/file-filters.ts";
import { MAX_CALLS, readCall, tooManyCalls, VECTOR_SEARCH, type VectorCall } from "../search/vector-calls.ts";
import { BUILTINS, type Builtin, type DatasetRef, type Named } from "../snapshot.ts";
import { assertCall, assertCast, isShrinking, jsonPath, type LikePattern, likePattern } from "./calls.ts";
import { GROWING_FUNCTIONS, LIST_MAKERS, MAX_GROWING_DEPTH } from "./cell-limits.ts";
import { assertFunction, assertTableFunction, type FunctionNames } from "./functions.ts";
import { cteEntries, isNode, type Node, nodesOf, text } from "./nodes.ts";
import { EXPRESSIONS, MOMENTS, NODES, SYSTEM_QUALIFIERS } from "./policy.ts";
import { foldCase } from "./tokens.ts";

/**
 * DuckDB's tree is not quite JSON: 1e400 is written as Infinity, and "no location" is 2^64 - 1, which a double does not
 * hold. Quotes in texts are escaped, so the patterns below match no texts. `parse`: an exact one for a tree that is
 * written again.
 */
export function parseTree(text: string, parse: (json: string) => unknown = JSON.parse): unknown {
  const json = text
    .replace(/"value":(?:-?Infinity|NaN)/g, '"value":null')
    .replaceAll('"query_location":18446744073709551615', '"query_location":0');
  return parse(json);
}

export interface Verdict extends Named {
  /** The whole statement is SHOW TABLES, or SHOW ALL TABLES. */
  show?: "tables" | "all";
  /** The statement returns every row of this dataset, so their number is known from its manifest. */
  wholeOf?: string;
  /** Patterns, as of LIKE, that parameters are part of. */
  patterns: LikePattern[];
  /** Every `vector_search` of the statement. */
  calls: VectorCall[];
  /** The functions it calls, and words that may be calls, in lower case. */
  names: string[];
  /** Some of its rows are chosen at random. */
  sampled: boolean;
  /** By relation: the filters on its rows at every place where it is named. Without an entry all rows are needed. */
  filters: Map<string, FileFilter[][]>;
}

/** What surrounds a node: common table expressions in sight, depth of growing functions, whether a lambda. */
interface Place {
  ctes: ReadonlySet<string>;
  growing: number;
  lambda: boolean;
}

interface Walk {
  functions: FunctionNames;
  datasets: Map<string, DatasetRef>;
  builtins: Set<Builtin>;
  patterns: LikePattern[];
  calls: VectorCall[];
  names: Set<string>;
  sampled: boolean;
  filters: Map<string, FileFilter[][]>;
  /** Filters on tables further down in the tree. */
  filtered: Map<Node, FileFilter[]>;
  ctes: number;
  /** A stack rather than recursion: a long UNION is a deep tree. */
  todo: { value: unknown; place: Place }[];
}

/**
 * Judges one SELECT by its parse tree: every node must be of a known kind, every function allowed, every table a
 * dataset, a catalog view or a common table expression in sight. Pure. Throws `denied` or `invalid` with what to do.
 */
export function judgeTree(statement: Node, functions: FunctionNames): Verdict {
  const show = shownTables(statement);
  if (show) {
    const nothing = { patterns: [], calls: [], names: [], sampled: false, filters: new Map() };
    return { datasets: [], builtins: ["lakehouse_datasets"], ...nothing, show };
  }
  const walk: Walk = {
    functions,
    datasets: new Map(),
    builtins: new Set(),
    patterns: [],
    calls: [],
    names: new Set(),
    sampled: false,
    filters: new Map(),
    filtered: new Map(),
    ctes: 0,
    todo: [{ value: statement, place: { ctes: new Set(), growing: 0, lambda: false } }],
  };
  for (let next = walk.todo.pop(); next; next = walk.todo.pop()) visit(next.value, next.place, walk);
  const wholeOf = wholeDataset(statement);
  return {
    datasets: [...walk.datasets.values()],
    builtins: [...walk.builtins],
    patterns: walk.patterns,
    calls: walk.calls,
    names: [...walk.names],
    sampled: walk.sampled,
    filters: new Map([...walk.filters].filter(([, places]) => places.every((filters) => filters.length > 0))),
    ...(wholeOf !== undefined && walk.datasets.has(wholeOf) && { wholeOf }),
  };
}

function visit(value: unknown, place: Place, walk: Walk): void {
  if (Array.isArray(value)) {
    for (const item of value) visitLater(item, place, walk);
    return;
  }
  if (!isNode(value)) return;
  if (typeof value.class === "string") visitExpression(value, value.class, place, walk);
  else if (typeof value.type === "string" && !value.type.endsWith("_TYPE_INFO"))
    visitNode(value, value.type, place, walk);
  else visitChildren(value, place, walk);
}

function visitLater(value: unknown, place: Place, walk: Walk): void {
  if (typeof value === "object" && value !== null) walk.todo.push({ value, place });
}

function visitChildren(node: Node, place: Place, walk: Walk): void {
  for (const child of Object.values(node)) visitLater(child, place, walk);
}

function visitExpression(node: Node, kind: string, place: Place, walk: Walk): void {
  if (!EXPRESSIONS.has(kind)) throw unknownKind(kind);
  // A constant holds data, which must not be taken for nodes.
  if (kind === "CONSTANT") return;
  if (kind === "CAST") assertCast(node);
  if (kind === "COLUMN_REF") noteMoments(node, walk);
  // Before it is bound, doc->'$.path' looks like a lambda.
  if (kind === "LAMBDA") notePattern(jsonPath(node.expr), walk);
  if (kind === "FUNCTION" || kind === "WINDOW") visitFunction(node, place, walk);
  else visitChildren(node, kind === "LAMBDA" ? { ...place, lambda: true } : place, walk);
}

function noteMoments({ column_names }: Node, walk: Walk): void {
  for (const name of Array.isArray(column_names) ? column_names : []) {
    const folded = foldCase(text(name));
    if (MOMENTS.test(folded)) walk.names.add(folded);
  }
}

function visitFunction(node: Node, place: Place, walk: Walk): void {
  const name = foldCase(text(node.function_name));
  assertUnqualified(name, [node.schema, node.catalog]);
  assertFunction(name, walk.functions);
  if (node.export_state === true) throw exportedState(name);
  walk.names.add(name);
  assertCall(node, name);
  notePattern(likePattern(node, name), walk);
  if (place.lambda && LIST_MAKERS.has(name)) {
    throw new LakeError("denied", `${name}() inside of a lambda makes lists of lists without a limit.`, {
      hint: "Make rows with FROM range(…) or unnest(…), join, and collect them with list().",
    });
  }
  const grows = GROWING_FUNCTIONS.has(name) && !(name === "replace" && isShrinking(node));
  const growing = place.growing + (grows ? 1 : 0);
  if (grows && growing > MAX_GROWING_DEPTH) {
    throw new LakeError("limit", `${name}() is nested more than ${MAX_GROWING_DEPTH} deep in functions like it.`, {
      hint: "Compute the inner value in a WITH clause first.",
    });
  }
  visitChildren(node, { ...place, growing }, walk);
}

function notePattern(pattern: LikePattern | undefined, walk: Walk): void {
  if (pattern && pattern.params.length > 0) walk.patterns.push(pattern);
}

function visitNode(node: Node, kind: string, place: Place, walk: Walk): void {
  if (!NODES.has(kind)) throw unknownKind(kind);
  if (node.sample !== undefined && node.sample !== null) walk.sampled = true;
  if (kind === "PIVOT") assertPivotValues(node);
  if (kind === "BASE_TABLE") visitTable(node, place, walk);
  else if (kind === "TABLE_FUNCTION") visitTableFunction(node, place, walk);
  else if (kind === "SHOW_REF") visitShow(node, place, walk);
  else if (kind === "RECURSIVE_CTE_NODE") visitRecursive(node, place, walk);
  else visitQuery(node, place, walk);
}

/** Only the part after UNION sees the name; in the first part it means what it means outside. */
function visitRecursive(node: Node, place: Place, walk: Walk): void {
  const { right, ...rest } = node;
  const inSight = visitQuery(rest, place, walk);
  visitLater(right, withCte(inSight, text(node.cte_name)), walk);
}

function withCte(place: Place, name: string): Place {
  return { ...place, ctes: new Set([...place.ctes, foldCase(name)]) };
}

/** A common table expression sees the ones before it, and the query sees them all. */
function visitQuery(node: Node, place: Place, walk: Walk): Place {
  let inSight = place;
  if (node.type === "SELECT_NODE") for (const [table, filters] of tableFilters(node)) walk.filtered.set(table, filters);
  for (const entry of cteEntries(node)) {
    const name = text(entry.key);
    if (FILE_LIKE.test(name)) {
      throw new LakeError("denied", `WITH ${JSON.stringify(name)} has the name of a file.`, {
        hint: "Use a plain name.",
      });
    }
    // So that an error about which names are in sight can never lead to a system table.
    if (SYSTEM_TABLE.test(foldCase(name))) {
      throw new LakeError("denied", `WITH ${name.slice(0, 100)} has a name like a system table's.`, {
        hint: "Use a name that does not start with pg_, duckdb_, sqlite_, pragma_ or information_schema.",
      });
    }
    if (++walk.ctes > MAX_CTES) {
      throw new LakeError("limit", `The statement has more than ${MAX_CTES} WITH entries.`, {
        hint: next`Keep a part of it as a dataset with ${action("ingest", { name: undefined, sql: undefined })}.`,
        facts: { limit: MAX_CTES },
      });
    }
    visitLater(entry.value, inSight, walk);
    inSight = withCte(inSight, name);
  }
  for (const [key, child] of Object.entries(node)) {
    if (key !== "cte_map") visitLater(child, inSight, walk);
  }
  return inSight;
}

const SYSTEM_TABLE = /^(duckdb_|information_schema|pg_|pragma_|sqlite_)/;
export const MAX_CTES = 200;

function visitTable(node: Node, place: Place, walk: Walk): void {
  const relation = foldCase(text(node.table_name));
  const inSight = place.ctes.has(relation);
  // `recurring.name` is how a recursive query names the rows of all rounds so far.
  const recurring = inSight && node.catalog_name === undefined && node.schema_name === "recurring";
  if (!recurring && (isSet(node.schema_name) || isSet(node.catalog_name))) throw qualified(node);
  if (node.at_clause !== undefined && node.at_clause !== null) {
    throw new LakeError("denied", "AT (…) is not available.", { hint: 'Name the version instead: FROM "workers@3".' });
  }
  if (!inSight) addTable(relation, walk, walk.filtered.get(node) ?? []);
  visitChildren(node, place, walk);
}

function addTable(relation: string, walk: Walk, filters: FileFilter[]): void {
  const builtin = BUILTINS.find((name) => name === relation);
  if (builtin) {
    walk.builtins.add(builtin);
    return;
  }
  const [, name = "", digits] = /^([^@]*)(?:@([1-9]\d{0,14}))?$/.exec(relation) ?? [];
  if (!DATASET_NAME.test(name)) throw notATable(relation);
  const places = walk.filters.get(relation);
  if (places) places.push(filters);
  else walk.filters.set(relation, [filters]);
  walk.datasets.set(relation, { relation, name, ...(digits !== undefined && { version: Number(digits) }) });
}

function visitTableFunction(node: Node, place: Place, walk: Walk): void {
  const call = node.function;
  if (!isNode(call) || call.class !== "FUNCTION") throw unknownKind("TABLE_FUNCTION");
  const name = text(call.function_name);
  assertUnqualified(name, [call.schema, call.catalog]);
  assertTableFunction(name);
  walk.names.add(foldCase(name));
  if (foldCase(name) === VECTOR_SEARCH) {
    if (walk.calls.push(readCall(call)) > MAX_CALLS) throw tooManyCalls();
  }
  const { function: _, ...rest } = node;
  visitChildren(rest, place, walk);
  visitChildren(call, place, walk);
}

function visitShow(node: Node, place: Place, walk: Walk): void {
  const ofQuery = (node.show_type === "DESCRIBE" || node.show_type === "SUMMARY") && isNode(node.query);
  if (!ofQuery) {
    throw new LakeError("denied", "This form of SHOW is not available.", {
      hint: "SHOW TABLES works as a statement of its own; inside a query use FROM lakehouse_datasets.",
    });
  }
  visitChildren(node, place, walk);
}

function shownTables(statement: Node): "tables" | "all" | undefined {
  const node = isNode(statement.node) ? statement.node : {};
  const from = isNode(node.from_table) ? node.from_table : {};
  const plain = node.modifiers === undefined && node.where_clause === undefined && cteEntries(node).length === 0;
  if (!plain || from.type !== "SHOW_REF" || from.show_type !== "SHOW_UNQUALIFIED") return undefined;
  if (from.table_name === '"tables"') return "tables";
  return from.table_name === "__show_tables_expanded" ? "all" : undefined;
}

/** The dataset of a statement that selects and orders columns at most. */
function wholeDataset(statement: Node): string | undefined {
  const node = isNode(statement.node) ? statement.node : {};
  const from = isNode(node.from_table) ? node.from_table : {};
  const allowed = ["type", "select_list", "from_table", "aggregate_handling", "modifiers"];
  if (node.type !== "SELECT_NODE" || from.type !== "BASE_TABLE" || from.sample !== undefined) return undefined;
  if (Object.keys(node).some((key) => !allowed.includes(key)) || node.aggregate_handling !== "STANDARD_HANDLING") {
    return undefined;
  }
  const columns = Array.isArray(node.select_list) ? node.select_list : [];
  const modifiers = Array.isArray(node.modifiers) ? node.modifiers : [];
  const plain = columns.every(
    (column) => isNode(column) && ["COLUMN_REF", "STAR", "CONSTANT"].includes(text(column.class)),
  );
  const ordered = modifiers.every((modifier) => isNode(modifier) && modifier.type === "ORDER_MODIFIER");
  return plain && ordered ? foldCase(text(from.table_name)) : undefined;
}

function assertPivotValues(node: Node): void {
  if (!nodesOf(node.pivots).some((pivot) => isSet(pivot.pivot_enum))) return;
  throw new LakeError("denied", "PIVOT … IN takes values, not the name of a type.", {
    hint: "List them, as in PIVOT workers ON state IN ('IL', 'MA') USING count(*), or leave IN out.",
  });
}

function assertUnqualified(name: string, qualifiers: unknown[]): void {
  // The parser itself writes `main` before some functions; before others a qualifier is a column: name.upper().
  const found = qualifiers.find((qualifier) => SYSTEM_QUALIFIERS.has(foldCase(text(qualifier))));
  if (found === undefined) return;
  throw new LakeError("denied", `${text(found)}.${name}() names a function by its schema.`, {
    hint: `Write ${name}().`,
  });
}

const FILE_LIKE = /[./\\:*?[\]{}~]/;

/** The state of an aggregate is bytes of the process's memory, with addresses in them. */
function exportedState(name: string): LakeError {
  return new LakeError("denied", `${name}() EXPORT_STATE is not available: it shows the server's memory.`, {
    hint: `Write ${name}(…) without EXPORT_STATE.`,
  });
}

function notATable(relation: string): LakeError {
  const shown = JSON.stringify(relation.slice(0, 100));
  if (FILE_LIKE.test(relation)) {
    return new LakeError("denied", `${shown} is not a dataset: statements do not read files or addresses.`, {
      hint: next`Make a dataset of the file with ${action("ingest")}, then query it by its name. lakehouse_datasets lists all.`,
    });
  }
  return new LakeError("not_found", `${shown} cannot be a dataset.`, {
    hint: 'Names are lower-case letters, digits and _, a version is a number: "workers@3". lakehouse_datasets lists them.',
  });
}

function qualified(node: Node): LakeError {
  const parts = [node.catalog_name, node.schema_name, node.table_name].filter(isSet).map(text);
  const system = parts.slice(0, -1).some((part) => SYSTEM_QUALIFIERS.has(foldCase(part)));
  return new LakeError("denied", `${parts.join(".").slice(0, 200)} names a table by its schema.`, {
    hint: system
      ? "Use lakehouse_datasets, lakehouse_versions and lakehouse_files for the catalog, DESCRIBE name for columns."
      : `Datasets have no schema: write ${parts.at(-1) ?? ""}.`,
  });
}

function unknownKind(kind: string): LakeError {
  return new LakeError("denied", `This kind of SQL is not available: ${foldCase(kind).replaceAll("_", " ")}.`, {
    hint: "Write it with SELECT, joins, subqueries, WITH, window functions, PIVOT or UNPIVOT.",
  });
}

function isSet(value: unknown): boolean {
  return value !== undefined && value !== null && value !== "";
}
