import { visible } from "../engine/kernel/visible.ts";
import type { QueryResult } from "../engine/query/types.ts";

export type Json = QueryResult["rows"][number][number];

/** A value as a cell of a table: `NULL`, text as it is unless that would be ambiguous, everything else as JSON. */
export function cellText(value: Json | undefined): string {
  if (value === null || value === undefined) return "NULL";
  if (typeof value !== "string") return visible(JSON.stringify(value));
  const plain = value !== "NULL" && value !== "" && !/[\p{Cc}\p{Zl}\p{Zp}]|^\s|\s$/u.test(value);
  return visible(plain ? value : JSON.stringify(value));
}

/** JSON that may be written to a terminal. */
export function jsonText(value: unknown): string {
  return visible(JSON.stringify(value));
}
