import type { Json } from "../../kernel/json.ts";

import { type Token, tokenize } from "./tokens.ts";

const FORMATS = ["TEXT", "JSON"];

/**
 * Where the explained statement begins, and the prefix to put before it. `EXPLAIN ANALYZE` runs what it explains, so
 * the statement is judged without its prefix.
 */
export function unwrapExplain(sql: string): { prefix: string; start: number } | undefined {
  const tokens = tokenize(sql);
  const next = (): Token | undefined => tokens.next().value ?? undefined;
  if (next()?.text !== "EXPLAIN") return undefined;
  let token = next();
  const options: string[] = [];
  if (token?.text === "(") {
    let inside = "";
    let end = token.end;
    for (token = next(); token && token.text !== ")"; token = next()) inside += ` ${token.text}`;
    end = token?.end ?? end;
    const parsed = explainOptions(inside);
    // These are no options: the parenthesis belongs to the query.
    if (!parsed) return { prefix: "EXPLAIN", start: sql.search(/explain/i) + "EXPLAIN".length };
    return { prefix: explainPrefix(parsed), start: end };
  }
  if (token?.text === "ANALYZE" || token?.text === "ANALYSE") {
    options.push("ANALYZE");
    token = next();
  }
  return { prefix: explainPrefix(options), start: token?.start ?? sql.length };
}

function explainOptions(inside: string): string[] | undefined {
  const options: string[] = [];
  for (const option of inside.split(",")) {
    const [name = "", value = "", ...more] = option.trim().toUpperCase().replaceAll("'", "").split(/\s+/);
    if (more.length > 0) return undefined;
    if (name === "ANALYZE" && (value === "" || value === "TRUE")) options.push("ANALYZE");
    else if (name === "FORMAT" && FORMATS.includes(value)) options.push(`FORMAT ${value}`);
    else return undefined;
  }
  return options;
}

function explainPrefix(options: string[]): string {
  return options.length === 0 ? "EXPLAIN" : `EXPLAIN (${options.join(", ")})`;
}

/** Removes full paths of files from a plan: in JSON they are one text, in boxes they span several lines. */
export function hidePlanPaths(plan: string, root: string): string {
  const covered = new Set<number>();
  const lines = plan.replaceAll(`${root}/`, "").split("\n");
  return lines
    .map((line) =>
      line.replace(/│[^│]*(?=│)/g, (cell, at: number) => {
        const content = cell.slice(1).trim();
        if (content === "") covered.delete(at);
        if (content.startsWith("Filename(s):")) covered.add(at);
        return covered.has(at) ? `│${" ".repeat(cell.length - 1)}` : cell;
      }),
    )
    .join("\n");
}

/** The same for every cell. */
export function hideIn(row: Json[], root: string): Json[] {
  return row.map((cell) => (typeof cell === "string" ? hidePlanPaths(cell, root) : cell));
}
