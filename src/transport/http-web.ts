import { once } from "node:events";
import type { ServerResponse } from "node:http";

/** A signal that aborts when the client goes away before the answer is sent. */
export function untilGone(response: ServerResponse): AbortSignal {
  const gone = new AbortController();
  const check = (): void => {
    if (!response.writableFinished) gone.abort();
  };
  if (response.destroyed) check();
  else response.once("close", check);
  return gone.signal;
}

/**
 * Sends an answer that is still being made. When there is nothing for `ms`, it opens an event stream, whose comments keep
 * proxies from closing it; the answer is its last event, and so has to be a message, as JSON or as an event stream.
 */
export async function sendKeptAlive(pending: Promise<Response>, response: ServerResponse, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  // Not a timer with a signal: its error costs more than everything else here.
  const silence = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, ms, undefined);
  });
  const early = await Promise.race([pending, silence]).finally(() => clearTimeout(timer));
  if (early) return sendAnswer(early, response);
  if (response.destroyed) return;
  response.writeHead(200, {
    "content-type": "text/event-stream",
    "cache-control": "no-cache, no-transform",
    // Keeps nginx from buffering.
    "x-accel-buffering": "no",
  });
  // A write after the client is gone would be an error without a listener.
  const write = (text: string): void => {
    if (!response.destroyed) response.write(text);
  };
  const sign = (): void => write(": keep-alive\n\n");
  sign();
  const signs = setInterval(sign, ms);
  try {
    const answer = await pending.finally(() => clearInterval(signs));
    if (answer.headers.get("content-type")?.startsWith("text/event-stream")) return await pour(answer, response);
    const text = await answer.text();
    if (text !== "") write(`event: message\ndata: ${text}\n\n`);
  } finally {
    response.end();
  }
}

/**
 * Sends a `Response` of the web. JSON is sent in one piece: with the SDK's adapter, which streams everything, a small call
 * took 10 % longer.
 */
export async function sendAnswer(answer: Response, response: ServerResponse): Promise<void> {
  const headers = Object.fromEntries(answer.headers);
  if (answer.body === null || headers["content-type"]?.startsWith("application/json")) {
    const text = await answer.text();
    const body = Buffer.from(text);
    if (!response.destroyed) response.writeHead(answer.status, { ...headers, "content-length": body.length }).end(body);
    return;
  }
  response.writeHead(answer.status, headers);
  // The client has to see the stream before its first event.
  response.flushHeaders();
  await pour(answer, response);
}

async function pour({ body }: Response, response: ServerResponse): Promise<void> {
  const closed = once(response, "close").catch(() => {});
  try {
    for await (const chunk of body ?? []) {
      if (response.destroyed) return;
      if (response.write(chunk)) continue;
      const full = new AbortController();
      await Promise.race([once(response, "drain", { signal: full.signal }).catch(() => {}), closed]);
      full.abort();
    }
  } finally {
    // After a failure, what was written still arrives.
    response.end();
  }
}
