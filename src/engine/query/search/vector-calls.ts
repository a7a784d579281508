import { createHash } from "node:crypto";
import { LakeError } from "../../kernel/errors.ts";
import { DEFAULT_K, MAX_EF, MAX_K } from "../../kernel/limits.ts";
import { argument, type NextStep, next } from "../../kernel/next-step.ts";
import { isNode, type Node, nodesOf, text } from "../guard/nodes.ts";
import { UNREPEATABLE_FUNCTIONS } from "../guard/policy.ts";
import { foldCase } from "../guard/tokens.ts";

export const VECTOR_SEARCH = "vector_search";
export const MAX_CALLS = 32;
/** Parts of the tree of one argument. */
const MAX_PARTS = 1000;

/** One `vector_search(…)` in a statement: arguments by their names. */
export type VectorCall = Partial<Record<ArgumentName, Argument>>;

const NAMES = ["index_name", "query", "k", "filter", "ef"] as const;
type ArgumentName = (typeof NAMES)[number];

/** A literal, a parameter, or an expression that DuckDB has to compute. */
type Argument =
  | { kind: "value"; value: string | number | null }
  | { kind: "param"; name: string }
  | { kind: "computed"; tree: Node };

/** The values of a call's arguments. */
export interface VectorSearch {
  index: string;
  text: string;
  k: number;
  filter?: string;
  ef?: number;
}

const USAGE = "FROM vector_search('index', 'text', k := 10, filter := 'metadata condition')";

/** Reads the arguments of a call from the tree. Throws `invalid` for an argument that depends on a row. */
export function readCall(node: Node): VectorCall {
  const call: VectorCall = {};
  nodesOf(node.children).forEach((child, position) => {
    const alias = foldCase(text(child.alias));
    const name = alias === "" ? NAMES[position] : NAMES.find((known) => known === alias);
    if (name === undefined) throw badArgument(alias === "" ? `argument ${position + 1}` : alias, "there is none such");
    if (call[name] !== undefined) throw badArgument(name, "it is given twice");
    call[name] = readArgument(child, name);
  });
  for (const name of ["index_name", "query"] as const) {
    if (call[name] === undefined) throw badArgument(name, "it is missing");
  }
  return call;
}

function readArgument(node: Node, name: ArgumentName): Argument {
  if (node.class === "PARAMETER") return { kind: "param", name: text(node.identifier) };
  if (node.class === "CONSTANT" && isNode(node.value)) {
    const { type, value, is_null } = node.value;
    if (is_null === true) return { kind: "value", value: null };
    const id = isNode(type) ? text(type.id) : "";
    // The parse tree leaves out empty texts.
    if (id === "VARCHAR") return { kind: "value", value: text(value) };
    if (/^(BIGINT|INTEGER)$/.test(id) && typeof value === "number") return { kind: "value", value };
  }
  assertConstant(node, name);
  return { kind: "computed", tree: node };
}

const COMPUTING = new Set([
  "BETWEEN",
  "CASE",
  "CAST",
  "COLLATE",
  "COMPARISON",
  "CONJUNCTION",
  "CONSTANT",
  "FUNCTION",
  "OPERATOR",
  "PARAMETER",
  "TYPE",
]);

/** The search runs before the statement, which then looks its hits up by the arguments: these must not change. */
function assertConstant(tree: Node, name: ArgumentName): void {
  const named = isNode(tree.left) && tree.class === "COMPARISON" && firstColumn(tree.left);
  if (typeof named === "string" && NAMES.some((known) => known === named)) {
    throw badArgument(named, "a named argument is written with :=", `Write ${named} := …`);
  }
  const todo: unknown[] = [tree];
  let parts = 0;
  for (let value = todo.pop(); value !== undefined; value = todo.pop()) {
    if (++parts > MAX_PARTS)
      throw badArgument(name, "it has too many parts", next`Pass the value with ${argument("params")}.`);
    if (isNode(value) && typeof value.class === "string") {
      const what = refusedKind(value, value.class);
      if (what !== undefined) throw notConstant(name, what);
      if (value.class === "CONSTANT" && !isExact(value.value)) throw badArgument(name, "a number in it is too large");
      if (value.class === "CONSTANT") continue;
    }
    const children = typeof value === "object" && value !== null ? Object.values(value) : [];
    todo.push(...children.filter((child) => typeof child === "object" && child !== null));
  }
}

/** Whether JSON has not rounded the number. */
function isExact(value: unknown): boolean {
  const number = isNode(value) ? (value.value ?? 0) : 0;
  if (typeof number === "number") return !Number.isInteger(number) || Number.isSafeInteger(number);
  return typeof number !== "object";
}

