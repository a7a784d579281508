import type { Duplex } from "node:stream";
import { deserialize } from "node:v8";
import { throwIfAborted, untilAborted } from "../kernel/abort.ts";
import { openFrames } from "./frames.ts";
import { errorData, type Reply, type Request } from "./messages.ts";

/** What a handler gets besides its arguments. */
export interface CallContext {
  /** Aborts when the caller cancels. */
  signal: AbortSignal;
  /** Sends an event before the result; resolves when the caller has handled it. Rejects when the call is aborted. */
  emit(event: unknown): Promise<void>;
}

export type Handler = (args: never, context: CallContext) => Promise<unknown>;

type Call = Extract<Request, { method: string }>;

interface Running {
  stop: AbortController;
  more: (() => void) | undefined;
}

/** Answers the calls that arrive over `stream`. When it ends, this process ends at once. */
export function serve(stream: Duplex, handlerOf: (method: string) => Promise<Handler>): void {
  const calls = new Map<number, Running>();
  // Not `process.exit`, which waits for threads of DuckDB.
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
    const emit = async (event: unknown): Promise<void> => {
      throwIfAborted(signal);
      const handled = new Promise<void>((resolve) => {
        call.more = resolve;
      });
      void send({ id, event });
      await untilAborted(handled, signal);
    };
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
