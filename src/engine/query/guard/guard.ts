import { LakeError } from "../../kernel/errors.ts";
import { MAX_SQL_CHARS } from "../../kernel/limits.ts";
import { argument, next } from "../../kernel/next-step.ts";
import { computedArguments } from "../search/vector-calls.ts";
import { unwrapExplain } from "./explain.ts";
import type { FunctionNames } from "./functions.ts";
import { isNode, type Node, nodesOf, selectTree } from "./nodes.ts";
import { expandPivot, type PivotParts } from "./pivot.ts";
import { assertPlannable } from "./planned-queries.ts";
import { STATEMENTS } from "./policy.ts";
import { assertShape } from "./shape.ts";
import { type Token, tokenize } from "./tokens.ts";
import { judgeTree, parseTree, type Verdict } from "./tree.ts";

/** A statement that may run: `sql` is exactly the text that was judged. */
export interface Judged extends Verdict {
  sql: string;
  explain: boolean;
  /** Calls that may make a large value for every row; see `cellStatement`. */
  growing: number;
  /** A judged query that computes the `computedArguments` of `calls`, as one JSON list. Absent: there are none. */
  computed?: string;
}

export interface GuardParts extends Pick<PivotParts, "parseAll" | "write"> {
  /** DuckDB's parse tree of a text, as JSON without empty and default values. Nothing is bound or run. */
  parse(sql: string): Promise<string>;
  functions: FunctionNames;
  /** Runs a query that the guard has allowed, for the columns of a PIVOT: at most `limit` texts. */
  values(judged: Judged, limit: number): Promise<string[]>;
}

/**
 * DuckDB's errors for statements that it can parse but not serialise; the second for a PIVOT with parameters in its
 * source.
 */
export const NOT_SERIALISED = /^(Only SELECT statements can be serialized|PIVOT statements with pivot elements)/;
const MAX_TREE_CHARS = 2 ** 20;

/**
 * Decides whether `sql` is one statement that only reads. It looks at DuckDB's parse tree, before anything is bound:
 * binding may already open files. Throws `denied`, `invalid`, `limit` or `not_found`, saying what to do instead.
 */
export async function judge(sql: string, parts: GuardParts): Promise<Judged> {
  if (sql.length > MAX_SQL_CHARS) throw tooLong(`The statement has ${sql.length} characters`);
  // Parts of DuckDB disagree about whether it ends the text.
  if (sql.includes("\0"))
    throw new LakeError("invalid", "The statement has a NUL character.", { hint: "Leave it out." });
  const explain = unwrapExplain(sql);
  if (!explain) return judgeQuery(sql, parts);
  const inner = await judgeQuery(sql.slice(explain.start), parts);
  if (inner.show) throw refuseShow();
  const { wholeOf: _, ...verdict } = inner;
  return { ...verdict, sql: `${explain.prefix} ${inner.sql}`, explain: true };
}

async function judgeQuery(sql: string, parts: GuardParts): Promise<Judged> {
  assertShape(sql);
  const json = await parts.parse(sql);
  if (json.length > MAX_TREE_CHARS) throw tooLong("The statement is too complex");
  const tree = parseTree(json);
  if (!isNode(tree)) throw new LakeError("internal", "DuckDB's parse could not be read.");
  if (tree.error === true) {
    if (!NOT_SERIALISED.test(String(tree.error_message))) throw syntaxError(sql, tree);
    return judgeOther(sql, parts);
  }
  const statements = nodesOf(tree.statements);
  const [statement] = statements;
  if (!statement) throw new LakeError("invalid", "There is no statement.", { hint: "Send one SELECT." });
  if (statements.length > 1) throw several(statements.length);
  const verdict = judgeTree(statement, parts.functions);
  const growing = assertPlannable(statement, isInlined(sql));
  const computed = await computedQuery(verdict, parts);
  return {
    ...verdict,
    sql: verdict.show ? SHOWN[verdict.show] : sql,
    explain: false,
    growing,
    ...(computed !== undefined && { computed }),
  };
}

/**
 * Whether NOT MATERIALIZED may be in the text: the tree does not tell. In a literal or comment it raises the estimate.
 */
function isInlined(sql: string): boolean {
  return /materialized/i.test(sql) && /materialized/i.test(sql.replace(/\bas\s+materialized\b/gi, ""));
}

