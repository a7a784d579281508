import { randomUUID } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { NodeStreamableHTTPServerTransport } from "@modelcontextprotocol/node";
import { isInitializeRequest, type McpServer, type RequestId } from "@modelcontextprotocol/server";
import type { Caller } from "./gates/caller.ts";
import { isRefusal } from "./gates/refusal.ts";
import { type Exchange, refuseRpc, turnAway } from "./http-answer.ts";
import { openSessionTable, type Session, type SessionTableSettings } from "./http-session-table.ts";
import type { TokenWatch } from "./http-token-watch.ts";
import { cancelledBy, requestsOf } from "./requests.ts";

export interface SessionSettings extends SessionTableSettings {
  keepAliveMs: number;
  createServer(caller: string): McpServer;
  tokens: TokenWatch;
}

/** The sessions of 2025 clients. */
export interface Sessions {
  /** Serves one request; `body` is the parsed message of a POST. */
  handle(request: IncomingMessage, response: ServerResponse, caller: Caller, body?: unknown): Promise<void>;
  readonly size: number;
  close(): Promise<void>;
}

export function openSessions(settings: SessionSettings): Sessions {
  const { tokens, log } = settings;
  const table = openSessionTable(settings);

  /** Ends a session whose token was removed. After an expired token, the client continues with a new one. */
  const watch = (session: Session): (() => void) =>
    tokens.watch({ isRemoved: () => session.caller.isRemoved?.() ?? false }, () => {
      log("info", "a session ends with its token", { caller: session.caller.name });
      void session.server.close();
    });

  const open = async (exchange: Exchange, body: unknown): Promise<void> => {
    const { request, response, caller } = exchange;
    const place = table.begin(caller.name);
    if (isRefusal(place)) return turnAway(exchange, place, log);
    const server = settings.createServer(caller.name);
    let unwatch = (): void => {};
    try {
      const transport = new NodeStreamableHTTPServerTransport({
        sessionIdGenerator: randomUUID,
        keepAliveMs: settings.keepAliveMs,
        onsessioninitialized: (id) => {
          const session = { server, transport, caller, open: 0, idleSince: 0, alone: new Set<RequestId>() };
          table.add(id, session);
          unwatch = watch(session);
          use(session, response, body);
        },
      });
      transport.onclose = () => {
        unwatch();
        if (transport.sessionId !== undefined) table.delete(transport.sessionId);
      };
      await server.connect(transport);
      await transport.handleRequest(request, response, body);
      // The transport has refused the request: there is no session.
      if (transport.sessionId === undefined) await server.close();
    } finally {
      place.done();
    }
  };

  return {
    handle: async (request, response, caller, body) => {
      const id = request.headers["mcp-session-id"];
      if (id === undefined && isInitializeRequest(body)) return open({ request, response, caller }, body);
      if (id === undefined) return refuseRpc(request, response, NO_SESSION_ID);
      const session = table.get(String(id));
      if (!session || session.caller.name !== caller.name) return refuseRpc(request, response, NO_SESSION);
      session.caller = caller;
      if (request.method === "GET") {
        response.once(
          "close",
          tokens.watch(caller, () => session.transport.closeStandaloneSSEStream()),
        );
      }
      use(session, response, body);
      await session.transport.handleRequest(request, response, body);
      for (const cancelled of cancelledBy(body)) if (session.alone.has(cancelled)) finish(session, cancelled);
    },
    get size() {
      return table.size;
    },
    close: () => table.close(),
  };
}

const NO_SESSION_ID = {
  status: 400,
  code: -32000,
  message: "Mcp-Session-Id is missing: send initialize first, then its session id with every request.",
};

const NO_SESSION = {
  status: 404,
  code: -32001,
  message: "Session not found: it has ended. Send initialize for a new one.",
};

/** Marks the session as used while the response is open. Cancels its requests when the client goes away before that ends. */
function use(session: Session, response: ServerResponse, body: unknown): void {
  const ids = requestsOf(body);
  const [only] = ids;
  if (only !== undefined && ids.length === 1) session.alone.add(only);
  session.open++;
  const closed = (): void => {
    session.open--;
    session.idleSince = performance.now();
    if (only !== undefined) session.alone.delete(only);
    if (response.writableFinished) return;
    for (const requestId of ids) {
      const params = { requestId, reason: "the client disconnected" };
      session.transport.onmessage?.({ jsonrpc: "2.0", method: "notifications/cancelled", params });
      finish(session, requestId);
    }
  };
  if (response.closed) closed();
  else response.once("close", closed);
}

/**
 * A cancelled call gets no answer, so the transport would keep its stream and id as long as the session lives. Ending the
 * stream and then answering makes it forget both, and sends nothing.
 */
function finish({ transport }: Session, id: RequestId): void {
  transport.closeSSEStream(id);
  const error = { code: -32800, message: "Cancelled" };
  transport.send({ jsonrpc: "2.0", id, error }).catch(() => {
    // Answered in the meantime.
  });
}
