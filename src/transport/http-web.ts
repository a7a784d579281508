import { once } from "node:events";
import type { ServerResponse } from "node:http";

/** A signal that aborts when the client goes before it has its answer. */
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
 * Sends what is still being worked on. When that says nothing for `ms`, a stream is begun, in which comments keep proxies
 * from giving it up; the answer is its last event. It has to be a message, in JSON or in a stream.
 */
export async function sendKeptAlive(pending: Promise<Response>, response: ServerResponse, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  // Not a timer that is aborted: its error costs more than the rest of this.
  const silence = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, ms, undefined);
  });
  const early = await Promise.race([pending, silence]).finally(() => clearTimeout(timer));
  if (early) return sendAnswer(early, response);
  if (response.destroyed) return;
  response.writeHead(200, {
    "content-type": "text/event-stream",
    "cache-control": "no-cache, no-transform",
    // nginx holds back what it is not told to pass on.
    "x-accel-buffering": "no",
  });
  // Writing to one that is gone is an error that nobody catches.
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
 * Sends what a handler of the web's Request and Response answers. What is one JSON text goes out in one piece: by way of
 * the SDK's adapter, which streams everything, a small call took 10 % longer.
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
  // A client learns of a stream before anything happens in it.
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
    // Of a stream that breaks, what was written arrives.
    response.end();
  }
}
