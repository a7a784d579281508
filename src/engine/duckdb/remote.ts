import { cancelled } from "../kernel/abort.ts";
import { LakeError } from "../kernel/errors.ts";
import type { Params } from "../kernel/json.ts";
import type { Scope } from "../kernel/scope.ts";
import { type CallOptions, type OnEnd, ProcessEnded, takeProcess, type WorkerProcess } from "../process/processes.ts";
import { LESS_MEMORY } from "./duck-errors.ts";
import type { Connection, DuckSettings, RunOptions } from "./duckdb.ts";
import type { Execution, Statement } from "./execute.ts";
import type { Collected, RowSink, Streamed } from "./results.ts";
import type { VectorRows } from "./vectors.ts";

/**
 * An instance in a process of its own, which ends when a statement does not stop, takes too much memory, or breaks
 * DuckDB. Everything then throws `limit` or `unavailable`.
 */
export interface RemoteDuck {
  /** A process in which that takes longer than some seconds is ended. */
  connect(): Promise<RemoteConnection>;
  isAlive(): boolean;
  /** Whether what earlier statements have left in memory takes the room of the next one. */
  isFull(): boolean;
  /** Ends the process at once. */
  kill(): void;
}

/** One connection runs one statement at a time. */
export interface RemoteConnection extends Connection {
  /**
   * See `execute`. `seen` says what the tables of the statement stand for: the same statement over the same data is planned
   * once. Undefined: always anew.
   */
  execute(statement: Statement, execution: Execution, seen: string | undefined): Promise<Collected>;
  /** See `pour`. */
  pour(statement: Statement, execution: Execution, seen: string | undefined, onRows: RowSink): Promise<Streamed>;
  /** See `texts`. */
  texts(statement: Statement, execution: Execution): Promise<string[]>;
  /** DuckDB's parse of a statement, as JSON without what is empty or default. Nothing is bound or run. */
  parse(sql: string, signal?: AbortSignal): Promise<string>;
  /** The one text column of `sql`, a chunk at a time. */
  readTexts(sql: string, signal?: AbortSignal): AsyncGenerator<string[]>;
  /** See `readVectors`. */
  readVectors(sql: string, dimension: number, signal?: AbortSignal): AsyncGenerator<VectorRows>;
  /** Adds rows to a temporary table: texts as VARCHAR, numbers as DOUBLE. */
  append(table: string, rows: readonly (string | number | null)[][], signal?: AbortSignal): Promise<void>;
}

/** What a process has besides what DuckDB counts: the program, plans, vectors and results under way. */
const BASE_BYTES = 320 * 2 ** 20;
const COUNTED = 1.5;
/** Opening takes a tenth of a second, and many times as long where all processors are busy. */
const OPEN_MS = 30_000;
const CONNECT_MS = 5_000;

/** Opens a locked instance, as `openDuck`, and runs `setup` in it. It is closed with the scope. */
export async function openRemoteDuck(
  scope: Scope,
  settings: DuckSettings,
  setup: readonly string[] = [],
  onEnd?: OnEnd,
): Promise<RemoteDuck> {
  const worker = await takeProcess("statements", onEnd);
  const maxBytes = BASE_BYTES + COUNTED * settings.memoryBytes;
  worker.limitMemory(maxBytes);
  const call = <Result>(method: string, args: object, options?: CallOptions): Promise<Result> =>
    worker.call<Result>(method, args, options).catch((error: unknown) => {
      throw explained(error);
    });
  try {
    await call("duck.open", { settings, setup }, { signal: AbortSignal.timeout(OPEN_MS) });
  } catch (error) {
    worker.kill("closed");
    throw error;
  }
  scope.defer(() => {
    // Closing an instance takes up to 60 ms, which nobody has to wait for.
    if (!worker.isAlive()) return;
    const closing = worker.call("duck.close", {}, { signal: AbortSignal.timeout(CONNECT_MS) });
    void closing.then(worker.giveBack).catch(() => worker.kill("closed"));
  });
  return {
    connect: async () => {
      const id = await call<number>("duck.connect", {}, { signal: AbortSignal.timeout(CONNECT_MS) });
      return connectionOf(worker, call, id);
    },
    isAlive: worker.isAlive,
    isFull: () => (worker.residentBytes() ?? 0) > maxBytes - settings.memoryBytes,
    kill: () => worker.kill("closed"),
  };
}

