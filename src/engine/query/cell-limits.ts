/** Longest text, in bytes, and longest list that one call of a growing function may make. */
export const MAX_CELL_TEXT = 16 * 2 ** 20;
export const MAX_CELL_ITEMS = 1_000_000;

/** The same for replacing, where the real length is known only afterwards: an upper bound of it. */
const MAX_REPLACED = 4 * MAX_CELL_TEXT;

/** Product of the lengths of two texts that are compared letter by letter: 10 000 each. */
const MAX_COMPARED = 10_000 ** 2;

/** Brackets in a JSON value for functions that recurse over it: far more end the process. */
const MAX_JSON_BRACKETS = 1000;

/** Begins the message of every error that `CELL_LIMITS` raises. */
export const CELL_LIMIT = "cell limit: ";

/** Functions replaced by `CELL_LIMITS`, which use an argument more than once, and others whose nesting multiplies. */
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

/** Of these, the ones whose lists do not count towards `memory_limit`: a lambda could call them a million times. */
export const LIST_MAKERS: ReadonlySet<string> = new Set(["array_resize", "generate_series", "list_resize", "range"]);

/**
 * Macros in front of the built-in functions that make a value of any size from a number. One call of those neither
 * counts towards `memory_limit` nor can it be interrupted: `repeat('x', 1e9)` with constants holds 2 GB for 8 s.
 */
export const CELL_LIMITS: readonly string[] = [
  macro("repeat", [
    `(value, times) AS ${limited(
      "repeat",
      `times::HUGEINT * greatest(CASE WHEN typeof(value) IN ('VARCHAR', 'JSON') THEN 1 ELSE ${MAX_CELL_TEXT / MAX_CELL_ITEMS} END, strlen(value::VARCHAR)) > ${MAX_CELL_TEXT}`,
      "value, times",
    )}`,
  ]),
  ...["lpad", "rpad"].map((name) =>
    macro(name, [`(value, width, filler) AS ${limited(name, `width > ${MAX_CELL_TEXT / 4}`, "value, width, filler")}`]),
  ),
  // Eight digits a byte, and fewer.
  ...["bin", "to_binary", "hex", "to_hex"].map((name) =>
    macro(name, [`(value) AS ${limited(name, `strlen(value::VARCHAR) > ${MAX_CELL_TEXT / 8}`, "value")}`]),
  ),
  macro("replace", [
    `(value, source, target) AS ${limited(
      "replace",
      `strlen(value)::HUGEINT // greatest(1, strlen(source)) * strlen(target) > ${MAX_REPLACED}`,
      "value, source, target",
    )}`,
  ]),
  ...["levenshtein", "editdist3", "damerau_levenshtein", "jaro_similarity", "jaro_winkler_similarity"].map((name) => {
    const tooLong = `strlen(a)::HUGEINT * strlen(b) > ${MAX_COMPARED}`;
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
      `(list, size) AS ${limited(name, `size > ${MAX_CELL_ITEMS}`, "list, size")}`,
      `(list, size, filler) AS ${limited(name, `size > ${MAX_CELL_ITEMS}`, "list, size, filler")}`,
    ]),
  ),
  ...["range", "generate_series"].map((name) =>
    macro(name, [
      `(stop BIGINT) AS ${limited(name, `stop > ${MAX_CELL_ITEMS}`, "stop")}`,
      `(start BIGINT, stop BIGINT) AS ${limited(name, `stop::HUGEINT - start > ${MAX_CELL_ITEMS}`, "start, stop")}`,
      `(start BIGINT, stop BIGINT, step BIGINT) AS ${limited(
        name,
        `(stop::HUGEINT - start) // nullif(step, 0) > ${MAX_CELL_ITEMS}`,
        "start, stop, step",
      )}`,
      ...["TIMESTAMP", "TIMESTAMPTZ"].map(
        (type) =>
          `(start ${type}, stop ${type}, step INTERVAL) AS ${limited(
            name,
            `abs(epoch(stop) - epoch(start)) / nullif(abs(epoch(step)), 0) > ${MAX_CELL_ITEMS}`,
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

function limited(name: string, tooBig: string, args: string): string {
  return `CASE WHEN ${tooBig} THEN error('${CELL_LIMIT}${name}') ELSE system.main.${name}(${args}) END`;
}
