import { readdirSync } from "node:fs";
import { setPriority } from "node:os";
import type { DuckDBConnection, DuckDBInstance, DuckDBValue } from "@duckdb/node-api";
import { cancelled, throwIfAborted } from "../kernel/abort.ts";
import { LakeError } from "../kernel/errors.ts";
import type { Params } from "../kernel/json.ts";
import type { Scope } from "../kernel/scope.ts";
import { translateDuckError } from "./duck-errors.ts";

/** Resources of a locked instance, and the files that it can reach. Sizes in bytes. */
export interface DuckSettings {
  memoryBytes: number;
  threads: number;
  tempFolder: string;
  maxTempBytes: number;
  /** Folders that it may read and write: DuckDB does not tell the two apart. */
  folders: string[];
  /** Single files that it may read. */
  files?: string[];
  /** Roots to remove from error messages, so that these show keys and not the place of the data folder. */
  hidePaths?: string[];
  /** Statements report progress. Only for instances that run callers' statements inside of statements of ours. */
  progress?: boolean;
  /** Time zone of timestamps without an offset, and of parts such as the hour. Default: UTC. */
  timeZone?: string | undefined;
  /** Its threads run at low priority: for statements that may run away. */
  behind?: boolean;
}

export interface RunOptions {
  signal?: AbortSignal | undefined;
  /** Called with 0 to 100 while the statement runs, where DuckDB knows. */
  onProgress?: ((percent: number) => void) | undefined;
}

/** An instance in this process. */
export interface Duck {
  /** `hidePaths`: roots to remove from its messages, besides those of the instance. */
  connect(hidePaths?: readonly string[]): Promise<LocalConnection>;
}

/** One connection runs one statement at a time. */
export interface Connection {
  run(sql: string, options?: RunOptions & { params?: Params }): Promise<void>;
  /** Small internal results: rows as objects of JSON values, 64-bit integers as strings. */
  rows<Row = Record<string, unknown>>(sql: string, options?: RunOptions & { params?: Params }): Promise<Row[]>;
  close(): void;
}

/** A connection to an instance in this process. */
export interface LocalConnection extends Connection {
  /** For files in this folder, which read chunks of results. */
  readonly raw: DuckDBConnection;
}

const PROGRESS_MS = 100;
const INTERRUPT_MS = 25;
/** Settings of a connection, so they are set on each, after the lock. Printing would go to stdout. */
const PROGRESS_SETTINGS = ["enable_progress_bar", "enable_progress_bar_print"];

/** Loads the native library, which takes a quarter of a second. */
export function loadDuckDB(): Promise<typeof import("@duckdb/node-api")> {
  return import("@duckdb/node-api");
}

/** A nice value: a sixth of the usual share when processors are busy. */
const BEHIND = 8;

/**
 * Opens an in-memory DuckDB that can reach the given folders and files and nothing else. No statement can change that:
 * the order of the settings matters, because each later one removes a way to change the earlier ones.
 * https://duckdb.org/docs/stable/operations_manual/securing_duckdb/overview
 */
export async function openDuck(scope: Scope, settings: DuckSettings): Promise<Duck> {
  const { DuckDBInstance } = await loadDuckDB();
  const before = settings.behind ? threadsNow() : undefined;
  const instance: DuckDBInstance = await DuckDBInstance.create(":memory:", {
    threads: String(settings.threads),
    memory_limit: `${Math.floor(settings.memoryBytes / 1024)}KiB`,
    temp_directory: settings.tempFolder,
    autoinstall_known_extensions: "false",
    autoload_known_extensions: "false",
    allow_community_extensions: "false",
    allow_unsigned_extensions: "false",
  });
  scope.defer(() => instance.closeSync());
  if (before) putBehind(threadsNow().filter((thread) => !before.includes(thread)));
  const setup = await instance.connect();
  for (const statement of [
    `SET allowed_directories = ${literalList(settings.folders.map((folder) => folder.replace(/\/?$/, "/")))}`,
    `SET allowed_paths = ${literalList(settings.files ?? [])}`,
    // Given at creation, it would not reach the buffer manager, which is what spills.
    `SET max_temp_directory_size = '${Math.floor(settings.maxTempBytes / 1024)}KiB'`,
    ...(settings.progress ? [`SET allowed_configs = ${literalList(PROGRESS_SETTINGS)}`] : []),
    // GLOBAL, for all connections: otherwise the others follow the host's TZ and LANG, whose calendar may be the
    // Buddhist or the Persian one.
    `SET GLOBAL TimeZone = ${literal(settings.timeZone ?? "UTC")}`,
    "SET GLOBAL Calendar = 'gregorian'",
    "SET parquet_metadata_cache = true",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
  ]) {
    await setup.run(statement);
  }
  setup.closeSync();
  return {
    connect: async (hidePaths = []) => {
      const connection = await instance.connect();
      if (settings.progress) {
        await connection.run("SET enable_progress_bar_print = false");
        await connection.run("SET enable_progress_bar = true");
      }
      return wrap(connection, [...hidePaths, ...(settings.hidePaths ?? [])]);
    },
  };
}

