import type { Connection } from "../duckdb/duckdb.ts";
import { LakeError } from "../kernel/errors.ts";
import type { ConvertContext } from "./types.ts";

export interface OneColumn {
  /** SQL of its values. */
  select: string;
  /** As the file spells it. */
  name: string;
}

/**
 * Reads each column by itself and reports its name before, so that the last name reported is that of a column that ends
 * the process. Throws `internal` when none does.
 */
export async function readEachColumn(
  connection: Connection,
  from: string,
  columns: readonly OneColumn[],
  { onColumn, signal }: Pick<ConvertContext, "onColumn" | "signal">,
): Promise<never> {
  for (const { select, name } of columns) {
    await onColumn?.(name);
    // An error of DuckDB is no crash.
    await connection.run(`SELECT max(hash(${select})) FROM ${from}`, { signal }).catch(() => undefined);
  }
  await onColumn?.(null);
  throw new LakeError("internal", "No column ends the process by itself.");
}
