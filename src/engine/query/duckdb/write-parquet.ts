import { join } from "node:path";
import { identifier, literal } from "../../duckdb/duckdb.ts";
import { openRemoteDuck, type RemoteConnection } from "../../duckdb/remote.ts";
import { LakeError } from "../../kernel/errors.ts";
import { inScope } from "../../kernel/scope.ts";
import { CELL_LIMITS, cellStatement } from "../guard/cell-limits.ts";
import type { Judged } from "../guard/guard.ts";
import { withoutEnd } from "../guard/tokens.ts";
import type { QueryParts } from "../parts.ts";
import { hitStatements } from "../search/vector-hits.ts";
import type { Snapshot } from "../snapshot.ts";
import type { ParquetOptions, ParquetResult, ResultColumn } from "../types.ts";
import { throwForCopies } from "./damaged-copies.ts";
import { explained, withColumns } from "./query-errors.ts";
import { judgeOn, pinnedSnapshot, type QuerySession, searchesOf, versionsRead, viewParts } from "./session.ts";
import type { StatementRunner } from "./statement-runner.ts";
import { statementsOf } from "./views.ts";

/** A judged statement for an instance of its own. */
export interface Plan {
  /** Fit to stand in parentheses. */
  sql: string;
  /** Statements that make the instance see the same data. */
  setup: string[];
  datasets: string[];
  /** Files that are read as local copies. */
  keys: string[];
  judged: Judged;
  snapshot: Snapshot;
}

/**
 * The pool judges the statement and pins its files; an instance of its own, which is no place of the pool, runs it.
 * Only that instance may write, and only into the folder.
 */
export function writeParquet(
  parts: QueryParts,
  runner: StatementRunner,
  text: string,
  { onColumns, onProgress, folder, maxRows, ...options }: ParquetOptions,
): Promise<ParquetResult> {
  const sql = withoutEnd(text);
  return inScope(async (files) => {
    const plan = await runner.onSession({ ...options, sql, files }, (session) => planOf(session, sql));
    const target = { folder, maxRows, onColumns, onProgress, signal: options.signal };
    const { store } = parts;
    const written = await writePlanned(parts, plan, target).catch((error: unknown) =>
      throwForCopies(store, plan.keys, withColumns(explained(error, store.localRoot), plan.judged, plan.snapshot)),
    );
    return { ...written, datasets: plan.datasets };
  });
}

async function planOf(session: QuerySession, sql: string): Promise<Plan> {
  const judged = await judgeOn(session, sql);
  if (judged.explain) {
    throw new LakeError("denied", "EXPLAIN makes no rows to keep.", { hint: "Send the query without EXPLAIN." });
  }
  const searches = await searchesOf(session, judged);
  const snapshot = await pinnedSnapshot(session, judged);
  const setup = [...CELL_LIMITS, ...(judged.growing > 0 ? [cellStatement(judged.growing)] : [])];
  for (const relation of snapshot.relations) {
    for await (const statement of statementsOf(relation, session.instance.connection, viewParts(session)))
      setup.push(statement);
  }
  if (searches.length > 0) setup.push(...hitStatements(searches, session.found));
  const datasets = versionsRead(snapshot, searches, session.found);
  return { sql: judged.sql, setup, datasets, keys: [...session.pins.keys.keys()], judged, snapshot };
}

type Target = Pick<ParquetOptions, "folder" | "maxRows" | "onColumns" | "onProgress" | "signal">;

