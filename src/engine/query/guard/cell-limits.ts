import type { Connection } from "../../duckdb/duckdb.ts";

/** Longest text, in bytes, and longest list that one call of a growing function may make. */
export const MAX_CELL_TEXT = 16 * 2 ** 20;
export const MAX_CELL_ITEMS = 1_000_000;

/** Limits where every row makes a value, because DuckDB makes 2048 rows at a time: bytes of all calls, and of one. */
const MAX_ROW_TEXT = 256 * 1024;
export const MAX_ROW_CELL = 64 * 1024;
const MIN_ROW_CELL = 4096;
const VARIABLE = "lakehouse_cell_bytes";
const CELL_BYTES = `coalesce(getvariable('${VARIABLE}'), ${MAX_CELL_TEXT})::BIGINT`;
const CELL_ITEMS = `(${CELL_BYTES} * ${MAX_CELL_ITEMS} // ${MAX_CELL_TEXT})`;

/** The same for the upper bound of a replaced text, whose length is known only afterwards. */
const REPLACED = `least(${4 * MAX_CELL_TEXT}, ${CELL_BYTES} * 16)`;

/**
 * Product of the lengths of two texts that are compared letter by letter: 10 000 each, or 1000 where every row does it.
 */
const COMPARED = `least(100000000, ${CELL_BYTES} * 16)`;

/** Sets the limits for a statement with this many calls that may make a large value for every row. */
export function cellStatement(growing: number): string {
  if (growing === 0) return `RESET VARIABLE ${VARIABLE}`;
  return `SET VARIABLE ${VARIABLE} = ${Math.max(MIN_ROW_CELL, Math.min(MAX_ROW_CELL, Math.floor(MAX_ROW_TEXT / growing)))}`;
}

/** Brackets in a JSON value for functions that recurse over it: far more would end the process. */
const MAX_JSON_BRACKETS = 1000;

/** The last limits of each connection: most statements have no such calls, and need no change. */
const current = new WeakMap<Connection, string>();

export async function limitCells(connection: Connection, growing: number): Promise<void> {
  const statement = cellStatement(growing);
  if (statement === (current.get(connection) ?? cellStatement(0))) return;
  current.set(connection, "");
  await connection.run(statement);
  current.set(connection, statement);
}

/** Begins the message of every error that `CELL_LIMITS` raises. */
export const CELL_LIMIT = "cell limit: ";

/** Functions whose nesting multiplies sizes, and macros of `CELL_LIMITS`, which compute an argument more than once. */
export const GROWING_FUNCTIONS: ReadonlySet<string> = new Set([
  "array_resize",
  "bin",
  "damerau_levenshtein",
  "editdist3",
  "flatten",
  "generate_series",
  "hex",
  "jaro_similarity",
  "jaro_winkler_similarity",
  "json_contains",
  "json_merge_patch",
  "json_quote",
  "json_structure",
  "levenshtein",
  "list_resize",
  "lpad",
  "range",
  "repeat",
  "replace",
  "rpad",
  "to_binary",
  "to_hex",
  "to_json",
  "url_encode",
]);
export const MAX_GROWING_DEPTH = 3;

/** Those whose limit is smaller where they make a value for every row. */
export const LIMITED_BY_ROW: ReadonlySet<string> = new Set([
  "array_resize",
  "damerau_levenshtein",
  "editdist3",
  "generate_series",
  "jaro_similarity",
  "jaro_winkler_similarity",
  "levenshtein",
  "list_resize",
  "lpad",
  "range",
  "repeat",
  "replace",
  "rpad",
]);

/** Those whose lists DuckDB does not count as memory: a lambda could call them a million times. */
export const LIST_MAKERS: ReadonlySet<string> = new Set(["array_resize", "generate_series", "list_resize", "range"]);

/**
 * Macros that limit the built-in functions which make a value of any size from a number. A call of those does not count
 * towards `memory_limit` and cannot be interrupted: `repeat('x', 1e9)` with constants takes 2 GB for 8 s.
 */
