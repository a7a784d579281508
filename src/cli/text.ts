import type { QueryResult } from "../engine/query/types.ts";

export type Json = QueryResult["rows"][number][number];

/**
 * What would move the cursor, change colours, hide or reorder text: control characters, line and paragraph separators,
 * bidirectional and invisible formatting. Joiners of emoji and of scripts that need them stay.
 */
const UNSAFE = /(?!\u200c|\u200d)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/** Text of data as one line that a terminal only shows. */
export function visible(text: string): string {
  return text.replace(UNSAFE, escaped);
}

/** The same for several lines. */
export function visibleLines(text: string): string {
  return text.split("\n").map(visible).join("\n");
}

/** A cell of a table: NULL, texts as they are unless that would be ambiguous, everything else as JSON. */
export function cellText(value: Json | undefined): string {
  if (value === null || value === undefined) return "NULL";
  if (typeof value !== "string") return visible(JSON.stringify(value));
  const plain = value !== "NULL" && value !== "" && !/[\p{Cc}\p{Zl}\p{Zp}]|^\s|\s$/u.test(value);
  return visible(plain ? value : JSON.stringify(value));
}

/** JSON as it is, with what a terminal would obey written as escapes. */
export function jsonText(value: unknown): string {
  return JSON.stringify(value).replace(/[\u007f-\u009f\u2028\u2029]/g, escaped);
}

function escaped(char: string): string {
  const code = char.codePointAt(0) ?? 0;
  return code < 0x10000 ? `\\u${code.toString(16).padStart(4, "0")}` : `\\u{${code.toString(16)}}`;
}
