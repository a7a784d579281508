import { cellText, type Json, jsonText } from "./text.ts";

export const STREAMED = ["csv", "json", "ndjson", "markdown"] as const;
export const OUTPUTS = ["table", ...STREAMED] as const;

/** Writes rows as text, a batch at a time: `head`, then any number of `rows`, then `tail`. */
export interface RowWriter {
  head: string;
  rows(rows: readonly Json[][]): string;
  tail: string;
}

export function openWriter(format: (typeof STREAMED)[number], columns: readonly { name: string }[]): RowWriter {
  const names = columns.map(({ name }) => name);
  switch (format) {
    case "csv":
      return csv(names);
    case "json":
      return json(names);
    case "ndjson":
      return {
        head: "",
        rows: (rows) => rows.map((row) => `${jsonText(objectOf(unique(names), row))}\n`).join(""),
        tail: "",
      };
    case "markdown":
      return markdown(names);
  }
}

/** RFC 4180. NULL is an empty field, an empty text is `""`; lists and structs are JSON. */
function csv(names: readonly string[]): RowWriter {
  const line = (fields: readonly Json[]): string => `${fields.map(csvField).join(",")}\r\n`;
  // Most readers skip an empty line: in a single column, NULL is written as an empty quoted field.
  const only = names.length === 1;
  return {
    head: line(names),
    rows: (rows) => rows.map((row) => (only && row[0] === null ? '""\r\n' : line(row))).join(""),
    tail: "",
  };
}

function csvField(value: Json): string {
  if (value === null) return "";
  const text = typeof value === "string" ? value : JSON.stringify(value);
  // Some readers trim unquoted spaces at the edges.
  return text === "" || /[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function json(names: readonly string[]): RowWriter {
  const keys = unique(names);
  let first = true;
  return {
    head: "[",
    rows: (rows) =>
      rows
        .map((row) => {
          const before = first ? "\n" : ",\n";
          first = false;
          return before + jsonText(objectOf(keys, row));
        })
        .join(""),
    tail: "\n]\n",
  };
}

function markdown(names: readonly string[]): RowWriter {
  const line = (fields: readonly Json[]): string =>
    `| ${fields.map((field) => cellText(field).replaceAll("\\", "\\\\").replaceAll("|", "\\|")).join(" | ")} |\n`;
  return {
    head: `${line(names)}|${names.map(() => " --- |").join("")}\n`,
    rows: (rows) => rows.map(line).join(""),
    tail: "",
  };
}

/** By `fromEntries`, because assigning to `__proto__` would set the prototype. */
function objectOf(keys: readonly string[], row: readonly Json[]): Record<string, Json> {
  return Object.fromEntries(keys.map((key, at) => [key, row[at] ?? null]));
}

/** Makes names of columns unique, because they become keys: a second `name` becomes `name_1`. */
function unique(names: readonly string[]): string[] {
  const taken = new Set(names);
  const seen = new Set<string>();
  return names.map((name) => {
    let key = name;
    for (let n = 1; seen.has(key) || (key !== name && taken.has(key)); n++) key = `${name}_${n}`;
    seen.add(key);
    return key;
  });
}
