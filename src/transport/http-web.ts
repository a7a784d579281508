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
  const closed = once(response, "close").catch(() => {});
  try {
    for await (const chunk of answer.body) {
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
