import { type Connection, literal, literalList } from "../../duckdb/duckdb.ts";
import type { ConvertContext, Source } from "../types.ts";
import type { Layout, Sniffed } from "./csv-layout.ts";
import type { Dialect } from "./csv-lines.ts";
import type { PlainText } from "./csv-text.ts";

/** How the file is read. Each property changes at most once, after an attempt that failed without the change. */
export interface Reading {
  whole: PlainText;
  /** The table: all of `whole`, or a copy without titles and header where DuckDB cannot skip these. */
  text: PlainText;
  layout: Layout;
  /** The first record of `text` is the header. */
  headerInFile: boolean;
  /** Larger buffers, for rows longer than DuckDB's usual 2 MB. */
  longRows: boolean;
  /** Bad rows are left out and noted in a table. */
  skipBadRows: boolean;
}

/** One attempt at a file. */
export interface Attempt {
  connection: Connection;
  source: Source;
  context: ConvertContext;
  reading: Reading;
  sniffed: Sniffed;
}

/** With more columns, most memory is DuckDB's state per column and thread. */
const WIDE_COLUMNS = 150;
/** With more columns, DuckDB's sniffer, and one statement for all columns, take more memory than an ingest has. */
const WIDEST_COLUMNS = 1000;
const LONG_ROW_BYTES = 64_000_000;
const WIDE_BUFFER_BYTES = 4_000_000;

export function isWide({ names }: Pick<Sniffed, "names">): boolean {
  return names.length > WIDE_COLUMNS;
}

export function isWidest({ columns }: Pick<Layout, "columns">): boolean {
  return columns > WIDEST_COLUMNS;
}

/** SQL of the file as text columns `c0`, `c1`… Where bad rows are skipped, they are noted in a table named `rejects`. */
export function readCsv({ reading, sniffed, context }: Attempt, rejects: string): string {
  const columns = sniffed.names.map((_, index) => `c${index}: 'VARCHAR'`).join(", ");
  const options = [
    "auto_detect = false",
    "skip = 0",
    "comment = ''",
    `nullstr = ${literalList(["", ...(context.csv?.nullValues ?? [])])}`,
    `header = ${reading.headerInFile}`,
    `columns = {${columns}}`,
    ...dialectOptions(sniffed),
    ...newlineOptions(reading),
    ...bufferOptions(reading, isWide(sniffed)),
  ];
  if (reading.skipBadRows) {
    options.push("ignore_errors = true", "store_rejects = true");
    options.push(`rejects_table = '${rejects}'`, `rejects_scan = '${rejects}_scan'`);
  }
  return `read_csv(${literal(reading.text.path)}, ${options.join(", ")})`;
}

export function dialectOptions({ delimiter, quote, escapedBy }: Dialect): string[] {
  return [`delim = ${literal(delimiter)}`, `quote = ${literal(quote)}`, `escape = ${literal(escapedBy)}`];
}

/** Without it, DuckDB expects all records to end as the first line does, even if that line end is inside quotes. */
export function newlineOptions({ text }: Reading): string[] {
  return text.newlines === "lf" ? ["new_line = '\\n'"] : [];
}

export function bufferOptions({ longRows }: Pick<Reading, "longRows">, wide: boolean): string[] {
  if (longRows) return [`max_line_size = ${LONG_ROW_BYTES}`, `buffer_size = ${LONG_ROW_BYTES}`];
  return wide ? [`buffer_size = ${WIDE_BUFFER_BYTES}`] : [];
}

/** Forgets the rows that earlier scans left out. */
export async function dropRejects(connection: Connection): Promise<void> {
  const tables = await connection.rows<{ table_name: string }>(
    "SELECT table_name FROM duckdb_tables() WHERE table_name LIKE 'rejects%'",
  );
  for (const { table_name } of tables) await connection.run(`DROP TABLE ${table_name}`);
}
