import type { IngestNotes } from "../types.ts";
import { KINDS, type Kind } from "./json-kinds.ts";
import type { ColumnSurvey } from "./json-survey.ts";

type KeptAsText = IngestNotes["kept_as_text"][number];

/** A column's type. `NESTED`: lists or objects, whose type depends on their content. */
export interface Decision {
  type:
    | "BOOLEAN"
    | "BIGINT"
    | "DOUBLE"
    | "DATE"
    | "TIMESTAMP"
    | "TIMESTAMP WITH TIME ZONE"
    | "VARCHAR"
    | "JSON"
    | "NESTED";
  kept: KeptAsText | undefined;
}

const FITTING: [Decision["type"], Kind[]][] = [
  ["BOOLEAN", ["BOOLEAN"]],
  ["BIGINT", ["INTEGER", "BIGINT"]],
  ["DOUBLE", ["INTEGER", "DOUBLE"]],
  ["DATE", ["DATE"]],
  ["TIMESTAMP", ["TIMESTAMP"]],
  ["TIMESTAMP WITH TIME ZONE", ["TIMESTAMP WITH TIME ZONE"]],
  ["NESTED", ["NESTED"]],
];
const NUMBERS: Kind[] = ["INTEGER", "BIGINT", "DOUBLE", "NUMBER"];
const TEXTS: Kind[] = ["DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "VARCHAR"];

/**
 * Chooses a column's type from the kinds of its values: one that keeps all of them, else text, or JSON with objects or
 * lists among them. `target`, the dataset's type, is chosen when every value fits it. Pure.
 */
export function decideType({ key, counts, first }: ColumnSurvey, target: string | undefined): Decision {
  const present = KINDS.filter((_, index) => (counts[index] ?? 0) > 0);
  const fits = (kinds: Kind[]): boolean => present.every((kind) => kinds.includes(kind));
  if (target === "JSON" && present.length > 0) return { type: "JSON", kept: undefined };
  if (target === "VARCHAR" && !present.includes("NESTED")) return { type: "VARCHAR", kept: undefined };
  if (present.length === 0) {
    const known = FITTING.find(([type]) => type === target && type !== "NESTED");
    return { type: known?.[0] ?? "VARCHAR", kept: undefined };
  }
  const wanted =
    FITTING.find(([type, kinds]) => type === target && fits(kinds)) ?? FITTING.find(([, kinds]) => fits(kinds));
  if (wanted) return { type: wanted[0], kept: undefined };

  if (present.includes("NESTED")) {
    return { type: "JSON", kept: note("objects or lists are mixed with plain values; kept as JSON") };
  }
  // Strings of which some look like dates are plain text, unless most do.
  const inferred = mostly(counts);
  if (inferred === "VARCHAR" && fits(TEXTS)) return { type: "VARCHAR", kept: undefined };
  if (!fits(NUMBERS)) return { type: "VARCHAR", kept: note("not every value is of this type") };
  const long = present.includes("NUMBER") ? "NUMBER" : "BIGINT";
  const found = first[KINDS.indexOf(long)];
  const reason = "the number has more digits than this type keeps";
  const type = present.includes("DOUBLE") ? "DOUBLE" : typeName(inferred);
  return { type: "VARCHAR", kept: found ? { column: key, inferred: type, ...found, reason } : undefined };

  function note(why: string): KeptAsText | undefined {
    const most = mostly(counts);
    const misfits = present.filter((kind) => kind !== most).map((kind) => first[KINDS.indexOf(kind)]);
    const [found] = misfits.filter((example) => example != null).sort((a, b) => a.line - b.line);
    return found && { column: key, inferred: typeName(most), ...found, reason: why };
  }
}

function mostly(counts: number[]): Kind {
  const best = counts.reduce((most, count, index) => (count > (counts[most] ?? 0) ? index : most), 0);
  return KINDS[best] ?? "VARCHAR";
}

function typeName(kind: Kind): string {
  return kind === "INTEGER" ? "BIGINT" : kind === "NUMBER" ? "DOUBLE" : kind === "NESTED" ? "JSON" : kind;
}

/** Whether numbers in a column of text must be read as they are written: DuckDB would rewrite 1.10 as 1.1. */
export function needsVerbatim(survey: ColumnSurvey, decision: Decision): boolean {
  return decision.type === "VARCHAR" && (survey.counts[KINDS.indexOf("DOUBLE")] ?? 0) > 0;
}

/** Whether DuckDB tells these keys apart as names: it ignores case, and has no empty names. */
export function areFieldNames(keys: readonly string[]): boolean {
  return new Set(keys.map((key) => key.toLowerCase())).size === keys.length && keys.every(isFieldName);
}

function isFieldName(key: string): boolean {
  return key !== "" && !key.includes("\0");
}

/**
 * Memory that DuckDB reserves for a value of a type, relative to a plain column; it reserves 2,048 of them at a time.
 * Types inside lists and objects count twice, because their values are buffered. Pure.
 */
export function widthOf(type: string): number {
  const parts = type.replace(/"(?:[^"]|"")*"/g, "").split(/[(,[]/).length;
  return parts === 1 ? 1 : 2 * parts;
}
