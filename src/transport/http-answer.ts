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

/** Bytes of a refused body that are read and discarded, so that its sender receives the answer. */
const DISCARD_BYTES = 2 ** 24;
const DISCARD_MS = 1_000;

/** Sends JSON and ends the response. */
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

/** Answers `{error}` with the status and headers of the refusal. The body of the request may be unread. */
export function refuse(request: IncomingMessage, response: ServerResponse, refusal: Refusal): void {
  refuseWith(request, response, refusal, { error: refusal.message });
}

/** The same with a JSON-RPC error for a body; its id is null where that of the request is not known. */
export function refuseRpc(
  request: IncomingMessage,
  response: ServerResponse,
  refusal: Refusal & { code: number; id?: string | number | undefined },
): void {
  const error = { code: refusal.code, message: refusal.message };
  refuseWith(request, response, refusal, { jsonrpc: "2.0", error, id: refusal.id ?? null });
}

/** Refuses and logs. */
export function turnAway({ request, response, caller }: Exchange, refusal: Refusal, log: Log): void {
  log("info", "refused", { status: refusal.status, caller: caller.name, reason: refusal.message });
  refuse(request, response, refusal);
}

/** The refusal of a request that may succeed `retryAfter` seconds later. */
export function busy(message: string, retryAfter: number, status = 503): Refusal {
  return {
    status,
    message: `${message} Try again in ${retryAfter} s.`,
    headers: { "retry-after": String(retryAfter) },
  };
}

export const SHUTTING_DOWN = busy("The server is shutting down.", 5);

/** The refusal for a caller that uses its whole share; others are served. */
export function tooMany(most: number, of: string, retryAfter: number): Refusal {
  const share = `max_per_caller, and three quarters of ${of}`;
  return busy(`Your token has ${most} at a time already (${share}).`, retryAfter, 429);
}

/** Refuses with any JSON body. */
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
  // Closing a socket with unread bytes resets the connection, and the answer is lost. So the answer is sent as a whole,
  // and the connection is closed once the sender has stopped, or the limits below are reached.
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

/** Also true after `Expect: 100-continue`, when the body is announced but not sent yet. */
function bodyIsPending({ headers, complete }: IncomingMessage): boolean {
  if (complete) return false;
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
}
