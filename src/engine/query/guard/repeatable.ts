import type { Connection } from "../../duckdb/duckdb.ts";
import type { Judged } from "./guard.ts";
import { OTHER_UNREPEATABLE, REPEATABLE_MACROS, TABLE_FUNCTIONS, UNREPEATABLE_FUNCTIONS } from "./policy.ts";

/**
 * Names of functions that always return the same for the same arguments: those that DuckDB calls `CONSISTENT` in all
 * overloads, and macros on our list, because DuckDB does not tell what a macro consists of.
 */
export async function loadRepeatable(connection: Connection): Promise<ReadonlySet<string>> {
  const rows = await connection.rows<{ name: string }>(
    `SELECT lower(function_name) AS name FROM duckdb_functions()
     WHERE database_name = 'system' AND internal AND function_type IN ('scalar', 'aggregate', 'macro')
     GROUP BY ALL HAVING bool_and(stability IS NOT DISTINCT FROM 'CONSISTENT' AND has_side_effects IS DISTINCT FROM true)`,
  );
  const consistent = new Set([...rows.map(({ name }) => name), ...REPEATABLE_MACROS, ...TABLE_FUNCTIONS]);
  // unnest() makes many rows of one value, but always the same ones.
  for (const name of [...UNREPEATABLE_FUNCTIONS, ...OTHER_UNREPEATABLE]) if (name !== "unnest") consistent.delete(name);
  return consistent;
}

/** Whether the result follows from the statement's text, its parameters, and the versions of the datasets it reads. */
export function isRepeatable(
  { explain, builtins, calls, sampled, names }: Judged,
  repeatable: ReadonlySet<string>,
): boolean {
  // Plans have durations in them; tables of the catalog and hits of searches have no version to compare.
  if (explain || sampled || builtins.length > 0 || calls.length > 0) return false;
  return names.every((name) => repeatable.has(name));
}
