import { randomUUID } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { NodeStreamableHTTPServerTransport } from "@modelcontextprotocol/node";
import {
  isInitializeRequest,
  isJSONRPCNotification,
  type McpServer,
  type RequestId,
} from "@modelcontextprotocol/server";
import type { Log } from "../engine/settings.ts";
import type { Caller } from "./gates/caller.ts";
import type { Refusal } from "./gates/refusal.ts";
import { refuse, refuseRpc } from "./http-answer.ts";
import type { TokenWatch } from "./http-token-watch.ts";

const SWEEP_MS = 30_000;
const IN_USE_RETRY_S = 5;

export interface SessionSettings {
  maxSessions: number;
  maxPerCaller: number;
  /** Without a request under way or a stream open for as long, a session is closed. */
  idleMs: number;
  keepAliveMs: number;
  createServer(caller: string): McpServer;
  tokens: TokenWatch;
  log: Log;
}

/** The sessions of 2025 clients. */
export interface Sessions {
  /** Serves one request; `body` is the parsed message of a POST. */
  handle(request: IncomingMessage, response: ServerResponse, caller: Caller, body?: unknown): Promise<void>;
  readonly size: number;
  close(): Promise<void>;
}

interface Session {
  server: McpServer;
  transport: NodeStreamableHTTPServerTransport;
  /** Nobody of another name than who opened it can use it; the token is that of the last request. */
  caller: Caller;
  /** Responses that are not finished. */
  open: number;
  idleSince: number;
  /** Calls that have a response of their own, which ends with them. */
  alone: Set<RequestId>;
}

export function openSessions(settings: SessionSettings): Sessions {
  const { maxSessions, maxPerCaller, idleMs, log } = settings;
  const sessions = new Map<string, Session>();
  /** Whose sessions are being opened: they count too. */
  const opening: string[] = [];
  const callers = (): string[] => [...[...sessions.values()].map((session) => session.caller.name), ...opening];

  const expire = (): void => {
    const now = performance.now();
    for (const [id, session] of sessions) {
      if (session.open > 0 || now - session.idleSince < idleMs) continue;
      sessions.delete(id);
      log("debug", "session expired", { caller: session.caller.name });
      void session.server.close();
    }
  };
  /** Of a token that was removed. One that has run out is followed by another, with which the client goes on. */
  const watch = (session: Session): (() => void) =>
    settings.tokens.watch({ isRemoved: () => session.caller.isRemoved?.() ?? false }, () => {
      log("info", "a session ends with its token", { caller: session.caller.name });
      void session.server.close();
    });
  const sweep = setInterval(expire, Math.min(SWEEP_MS, Math.max(10, idleMs / 2)));
  sweep.unref();

  const turnAway = (request: IncomingMessage, response: ServerResponse, caller: string, refusal: Refusal): void => {
    log("info", "refused", { status: refusal.status, caller, reason: refusal.message });
    refuse(request, response, refusal);
  };

  /**
   * Closes a session that nobody uses, so that another has its place. Many clients open one a run and leave it behind; one
   * that comes back to it is told with 404 to send initialize again, as the protocol has it.
   */
  const giveWay = (counts: (session: Session) => boolean): boolean => {
    const held = countBy(callers());
    const holds = ([, { caller }]: [string, Session]): number => held.get(caller.name) ?? 0;
    const [oldest] = [...sessions]
      .filter(([, session]) => session.open === 0 && counts(session))
      .sort((a, b) => holds(b) - holds(a) || a[1].idleSince - b[1].idleSince);
    if (!oldest) return false;
    const [id, { server, caller }] = oldest;
    sessions.delete(id);
    log("debug", "an unused session gave way to a new one", { caller: caller.name });
    server.close().catch((error: unknown) => log("warn", "a session did not close", { error: String(error) }));
    return true;
  };

  /** Why there is no place for one more session of this caller; undefined when there is, or one was made. */
  const admit = (name: string): Refusal | undefined => {
    const held = (of: string): number => callers().filter((each) => each === of).length;
    if (callers().length >= maxSessions || held(name) >= maxPerCaller) expire();
    if (held(name) >= maxPerCaller && !giveWay(({ caller }) => caller.name === name)) {
      return allInUse(429, `Your token has ${maxPerCaller} sessions (max_per_caller)`);
    }
    if (callers().length < maxSessions) return undefined;
    // Nobody makes those give way who have fewer: else one caller could keep all others out.
    const counts = countBy(callers());
    const own = counts.get(name) ?? 0;
    if (giveWay(({ caller }) => caller.name === name || (counts.get(caller.name) ?? 0) > own)) return undefined;
    return allInUse(503, `${maxSessions} sessions are open (max_sessions)`);
  };

  const open = async (request: IncomingMessage, response: ServerResponse, caller: Caller, body: unknown) => {
    const { name } = caller;
    const refusal = admit(name);
    if (refusal) return turnAway(request, response, name, refusal);
    opening.push(name);
    const server = settings.createServer(name);
    let unwatch = (): void => {};
    try {
      const transport = new NodeStreamableHTTPServerTransport({
        sessionIdGenerator: randomUUID,
        keepAliveMs: settings.keepAliveMs,
        onsessioninitialized: (id) => {
          const session = { server, transport, caller, open: 0, idleSince: 0, alone: new Set<RequestId>() };
          sessions.set(id, session);
          unwatch = watch(session);
          use(session, response, body);
        },
      });
      transport.onclose = () => {
        unwatch();
        if (transport.sessionId !== undefined) sessions.delete(transport.sessionId);
      };
      await server.connect(transport);
      await transport.handleRequest(request, response, body);
      // The transport has refused it: nothing is left to come back to.
      if (transport.sessionId === undefined) await server.close();
    } finally {
      opening.splice(opening.indexOf(name), 1);
    }
  };

  return {
    handle: async (request, response, caller, body) => {
      const id = request.headers["mcp-session-id"];
      if (id === undefined) {
        if (isInitializeRequest(body)) return open(request, response, caller, body);
        return refuseRpc(request, response, {
          status: 400,
          code: -32000,
          message: "Mcp-Session-Id is missing: send initialize first, then its session id with every request.",
        });
      }
      const session = sessions.get(String(id));
      if (!session || session.caller.name !== caller.name) {
        return refuseRpc(request, response, {
          status: 404,
          code: -32001,
          message: "Session not found: it has ended. Send initialize for a new one.",
        });
      }
      session.caller = caller;
      if (request.method === "GET") {
        const { transport } = session;
        response.once(
          "close",
          settings.tokens.watch(caller, () => transport.closeStandaloneSSEStream()),
        );
      }
      use(session, response, body);
      await session.transport.handleRequest(request, response, body);
      for (const cancelled of cancelledBy(body)) if (session.alone.has(cancelled)) finish(session, cancelled);
    },
    get size() {
      return sessions.size;
    },
    close: async () => {
      clearInterval(sweep);
      const open = [...sessions.values()];
      sessions.clear();
      await Promise.all(open.map(({ server }) => server.close()));
    },
  };
}

