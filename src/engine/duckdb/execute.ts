import { type DuckDBPreparedStatement, type DuckDBResult, StatementType } from "@duckdb/node-api";
import { LakeError } from "../kernel/errors.ts";
import type { Params } from "../kernel/json.ts";
import type { LocalConnection } from "./duckdb.ts";
import { bindParams, bindSome } from "./params.ts";
import { type Collected, collect, type ResultLimits, type RowSink, type Streamed, streamRows } from "./results.ts";
import type { Statements } from "./statements.ts";

export interface Statement {
  sql: string;
  /** Whether it is an EXPLAIN; otherwise it has to be a SELECT. */
  explain: boolean;
}

export interface Execution extends ResultLimits {
  params: Params | undefined;
}

export interface On {
  connection: LocalConnection;
  statements: Statements;
  /** Identifies the content of the statement's tables: the same statement with the same key is planned once. */
  planKey: string;
}

/**
 * Runs a statement that the guard has allowed, after DuckDB has confirmed what it is. Throws `denied` and as `collect`.
 */
export function execute(on: On, statement: Statement, execution: Execution): Promise<Collected> {
  return run(on, statement, execution, (result) => collect(result, execution));
}

/** The same for any number of rows; see `streamRows`. */
export function stream(on: On, statement: Statement, execution: Execution, onRows: RowSink): Promise<Streamed> {
  return run(on, statement, execution, (result) => streamRows(result, execution, onRows));
}

async function run<Result extends { truncatedBy?: string }>(
  { connection, statements, planKey }: On,
  statement: Statement,
  execution: Execution,
  read: (result: DuckDBResult) => Promise<Result>,
): Promise<Result> {
  const key = `${planKey}\n${statement.explain}\n${statement.sql}`;
  const prepared = statements.take(key) ?? (await prepare(connection, statement));
  let sound = false;
  try {
    bindParams(prepared, execution.params);
    // Not `startStream`, which plans the statement on this thread: planning may take a second.
    const result = await read(await prepared.stream());
    // A result that was not read to its end keeps its memory until the connection runs another statement.
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

/** The one text column of a query that the guard has made of a part of a statement. Throws `limit`. */
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

/** `json_serialize_sql` as a prepared statement: planning it would be half of the cost of a small query. */
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