/** Judged like any statement: that its parts were judged before does not say that it may run. */
async function computedQuery(verdict: Verdict, parts: GuardParts): Promise<string | undefined> {
  const trees = computedArguments(verdict.calls);
  if (trees.length === 0) return undefined;
  const named = trees.map((tree, index) => ({ ...tree, alias: `value_${index}` }));
  const values = await parts.write(selectTree(named, { type: "EMPTY" }, []));
  const texts = trees.map((_, index) => `value_${index}::VARCHAR`);
  const { sql } = await judgeQuery(`SELECT json_array(${texts.join(", ")})::VARCHAR FROM (${values})`, parts);
  return sql;
}

/** DuckDB would list only the views of the connection. */
const SHOWN = {
  tables: "SELECT name FROM lakehouse_datasets ORDER BY name",
  all: `SELECT name, list_transform(columns, lambda c: c.name) AS column_names,
    list_transform(columns, lambda c: c.type) AS column_types, version, rows FROM lakehouse_datasets ORDER BY name`,
};

/** Judges statements that DuckDB does not serialise: all but SELECT, and a PIVOT whose columns come from the data. */
async function judgeOther(sql: string, parts: GuardParts): Promise<Judged> {
  const tokens = [...tokenize(sql)];
  const count = countStatements(tokens);
  if (count > 1) throw several(count);
  const first = tokens.find((token) => token.text !== ";" && token.text !== "(");
  const known = first?.kind === "word" ? STATEMENTS[first.text] : undefined;
  if (known) {
    throw new LakeError("denied", `${first?.text} ${known.reason}; statements here only read.`, { hint: known.hint });
  }
  const expanded = await expandPivot(sql, tokens, {
    parseAll: parts.parseAll,
    write: parts.write,
    values: async (text, limit) => parts.values(await judgeQuery(text, parts), limit),
  });
  if (expanded !== undefined) return judgeQuery(expanded, parts);
  throw new LakeError("denied", "Only statements that read can run.", {
    hint: "Use SELECT, WITH, FROM, VALUES, PIVOT, UNPIVOT, DESCRIBE, SUMMARIZE, SHOW TABLES or EXPLAIN.",
  });
}

function countStatements(tokens: Token[]): number {
  let count = 0;
  let inside = false;
  for (const token of tokens) {
    if (token.text === ";") inside = false;
    else if (!inside) {
      inside = true;
      count++;
    }
  }
  return count;
}

function several(count: number): LakeError {
  return new LakeError("denied", `One statement at a time: this text has ${count}.`, {
    hint: "Send them one by one, or combine them with WITH or UNION ALL.",
  });
}

function refuseShow(): LakeError {
  return new LakeError("denied", "EXPLAIN SHOW is not available.", { hint: "Send SHOW TABLES alone." });
}

function tooLong(what: string): LakeError {
  return new LakeError(
    "limit",
    `${what}; a statement may have ${MAX_SQL_CHARS} at most, and fewer when it has many parts.`,
    {
      hint: next`Pass long lists with ${argument("params")}, as in WHERE id IN (SELECT unnest($1)), or join a dataset of them.`,
      facts: { limit: MAX_SQL_CHARS },
    },
  );
}

function syntaxError(sql: string, tree: Node): LakeError {
  const message = typeof tree.error_message === "string" ? tree.error_message : "the statement cannot be parsed";
  const position = tree.position === undefined ? Number.NaN : Number(tree.position);
  const isKnown = Number.isSafeInteger(position);
  const where = isKnown ? ` ${placeAt(sql, position)}` : "";
  const [version] = /\b[a-z]\w*@\d+/i.exec(sql) ?? [];
  return new LakeError("invalid", `Syntax error${where}: ${message.slice(0, 1000)}`, {
    code: "syntax_error",
    ...(isKnown && { facts: { line: linesBefore(sql, position).length } }),
    hint:
      version !== undefined
        ? `A version goes in double quotes: FROM "${version}".`
        : "The dialect is DuckDB's. Quote identifiers with \" and texts with '.",
  });
}

/** `position` as DuckDB gives it: in code points. */
export function placeAt(text: string, position: number): string {
  const lines = linesBefore(text, position);
  return `at line ${lines.length}, column ${[...(lines.at(-1) ?? "")].length + 1}`;
}

function linesBefore(text: string, position: number): string[] {
  return [...text].slice(0, position).join("").split("\n");
}
