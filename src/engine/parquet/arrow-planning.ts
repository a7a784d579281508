import { type DataType, Field } from "apache-arrow";
import type { BatchReader } from "./arrow-batch.ts";
import type { Column } from "./arrow-column.ts";

/** How one field of the file becomes a field that Parquet and DuckDB have. */
export interface Plan {
  /** What it is written as. Every field may hold NULLs, whatever the file said, but the keys of a map. */
  out: DataType;
  /** The type that DuckDB reads it as, and the one it is cast to where that is another. */
  duck: string;
  cast?: string;
  /** Nanoseconds in UTC: where none has a part of a microsecond, a type with a time zone holds them. */
  isZonedNanos?: boolean;
  read(batch: BatchReader): Column;
}

/** Of a column, or of a field in one. */
export interface NamedPlan extends Plan {
  name: string;
}

export function fieldOf({ name, out }: NamedPlan, nullable = true): Field {
  return new Field(name, out, nullable);
}

export interface Told {
  converted: { column: string; from: string; to: string; reason: string }[];
  renamed: { from: string; to: string }[];
}

/** A dictionary of the file, and what the fields that use it make of its values. */
export interface Dictionary {
  id: string;
  /** The column that it belongs to. */
  column: string;
  plan: Plan;
  /** Undefined until it has come; a column of NULLs alone may do without. */
  values: Column | undefined;
  /** Its number where it goes on as a dictionary. */
  out: number | undefined;
}

export interface Planning extends Told {
  dictionaries: Dictionary[];
  /** Names from the column to the field. */
  path: string[];
  isInDictionary: boolean;
}
