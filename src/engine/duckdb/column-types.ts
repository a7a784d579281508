import { DuckDBListType, DuckDBMapType, DuckDBStructType, type DuckDBType } from "@duckdb/node-api";
import { translateDuckError } from "./duck-errors.ts";
import type { LocalConnection } from "./duckdb.ts";

/** A type as a tree. */
export type TypeTree =
  | { kind: "plain"; name: string }
  | { kind: "struct"; fields: { name: string; type: TypeTree }[] }
  | { kind: "list"; item: TypeTree }
  | { kind: "map"; key: TypeTree; value: TypeTree };

/**
 * Names and types of the columns of a query, which is not run: that would take memory for 2,048 rows of each column.
 */
export async function columnTypes(
  connection: LocalConnection,
  select: string,
): Promise<{ name: string; type: TypeTree }[]> {
  try {
    const prepared = await connection.raw.prepare(select);
    try {
      return Array.from({ length: prepared.columnCount }, (_, index) => ({
        name: prepared.columnName(index),
        type: treeOf(prepared.columnType(index)),
      }));
    } finally {
      prepared.destroySync();
    }
  } catch (error) {
    throw translateDuckError(error);
  }
}

function treeOf(type: DuckDBType): TypeTree {
  if (type instanceof DuckDBListType) return { kind: "list", item: treeOf(type.valueType) };
  if (type instanceof DuckDBMapType) {
    return { kind: "map", key: treeOf(type.keyType), value: treeOf(type.valueType) };
  }
  if (!(type instanceof DuckDBStructType)) return { kind: "plain", name: String(type) };
  const fields = type.entryTypes.map((inner, index) => ({ name: type.entryNames[index] ?? "", type: treeOf(inner) }));
  return { kind: "struct", fields };
}
