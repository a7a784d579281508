import { LakeError } from "../errors.ts";
import { tokenize } from "./tokens.ts";

const MAX_TOKENS = 100_000;
const MAX_NESTING = 500;
const MAX_LIST_NESTING = 64;
const MAX_NAME_PARTS = 64;

/**
 * Bounds what DuckDB's parser recurses over without a limit of its own: past some depth the process ends there. Throws
 * `limit`.
 */
export function assertShape(sql: string): void {
  let count = 0;
  let parts = 0;
  let before = "";
  const open: string[] = [];
  let lists = 0;
  for (const { kind, text } of tokenize(sql)) {
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
}

function tooDeep(message: string): LakeError {
  return new LakeError("limit", message, { hint: "Split the statement with WITH, or pass long lists through params." });
}