export async function writePlanned(
  { store, settings }: QueryParts,
  { sql, setup }: Pick<Plan, "sql" | "setup">,
  { folder, maxRows, onColumns, onProgress, signal }: Target,
): Promise<Pick<ParquetResult, "columns" | "files">> {
  return inScope(async (scope) => {
    const duck = await openRemoteDuck(
      scope,
      {
        memoryBytes: settings.ingestMemoryBytes,
        threads: settings.threads,
        tempFolder: join(folder, "tmp"),
        maxTempBytes: settings.maxTempBytes,
        folders: [join(store.localRoot, "data"), folder],
        hidePaths: [folder, store.localRoot],
        timeZone: settings.timeZone,
        progress: onProgress !== undefined,
      },
      [],
      (ending, how) => settings.log("warn", "a process that wrote rows as Parquet has ended", { ending, how }),
    );
    const connection = await duck.connect();
    for (const statement of setup) await connection.run(statement, { signal });
    // On lines of its own, since the statement may end in a comment.
    const rows = `SELECT * FROM (\n${sql}\n)`;
    const columns = await columnsOf(connection, rows, signal);
    await onColumns?.(columns.map(({ name, type }) => ({ name, type })));
    const path = join(folder, "rows.parquet");
    const limit = maxRows === undefined ? "" : ` LIMIT ${maxRows}`;
    const select = `SELECT ${columns.map(stored).join(", ")} FROM (${rows})${limit}`;
    await connection.run(`COPY (${select}) TO ${literal(path)} (${copyOptions(columns)})`, {
      signal,
      onProgress: onProgress && ((percent) => onProgress(percent / 100)),
    });
    return { columns: columns.map(({ name, type }) => ({ name, type })), files: [path] };
  });
}

interface StoredColumn extends ResultColumn {
  /** The statement's own type of it. */
  from: string;
}

async function columnsOf(
  connection: RemoteConnection,
  select: string,
  signal: AbortSignal | undefined,
): Promise<StoredColumn[]> {
  const described = await connection.rows<{ column_name: string; column_type: string }>(`DESCRIBE ${select}`, {
    signal,
  });
  return described.map(({ column_name, column_type }) => ({
    name: column_name,
    type: storedType(column_type),
    from: column_type,
  }));
}

function stored({ name, type, from }: StoredColumn): string {
  return type === from ? identifier(name) : `CAST(${identifier(name)} AS ${type}) AS ${identifier(name)}`;
}

/** Cells of a row group, a few of which have to fit in memory. */
const GROUP_CELLS = 20_480 * 64;
const MAX_GROUP_ROWS = 20_480;
const MIN_GROUP_ROWS = 128;

/** The files are read once and thrown away: quick to write rather than small. */
function copyOptions(columns: readonly ResultColumn[]): string {
  const rows = Math.max(MIN_GROUP_ROWS, Math.min(MAX_GROUP_ROWS, Math.floor(GROUP_CELLS / columns.length)));
  const options = ["FORMAT parquet", "COMPRESSION lz4", `ROW_GROUP_SIZE ${rows}`, "DICTIONARY_SIZE_LIMIT 1"];
  // As GeoParquet, which is the default, nested geometries and columns of NULLs come back as bytes.
  if (columns.some(({ type }) => type.includes("GEOMETRY"))) options.push("GEOPARQUET_VERSION 'NONE'");
  return options.join(", ");
}

/**
 * Types that DuckDB writes to Parquet as a type that holds less, and a type that holds all of it. A field of a STRUCT
 * may be called like a type; a type is followed by nothing but a bracket or a comma.
 */
const STORED: [RegExp, string][] = [
  [/\bU?HUGEINT(?=[,)[]|$)/g, "DECIMAL(38,0)"],
  [/\bTIMESTAMP_M?S(?=[,)[]|$)/g, "TIMESTAMP"],
  [/\b(?:BIGNUM|BIT|INTERVAL|TIME WITH TIME ZONE)(?=[,)[]|$)/g, "VARCHAR"],
];
const QUOTED = /("(?:[^"]|"")*")/;
/** A quoted name is matched first, so that nothing inside of one is taken for a type. */
const QUOTED_OR_ENUM = /("(?:[^"]|"")*")|\bENUM\((?:'(?:[^']|'')*'(?:, )?)*\)/g;

/**
 * The type in which a column keeps every value: `sum()` makes HUGEINT, which Parquet does not have and DuckDB writes as
 * DOUBLE. A UNION, which comes back as another type, becomes JSON as a whole.
 */
function storedType(type: string): string {
  const parts = type.replace(QUOTED_OR_ENUM, (_, quoted: string | undefined) => quoted ?? "VARCHAR").split(QUOTED);
  if (parts.some((part) => !part.startsWith('"') && /\bUNION\(/.test(part))) return "JSON";
  if (type === '"NULL"') return "INTEGER";
  return parts
    .map((part) => (part.startsWith('"') ? part : STORED.reduce((text, [from, to]) => text.replace(from, to), part)))
    .join("");
}
