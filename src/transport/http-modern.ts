import type { IncomingMessage, ServerResponse } from "node:http";
import { toWebRequest } from "@modelcontextprotocol/node";
import { type AuthInfo, createMcpHandler, type McpServer, ProtocolErrorCode } from "@modelcontextprotocol/server";
import type { Log } from "../engine/settings.ts";
import type { Notifier } from "../mcp/resources.ts";
import type { Caller } from "./gates/caller.ts";
import type { Exchange } from "./http-answer.ts";
import type { TokenWatch } from "./http-token-watch.ts";
import { sendKeptAlive, untilGone } from "./http-web.ts";
import { requestOf, toolOf } from "./requests.ts";

export const LISTEN = "subscriptions/listen";
const CLIENT_CLOSED = 499;

export interface ModernSettings {
  /** Makes a server for one request. `tool` is the tool that it calls, if any. */
  createServer(caller: string, tool: string | undefined): McpServer;
  tokens: TokenWatch;
  maxSubscriptions: number;
  maxBodyBytes: number;
  keepAliveMs: number;
  /** Whether the server is stopping: calls that this cuts off get an answer that says so. */
  isStopped(): boolean;
  log: Log;
}

/** Serves the requests of 2026 clients, which have no sessions. */
export interface Modern {
  /** `body` is the parsed message. */
  serve(exchange: Exchange, body: unknown): Promise<void>;
  /** Notifies the open subscriptions. */
  notifier: Notifier;
  close(): Promise<void>;
}

export function openModern(settings: ModernSettings): Modern {
  const { createServer, tokens, keepAliveMs, log } = settings;
  const handler = createMcpHandler(
    ({ authInfo }) => createServer(authInfo?.clientId ?? "unknown", authInfo?.extra?.tool as string | undefined),
    {
      legacy: "reject",
      keepAliveMs,
      maxSubscriptions: settings.maxSubscriptions,
      onerror: (error) => log("debug", "protocol error", { error: error.message }),
    },
  );
  /** Aborts when the client is gone or its token ends: a subscription sends no requests that would be refused. */
  const untilOver = (response: ServerResponse, caller: Caller): AbortSignal => {
    const over = new AbortController();
    const stop = tokens.watch(caller, () => {
      log("info", "a subscription ends with its token", { caller: caller.name });
      over.abort();
    });
    response.once("close", stop);
    untilGone(response).addEventListener("abort", () => over.abort(), { once: true });
    return over.signal;
  };
  return {
    serve: async ({ request, response, caller }, body) => {
      // Behind the gates only the name is known, never the token.
      const authInfo: AuthInfo = { token: "", clientId: caller.name, scopes: [], extra: { tool: toolOf(body) } };
      const web = await toWebRequest(withoutBody(request), undefined, {
        signal: requestOf(body)?.method === LISTEN ? untilOver(response, caller) : untilGone(response),
        maxRequestBodySize: settings.maxBodyBytes,
      });
      const answer = handler.fetch(web, { authInfo, parsedBody: body }).then((given) =>
        // The SDK answers so to a client that is gone; but this one is there.
        given.status === CLIENT_CLOSED && settings.isStopped() ? stopped(body) : given,
      );
      await sendKeptAlive(answer, response, keepAliveMs);
    },
    notifier: handler.notify,
    close: () => handler.close(),
  };
}

/** Without the body, which the adapter would serialize again into a request that nobody reads. */
function withoutBody({ method = "POST", url = "/mcp", headers }: IncomingMessage) {
  return { method, url, headers, [Symbol.asyncIterator]: async function* () {} };
}

function stopped(body: unknown): Response {
  const error = { code: ProtocolErrorCode.InternalError, message: "The server was stopped. Try again in 5 s." };
  const answer = { jsonrpc: "2.0", id: requestOf(body)?.id ?? null, error };
  return Response.json(answer, { status: 503, headers: { "retry-after": "5" } });
}