export const CELL_LIMITS: readonly string[] = [
  macro("repeat", [
    `(value, times) AS ${limited(
      "repeat",
      `times::HUGEINT * greatest(CASE WHEN typeof(value) IN ('VARCHAR', 'JSON') THEN 1 ELSE ${MAX_CELL_TEXT / MAX_CELL_ITEMS} END, strlen(value::VARCHAR)) > ${CELL_BYTES}`,
      "value, times",
    )}`,
  ]),
  ...["lpad", "rpad"].map((name) =>
    macro(name, [`(value, width, filler) AS ${limited(name, `width > ${CELL_BYTES} // 4`, "value, width, filler")}`]),
  ),
  // At most eight digits a byte.
  ...["bin", "to_binary", "hex", "to_hex"].map((name) =>
    macro(name, [`(value) AS ${limited(name, `strlen(value::VARCHAR) > ${MAX_CELL_TEXT / 8}`, "value")}`]),
  ),
  macro("replace", [
    `(value, source, target) AS ${limited(
      "replace",
      `strlen(value)::HUGEINT * (strlen(target) - strlen(source)) > ${REPLACED}`,
      "value, source, target",
    )}`,
  ]),
  ...["levenshtein", "editdist3", "damerau_levenshtein", "jaro_similarity", "jaro_winkler_similarity"].map((name) => {
    const tooLong = `strlen(a)::HUGEINT * strlen(b) > ${COMPARED}`;
    return macro(name, [
      `(a, b) AS ${limited(name, tooLong, "a, b")}`,
      ...(name.startsWith("jaro") ? [`(a, b, cutoff) AS ${limited(name, tooLong, "a, b, cutoff")}`] : []),
    ]);
  }),
  macro("json_structure", [`(doc) AS ${limited("json_structure", tooManyBrackets("doc"), "doc")}`]),
  ...["json_contains", "json_merge_patch"].map((name) =>
    macro(name, [
      `(doc, other) AS ${limited(name, `${tooManyBrackets("doc")} OR ${tooManyBrackets("other")}`, "doc, other")}`,
    ]),
  ),
  macro("flatten", [
    `(list) AS ${limited(
      "flatten",
      `system.main.list_sum(system.main.list_transform(list, lambda item: len(item))) > ${MAX_CELL_ITEMS}`,
      "list",
    )}`,
  ]),
  ...["list_resize", "array_resize"].map((name) =>
    macro(name, [
      `(list, size) AS ${limited(name, `size > ${CELL_ITEMS}`, "list, size")}`,
      `(list, size, filler) AS ${limited(name, `size > ${CELL_ITEMS}`, "list, size, filler")}`,
    ]),
  ),
  ...["range", "generate_series"].map((name) =>
    macro(name, [
      `(stop BIGINT) AS ${limited(name, `stop > ${CELL_ITEMS}`, "stop")}`,
      `(start BIGINT, stop BIGINT) AS ${limited(name, `stop::HUGEINT - start > ${CELL_ITEMS}`, "start, stop")}`,
      `(start BIGINT, stop BIGINT, step BIGINT) AS ${limited(
        name,
        `(stop::HUGEINT - start) // nullif(step, 0) > ${CELL_ITEMS}`,
        "start, stop, step",
      )}`,
      ...["TIMESTAMP", "TIMESTAMPTZ"].map(
        (type) =>
          `(start ${type}, stop ${type}, step INTERVAL) AS ${limited(
            name,
            `abs(epoch(stop) - epoch(start)) / nullif(abs(epoch(step)), 0) > ${CELL_ITEMS}`,
            "start, stop, step",
          )}`,
      ),
    ]),
  ),
];

function tooManyBrackets(doc: string): string {
  const without = `system.main.replace(system.main.replace(${doc}::VARCHAR, '{', ''), '[', '')`;
  return `strlen(${doc}::VARCHAR) - strlen(${without}) > ${MAX_JSON_BRACKETS}`;
}

function macro(name: string, overloads: string[]): string {
  return `CREATE OR REPLACE MACRO main.${name}${overloads.join(", ")}`;
}

/**
 * Fails by casting a text to BOOLEAN: error() has side effects, with which other columns could not refer to this one.
 */
function limited(name: string, tooBig: string, args: string): string {
  const passes = `CASE WHEN ${tooBig} THEN '${CELL_LIMIT}${name}' ELSE 'true' END::BOOLEAN`;
  return `CASE WHEN ${passes} THEN system.main.${name}(${args}) END`;
}
