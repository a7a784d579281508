import { literal } from "../../duckdb/duckdb.ts";
import { hasOnly, isNode, type Node, text } from "../guard/nodes.ts";
import { foldCase } from "../guard/tokens.ts";

/**
 * A condition on the rows of one table. Only conditions that the least and greatest value of a file can refute for
 * certain; all others in a WHERE are left out, which keeps more files.
 */
export interface FileFilter {
  /** In lower case. */
  column: string;
  test: FilterTest;
  /** Any number for `in`, two for `between`, none for `null` and `not null`, else one. */
  values: FilterValue[];
}

export type FilterTest = "=" | "<" | "<=" | ">" | ">=" | "between" | "in" | "prefix" | "null" | "not null";

/** How DuckDB compares the constant: it decides in which columns the order is kept. */
export type ValueKind = "exact" | "double" | "text" | "moment" | "boolean";
export type FilterValue = { kind: ValueKind; sql: string } | { param: string };

/** Filters on one table of one SELECT; further ones are left out. */
const MAX_FILTERS = 16;
const MAX_LIST = 100;

/** Filters in the WHERE of a SELECT, by the table in its FROM. Tables without filters are left out. */
export function tableFilters(select: Node): Map<Node, FileFilter[]> {
  const found = new Map<Node, FileFilter[]>();
  // USING SAMPLE applies before WHERE.
  if (!isNode(select.where_clause) || !isNode(select.from_table) || select.sample !== undefined) return found;
  const filters = filtersByTable(select.where_clause);
  if (filters.size === 0) return found;
  const tables = filteredTables(select.from_table);
  const alone = tables.length === 1 && tables[0] === select.from_table;
  for (const table of tables) {
    const qualifier = foldCase(text(table.alias) || text(table.table_name));
    // Beside other tables, a name without its table may be a column of any of them.
    const own = [...(filters.get(qualifier) ?? []), ...((alone && filters.get(UNQUALIFIED)) || [])];
    if (own.length > 0) found.set(table, own.slice(0, MAX_FILTERS));
  }
  return found;
}

const UNQUALIFIED = "";
const TABLE_KEYS = new Set(["type", "alias", "query_location", "table_name"]);
const JOIN_KEYS = new Set([
  "type",
  "query_location",
  "left",
  "right",
  "condition",
  "join_type",
  "ref_type",
  "using_columns",
]);
const LEFT_JOINS = new Set(["LEFT", "SEMI", "ANTI"]);

/**
 * Tables whose rows WHERE filters. A table that a join adds rows of NULLs to is not among them, nor one of a join by
 * position or to the nearest row, which would find other partners among fewer rows.
 */
function filteredTables(from: Node): Node[] {
  const found: Node[] = [];
  const todo = [from];
  for (let node = todo.pop(); node; node = todo.pop()) {
    if (node.type === "BASE_TABLE" && hasOnly(node, TABLE_KEYS)) found.push(node);
    if (node.type !== "JOIN" || !hasOnly(node, JOIN_KEYS)) continue;
    if (node.ref_type !== "REGULAR" && node.ref_type !== "CROSS") continue;
    const inner = node.join_type === "INNER";
    if ((inner || LEFT_JOINS.has(text(node.join_type))) && isNode(node.left)) todo.push(node.left);
    if (inner && isNode(node.right)) todo.push(node.right);
  }
  return found;
}

function filtersByTable(where: Node): Map<string, FileFilter[]> {
  const found = new Map<string, FileFilter[]>();
  const todo = [where];
  for (let node = todo.pop(); node; node = todo.pop()) {
    if (node.type === "CONJUNCTION_AND") todo.push(...children(node));
    const read = readFilter(node);
    if (!read) continue;
    const { table, ...filter } = read;
    found.set(table, [...(found.get(table) ?? []), filter]);
  }
  return found;
}

interface ReadFilter extends FileFilter {
  table: string;
}

function readFilter(node: Node): ReadFilter | undefined {
  switch (node.class) {
    case "COMPARISON":
      return readComparison(node);
    case "BETWEEN":
      return node.type === "COMPARE_BETWEEN" ? filter(node.input, "between", [node.lower, node.upper]) : undefined;
    case "OPERATOR":
      return readOperator(node);
    case "FUNCTION":
      return node.function_name === "~~" ? readLike(node) : undefined;
    default:
      return undefined;
  }
}

const COMPARISONS: Readonly<Record<string, [FilterTest, FilterTest]>> = {
  COMPARE_EQUAL: ["=", "="],
  COMPARE_LESSTHAN: ["<", ">"],
  COMPARE_LESSTHANOREQUALTO: ["<=", ">="],
  COMPARE_GREATERTHAN: [">", "<"],
  COMPARE_GREATERTHANOREQUALTO: [">=", "<="],
};