/** A session is in use while a request or a stream of it is open: how long that is, nobody knows but its client. */
const allInUse = (status: number, which: string): Refusal => ({
  status,
  message: `${which}, and a request or a stream is open in each. Let one end, or end a session with DELETE; then try again.`,
  headers: { "retry-after": String(IN_USE_RETRY_S) },
});

function countBy(names: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts;
}

/** Keeps the session while the response is open, and cancels what it was for when the client goes away before its end. */
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
 * A cancelled call is not answered, so the transport would keep its stream open and its id for as long as the session
 * lives. Ending the stream and then answering makes it forget both, and sends nothing.
 */
function finish({ transport }: Session, id: RequestId): void {
  transport.closeSSEStream(id);
  const error = { code: -32800, message: "Cancelled" };
  transport.send({ jsonrpc: "2.0", id, error }).catch(() => {
    // It was answered in the meantime.
  });
}

export const messagesOf = (body: unknown): unknown[] => (Array.isArray(body) ? body : [body]);

/** The ids of the requests in a message or a batch: whether they are well-formed, the SDK says when it serves them. */
export function requestsOf(body: unknown): RequestId[] {
  return messagesOf(body).flatMap((message) => requestOf(message)?.id ?? []);
}

export function requestOf(message: unknown): { id: RequestId; method: string; params: unknown } | undefined {
  if (typeof message !== "object" || message === null) return undefined;
  const { id, method, params } = message as Record<string, unknown>;
  if (typeof method !== "string" || (typeof id !== "string" && typeof id !== "number")) return undefined;
  return { id, method, params };
}

function cancelledBy(body: unknown): RequestId[] {
  return messagesOf(body).flatMap((message) => {
    if (!isJSONRPCNotification(message) || message.method !== "notifications/cancelled") return [];
    const id = message.params?.requestId;
    return typeof id === "string" || typeof id === "number" ? [id] : [];
  });
}
