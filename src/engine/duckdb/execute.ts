import { type DuckDBPreparedStatement, type DuckDBResult, StatementType } from "@duckdb/node-api";
import { LakeError } from "../kernel/errors.ts";
import type { Params } from "../kernel/json.ts";
import type { LocalConnection } from "./duckdb.ts";
import { bindParams, bindSome } from "./params.ts";
import { type Collected, collect, type ResultLimits, type RowSink, type Streamed, stream } from "./results.ts";
import type { Statements } from "./statements.ts";

export interface Statement {
  sql: string;
  /** It is an EXPLAIN; else it has to be a SELECT. */
  explain: boolean;
}

export interface Execution extends ResultLimits {
  params: Params | undefined;
}

export interface On {
  connection: LocalConnection;
  statements: Statements;
  /** What the tables of a statement stand for: the same statement over the same data is planned once. */
  seen: string;
}

/** Runs a statement that was judged, after asking DuckDB once more what it is. Throws `denied` and what reading throws. */
export function execute(on: On, statement: Statement, execution: Execution): Promise<Collected> {
  return run(on, statement, execution, (result) => collect(result, execution));
}

/** The same for any number of rows; see `stream`. */
export function pour(on: On, statement: Statement, execution: Execution, onRows: RowSink): Promise<Streamed> {
  return run(on, statement, execution, (result) => stream(result, execution, onRows));
}

async function run<Result extends { truncatedBy?: string }>(
  { connection, statements, seen }: On,
  statement: Statement,
  execution: Execution,
  read: (result: DuckDBResult) => Promise<Result>,
): Promise<Result> {
  const key = `${seen}\n${statement.explain}\n${statement.sql}`;
  const prepared = statements.take(key) ?? (await prepare(connection, statement));
  let sound = false;
  try {
    bindParams(prepared, execution.params);
    // Not `startStream`: it plans the statement on this thread, and planning may take a second.
    const result = await read(await prepared.stream());
    // A result that was not read to its end keeps its memory until the connection runs something else.
    if (result.truncatedBy !== undefined) await connection.run("SELECT 1");
    sound = true;
    return result;
  } finally {
    if (sound) statements.keep(key, prepared);
    else prepared.destroySync();
  }
}

async function prepare(connection: LocalConnection, statement: Statement): Promise<DuckDBPreparedStatement> {
  const extracted = await connection.raw.extractStatements(statement.sql);
  if (extracted.count !== 1) throw notAQuery();
  const prepared = await extracted.prepare(0);
  const expected = statement.explain ? StatementType.EXPLAIN : StatementType.SELECT;
  if (prepared.statementType === expected) return prepared;
  prepared.destroySync();
  throw notAQuery();
}

/** The one text column of a query that the guard wrote itself, from a statement with these parameters. Throws `limit`. */
export async function texts(
  connection: LocalConnection,
  statement: Statement,
  execution: Execution,
): Promise<string[]> {
  const prepared = await connection.raw.prepare(statement.sql);
  try {
    bindSome(prepared, execution.params);
    const { rows, truncatedBy } = await collect(await prepared.stream(), execution);
    if (truncatedBy !== undefined) await connection.run("SELECT 1");
    if (truncatedBy === "max_bytes") throw tooMuchText();
    return rows.map(([value]) => String(value));
  } finally {
    prepared.destroySync();
  }
}

/** `json_serialize_sql` with its statement prepared: half of the cost of a small query would go into planning it. */
export async function openParser(connection: LocalConnection): Promise<(sql: string) => Promise<string>> {
  const prepared = await connection.raw.prepare(
    "SELECT json_serialize_sql($1::VARCHAR, skip_null := true, skip_empty := true, skip_default := true)",
  );
  return async (sql) => {
    prepared.bindVarchar(1, sql);
    const reader = await prepared.runAndReadAll();
    return String(reader.getRows()[0]?.[0] ?? "");
  };
}

function tooMuchText(): LakeError {
  return new LakeError("limit", "The values of this PIVOT are too long to be names of columns.", {
    hint: "Pivot on a part of them, as in left(column, 50), or GROUP BY the column instead.",
  });
}

function notAQuery(): LakeError {
  return new LakeError("denied", "Only one statement that reads can run.", { hint: "Send one SELECT." });
}