function readComparison({ type, left, right }: Node): ReadFilter | undefined {
  const [test, turned] = COMPARISONS[text(type)] ?? [];
  if (test === undefined || turned === undefined) return undefined;
  return filter(left, test, [right]) ?? filter(right, turned, [left]);
}

function readOperator(node: Node): ReadFilter | undefined {
  const [column, ...values] = children(node);
  if (node.type === "OPERATOR_IS_NULL") return filter(column, "null", []);
  if (node.type === "OPERATOR_IS_NOT_NULL") return filter(column, "not null", []);
  return node.type === "COMPARE_IN" && values.length <= MAX_LIST ? filter(column, "in", values) : undefined;
}

/** The prefix up to the first wildcard. Patterns with a backslash are left out. */
function readLike(node: Node): ReadFilter | undefined {
  const [column, pattern] = children(node);
  const value = isNode(pattern?.value) && pattern.class === "CONSTANT" ? pattern.value : undefined;
  const [, prefix = "", stop] = /^([^%_\\]*)(.?)/su.exec(text(value?.value)) ?? [];
  if (!value || typeId(value) !== "VARCHAR" || prefix === "" || stop === "\\") return undefined;
  const read = filter(column, "prefix", []);
  return read && { ...read, values: [{ kind: "text", sql: literal(prefix) }] };
}

function filter(column: unknown, test: FilterTest, operands: unknown[]): ReadFilter | undefined {
  if (!isNode(column) || column.class !== "COLUMN_REF" || !Array.isArray(column.column_names)) return undefined;
  const names = column.column_names.map((name) => foldCase(text(name)));
  const [table, name] = names.length === 1 ? [UNQUALIFIED, names[0]] : names;
  if (names.length > 2 || table === undefined || !name) return undefined;
  const values = operands.map(readValue).filter((value) => value !== undefined);
  return values.length === operands.length ? { table, column: name, test, values } : undefined;
}

const CAST_KEYS = new Set(["class", "type", "query_location", "child", "cast_type"]);
const CASTS: Readonly<Record<string, ValueKind>> = { DATE: "moment", TIMESTAMP: "moment", BOOLEAN: "boolean" };

function readValue(node: unknown): FilterValue | undefined {
  if (!isNode(node)) return undefined;
  if (node.class === "PARAMETER") {
    const name = text(node.identifier);
    return /^\w+$/.test(name) ? { param: name } : undefined;
  }
  if (node.class === "CONSTANT") return readConstant(node.value);
  if (node.class !== "CAST" || !hasOnly(node, CAST_KEYS)) return undefined;
  const type = typeId({ type: node.cast_type });
  const kind = Object.hasOwn(CASTS, type) ? CASTS[type] : undefined;
  const child = isNode(node.child) && node.child.class === "CONSTANT" ? readConstant(node.child.value) : undefined;
  if (!kind || !child || !("kind" in child) || child.kind !== "text") return undefined;
  return { kind, sql: `CAST(${child.sql} AS ${type})` };
}

function readConstant(constant: unknown): FilterValue | undefined {
  if (!isNode(constant) || constant.is_null !== false) return undefined;
  const { value } = constant;
  const type = typeId(constant);
  // The parse tree leaves out empty texts.
  if (type === "VARCHAR") return { kind: "text", sql: literal(text(value)) };
  if (typeof value !== "number") return undefined;
  if (type === "DOUBLE") return Number.isFinite(value) ? { kind: "double", sql: `'${value}'::DOUBLE` } : undefined;
  // JSON has rounded larger ones.
  if (!Number.isSafeInteger(value)) return undefined;
  if (type === "INTEGER" || type === "BIGINT") return { kind: "exact", sql: `${value}` };
  return decimal(constant.type, value);
}

const MAX_DECIMAL_WIDTH = 15;

function decimal(type: unknown, value: number): FilterValue | undefined {
  if (!isNode(type) || type.id !== "DECIMAL" || !isNode(type.type_info)) return undefined;
  const width = Number(type.type_info.width);
  // A scale of 0 is left out.
  const scale = Number(type.type_info.scale ?? 0);
  if (!(width <= MAX_DECIMAL_WIDTH && scale >= 0 && scale <= width)) return undefined;
  const digits = `${Math.abs(value)}`.padStart(scale + 1, "0");
  const whole = digits.slice(0, digits.length - scale);
  const written = `${value < 0 ? "-" : ""}${whole}.${digits.slice(whole.length)}`;
  return { kind: "exact", sql: `'${written}'::DECIMAL(${width}, ${scale})` };
}

/** The name of a type; empty for a type with parameters. */
function typeId({ type }: Node): string {
  return isNode(type) && Object.keys(type).length === 1 ? text(type.id) : "";
}

function children(node: Node): Node[] {
  const list = Array.isArray(node.children) ? node.children : [];
  return list.every(isNode) ? list : [];
}