type Call = <Result>(method: string, args: object, options?: CallOptions) => Promise<Result>;

function connectionOf(worker: WorkerProcess, callAny: Call, connection: number): RemoteConnection {
  const call: Call = (method, args, options) => callAny(method, { connection, ...args }, options);
  const running = (statement: Statement, { signal, ...limits }: Execution, seen?: string) => {
    return [{ statement, limits, seen }, { signal }] as const;
  };
  const signalOf = (options: RunOptions | undefined): CallOptions => ({ signal: options?.signal });
  const paramsOf = (options: { params?: Params } | undefined): object =>
    options?.params === undefined ? {} : { params: options.params };
  return {
    run: (sql, options) => {
      const { signal, onProgress } = options ?? {};
      const onEvent = onProgress && ((percent: unknown): void => onProgress(Number(percent)));
      return call("duck.run", { sql, ...paramsOf(options), tellsProgress: onEvent !== undefined }, { signal, onEvent });
    },
    rows: (sql, options) => call("duck.rows", { sql, ...paramsOf(options) }, signalOf(options)),
    parse: (sql, signal) => call("duck.parse", { sql }, { signal }),
    execute: (statement, execution, seen) => call("duck.execute", ...running(statement, execution, seen)),
    pour: (statement, execution, seen, onRows) => {
      const [args, options] = running(statement, execution, seen);
      const onEvent = (event: unknown): Promise<void> => {
        const { rows, columns } = event as Pick<Collected, "rows" | "columns">;
        return onRows(rows, columns);
      };
      return call("duck.pour", args, { ...options, onEvent });
    },
    texts: (statement, execution) => call("duck.texts", ...running(statement, execution)),
    readTexts: (sql, signal) => eventsOf((options) => call("duck.readTexts", { sql }, options), signal),
    readVectors: async function* (sql, dimension, signal) {
      const parts = eventsOf<Part>((options) => call("duck.readVectors", { sql, dimension }, options), signal);
      for await (const { vectors, ...part } of parts) yield { ...part, vectors: floatsOf(vectors) };
    },
    append: (table, rows, signal) => call("duck.append", { table, rows }, { signal }),
    close: () => {
      if (worker.isAlive()) void call("duck.disconnect", {}).catch(() => undefined);
    },
  };
}

type Part = Omit<VectorRows, "vectors"> & { vectors: string };

function floatsOf(base64: string): Float32Array {
  const bytes = Uint8Array.from(Buffer.from(base64, "base64"));
  return new Float32Array(bytes.buffer, 0, bytes.length / Float32Array.BYTES_PER_ELEMENT);
}

/** The events of a call, each asked for when the one before was used. Leaving the loop ends the call. */
async function* eventsOf<Event>(
  call: (options: CallOptions) => Promise<unknown>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Event> {
  const left = new AbortController();
  const either = signal ? AbortSignal.any([signal, left.signal]) : left.signal;
  const arrived: { event: Event; used: () => void }[] = [];
  let wake = (): void => undefined;
  let failed: { error: unknown } | undefined;
  let ended = false;
  const onEvent = (event: unknown): Promise<void> =>
    new Promise((used) => {
      arrived.push({ event: event as Event, used });
      wake();
    });
  const running = call({ signal: either, onEvent })
    .catch((error: unknown) => {
      failed = { error };
    })
    .finally(() => {
      ended = true;
      wake();
    });
  try {
    for (;;) {
      const next = arrived.shift();
      if (next) {
        yield next.event;
        next.used();
      } else if (ended) break;
      else {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    }
  } finally {
    left.abort();
    await running;
  }
  if (signal?.aborted) throw cancelled(signal);
  if (failed) throw failed.error;
}

/** The end of a process in terms of the statement that it ran. */
function explained(error: unknown): unknown {
  if (!(error instanceof ProcessEnded)) return error;
  if (error.ending === "memory") {
    return new LakeError("limit", "The statement needs more memory than it may use, and was stopped.", {
      code: "memory_limit",
      hint: LESS_MEMORY,
      facts: { setting: "query_memory" },
      cause: error,
    });
  }
  if (error.ending === "closed") {
    return new LakeError("closed", "The lakehouse is closed.", { hint: "Start it again.", cause: error });
  }
  return new LakeError("unavailable", "The statement ended the process that ran it. Nothing else was affected.", {
    hint: "Try once more; if it happens again, write the statement in another way.",
    cause: error,
  });
}
