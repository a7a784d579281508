import { LakeError } from "../../kernel/errors.ts";
import { argument, next } from "../../kernel/next-step.ts";
import { tokenize } from "./tokens.ts";

const MAX_TOKENS = 100_000;
const MAX_NESTING = 500;
const MAX_LIST_NESTING = 64;
const MAX_NAME_PARTS = 64;
/** DuckDB's lexer takes quadratic time for comments with nothing in between. */
const MAX_COMMENTS_TOGETHER = 100;
const MAX_COMMENTS = 5000;

/**
 * Throws `limit` for nesting that DuckDB's parser would recurse over: it has no limit of its own, and the process would
 * end.
 */
export function assertShape(sql: string): void {
  let count = 0;
  let parts = 0;
  let before = "";
  const open: string[] = [];
  let lists = 0;
  let comments = 0;
  let end = 0;
  const assertComments = (until: number): void => {
    const together = countComments(sql, end, until);
    comments += together;
    if (together > MAX_COMMENTS_TOGETHER || comments > MAX_COMMENTS) throw tooManyComments();
  };
  for (const { kind, text, start, end: tokenEnd } of tokenize(sql)) {
    assertComments(start);
    end = tokenEnd;
    if (++count > MAX_TOKENS) throw tooDeep(`The statement has more than ${MAX_TOKENS} parts.`);
    if (text === ".") parts++;
    else if (kind === "symbol" || kind === "string" || before !== ".") parts = 0;
    before = text;
    if (parts >= MAX_NAME_PARTS) throw tooDeep(`A name has more than ${MAX_NAME_PARTS} parts joined by dots.`);
    if (text === "(" || text === "[" || text === "{") {
      open.push(text);
      if (text === "[" && ++lists > MAX_LIST_NESTING) {
        throw tooDeep(`Lists are nested more than ${MAX_LIST_NESTING} deep.`);
      }
      if (open.length > MAX_NESTING) throw tooDeep(`Brackets are nested more than ${MAX_NESTING} deep.`);
    } else if ((text === ")" || text === "]" || text === "}") && open.pop() === "[") lists--;
  }
  assertComments(sql.length);
}

function countComments(sql: string, from: number, until: number): number {
  let count = 0;
  for (let at = from; at + 1 < until; at++) if (sql[at] === "/" && sql[at + 1] === "*") count++;
  return count;
}

function tooManyComments(): LakeError {
  return new LakeError(
    "limit",
    `The statement has more than ${MAX_COMMENTS} comments, or ${MAX_COMMENTS_TOGETHER} one after another.`,
    { hint: "Leave the comments out." },
  );
}

function tooDeep(message: string): LakeError {
  return new LakeError("limit", message, {
    hint: next`Split the statement with WITH, or pass long lists with ${argument("params")}.`,
  });
}
