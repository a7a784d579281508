import { randomUUID } from "node:crypto";
import { literal } from "../../duckdb/duckdb.ts";
import { LakeError } from "../../kernel/errors.ts";
import { parseExact } from "../../kernel/exact-json.ts";
import { cteEntries, isNode, type Node, selectTree } from "./nodes.ts";
import type { Token } from "./tokens.ts";
import { MAX_CTES, parseTree } from "./tree.ts";

const MAX_PIVOT_COLUMNS = 1000;
const MAX_PIVOTS = 16;
const AFTER_ON = new Set(["USING", "GROUP", "ORDER", "LIMIT", "OFFSET", "UNION", "EXCEPT", "INTERSECT", ";", ")"]);

export interface PivotParts {
  /** `json_serialize_sql` with all properties, which `write` needs. */
  parseAll(sql: string): Promise<string>;
  /** `json_deserialize_sql`: the text of a statement from its tree. */
  write(tree: string): Promise<string>;
  /** Judges and runs a query of one text column. */
  values(sql: string, limit: number): Promise<string[]>;
}

/**
 * Writes the columns of `PIVOT … ON column` into the statement, as `ON column IN ('a', 'b')`, which makes it an
 * ordinary SELECT; DuckDB does the same by creating a type first. Undefined when there is no such PIVOT. The places are
 * found in the text, so the outcome has to be judged like any statement, as does the query for the values.
 */
export async function expandPivot(sql: string, tokens: Token[], parts: PivotParts): Promise<string | undefined> {
  const places = columnPlaces(tokens);
  if (places.length === 0) return undefined;
  const markers = places.map(() => randomUUID());
  const probe = parseTree(await parts.parseAll(insert(sql, places, (index) => literal(markers[index] ?? ""))), (json) =>
    parseExact(json),
  );
  const lists: string[] = [];
  for (const marker of markers) {
    const found = isNode(probe) ? findColumn(probe, marker, []) : undefined;
    if (!found) throw unclear();
    const column = await parts.write(selectTree([found.expression], found.source, found.ctes));
    const query = `SELECT DISTINCT v::VARCHAR AS v FROM (${column}) AS t(v) WHERE v IS NOT NULL ORDER BY 1`;
    const values = await parts.values(`${query} LIMIT ${MAX_PIVOT_COLUMNS + 1}`, MAX_PIVOT_COLUMNS + 1);
    if (values.length > MAX_PIVOT_COLUMNS) throw tooWide();
    if (values.length === 0) throw nothing();
    lists.push(values.map(literal).join(", "));
  }
  return insert(sql, places, (index) => lists[index] ?? "");
}

interface PivotColumn {
  expression: unknown;
  source: unknown;
  ctes: Node[];
}

/** Ends of those expressions after the last ON of each PIVOT that have no IN. */
function columnPlaces(tokens: Token[]): number[] {
  const places: number[] = [];
  let pivots = 0;
  tokens.forEach((token, index) => {
    if (token.kind !== "word" || (token.text !== "PIVOT" && token.text !== "PIVOT_WIDER")) return;
    if (++pivots > MAX_PIVOTS) throw tooMany();
    const clause = onClause(tokens.slice(index + 1));
    let last: Token | undefined;
    let listed = false;
    const close = (): void => {
      if (last && !listed) places.push(last.end);
      last = undefined;
      listed = false;
    };
    for (const { token: part, depth } of clause) {
      if (depth === 0 && part.text === ",") close();
      else {
        last = part;
        if (depth === 0 && part.kind === "word" && part.text === "IN") listed = true;
      }
    }
    close();
  });
  if (places.length > MAX_PIVOTS) throw tooMany();
  return places.sort((a, b) => a - b);
}

function onClause(tokens: Token[]): { token: Token; depth: number }[] {
  let clause: { token: Token; depth: number }[] | undefined;
  let depth = 0;
  for (const token of tokens) {
    const plain = token.kind === "word" || token.kind === "symbol";
    if (depth === 0 && plain && token.text === "ON") {
      clause = [];
      continue;
    }
    if (depth === 0 && plain && AFTER_ON.has(token.text) && (clause || token.text === ")" || token.text === ";")) break;
    if (token.text === "(" || token.text === "[" || token.text === "{") depth++;
    if (token.text === ")" || token.text === "]" || token.text === "}") depth--;
    clause?.push({ token, depth: token.text === "(" ? depth - 1 : depth });
  }
  return clause ?? [];
}

function insert(sql: string, places: number[], list: (index: number) => string): string {
  let text = "";
  let from = 0;
  places.forEach((place, index) => {
    text += `${sql.slice(from, place)} IN (${list(index)})`;
    from = place;
  });
  return text + sql.slice(from);
}

function findColumn(value: unknown, marker: string, ctes: Node[]): PivotColumn | undefined {
  if (Array.isArray(value)) return firstOf(value, (item) => findColumn(item, marker, ctes));
  if (!isNode(value)) return undefined;
  if (value.type === "PIVOT" && Array.isArray(value.pivots)) {
    for (const pivot of value.pivots.filter(isNode)) {
      if (!isMarked(pivot, marker) || !Array.isArray(pivot.pivot_expressions)) continue;
      return { expression: pivot.pivot_expressions[0], source: value.source, ctes };
    }
  }
  const entries = cteEntries(value);
  if (ctes.length + entries.length > MAX_CTES) throw unclear();
  const inCte = entries.map((entry, index) => findColumn(entry.value, marker, [...ctes, ...entries.slice(0, index)]));
  const inSight = [...ctes, ...entries];
  return (
    inCte.find((found) => found !== undefined) ??
    firstOf(Object.entries(value), ([key, child]) =>
      key === "cte_map" ? undefined : findColumn(child, marker, inSight),
    )
  );
}

function isMarked(pivot: Node, marker: string): boolean {
  const [entry] = Array.isArray(pivot.entries) ? pivot.entries : [];
  const [value] = isNode(entry) && Array.isArray(entry.values) ? entry.values : [];
  return isNode(value) && value.value === marker;
}

function firstOf<Item, Result>(items: Item[], find: (item: Item) => Result | undefined): Result | undefined {
  for (const item of items) {
    const found = find(item);
    if (found !== undefined) return found;
  }
  return undefined;
}

function unclear(): LakeError {
  return new LakeError("denied", "The columns of this PIVOT could not be worked out.", {
    hint: "List the values: PIVOT workers ON state IN ('IL', 'MA') USING count(*).",
  });
}

function tooMany(): LakeError {
  return new LakeError("limit", `More than ${MAX_PIVOTS} columns to pivot on in one statement.`, {
    hint: "List their values with IN (…), or send several statements.",
  });
}

function tooWide(): LakeError {
  return new LakeError("limit", `This PIVOT would make more than ${MAX_PIVOT_COLUMNS} columns.`, {
    hint: "List the values you need with IN (…), or GROUP BY the column instead.",
  });
}

function nothing(): LakeError {
  return new LakeError("invalid", "This PIVOT has no columns: its source has no values there.", {
    hint: "Check the source's WHERE, or list the values with IN (…).",
  });
}
