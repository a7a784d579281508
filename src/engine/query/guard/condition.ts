import { LakeError, reworded } from "../../kernel/errors.ts";
import { MAX_SQL_CHARS } from "../../kernel/limits.ts";
import { type GuardParts, judge, NOT_SERIALISED, placeAt } from "./guard.ts";
import { hasOnly, isNode, type Node, nodesOf } from "./nodes.ts";
import { assertShape } from "./shape.ts";
import { tokenize } from "./tokens.ts";
import { parseTree } from "./tree.ts";

const PROBE = "condition_probe";
const BEFORE = `SELECT ${PROBE}(\n`;

/**
 * Checks that `where` is exactly one expression, which means the same wherever it stands on lines of its own in
 * parentheses, and that the guard lets it pass. Its columns are not looked up. Throws what `judge` throws, naming
 * `where` and the place in it.
 */
export async function judgeCondition(where: string, parts: GuardParts): Promise<void> {
  if (where.length > MAX_SQL_CHARS) {
    throw new LakeError("limit", `where: it has ${where.length} characters; ${MAX_SQL_CHARS} are allowed.`, {
      hint: "Join a dataset of the values: id IN (SELECT id FROM chosen).",
      facts: { argument: "where", limit: MAX_SQL_CHARS },
    });
  }
  if (where.includes("\0")) throw wrong("it has a NUL character");
  if ([...tokenize(where)].length === 0) throw wrong("it is empty");
  assertBalanced(where);
  try {
    assertShape(where);
    const tree = parseTree(await parts.parse(`${BEFORE}${where}\n)`));
    if (!isNode(tree)) throw new LakeError("internal", "DuckDB's parse could not be read.");
    if (tree.error === true) throw syntaxError(where, tree);
    if (!isOneExpression(tree)) throw wrong("it has to be exactly one expression");
    await judge(`SELECT 1 WHERE (\n${where}\n)`, parts);
  } catch (error) {
    if (!(error instanceof LakeError) || error.code === "condition") throw error;
    const facts = { ...error.facts, argument: "where" };
    throw reworded(error, { message: `where: ${error.message}`, code: "condition", facts });
  }
}

const CLOSES: Readonly<Record<string, string>> = { ")": "(", "]": "[", "}": "{" };

function assertBalanced(where: string): void {
  const place = (start: number): string => placeAt(where, [...where.slice(0, start)].length);
  const open: { text: string; start: number }[] = [];
  for (const { kind, text, start } of tokenize(where)) {
    if (kind !== "symbol") continue;
    if (text === ";") throw wrong(`there is a ; ${place(start)}`);
    if (text === "(" || text === "[" || text === "{") open.push({ text, start });
    const opening = CLOSES[text];
    if (opening !== undefined && open.pop()?.text !== opening) {
      throw wrong(`the ${text} ${place(start)} closes nothing that was opened in it`);
    }
  }
  const left = open.pop();
  if (left) throw wrong(`the ${left.text} ${place(left.start)} is not closed`);
}

const TYPE = new Set(["type"]);
const PLAIN_SELECT = new Set(["type", "select_list", "from_table", "aggregate_handling"]);
const PLAIN_CALL = new Set(["class", "type", "query_location", "function_name", "children", "order_bys"]);

/**
 * Whether the tree is a SELECT of one function with one argument: then the condition ends where its parenthesis does.
 */
function isOneExpression(tree: Node): boolean {
  const [statement, ...statements] = nodesOf(tree.statements);
  const node = statement && isNode(statement.node) ? statement.node : {};
  const [call, ...items] = nodesOf(node.select_list);
  const [argument, ...more] = nodesOf(call?.children);
  if (!call || !argument || statements.length + items.length + more.length > 0) return false;
  return (
    statement?.named_param_map === undefined &&
    node.type === "SELECT_NODE" &&
    isNode(node.from_table) &&
    node.from_table.type === "EMPTY" &&
    hasOnly(node, PLAIN_SELECT) &&
    call.class === "FUNCTION" &&
    call.function_name === PROBE &&
    hasOnly(call, PLAIN_CALL) &&
    (!isNode(call.order_bys) || hasOnly(call.order_bys, TYPE)) &&
    argument.class !== "STAR" &&
    argument.alias === undefined
  );
}

function syntaxError(where: string, { error_message, position }: Node): LakeError {
  const message = typeof error_message === "string" ? error_message : "it cannot be parsed";
  if (NOT_SERIALISED.test(message)) return wrong("a PIVOT in it needs its columns written out with IN (…)");
  // Positions count from the beginning of the probe.
  const at = position === undefined ? Number.NaN : Number(position) - BEFORE.length;
  const known = Number.isSafeInteger(at) && at >= 0;
  const place = at >= [...where].length ? "at its end" : placeAt(where, at);
  return wrong(`syntax error${known ? ` ${place}` : ""}: ${message.slice(0, 1000)}`);
}

function wrong(problem: string): LakeError {
  return new LakeError("invalid", `where: ${problem}.`, {
    code: "condition",
    facts: { argument: "where" },
    hint: "Write one condition without parameters, as it would stand after WHERE: metadata->>'state' = 'IL' AND id <> 'x'.",
  });
}
