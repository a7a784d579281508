import { didYouMean, nearest } from "../../catalog/nearest.ts";
import type { Manifest } from "../../catalog/types.ts";
import { translateDuckError } from "../../duckdb/duck-errors.ts";
import { withoutLongNames } from "../../duckdb/short-names.ts";
import { LakeError, reworded } from "../../kernel/errors.ts";
import { action, argument, next, setting } from "../../kernel/next-step.ts";
import { CELL_LIMIT, MAX_CELL_ITEMS, MAX_CELL_TEXT, MAX_ROW_CELL } from "../guard/cell-limits.ts";
import type { Judged } from "../guard/guard.ts";
import { HIT_COLUMNS } from "../search/vector-hits.ts";
import type { Snapshot } from "../snapshot.ts";
import { isDamage, messageOf } from "./damaged-copies.ts";

const CELL_LIMIT_RAISED = new RegExp(`${CELL_LIMIT}(\\w{1,40})`);

/** DuckDB refuses every statement after an INTERNAL or FATAL error. */
export function isFatal(error: unknown): boolean {
  return /^(FATAL|INTERNAL) Error|database has been invalidated/.test(messageOf(error));
}

/** A `LakeError` for an error of DuckDB, a damaged file, or a cell limit. */
export function explained(error: unknown, localRoot: string): LakeError {
  if (isDamage(error, localRoot)) {
    return new LakeError("corrupt", "A data file of a dataset in this statement is damaged.", {
      hint: next`${action("verify")} names it, and says what to do.`,
      cause: error,
    });
  }
  const translated = translateDuckError(error, [localRoot]);
  const [, name] = CELL_LIMIT_RAISED.exec(translated.message) ?? [];
  if (name === undefined) return withAverages(translated);
  return new LakeError(
    "limit",
    `${name}() would take or make a value that is too large: ${MAX_CELL_TEXT} characters or ${MAX_CELL_ITEMS} items, for some functions less; ${MAX_ROW_CELL} characters or ${Math.floor((MAX_ROW_CELL * MAX_CELL_ITEMS) / MAX_CELL_TEXT)} items, and less with several calls, where every row makes one.`,
    { hint: "Make rows instead of one large value: FROM range(…), unnest(…).", cause: error },
  );
}

/** Names of columns and fields, which come from files. */
function namesIn(manifests: readonly Manifest[]): string[] {
  return manifests.flatMap(({ columns }) =>
    columns.flatMap(({ name, type }) => [
      name,
      ...Array.from(type.matchAll(/"((?:[^"]|"")+)"/g), ([, field = ""]) => field),
    ]),
  );
}

/** Adds a hint about SUMMARIZE, which averages every column, and fails when one has no average. */
function withAverages(error: LakeError): LakeError {
  const isNanoTime = error.message.includes("'avg(TIME_NS)'");
  if (
    !isNanoTime &&
    !/STDDEV_SAMP is out of range|AVG is out of range|HUGEINT addition|destination type INT64|Date out of range in timestamp/.test(
      error.message,
    )
  ) {
    return error;
  }
  if (error.hint !== undefined) return error;
  const hint = isNanoTime
    ? 'SUMMARIZE, too, averages: cast such columns, as in SUMMARIZE SELECT * REPLACE (CAST("time" AS TIME) AS "time") FROM t.'
    : "If this is SUMMARIZE: some values are too large or too small to be averaged. Leave that column out, as in SUMMARIZE SELECT * EXCLUDE (c) FROM t.";
  return reworded(error, { hint });
}

/** Names come from files: longer ones are left out. */
const MAX_FACT = 100;

/** Adds the nearest columns, which DuckDB names only for columns without a table, and cuts long names from files. */
export function withColumns(original: LakeError, { calls }: Judged, snapshot: Snapshot): LakeError {
  const manifests = [...snapshot.manifests.values()];
  const error = reworded(original, { message: withoutLongNames(original.message, namesIn(manifests)) });
  if (calls.length > 0 && /^Binder error: Referenced table "vector_search" not found/.test(error.message)) {
    return reworded(error, { hint: "Give the hits a name: FROM vector_search(…) AS hit, then hit.id." });
  }
  const [, wanted] = /(?:column named|Referenced column) "([^"]{1,100})"/.exec(error.message) ?? [];
  if (error.kind !== "invalid" || wanted === undefined) return error;
  const columns = manifests.flatMap((manifest) => manifest.columns.map((column) => column.name));
  if (calls.length > 0) columns.push(...HIT_COLUMNS);
  const where = manifests.map((manifest) => `DESCRIBE ${manifest.name}`).join(", ");
  return reworded(error, {
    message: error.message.replace(/^Binder error: Values list "/, 'Binder error: Table "'),
    code: "unknown_column",
    hint: `${didYouMean(wanted, columns)} ${where || "DESCRIBE SELECT …"} lists columns.`.trim(),
    facts: { column: wanted, nearest: nearest(wanted, columns).filter(({ length }) => length <= MAX_FACT) },
  });
}

export function timedOut(timeoutMs: number): LakeError {
  return new LakeError("limit", `The statement was stopped after ${timeoutMs} ms.`, {
    code: "query_timeout",
    hint: next`Filter or aggregate earlier, look for a join without a condition, or allow more with ${argument("timeout_ms")}.`,
    facts: { argument: "timeout_ms", limit: timeoutMs },
  });
}

export function tooPatient(timeoutMs: number, maxMs: number): LakeError {
  return new LakeError("invalid", `A statement may take ${maxMs} ms at most; ${timeoutMs} were requested.`, {
    hint: next`Call again with ${argument("timeout_ms", maxMs)} or less, or raise ${setting("max_query_timeout")}.`,
    facts: { argument: "timeout_ms", limit: maxMs, setting: "max_query_timeout" },
  });
}

export function brokenOff(): LakeError {
  return new LakeError("unavailable", "The statement was broken off after some of its rows were handed over.", {
    hint: "Run it again: what broke it has been put right.",
  });
}

export function closedError(): LakeError {
  return new LakeError("closed", "The lakehouse is closed.", { hint: "Start it again." });
}
