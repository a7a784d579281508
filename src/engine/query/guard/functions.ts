import { didYouMean, nearest } from "../../catalog/nearest.ts";
import type { Connection } from "../../duckdb/duckdb.ts";
import { LakeError } from "../../kernel/errors.ts";
import { DENIED_FUNCTIONS, DENIED_PATTERN, EXTRA_FUNCTIONS, FUNCTION_REASONS, TABLE_FUNCTIONS } from "./policy.ts";
import { foldCase } from "./tokens.ts";

/** Names of the scalar, aggregate, window and macro functions a statement may call, in lower case. */
export type FunctionNames = ReadonlySet<string>;

/** Reads the built-in functions that are neither volatile nor denied from DuckDB's list. */
export async function loadFunctionNames(connection: Connection): Promise<FunctionNames> {
  const rows = await connection.rows<{ name: string }>(
    `SELECT DISTINCT lower(function_name) AS name FROM duckdb_functions()
     WHERE database_name = 'system' AND internal AND function_type IN ('scalar', 'aggregate', 'macro')
       AND stability IS DISTINCT FROM 'VOLATILE' AND has_side_effects IS DISTINCT FROM true`,
  );
  const names = new Set(EXTRA_FUNCTIONS);
  for (const { name } of rows) {
    if (!DENIED_FUNCTIONS.has(name) && !DENIED_PATTERN.test(name)) names.add(name);
  }
  return names;
}

/** Throws `denied` with the reason, or `invalid` with the nearest names when there is no such function. */
export function assertFunction(name: string, allowed: FunctionNames): void {
  if (allowed.has(foldCase(name))) return;
  throw refusal(name, allowed);
}

/** The same for a function in FROM. */
export function assertTableFunction(name: string): void {
  if (TABLE_FUNCTIONS.has(foldCase(name))) return;
  throw refusal(name, TABLE_FUNCTIONS);
}

function refusal(name: string, allowed: ReadonlySet<string>): LakeError {
  const lower = foldCase(name);
  const known = FUNCTION_REASONS.find(({ pattern }) => pattern.test(lower));
  if (known) return new LakeError("denied", `${lower}() is not available: ${known.reason}.`, { hint: known.hint });
  if (DENIED_FUNCTIONS.has(lower) || DENIED_PATTERN.test(lower)) {
    return new LakeError("denied", `${lower}() is not available: queries have no use for it.`, {
      hint: "Leave it out.",
    });
  }
  const what = allowed === TABLE_FUNCTIONS ? "table function" : "function";
  return new LakeError("invalid", `There is no ${what} ${lower}().${didYouMean(lower, allowed)}`, {
    facts: { nearest: nearest(lower, allowed) },
    hint:
      allowed === TABLE_FUNCTIONS
        ? `FROM takes datasets by name, subqueries, and ${[...TABLE_FUNCTIONS].join(", ")}.`
        : "Functions are those built into DuckDB; extensions are not loaded.",
  });
}
