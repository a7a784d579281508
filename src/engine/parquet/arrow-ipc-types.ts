import type { ArrowField, ArrowType } from "./arrow-ipc-format.ts";

/**
 * How the types of Arrow come back out of Parquet. Most do by themselves; Parquet has no annotation for the ones in
 * `READ_BACK`, which arrive as bare integers. https://github.com/apache/parquet-format/blob/master/LogicalTypes.md
 */
const READ_BACK: Record<string, (column: string, type: ArrowType) => string> = {
  Null: (column) => `CAST(${column} AS VARCHAR)`,
  "Date millisecond": (column) => `CAST(epoch_ms(${column}) AS DATE)`,
  "Time second": (column) => `TIME '00:00:00' + to_seconds(${column})`,
  "Timestamp second": (column, { zoned }) =>
    zoned ? `CAST(make_timestamp(${column} * 1000000) AS TIMESTAMPTZ)` : `make_timestamp(${column} * 1000000)`,
};

/** SQL for a top-level column read from Parquet, where its Arrow type got lost on the way. `column` is quoted. */
export function readBack({ type }: ArrowField, column: string): string {
  return READ_BACK[typeKey(type)]?.(column, type) ?? column;
}

/** Why this field cannot be ingested, in words that follow its name; undefined when it can. */
export function findUnsupported(fields: readonly ArrowField[], path: string[] = []): string | undefined {
  for (const field of fields) {
    const here = [...path, field.name];
    const reason = refusal(field.type, path.length > 0);
    if (reason !== undefined) return `column "${here.join(".")}" ${reason}`;
    const inside = findUnsupported(field.children, here);
    if (inside !== undefined) return inside;
  }
  return undefined;
}

function refusal(type: ArrowType, nested: boolean): string | undefined {
  const name = typeKey(type);
  // Parquet's INTERVAL counts whole milliseconds and cannot be negative.
  if (type.kind === "Duration" || type.kind === "Interval")
    return `has the Arrow type ${name}, which Parquet would round`;
  if (["?", "Union", "RunEndEncoded", "ListView", "LargeListView"].includes(name)) {
    return `has the Arrow type ${name === "?" ? "of a newer format version" : name}, which has no Parquet form`;
  }
  if (type.kind === "Decimal" && type.precision > 38) return `is a decimal of ${type.precision} digits; 38 fit`;
  if (nested && type.kind !== "Null" && name in READ_BACK) return `has a ${name} inside a list, struct or map`;
  return undefined;
}

function typeKey(type: ArrowType): string {
  return type.unit === "" ? type.kind : `${type.kind} ${type.unit}`;
}
