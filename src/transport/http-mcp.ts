import type { IncomingMessage, ServerResponse } from "node:http";
import { toWebRequest } from "@modelcontextprotocol/node";
import {
  type AuthInfo,
  classifyInboundRequest,
  createMcpHandler,
  type McpServer,
  PROTOCOL_VERSION_META_KEY,
  ProtocolErrorCode,
} from "@modelcontextprotocol/server";
import type { Log } from "../engine/settings.ts";
import type { Caller } from "./gates/caller.ts";
import type { Refusal } from "./gates/refusal.ts";
import { answer, refuse, refuseRpc, tooMany } from "./http-answer.ts";
import { readJson } from "./http-body.ts";
import { openSharedPlaces, type SharedPlaces, shareOf } from "./http-limits.ts";
import { openLoopTurns } from "./http-loop-turns.ts";
import { openSessions, requestOf, requestsOf } from "./http-sessions.ts";
import { openTokenWatch } from "./http-token-watch.ts";
import { sendKeptAlive, untilGone } from "./http-web.ts";

/** Of a message that begins what stays: a session or a subscription, with which the SDK keeps what it says. */
const MAX_KEPT_BYTES = 2 ** 18;
const LISTEN = "subscriptions/listen";
const CLIENT_CLOSED = 499;

/** Tells the open subscriptions of 2026 clients. */
export interface Notifier {
  resourcesChanged(): void;
  resourceUpdated(uri: string): void;
}

export interface McpSettings {
  /**
   * A server of its own for each session of a 2025 client, which tells it of changes; and for each request of a newer
   * one, which must not: `watch` does. `tool` is what such a request calls, when it calls one.
   */
  createServer(request: { era: "legacy" | "modern"; caller: string; tool?: string | undefined }): McpServer;
  /** Passes on changes to the subscriptions of newer clients. Returns the way to stop. */
  watch(notifier: Notifier): () => void;
  /** Why a newer client cannot subscribe to these resources. */
  whyNotSubscribed(uris: readonly string[]): string | undefined;
  /** Sessions, and as many subscriptions. */
  maxSessions: number;
  sessionIdleMs: number;
  /** Requests that are being read, and requests that are being served. */
  maxInFlight: number;
  /** Of those, and of sessions and subscriptions, that one caller may have. */
  maxPerCaller: number;
  maxBodyBytes: number;
  bodyTimeoutMs: number;
  keepAliveMs: number;
  log: Log;
}

/** What is behind `/mcp`, for callers that have passed the gates. */
export interface McpEndpoint {
  handle(request: IncomingMessage, response: ServerResponse, caller: Caller): Promise<void>;
  /** Answers no new requests; resolves when those under way have ended, or after `ms`. */
  drain(ms: number): Promise<void>;
  /** Ends what is left. */
  close(): Promise<void>;
  status(): { running: number; sessions: number; subscriptions: number };
}

