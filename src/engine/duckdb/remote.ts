import { cancelled } from "../kernel/abort.ts";
import { LakeError } from "../kernel/errors.ts";
import type { Params } from "../kernel/json.ts";
import type { Scope } from "../kernel/scope.ts";
import type { CallOptions } from "../process/calls.ts";
import { type OnEnd, ProcessEnded, takeProcess, type WorkerProcess } from "../process/processes.ts";
import { LESS_MEMORY } from "./duck-errors.ts";
import type { Connection, DuckSettings, RunOptions } from "./duckdb.ts";
import type { Execution, Statement } from "./execute.ts";
import type { Collected, RowSink, Streamed } from "./results.ts";
import type { VectorRows } from "./vectors.ts";

/**
 * An instance in a process of its own. The process is ended when a statement does not stop, takes too much memory, or
 * breaks DuckDB; all calls then throw `limit` or `unavailable`.
 */
export interface RemoteDuck {
  /** Ends a process in which this takes longer than some seconds. */
  connect(): Promise<RemoteConnection>;
  isAlive(): boolean;
  /** Whether earlier statements have left too little memory for the next one. */
  isFull(): boolean;
  /** Ends the process at once. */
  kill(): void;
}

/** One connection runs one statement at a time. */
export interface RemoteConnection extends Connection {
  /**
   * See `execute`. `planKey` identifies the content of the statement's tables: the same statement with the same key is
   * planned once. Undefined: it is planned anew.
   */
  execute(statement: Statement, execution: Execution, planKey: string | undefined): Promise<Collected>;
  /** See `stream`. */
  stream(statement: Statement, execution: Execution, planKey: string | undefined, onRows: RowSink): Promise<Streamed>;
  /** See `texts`. */
  texts(statement: Statement, execution: Execution): Promise<string[]>;
  /** DuckDB's parse tree of a statement, as JSON without empty and default values. Nothing is bound or run. */
  parse(sql: string, signal?: AbortSignal): Promise<string>;
  /** The one text column of `sql`, a chunk at a time. */
  readTexts(sql: string, signal?: AbortSignal): AsyncGenerator<string[]>;
  /** See `readVectors`. */
  readVectors(sql: string, dimension: number, signal?: AbortSignal): AsyncGenerator<VectorRows>;
  /** Adds rows to a temporary table: texts as VARCHAR, numbers as DOUBLE. */
  append(table: string, rows: readonly (string | number | null)[][], signal?: AbortSignal): Promise<void>;
}

/** Memory of a process that DuckDB does not count: the program, plans, vectors, and results being read. */
const BASE_BYTES = 320 * 2 ** 20;
const COUNTED = 1.5;
/** Opening takes a tenth of a second, and many times as long when all processors are busy. */
const OPEN_MS = 30_000;
const CONNECT_MS = 5_000;

/** Opens a locked instance as `openDuck` does, and runs `setup` in it. Closed with the scope. */
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
  const running = (statement: Statement, { signal, ...limits }: Execution, planKey?: string) => {
    return [{ statement, limits, planKey }, { signal }] as const;
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
    execute: (statement, execution, planKey) => call("duck.execute", ...running(statement, execution, planKey)),
    stream: (statement, execution, planKey, onRows) => {
      const [args, options] = running(statement, execution, planKey);
      const onEvent = (event: unknown): Promise<void> => {
        const { rows, columns } = event as Pick<Collected, "rows" | "columns">;
        return onRows(rows, columns);
      };
      return call("duck.stream", args, { ...options, onEvent });
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

/** The events of a call; the next one is sent when the last one was used. Leaving the loop ends the call. */
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

/** The end of a process as an error of the statement that it ran. */
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