function refusedKind(node: Node, kind: string): string | undefined {
  if (kind === "COLUMN_REF") return `the column ${JSON.stringify((firstColumn(node) ?? "").slice(0, 100))}`;
  if (kind === "FUNCTION" && UNREPEATABLE_FUNCTIONS.has(foldCase(text(node.function_name)))) {
    return `${foldCase(text(node.function_name))}()`;
  }
  if (COMPUTING.has(kind)) return undefined;
  return kind === "SUBQUERY" ? "a subquery" : `a ${foldCase(kind).replaceAll("_", " ")}`;
}

function firstColumn(node: Node): string | undefined {
  const [name] = Array.isArray(node.column_names) ? node.column_names : [];
  return typeof name === "string" ? foldCase(name) : undefined;
}

/** Trees of the arguments that DuckDB has to compute, in the order of `computed` for `readSearches`. */
export function computedArguments(calls: readonly VectorCall[]): Node[] {
  return calls.flatMap((call) =>
    NAMES.flatMap((name) => {
      const argument = call[name];
      return argument?.kind === "computed" ? [argument.tree] : [];
    }),
  );
}

/**
 * The searches of the calls, in their order. `given` returns the value of a parameter; `computed` are the values of
 * `computedArguments`, as text. Throws `invalid`.
 */
export function readSearches(
  calls: readonly VectorCall[],
  given: (param: string) => unknown,
  computed: readonly (string | null)[],
): VectorSearch[] {
  let next = 0;
  return calls.map((call) => {
    const values: Partial<Record<ArgumentName, unknown>> = {};
    for (const name of NAMES) {
      const argument = call[name];
      if (argument === undefined) continue;
      if (argument.kind === "computed") values[name] = computed[next++] ?? null;
      else values[name] = argument.kind === "param" ? (given(argument.name) ?? null) : argument.value;
    }
    const { k = DEFAULT_K, filter = null, ef = null } = values;
    const condition = filter === null ? "" : textOf(filter, "filter");
    const effort = ef === null ? 0 : wholeOf(ef, "ef", 0, MAX_EF);
    return {
      index: filledOf(values.index_name, "index_name"),
      text: filledOf(values.query, "query"),
      k: wholeOf(k, "k", 1, MAX_K),
      ...(condition !== "" && { filter: condition }),
      ...(effort !== 0 && { ef: effort }),
    };
  });
}

/** Identifies a search by its arguments; `CALL_KEY` computes the same in SQL. */
export function callKey({ index, text, k, filter, ef }: VectorSearch): string {
  return md5(`${md5(index)}${md5(text)}${md5(filter ?? "")}${k},${ef ?? 0}`);
}

/** SQL over the parameters of the macro, which have the names of the arguments. */
export const CALL_KEY = `system.main.md5(system.main.md5(index_name::VARCHAR) || system.main.md5(query::VARCHAR)
  || system.main.md5(coalesce(filter::VARCHAR, '')) || k::DOUBLE::BIGINT::VARCHAR || ','
  || coalesce(ef::DOUBLE, 0)::BIGINT::VARCHAR)`;

/** The parameters of the macro, with the defaults of `readSearches`. */
export const CALL_PARAMETERS = `index_name, query, k := ${DEFAULT_K}, filter := '', ef := 0`;

function md5(value: string): string {
  return createHash("md5").update(value, "utf8").digest("hex");
}

function textOf(value: unknown, name: string): string {
  if (typeof value === "string") return value;
  throw badArgument(name, `it has to be a text, and is ${shown(value)}`);
}

function filledOf(value: unknown, name: string): string {
  if (value === null || value === undefined) throw badArgument(name, "it is NULL, or its parameter was not given");
  const filled = textOf(value, name);
  if (filled.trim() === "") throw badArgument(name, "it is empty");
  return filled;
}

function wholeOf(value: unknown, name: string, min: number, max: number): number {
  const number = typeof value === "string" && /^\d{1,9}(\.0*)?$/.test(value) ? Number(value) : value;
  if (typeof number === "number" && Number.isInteger(number) && number >= min && number <= max) return number;
  throw badArgument(name, `it has to be a whole number from ${min} to ${max}, and is ${shown(value)}`);
}

function shown(value: unknown): string {
  return JSON.stringify(value).slice(0, 100);
}

export function tooManyCalls(): LakeError {
  return new LakeError("limit", `The statement calls ${VECTOR_SEARCH}() more than ${MAX_CALLS} times.`, {
    hint: "Send several statements.",
  });
}

function badArgument(name: string, problem: string, hint: NextStep = `Write ${USAGE}.`): LakeError {
  return new LakeError("invalid", `${VECTOR_SEARCH}(): ${name.slice(0, 100)}: ${problem}.`, { hint });
}

function notConstant(name: string, what: string): LakeError {
  return new LakeError(
    "invalid",
    `${VECTOR_SEARCH}(): ${name} has to be a constant or a parameter, and has ${what} in it.`,
    {
      hint: next`Searches run once, before the statement: write the value out or pass it with ${argument("params")}, and join the hits to other tables on id.`,
    },
  );
}
