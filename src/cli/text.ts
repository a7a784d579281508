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

/** A hint, which speaks of tools and their arguments, in terms of commands and flags. */
export function asFlags(hint: string): string {
  return hint
    .replace(
      /\b(on_bad_rows|schema_change|encoding|format): "([\w-]+)"/g,
      (_, flag: string, value: string) => `--${flag.replaceAll("_", "-")} ${value}`,
    )
    .replaceAll("skip_lines", "--skip-lines")
    .replaceAll("null_values", "--null-value")
    .replace("Leave the column out of types", "Leave its --type out")
    .replaceAll("; a relative path starts at the first allowed folder", "")
    .replace("Make an index of it: vector-index-create", "An agent makes an index of it: vector-index-create")
    .replaceAll("catalog-list", "lakehouse-mcp list")
    .replaceAll("catalog-describe", "lakehouse-mcp describe")
    .replace(/Pass params as a list of \d+: values for/, "Give --param once for each, in this order:")
    .replace(/Pass params as an object with ([^.]*?)(?:, not as a list)?\./, "Give --param NAME=VALUE for each of $1.")
    .replace("leave params out", "leave --param out")
    .replaceAll("timeout_ms", "--query-timeout");
}

function escaped(char: string): string {
  const code = char.codePointAt(0) ?? 0;
  return code < 0x10000 ? `\\u${code.toString(16).padStart(4, "0")}` : `\\u{${code.toString(16)}}`;
}
