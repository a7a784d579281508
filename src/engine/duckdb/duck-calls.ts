import type { Params } from "../kernel/json.ts";
import { openScope, type Scope } from "../kernel/scope.ts";
import type { CallContext, Handler } from "../process/serve.ts";
import { translateDuckError } from "./duck-errors.ts";
import { type DuckSettings, interruptOn, type LocalConnection, openDuck } from "./duckdb.ts";
import { type Execution, execute, openParser, type Statement, stream, texts } from "./execute.ts";
import { openStatements, type Statements } from "./statements.ts";
import { readTexts, readVectors } from "./vectors.ts";
import { readZone, type ZoneOffsets } from "./zone-offsets.ts";

// The methods that `remote.ts` calls in a worker process. A process has one instance at a time.

interface Opened {
  scope: Scope;
  settings: DuckSettings;
  zone: ZoneOffsets | undefined;
  connect(): Promise<LocalConnection>;
}

interface Session {
  connection: LocalConnection;
  statements: Statements;
  parse: ((sql: string) => Promise<string>) | undefined;
}

let opened: Opened | undefined;
const sessions = new Map<number, Session>();
let made = 0;

/** A call on one connection. */
interface On {
  connection: number;
}
type Limits = Omit<Execution, "signal" | "zone">;
type Running = On & { statement: Statement; limits: Limits; planKey: string | undefined };

const onConnection: Record<string, (session: Session, args: never, context: CallContext) => Promise<unknown>> = {
  "duck.run": (
    { connection },
    { sql, params, tellsProgress }: { sql: string; params?: Params; tellsProgress: boolean },
    { signal, emit },
  ) =>
    connection.run(sql, {
      signal,
      ...(params !== undefined && { params }),
      ...(tellsProgress && { onProgress: (percent) => void emit(percent).catch(() => undefined) }),
    }),
  "duck.rows": ({ connection }, { sql, params }: { sql: string; params?: Params }, { signal }) =>
    connection.rows(sql, { signal, ...(params !== undefined && { params }) }),
  "duck.parse": async (session, { sql }: { sql: string }) => {
    session.parse ??= await openParser(session.connection);
    return session.parse(sql);
  },
  "duck.execute": (session, { statement, limits, planKey }: Running, { signal }) =>
    execute(targetOf(session, planKey), statement, { ...limits, signal, zone: opened?.zone }),
  "duck.stream": (session, { statement, limits, planKey }: Running, { signal, emit }) =>
    stream(targetOf(session, planKey), statement, { ...limits, signal, zone: opened?.zone }, (rows, columns) =>
      emit({ rows, columns }),
    ),
  "duck.texts": ({ connection }, { statement, limits }: Running, { signal }) =>
    texts(connection, statement, { ...limits, signal }),
  "duck.readTexts": async ({ connection }, { sql }: { sql: string }, { signal, emit }) => {
    for await (const part of readTexts(connection, sql, signal)) await emit(part);
  },
  "duck.readVectors": async ({ connection }, args: { sql: string; dimension: number }, { signal, emit }) => {
    for await (const { vectors, ...part } of readVectors(connection, args.sql, args.dimension, signal)) {
      const bytes = Buffer.from(vectors.buffer, vectors.byteOffset, vectors.byteLength);
      await emit({ ...part, vectors: bytes.toString("base64") });
    }
  },
  "duck.append": async ({ connection }, { table, rows }: { table: string; rows: (string | number | null)[][] }) => {
    const appender = await connection.raw.createAppender(table, "main", "temp");
    try {
      for (const row of rows) {
        for (const value of row) {
          if (value === null) appender.appendNull();
          else if (typeof value === "number") appender.appendDouble(value);
          else appender.appendVarchar(value);
        }
        appender.endRow();
      }
    } finally {
      appender.closeSync();
    }
  },
};

export const calls: Readonly<Record<string, Handler>> = {
  "duck.open": async ({ settings, setup }: { settings: DuckSettings; setup: readonly string[] }) => {
    await close();
    const scope = openScope();
    const { connect } = await openDuck(scope, settings);
    const first = await connect();
    opened = { scope, settings, connect, zone: await readZone(first, settings.timeZone) };
    for (const statement of setup) await first.run(statement);
    first.close();
  },
  "duck.connect": async () => {
    if (!opened) throw new Error("There is no instance.");
    const connection = await opened.connect();
    sessions.set(++made, { connection, statements: openStatements(), parse: undefined });
    return made;
  },
  "duck.disconnect": async ({ connection }: On) => disconnect(connection),
  "duck.close": close,
  ...Object.fromEntries(Object.entries(onConnection).map(([name, handler]) => [name, interruptible(handler)])),
};

function interruptible(handler: (session: Session, args: never, context: CallContext) => Promise<unknown>): Handler {
  return async (args: On, told) => {
    const session = sessions.get(args.connection);
    if (!session) throw new Error("There is no such connection.");
    const stop = interruptOn(told.signal, session.connection.raw);
    try {
      return await handler(session, args as never, told);
    } catch (error) {
      throw translateDuckError(error, opened?.settings.hidePaths);
    } finally {
      stop();
    }
  };
}

/** Without a plan key the statement is planned anew, and its plan is not kept. */
function targetOf({ connection, statements }: Session, planKey: string | undefined) {
  return { connection, statements: planKey === undefined ? UNKEPT : statements, planKey: planKey ?? "" };
}

const UNKEPT: Statements = {
  take: () => undefined,
  keep: (_, prepared) => prepared.destroySync(),
  close: () => undefined,
};

function disconnect(id: number): void {
  const session = sessions.get(id);
  sessions.delete(id);
  session?.statements.close();
  session?.connection.close();
}

async function close(): Promise<void> {
  for (const id of [...sessions.keys()]) disconnect(id);
  const { scope } = opened ?? {};
  opened = undefined;
  await scope?.close();
}
