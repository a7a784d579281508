import { didYouMean, shown } from "../catalog/nearest.ts";
import type { Column, Manifest } from "../catalog/types.ts";
import { identifier, literal } from "../duckdb/duckdb.ts";
import { LakeError } from "../kernel/errors.ts";
import { MAX_METADATA_COLUMNS, MAX_TEMPLATE } from "../kernel/limits.ts";
import { relation } from "./filter.ts";
import type { SourceRequest } from "./types.ts";

const FIELD = /\{([^{}]*)\}/g;

/** What a source comes to over the columns of a dataset, which are named as the dataset names them. */
export interface SourceQuery {
  id: string;
  metadata: string[];
  /** Yields id VARCHAR, text VARCHAR and metadata VARCHAR (JSON) of every row. */
  sql: string;
}

/** Throws `invalid` for a column that there is not, and for a template without one. */
export function sourceQuery(dataset: Manifest, { text, id, where, metadata = [] }: SourceRequest): SourceQuery {
  const column = (name: string, argument: string): string => findColumn(dataset, name, argument).name;
  if (metadata.length > MAX_METADATA_COLUMNS) {
    throw new LakeError("limit", `metadata has ${metadata.length} columns, more than ${MAX_METADATA_COLUMNS}.`, {
      hint: "All columns can be joined in a search: keep a few as metadata.",
    });
  }
  const own = { id: column(id, "id"), metadata: [...new Set(metadata.map((name) => column(name, "metadata")))] };
  const fields = own.metadata.map((name) => `${identifier(name)} := ${jsonOf(findColumn(dataset, name, "metadata"))}`);
  const json =
    fields.length === 0 ? "CAST(NULL AS VARCHAR)" : `CAST(to_json(struct_pack(${fields.join(", ")})) AS VARCHAR)`;
  const condition = where === undefined ? "" : ` WHERE (\n${where}\n)`;
  const sql = `SELECT CAST(${identifier(own.id)} AS VARCHAR) AS id, ${textOf(dataset, text)} AS text, ${json} AS metadata FROM ${relation(dataset)}${condition}`;
  return { ...own, sql };
}

/** A column as JSON that any reader takes for the same: what a double cannot hold, or JSON not say, as a text. */
function jsonOf({ name, type }: Column): string {
  const value = identifier(name);
  const text = `to_json(CAST(${value} AS VARCHAR))`;
  if (/^(?:DOUBLE|FLOAT)$/.test(type)) return `CASE WHEN isfinite(${value}) THEN to_json(${value}) ELSE ${text} END`;
  if (/^U?BIGINT$/.test(type)) {
    const most = Number.MAX_SAFE_INTEGER;
    return `CASE WHEN ${value} BETWEEN -${most} AND ${most} THEN to_json(${value}) ELSE ${text} END`;
  }
  return /^(?:DECIMAL|U?HUGEINT)/.test(type) ? text : value;
}

/** A column by its name, or a template, where `{column}` stands for the column's value, NULL for nothing. */
function textOf(dataset: Manifest, text: string): string {
  if (text.length > MAX_TEMPLATE) {
    throw new LakeError("limit", `text has ${text.length} characters, more than ${MAX_TEMPLATE}.`, {
      hint: "Make a column of it with ingest {name, sql}, and name that.",
    });
  }
  const exact = dataset.columns.find((column) => column.name === text);
  if (exact || !text.includes("{")) {
    return `CAST(${identifier(exact?.name ?? findColumn(dataset, text, "text").name)} AS VARCHAR)`;
  }
  const parts: string[] = [];
  const tests: string[] = [];
  let from = 0;
  for (const match of text.matchAll(FIELD)) {
    if (match.index > from) parts.push(literal(text.slice(from, match.index)));
    const name = identifier(findColumn(dataset, match[1] ?? "", "text").name);
    parts.push(`coalesce(CAST(${name} AS VARCHAR), '')`);
    tests.push(`${name} IS NOT NULL`);
    from = match.index + match[0].length;
  }
  if (tests.length === 0) {
    throw new LakeError("invalid", `text ${JSON.stringify(text.slice(0, 100))} names no column.`, {
      hint: "Write columns in braces, as in {role} in {city}. {resume_text}, or give the name of one column.",
    });
  }
  if (from < text.length) parts.push(literal(text.slice(from)));
  // A row with none of it has no text.
  return `CASE WHEN ${tests.join(" OR ")} THEN ${parts.join(" || ")} END`;
}

function findColumn(dataset: Manifest, name: string, argument: string): Column {
  const wanted = name.trim();
  const exact = dataset.columns.find((column) => column.name === wanted);
  const found = exact ?? dataset.columns.find((column) => column.name.toLowerCase() === wanted.toLowerCase());
  if (found) return found;
  const names = dataset.columns.map((column) => column.name);
  throw new LakeError(
    "invalid",
    `${argument}: ${dataset.name} has no column ${JSON.stringify(wanted.slice(0, 100))}.${didYouMean(wanted, names)}`,
    {
      hint: `Its columns are ${names.slice(0, 50).map(shown).join(", ")}${names.length > 50 ? ", …" : ""}.`,
    },
  );
}
