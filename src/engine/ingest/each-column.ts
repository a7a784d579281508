import type { Connection } from "../duckdb/duckdb.ts";
import { LakeError } from "../kernel/errors.ts";
import type { ConvertContext } from "./types.ts";

/** A column of what DuckDB reads: SQL of its values, and its name in the file. */
export interface OneColumn {
  select: string;
  name: string;
}

/**
 * Reads each column by itself, telling its name before. Where one ends the process, that is what was told last; else it
 * throws, since there is nothing to return.
 */
export async function readEachColumn(
  connection: Connection,
  from: string,
  columns: readonly OneColumn[],
  { onColumn, signal }: Pick<ConvertContext, "onColumn" | "signal">,
): Promise<never> {
  for (const { select, name } of columns) {
    await onColumn?.(name);
    // What DuckDB refuses is no crash.
    await connection.run(`SELECT max(hash(${select})) FROM ${from}`, { signal }).catch(() => undefined);
  }
  await onColumn?.(null);
  throw new LakeError("internal", "No column ends the process by itself.");
}
