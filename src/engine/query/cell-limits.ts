/** Longest text, in bytes, and longest list that one call of a growing function may make. */
export const MAX_CELL_TEXT = 16 * 2 ** 20;
export const MAX_CELL_ITEMS = 1_000_000;

/** The same for replacing, where the real length is known only afterwards: an upper bound of it. */
const MAX_REPLACED = 4 * MAX_CELL_TEXT;

/** Begins the message of every error that `CELL_LIMITS` raises. */
export const CELL_LIMIT = "cell limit: ";

/** Functions replaced by `CELL_LIMITS`. Each uses an argument more than once, so nesting them multiplies the work. */
export const GROWING_FUNCTIONS: ReadonlySet<string> = new Set([
  "array_resize",
  "generate_series",
  "list_resize",
  "lpad",
  "range",
  "repeat",
  "replace",
  "rpad",
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
      `times::HUGEINT * CASE WHEN typeof(value) IN ('VARCHAR', 'JSON') THEN greatest(1, strlen(value::VARCHAR)) ELSE ${MAX_CELL_TEXT / MAX_CELL_ITEMS} END > ${MAX_CELL_TEXT}`,
      "value, times",
    )}`,
  ]),
  ...["lpad", "rpad"].map((name) =>
    macro(name, [`(value, width, filler) AS ${limited(name, `width > ${MAX_CELL_TEXT / 4}`, "value, width, filler")}`]),
  ),
  macro("replace", [
    `(value, source, target) AS ${limited(
      "replace",
      `strlen(value)::HUGEINT // greatest(1, strlen(source)) * strlen(target) > ${MAX_REPLACED}`,
      "value, source, target",
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

function macro(name: string, overloads: string[]): string {
  return `CREATE OR REPLACE MACRO main.${name}${overloads.join(", ")}`;
}

function limited(name: string, tooBig: string, args: string): string {
  return `CASE WHEN ${tooBig} THEN error('${CELL_LIMIT}${name}') ELSE system.main.${name}(${args}) END`;
}
