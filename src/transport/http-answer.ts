import type { IncomingMessage, ServerResponse } from "node:http";
import type { Log } from "../engine/settings.ts";
import type { Caller } from "./gates/caller.ts";
import type { Refusal } from "./gates/refusal.ts";

/** A request that has passed the gates. */
export interface Exchange {
  request: IncomingMessage;
  response: ServerResponse;
  caller: Caller;
}

/** What is read and thrown away of a refused body, so that its sender gets to see the answer. */
const DISCARD_BYTES = 2 ** 24;
const DISCARD_MS = 1_000;

/** Answers with JSON and ends. */
export function answer(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): void {
  const text = JSON.stringify(body);
  response
    .writeHead(status, {
      "content-type": "application/json",
      "cache-control": "no-store",
      ...headers,
      "content-length": Buffer.byteLength(text),
    })
    .end(text);
}

/** Answers `{error}` with the refusal's status and headers, whether or not the request's body was read. */
export function refuse(request: IncomingMessage, response: ServerResponse, refusal: Refusal): void {
  refuseWith(request, response, refusal, { error: refusal.message });
}

/** The same with a body that clients of the protocol read: a JSON-RPC error, of a request where its id is known. */
export function refuseRpc(
  request: IncomingMessage,
  response: ServerResponse,
  refusal: Refusal & { code: number; id?: string | number | undefined },
): void {
  const error = { code: refusal.code, message: refusal.message };
  refuseWith(request, response, refusal, { jsonrpc: "2.0", error, id: refusal.id ?? null });
}

/** Refuses, and tells the operator. */
export function turnAway({ request, response, caller }: Exchange, refusal: Refusal, log: Log): void {
  log("info", "refused", { status: refusal.status, caller: caller.name, reason: refusal.message });
  refuse(request, response, refusal);
}

/** For what can be done later, `retryAfter` seconds from now. */
export function busy(message: string, retryAfter: number, status = 503): Refusal {
  return {
    status,
    message: `${message} Try again in ${retryAfter} s.`,
    headers: { "retry-after": String(retryAfter) },
  };
}

export const SHUTTING_DOWN = busy("The server is shutting down.", 5);

/** For a caller that has as much as one may have; others are served. */
export function tooMany(most: number, of: string, retryAfter: number): Refusal {
  const share = `max_per_caller, and three quarters of ${of}`;
  return busy(`Your token has ${most} at a time already (${share}).`, retryAfter, 429);
}

/** The same with a body of its own. */
export function refuseWith(
  request: IncomingMessage,
  response: ServerResponse,
  { status, headers }: Refusal,
  body: unknown,
): void {
  if (response.headersSent || response.destroyed) return;
  if (!bodyIsPending(request)) {
    answer(response, status, body, headers);
    return;
  }
  // Closing a socket with unread bytes in it resets the connection, and the answer is lost with it. So the answer goes
  // out whole, the connection is closed once the sender has stopped or had its time.
  const text = JSON.stringify(body);
  response.writeHead(status, {
    "content-type": "application/json",
    "cache-control": "no-store",
    ...headers,
    "content-length": Buffer.byteLength(text),
    connection: "close",
  });
  response.write(text);
  if (request.headers.expect !== undefined) {
    response.end();
    return;
  }
  let left = DISCARD_BYTES;
  const end = (): void => {
    clearTimeout(timer);
    request.off("data", discard);
    response.end();
  };
  const cut = (): void => {
    end();
    request.socket.destroySoon();
  };
  const discard = (chunk: Buffer): void => {
    left -= chunk.length;
    if (left < 0) cut();
  };
  const timer = setTimeout(cut, DISCARD_MS);
  request.on("data", discard);
  for (const last of ["end", "error", "close"]) request.once(last, end);
  request.resume();
}

/** With `Expect: 100-continue`, before the client was told to go on, the body is announced and not on its way. */
function bodyIsPending({ headers, complete }: IncomingMessage): boolean {
  if (complete) return false;
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
}
