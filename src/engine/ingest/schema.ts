import { shown } from "../catalog/nearest.ts";
import type { Column, Head } from "../catalog/types.ts";
import { foldedName } from "../duckdb/folded-name.ts";
import { LakeError } from "../kernel/errors.ts";
import { argument, next } from "../kernel/next-step.ts";
import type { IngestRequest } from "./request.ts";
import type { Target } from "./types.ts";

type Plain = Pick<Column, "name" | "type">;
type Mode = NonNullable<IngestRequest["mode"]>;

export interface SchemaRules {
  name: string;
  mode: Mode;
  schemaChange: "refuse" | "allow";
  /** The types were inferred from text, so that a column of the dataset that is text takes any of them. */
  inferred: boolean;
}

/** The schema that new rows have to fit. `newest` is the dataset's newest version, a tombstone after a drop. */
export function openTarget(newest: Head | undefined, rules: SchemaRules): Target {
  const live = newest && !newest.dropped ? newest : undefined;
  const lastId = newest?.lastColumnId ?? 0;
  // A replace that may change the schema takes the source's; ids still follow names.
  const fresh = live === undefined || (rules.mode === "replace" && rules.schemaChange === "allow");
  return {
    columns: fresh ? [] : live.columns,
    async settle(columns) {
      assertTypes(columns);
      if (fresh) return withIds(columns, live?.columns ?? [], lastId);
      return settle(columns, live, lastId, rules);
    },
  };
}

/** Throws `invalid` for types that queries may not cast to: with such a column in it, DuckDB casts to them by itself. */
function assertTypes(columns: readonly Plain[]): void {
  for (const { name, type } of columns) {
    const bare = type.replace(/"(?:[^"]|"")*"/g, "q").replace(/'(?:[^']|'')*'/g, "e");
    const refuse = (hint: string): LakeError =>
      new LakeError("invalid", `Column ${shown(name)} is of type ${type.slice(0, 100)}.`, {
        hint,
        facts: { column: name },
      });
    if (/\b(?:VARIANT|BIGNUM)\b/.test(bare)) throw refuse("Write it as text, JSON, a STRUCT or a DECIMAL first.");
    if (UNNAMED_FIELD.test(bare))
      throw refuse("Give its fields names, as in {'a': 1, 'b': 2} in the place of ROW(1, 2).");
  }
}

/** A field without a name: its type, or nothing between two spaces, is in the place of the name. */
const UNNAMED_FIELD = /\bSTRUCT\((?:\w+[(),[]|TIME(?:STAMP)? WITH TIME ZONE\b)|[(,] {2}|\( /;

function settle(columns: readonly Plain[], live: Head, lastId: number, rules: SchemaRules): Column[] {
  // Case is ignored, as SQL does; the dataset's spelling stays.
  const incoming = new Map(columns.map((column) => [foldedName(column.name), column]));
  const present = new Set(live.columns.map(({ name }) => foldedName(name)));
  const added = columns.filter(({ name }) => !present.has(foldedName(name)));
  const removed = live.columns.filter(({ name }) => !incoming.has(foldedName(name)));
  const changed = live.columns.flatMap(({ name, type }) => {
    const from = incoming.get(foldedName(name))?.type ?? type;
    return from === type || holds(type, from, rules) ? [] : [{ name, from: type, to: from }];
  });
  const appendable = rules.mode === "append" && rules.schemaChange === "allow" && changed.length === 0;
  if (added.length + removed.length + changed.length > 0 && !appendable) {
    throw drift(live, { added, removed, changed }, rules);
  }
  return [...live.columns, ...withIds(added, [], lastId)];
}

/** Whether every value of `from` fits `type` without loss, so that a narrower type of the source is no change. */
function holds(type: string, from: string, { inferred }: SchemaRules): boolean {
  if (inferred && type === "VARCHAR") return !/[[(]/.test(from);
  const wider = WIDER[from] ?? [];
  return wider.includes(type);
}

const WIDER: Record<string, string[]> = {
  TINYINT: ["SMALLINT", "INTEGER", "BIGINT", "DOUBLE"],
  SMALLINT: ["INTEGER", "BIGINT", "DOUBLE"],
  INTEGER: ["BIGINT", "DOUBLE"],
  UTINYINT: ["SMALLINT", "INTEGER", "BIGINT", "USMALLINT", "UINTEGER", "UBIGINT", "DOUBLE"],
  USMALLINT: ["INTEGER", "BIGINT", "UINTEGER", "UBIGINT", "DOUBLE"],
  UINTEGER: ["BIGINT", "UBIGINT", "DOUBLE"],
  FLOAT: ["DOUBLE"],
  DATE: ["TIMESTAMP"],
};

function withIds(columns: readonly Plain[], known: readonly Column[], lastId: number): Column[] {
  const ids = new Map(known.map(({ name, id }) => [name, id]));
  let last = lastId;
  return columns.map(({ name, type }) => ({ id: ids.get(name) ?? ++last, name, type }));
}

function drift(
  live: Head,
  changes: {
    added: readonly Plain[];
    removed: readonly Plain[];
    changed: { name: string; from: string; to: string }[];
  },
  { mode }: SchemaRules,
): LakeError {
  const parts = [
    ["added", changes.added.map(({ name, type }) => `${shown(name)} ${type}`)],
    ["removed", changes.removed.map(({ name, type }) => `${shown(name)} ${type}`)],
    ["changed", changes.changed.map(({ name, from, to }) => `${shown(name)} ${from} → ${to}`)],
  ] as const;
  const list = parts.flatMap(([what, names]) => (names.length > 0 ? [`${what}: ${listed(names)}`] : []));
  const allow = argument("schema_change", "allow");
  const hint =
    mode === "replace"
      ? next`Call again with ${allow} to replace the schema as well, or ingest under another name.`
      : changes.changed.length > 0
        ? "A column's type cannot change on append. Convert the column, or ingest under another name."
        : next`Call again with ${allow} to append anyway: columns that a row does not have are NULL.`;
  return new LakeError(
    "conflict",
    `The columns differ from ${live.name}@${live.version}. ${list.join("; ")}. Nothing was changed.`,
    { code: "schema_mismatch", hint, facts: { argument: "schema_change" } },
  );
}

const LISTED = 20;

function listed(names: readonly string[]): string {
  const more = names.length > LISTED ? `, … ${names.length - LISTED} more` : "";
  return `${names.slice(0, LISTED).join(", ")}${more}`;
}

/** Whether files written for `columns` still fit `current`, which another writer may have changed since `settle`. */
export function stillFits(
  current: Head | undefined,
  columns: readonly Column[],
  { mode, schemaChange }: SchemaRules,
): boolean {
  if (!current) return columns.every(({ id }, index) => id === index + 1);
  const live = current.dropped ? [] : current.columns;
  const same = live.every(({ id, name, type }, index) => {
    const column = columns[index];
    return column?.id === id && column.name === name && column.type === type;
  });
  const isNew = ({ id }: Column): boolean => id > current.lastColumnId;
  if (mode === "replace" && (schemaChange === "allow" || current.dropped)) {
    return columns.every(
      (column) => isNew(column) || live.some(({ id, name }) => id === column.id && name === column.name),
    );
  }
  return (
    same &&
    columns.slice(live.length).every(isNew) &&
    (schemaChange === "allow" || current.dropped || columns.length === live.length)
  );
}