/** Threads of this process; none where the system does not list them, which only Linux does. */
function threadsNow(): number[] {
  try {
    return readdirSync("/proc/self/task").map(Number);
  } catch {
    return [];
  }
}

/**
 * Lowers the priority of DuckDB's threads, which a long statement keeps busy, below that of the event loop and of short
 * statements. On Linux a nice value belongs to a thread (setpriority(2), C library/kernel differences).
 */
function putBehind(threads: readonly number[]): void {
  for (const thread of threads) {
    try {
      setPriority(thread, BEHIND);
    } catch {
      // The thread has ended, or may not be changed.
    }
  }
}

function wrap(connection: DuckDBConnection, hidePaths: string[]): LocalConnection {
  let open = true;

  async function guarded<T>(options: RunOptions | undefined, work: () => Promise<T>): Promise<T> {
    const { signal, onProgress } = options ?? {};
    throwIfAborted(signal);
    const stop = signal && interruptOn(signal, connection);
    const tell = (): void => {
      const { percentage } = connection.progress;
      if (percentage >= 0) onProgress?.(percentage);
    };
    const timer = onProgress && setInterval(tell, PROGRESS_MS);
    try {
      return await work();
    } catch (error) {
      throw signal?.aborted ? cancelled(signal) : translateDuckError(error, hidePaths);
    } finally {
      clearInterval(timer);
      stop?.();
    }
  }

  return {
    raw: connection,
    run: (sql, options) =>
      guarded(options, async () => {
        await connection.run(sql, bindable(options?.params));
      }),
    rows: <Row>(sql: string, options?: RunOptions & { params?: Params }) =>
      guarded(options, async () => {
        const result = await connection.run(sql, bindable(options?.params));
        const rows: Row[] = [];
        // A chunk at a time: all of a large result at once would block the event loop.
        for await (const some of result.yieldRowObjectJson()) for (const row of some) rows.push(row as Row);
        return rows;
      }),
    close: () => {
      if (open) connection.closeSync();
      open = false;
    },
  };
}

/**
 * Interrupts the connection from the abort on, again and again: an interrupt between two steps of a statement is lost.
 */
export function interruptOn(signal: AbortSignal, connection: DuckDBConnection): () => void {
  let timer: NodeJS.Timeout | undefined;
  const start = (): void => {
    connection.interrupt();
    timer = setInterval(() => connection.interrupt(), INTERRUPT_MS);
  };
  if (signal.aborted) start();
  else signal.addEventListener("abort", start, { once: true });
  return () => {
    clearInterval(timer);
    signal.removeEventListener("abort", start);
  };
}

function bindable(params: Params | undefined): DuckDBValue[] | Record<string, DuckDBValue> | undefined {
  return params as DuckDBValue[] | Record<string, DuckDBValue> | undefined;
}

/** `value` as a SQL string literal. */
export function literal(value: string): string {
  return `'${value.replaceAll("'", "''")}'`;
}

/** `name` as a quoted SQL identifier. Throws `invalid` for one that no statement can hold. */
export function identifier(name: string): string {
  if (name.includes("\0")) {
    throw new LakeError("invalid", `The name ${JSON.stringify(name.slice(0, 100))} has a NUL character in it.`, {
      hint: "Rename it in the source.",
    });
  }
  return `"${name.replaceAll('"', '""')}"`;
}

export function literalList(values: string[]): string {
  return `[${values.map(literal).join(", ")}]`;
}
