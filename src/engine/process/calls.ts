import type { Duplex } from "node:stream";
import { serialize } from "node:v8";
import { cancelled, GRACE_MS } from "../kernel/abort.ts";
import { openFrames } from "./frames.ts";
import { errorOf, type Reply, type Request, replyIn } from "./messages.ts";

export interface CallOptions {
  signal?: AbortSignal | undefined;
  /** Receives the events that the method emits before its result. The next event is sent when this one was handled. */
  onEvent?: ((event: unknown) => void | Promise<void>) | undefined;
}

/** Calls of methods in a worker process. */
export interface Calls {
  /** Throws what the method throws, or the cancellation. */
  run(method: string, args: unknown, options: CallOptions): Promise<unknown>;
  /** Calls that have no answer yet. */
  pending(): number;
  /** Rejects every pending call, each with an error of its own. */
  fail(error: () => Error): void;
}

interface Call {
  resolve(result: unknown): void;
  reject(error: unknown): void;
  onEvent: CallOptions["onEvent"];
}

/**
 * Calls over `channel`. `onBroken`: the channel has ended, or carried something other than a reply, as a process may
 * send that a foreign file has taken over. `onStuck`: a call has not ended within `GRACE_MS` after its signal aborted.
 */
export function openCalls(channel: Duplex, { onBroken, onStuck }: Record<"onBroken" | "onStuck", () => void>): Calls {
  const calls = new Map<number, Call>();
  let lastId = 0;
  const frames = openFrames(channel, onFrame, onBroken);
  const send = (request: Request): Promise<void> => frames.send(serialize(request));

  function onFrame(body: Buffer): void {
    let reply: Reply;
    try {
      reply = replyIn(body);
    } catch {
      onBroken();
      return;
    }
    const call = calls.get(reply.id);
    if (!call) return;
    if ("event" in reply) void handleEvent(reply.id, call, reply.event);
    else if ("error" in reply) call.reject(errorOf(reply.error));
    else call.resolve(reply.result);
  }

  async function handleEvent(id: number, call: Call, event: unknown): Promise<void> {
    try {
      await call.onEvent?.(event);
      await send({ id, more: true });
    } catch (error) {
      call.reject(error);
      await send({ id, abort: true });
    }
  }

  return {
    run: async (method, args, { signal, onEvent }) => {
      const id = ++lastId;
      const answer = new Promise<unknown>((resolve, reject) => calls.set(id, { resolve, reject, onEvent }));
      // It may be rejected while the request is still being sent.
      answer.catch(() => undefined);
      let grace: NodeJS.Timeout | undefined;
      const onAbort = (): void => {
        void send({ id, abort: true });
        grace = setTimeout(onStuck, GRACE_MS);
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      try {
        await send({ id, method, args });
        return await answer;
      } catch (error) {
        throw signal?.aborted ? cancelled(signal) : error;
      } finally {
        clearTimeout(grace);
        signal?.removeEventListener("abort", onAbort);
        calls.delete(id);
      }
    },
    pending: () => calls.size,
    fail: (error) => {
      for (const call of calls.values()) call.reject(error());
      calls.clear();
    },
  };
}
