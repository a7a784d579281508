import { quoted } from "../../catalog/nearest.ts";
import { LakeError } from "../../kernel/errors.ts";
import { argument, next } from "../../kernel/next-step.ts";
import { linesOfOffsets } from "./csv-lines.ts";
import type { Attempt } from "./csv-read.ts";

/** Rows that could not be read. */
export interface BadRows {
  count: number;
  /** Byte offsets at which they start. */
  offsets: Set<number>;
  /** The first of them, in the order of the file. */
  first: BadRow[];
}

interface BadRow {
  line: number;
  column: string | null;
  reason: string;
}

const REPORTED_ROWS = 20;

/** Whether DuckDB stopped at a row that is not CSV, and not at a value that does not fit its column. */
export function isDamage(error: unknown): error is LakeError {
  return error instanceof LakeError && error.code === "csv_damaged";
}

/** Whether a row is longer than DuckDB's buffers, so that larger ones may help. */
export function isTooLong(error: unknown): error is LakeError {
  return error instanceof LakeError && error.code === "csv_line_too_long";
}

/** An error that `isTooLong` recognises. */
export function rowTooLong(): LakeError {
  return new LakeError("invalid", "Maximum line size exceeded.", { code: "csv_line_too_long" });
}

/** Reads from `table` which rows a scan left out. Throws `rowTooLong` when larger buffers would read them. */
export async function readRejects(
  { connection, reading, sniffed: { names }, context: { signal } }: Attempt,
  table: string,
): Promise<BadRows> {
  const rows = await connection.rows<{ at: string; type: string; column: string | null; found: string }>(
    `SELECT line_byte_position AS at, any_value(error_type ORDER BY byte_position, column_idx) AS type,
       any_value(column_name ORDER BY byte_position, column_idx) AS "column", max(column_idx) AS found
     FROM ${table} GROUP BY 1 ORDER BY line_byte_position`,
    { signal },
  );
  if (!reading.longRows && rows.some(({ type }) => type === "LINE SIZE OVER MAXIMUM")) {
    throw rowTooLong();
  }
  const offsets = rows.map(({ at }) => Number(at) - 1);
  const lines = await linesOfOffsets(
    reading.text.path,
    offsets.slice(0, REPORTED_ROWS),
    reading.text.firstLine,
    signal,
  );
  const first = rows.slice(0, REPORTED_ROWS).map(({ type, column, found }, index) => {
    const name = column === null ? null : (names[Number(column.slice(1))] ?? null);
    return {
      line: lines.get(offsets[index] ?? 0) ?? 0,
      column: type === "TOO MANY COLUMNS" ? (names.at(-1) ?? null) : name,
      reason: reasonOf(type, names.length, Number(found)),
    };
  });
  return { count: rows.length, offsets: new Set(offsets), first };
}

function reasonOf(type: string, columns: number, found: number): string {
  switch (type) {
    case "MISSING COLUMNS":
    case "TOO MANY COLUMNS":
      return `expected ${columns} columns, found ${found}`;
    case "UNQUOTED VALUE":
      return "a quoted value does not end where it should";
    case "INVALID ENCODING":
      return "bytes that are not UTF-8";
    case "LINE SIZE OVER MAXIMUM":
      return "the row is too long";
    default:
      return type.toLowerCase();
  }
}

/** Adds a last record whose quotes never close. */
export function addOpenRecord(bad: BadRows, { offset, line }: { offset: number; line: number }): void {
  bad.count++;
  bad.offsets.add(offset);
  if (bad.first.length < REPORTED_ROWS)
    bad.first.push({ line, column: null, reason: reasonOf("UNQUOTED VALUE", 0, 0) });
}

/** For bad rows that may not be left out. */
export function badRowsError(label: string, bad: BadRows): LakeError {
  const [row] = bad.first;
  const more = bad.count > 1 ? ` (the first of ${bad.count} such rows)` : "";
  const where = row?.column == null ? "" : `, column ${quoted(row.column)}`;
  return new LakeError("invalid", `${label}, line ${row?.line}${where}: ${row?.reason}${more}. Nothing was ingested.`, {
    code: "csv_damaged",
    hint: next`Repair the file, or call again with ${argument("on_bad_rows", "skip")} to leave out ${bad.count === 1 ? "that row" : "those rows"}.`,
    facts: { line: row?.line, column: row?.column ?? undefined },
  });
}
