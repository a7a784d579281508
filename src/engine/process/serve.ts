import type { Duplex } from "node:stream";
import { deserialize } from "node:v8";
import { openFrames } from "./frames.ts";
import { errorData, type Reply, type Request } from "./messages.ts";

export interface Told {
  /** Aborts when the caller has left. */
  signal: AbortSignal;
  /** Hands something over before the result; resolves when the caller has used it. Rejects when the call was aborted. */
  emit(event: unknown): Promise<void>;
}

export type Handler = (args: never, told: Told) => Promise<unknown>;

type Call = Extract<Request, { method: string }>;

interface Running {
  stop: AbortController;
  more: (() => void) | undefined;
}

/** Answers calls that come over `stream` until it ends; then this process ends, whatever it does. */
export function serve(stream: Duplex, handlerOf: (method: string) => Promise<Handler>): void {
  const calls = new Map<number, Running>();
  // Not process.exit: it would wait for threads of DuckDB.
  const frames = openFrames(stream, onFrame, () => process.kill(process.pid, "SIGKILL"));
  const send = (reply: Reply): Promise<void> => frames.send(Buffer.from(JSON.stringify(reply)));

  function onFrame(body: Buffer): void {
    const request = deserialize(body) as Request;
    if ("method" in request) void answer(request);
    else if ("more" in request) calls.get(request.id)?.more?.();
    else calls.get(request.id)?.stop.abort();
  }

  async function answer({ id, method, args }: Call): Promise<void> {
    const call: Running = { stop: new AbortController(), more: undefined };
    calls.set(id, call);
    const { signal } = call.stop;
    const emit = (event: unknown): Promise<void> =>
      new Promise((resolve, reject) => {
        const left = (): void => reject(signal.reason);
        if (signal.aborted) return left();
        signal.addEventListener("abort", left, { once: true });
        call.more = () => {
          signal.removeEventListener("abort", left);
          resolve();
        };
        void send({ id, event });
      });
    try {
      const handler = await handlerOf(method);
      const result = await handler(args as never, { signal, emit });
      await send({ id, result });
    } catch (error) {
      await send({ id, error: errorData(error) });
    } finally {
      calls.delete(id);
    }
  }
}
