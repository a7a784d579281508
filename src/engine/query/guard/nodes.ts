import { isExactNumber, stringifyExact } from "../../kernel/exact-json.ts";

/** A node of DuckDB's serialised parse tree. */
export type Node = { readonly [key: string]: unknown };

export function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !isExactNumber(value);
}

/** The nodes in a list. */
export function nodesOf(value: unknown): Node[] {
  return Array.isArray(value) ? value.filter(isNode) : [];
}

/** The WITH entries of a query. */
export function cteEntries(query: Node): Node[] {
  return isNode(query.cte_map) ? nodesOf(query.cte_map.map) : [];
}

export function hasOnly(node: Node, keys: ReadonlySet<string>): boolean {
  return Object.keys(node).every((key) => keys.has(key));
}

/** `value` if it is a text, else an empty one. */
export function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

/** The serialised tree of `SELECT expressions FROM source`, with all properties that DuckDB expects. */
export function selectTree(expressions: unknown[], source: unknown, ctes: Node[]): string {
  const node = {
    type: "SELECT_NODE",
    modifiers: [],
    cte_map: { map: ctes },
    select_list: expressions,
    from_table: source,
    where_clause: null,
    group_expressions: [],
    group_sets: [],
    aggregate_handling: "STANDARD_HANDLING",
    having: null,
    sample: null,
    qualify: null,
  };
  return stringifyExact({ error: false, statements: [{ node: restored(node), named_param_map: [] }] });
}

/**
 * Restores properties of constants that JSON or DuckDB's parse has left out, and that DuckDB needs to read the tree.
 */
function restored(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(restored);
  if (!isNode(value)) return value;
  if (value.class === "CONSTANT") return isNode(value.value) ? constant(value, value.value) : value;
  return Object.fromEntries(Object.entries(value).map(([key, child]) => [key, restored(child)]));
}

function constant(node: Node, { type, value, is_null }: Node): Node {
  const id = isNode(type) ? text(type.id) : "";
  if (is_null !== false) return node;
  const empty = { type: { id: "VARCHAR" }, is_null: false, value: "" };
  if (id === "VARCHAR" && value === undefined) return { ...node, value: empty };
  // JSON would have 10 for 10.0, which is no DOUBLE.
  if ((id !== "DOUBLE" && id !== "FLOAT") || !Number.isInteger(value)) return node;
  const child = { ...node, alias: "", value: { ...empty, value: String(value) } };
  return { class: "CAST", type: "OPERATOR_CAST", alias: text(node.alias), child, cast_type: { id } };
}