export function openMcp(settings: McpSettings): McpEndpoint {
  const { createServer, log, keepAliveMs, maxInFlight, maxSessions, maxPerCaller } = settings;
  const [requestsEach, sessionsEach] = [maxInFlight, maxSessions].map((most) => shareOf(most, maxPerCaller)) as [
    number,
    number,
  ];
  const reading = openSharedPlaces(maxInFlight, requestsEach);
  const running = openSharedPlaces(maxInFlight, requestsEach);
  const subscriptions = openSharedPlaces(maxSessions, sessionsEach);
  const turns = openLoopTurns();
  const tokens = openTokenWatch();
  let draining = false;

  const onerror = (error: Error): void => log("debug", "protocol error", { error: error.message });
  const modern = createMcpHandler(
    ({ authInfo }) =>
      createServer({
        era: "modern",
        caller: authInfo?.clientId ?? "unknown",
        tool: authInfo?.extra?.tool as string | undefined,
      }),
    { legacy: "reject", keepAliveMs, maxSubscriptions: maxSessions, onerror },
  );
  /** A subscription goes on without requests that would be refused. */
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
  const serveModern = async (request: IncomingMessage, response: ServerResponse, body: unknown, caller: Caller) => {
    // The token stays out of it: what is behind the gates knows the name alone.
    const authInfo: AuthInfo = { token: "", clientId: caller.name, scopes: [], extra: { tool: toolOf(body) } };
    // Given the body, the adapter would write it as text again, into a request that nobody reads.
    const withoutBody = { ...pick(request), [Symbol.asyncIterator]: async function* () {} };
    const web = await toWebRequest(withoutBody, undefined, {
      signal: requestOf(body)?.method === LISTEN ? untilOver(response, caller) : untilGone(response),
      maxRequestBodySize: settings.maxBodyBytes,
    });
    const answer = modern.fetch(web, { authInfo, parsedBody: body }).then((given) => {
      // What the SDK answers to a client that is gone; this one is still there.
      if (given.status !== CLIENT_CLOSED || !draining) return given;
      const error = { code: ProtocolErrorCode.InternalError, message: "The server was stopped. Try again in 5 s." };
      const headers = { "retry-after": "5" };
      return Response.json({ jsonrpc: "2.0", id: requestOf(body)?.id ?? null, error }, { status: 503, headers });
    });
    await sendKeptAlive(answer, response, keepAliveMs);
  };
  const sessions = openSessions({
    tokens,
    maxSessions,
    maxPerCaller: sessionsEach,
    idleMs: settings.sessionIdleMs,
    keepAliveMs,
    createServer: (caller) => createServer({ era: "legacy", caller }),
    log,
  });
  const stopWatching = settings.watch(modern.notify);

  const turnAway = ({ request, response, caller }: Exchange, refusal: Refusal): void => {
    log("info", "refused", { status: refusal.status, caller: caller.name, reason: refusal.message });
    refuse(request, response, refusal);
  };

  /** Takes a place, or answers why there is none. */
  const admit = (exchange: Exchange, places: SharedPlaces, count?: number): (() => void) | undefined => {
    // What ends a call is read until the end.
    const release = draining && places !== reading ? undefined : places.take(exchange.caller.name, count);
    if (typeof release === "function") return release;
    const [most, each, setting, retryAfter] =
      places === subscriptions
        ? ([maxSessions, sessionsEach, "max_sessions", 10] as const)
        : ([maxInFlight, requestsEach, "max_in_flight", 1] as const);
    const refusal =
      release === undefined
        ? unavailable("The server is shutting down.", 5)
        : release === "all"
          ? unavailable(`The server is busy: ${most} at a time (${setting}).`, retryAfter)
          : tooMany(each, setting, retryAfter);
    turnAway(exchange, refusal);
    return undefined;
  };

  const post = async (request: IncomingMessage, response: ServerResponse, caller: Caller): Promise<void> => {
    const exchange = { request, response, caller };
    const read = admit(exchange, reading);
    if (!read) return;
    const message = await readJson(request, response, {
      maxBytes: settings.maxBodyBytes,
      timeoutMs: settings.bodyTimeoutMs,
      turn: () => turns.take(caller.name),
    }).finally(read);
    if (message === undefined || response.destroyed) return;
    if (!("json" in message)) return refuseRpc(request, response, message);

    const body = message.json;
    const requests = requestsOf(body).length;
    // Notifications and answers need no place: what ends a call has to get through when all places are taken.
    const listens = requestOf(body)?.method === LISTEN;
    const begins = listens || requestOf(body)?.method === "initialize";
    if (begins && message.bytes > MAX_KEPT_BYTES) return refuseRpc(request, response, tooMuchToKeep);
    const why = listens ? settings.whyNotSubscribed(urisOf(body)) : undefined;
    if (why !== undefined) {
      const error = { code: ProtocolErrorCode.InvalidParams, message: why };
      return answer(response, 200, { jsonrpc: "2.0", id: requestOf(body)?.id, error });
    }
    if (requests > 0) {
      const release = admit(exchange, listens ? subscriptions : running, requests);
      if (!release) return;
      response.once("close", release);
    }
    if (isLegacy(request, body)) return sessions.handle(request, response, caller, body);
    await serveModern(request, response, body, caller);
  };

  return {
    handle: async (request, response, caller) => {
      if (request.method === "POST") return post(request, response, caller);
      if (draining && request.method === "GET") {
        return turnAway({ request, response, caller }, unavailable("The server is shutting down.", 5));
      }
      await sessions.handle(request, response, caller);
    },
    drain: async (ms) => {
      draining = true;
      await running.empty(ms);
    },
    close: async () => {
      draining = true;
      stopWatching();
      tokens.close();
      await Promise.all([sessions.close(), modern.close()]);
    },
    status: () => ({ running: running.taken, sessions: sessions.size, subscriptions: subscriptions.taken }),
  };
}

interface Exchange {
  request: IncomingMessage;
  response: ServerResponse;
  caller: Caller;
}

/** The tool that a message calls, if it has the form of a call. */
function toolOf(body: unknown): string | undefined {
  const request = requestOf(body);
  if (request?.method !== "tools/call") return undefined;
  const { name, arguments: given = {} } = (request.params ?? {}) as Record<string, unknown>;
  const isCall = typeof name === "string" && typeof given === "object" && given !== null && !Array.isArray(given);
  return isCall ? name : undefined;
}

/** The resources that a subscription names. */
function urisOf(body: unknown): string[] {
  const { notifications } = (requestOf(body)?.params ?? {}) as { notifications?: { resourceSubscriptions?: unknown } };
  const uris = notifications?.resourceSubscriptions;
  return Array.isArray(uris) ? uris.filter((uri) => typeof uri === "string") : [];
}

function pick({ method = "POST", url = "/mcp", headers }: IncomingMessage) {
  return { method, url, headers };
}

function isLegacy({ headers }: IncomingMessage, body: unknown): boolean {
  const request = requestOf(body);
  const { _meta: meta } = (request?.params ?? {}) as { _meta?: Record<string, unknown> };
  // What names its revision is for the newer ones; the SDK's closer look takes 2 % of a small call, and it takes it again.
  if (request?.method !== "initialize" && typeof meta?.[PROTOCOL_VERSION_META_KEY] === "string") return false;
  const version = headers["mcp-protocol-version"];
  const method = headers["mcp-method"];
  const name = headers["mcp-name"];
  const { kind } = classifyInboundRequest({
    httpMethod: "POST",
    ...(version !== undefined && { protocolVersionHeader: String(version) }),
    ...(method !== undefined && { mcpMethodHeader: String(method) }),
    ...(name !== undefined && { mcpNameHeader: String(name) }),
    body,
  });
  return kind === "legacy";
}

const tooMuchToKeep = {
  status: 413,
  code: ProtocolErrorCode.InvalidRequest,
  message: `A message that begins a session or a subscription may have ${MAX_KEPT_BYTES} bytes. Name fewer resources.`,
};

const unavailable = (message: string, retryAfter: number) => ({
  status: 503,
  message: `${message} Try again in ${retryAfter} s.`,
  headers: { "retry-after": String(retryAfter) },
});
