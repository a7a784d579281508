import type { IncomingMessage, ServerResponse } from "node:http";
import {
  classifyInboundRequest,
  type McpServer,
  PROTOCOL_VERSION_META_KEY,
  ProtocolErrorCode,
} from "@modelcontextprotocol/server";
import type { Log } from "../engine/settings.ts";
import type { Notifier } from "../mcp/resources.ts";
import type { Caller } from "./gates/caller.ts";
import { openAdmission } from "./http-admission.ts";
import { answer, type Exchange, refuseRpc, SHUTTING_DOWN, turnAway } from "./http-answer.ts";
import { readJson } from "./http-body.ts";
import { shareOf } from "./http-limits.ts";
import { openLoopTurns } from "./http-loop-turns.ts";
import { LISTEN, openModern } from "./http-modern.ts";
import { openSessions } from "./http-sessions.ts";
import { openTokenWatch } from "./http-token-watch.ts";
import { requestOf, requestsOf, subscribedUris } from "./requests.ts";

/** For messages that begin a session or a subscription, because the SDK keeps them as long as that lasts. */
const MAX_KEPT_BYTES = 2 ** 18;

export interface McpSettings {
  /**
   * Makes a server for a session of a 2025 client, which notifies it of changes; or for one request of a newer client,
   * whose subscriptions `watch` serves. `tool` is the tool that the request calls, if any.
   */
  createServer(request: { era: "legacy" | "modern"; caller: string; tool?: string | undefined }): McpServer;
  /** Passes changes on to the subscriptions of newer clients. Returns a function that stops it. */
  watch(notifier: Notifier): () => void;
  /** The reason why a newer client cannot subscribe to these resources. */
  whyNotSubscribed(uris: readonly string[]): string | undefined;
  /** Sessions at a time, and subscriptions at a time. */
  maxSessions: number;
  sessionIdleMs: number;
  /** Requests read at a time, and requests served at a time. */
  maxInFlight: number;
  /** Of each of these, the most for one caller. */
  maxPerCaller: number;
  maxBodyBytes: number;
  bodyTimeoutMs: number;
  keepAliveMs: number;
  log: Log;
}

/** The endpoint `/mcp`, for callers that have passed the gates. */
export interface McpEndpoint {
  handle(request: IncomingMessage, response: ServerResponse, caller: Caller): Promise<void>;
  /** Refuses new requests. Resolves when the running ones have ended, or after `ms`. */
  drain(ms: number): Promise<void>;
  /** Ends the sessions, subscriptions and requests that are left. */
  close(): Promise<void>;
  status(): { running: number; sessions: number; subscriptions: number };
}

export function openMcp(settings: McpSettings): McpEndpoint {
  const { createServer, log, keepAliveMs, maxSessions, maxPerCaller } = settings;
  const admission = openAdmission(settings);
  const turns = openLoopTurns();
  const tokens = openTokenWatch();
  const modern = openModern({
    createServer: (caller, tool) => createServer({ era: "modern", caller, tool }),
    tokens,
    maxSubscriptions: maxSessions,
    maxBodyBytes: settings.maxBodyBytes,
    keepAliveMs,
    isStopped: () => admission.isStopped,
    log,
  });
  const sessions = openSessions({
    createServer: (caller) => createServer({ era: "legacy", caller }),
    tokens,
    maxSessions,
    maxPerCaller: shareOf(maxSessions, maxPerCaller),
    idleMs: settings.sessionIdleMs,
    keepAliveMs,
    log,
  });
  const stopWatching = settings.watch(modern.notifier);

  /** The message of a POST. Undefined when it was refused, or the client is gone. */
  const read = async (exchange: Exchange) => {
    const { request, response, caller } = exchange;
    const release = admission.admit(exchange, "reading");
    if (!release) return undefined;
    const message = await readJson(request, response, {
      maxBytes: settings.maxBodyBytes,
      timeoutMs: settings.bodyTimeoutMs,
      turn: () => turns.take(caller.name),
    }).finally(release);
    if (message === undefined || response.destroyed) return undefined;
    if ("json" in message) return message;
    refuseRpc(request, response, message);
    return undefined;
  };

  const post = async (exchange: Exchange): Promise<void> => {
    const { request, response, caller } = exchange;
    const message = await read(exchange);
    if (!message) return;
    const body = message.json;
    const only = requestOf(body);
    const listens = only?.method === LISTEN;
    const begins = listens || only?.method === "initialize";
    if (begins && message.bytes > MAX_KEPT_BYTES) return refuseRpc(request, response, TOO_MUCH_TO_KEEP);
    const why = listens ? settings.whyNotSubscribed(subscribedUris(body)) : undefined;
    if (why !== undefined) {
      const error = { code: ProtocolErrorCode.InvalidParams, message: why };
      return answer(response, 200, { jsonrpc: "2.0", id: only?.id, error });
    }
    // Notifications and answers need no place: a cancellation has to get through when all places are taken.
    const requests = requestsOf(body).length;
    if (requests > 0) {
      const release = admission.admit(exchange, listens ? "subscriptions" : "running", requests);
      if (!release) return;
      response.once("close", release);
    }
    if (isLegacy(request, body)) return sessions.handle(request, response, caller, body);
    await modern.serve(exchange, body);
  };

  return {
    handle: async (request, response, caller) => {
      if (request.method === "POST") return post({ request, response, caller });
      if (admission.isStopped && request.method === "GET") {
        return turnAway({ request, response, caller }, SHUTTING_DOWN, log);
      }
      await sessions.handle(request, response, caller);
    },
    drain: async (ms) => {
      admission.stop();
      await admission.idle(ms);
    },
    close: async () => {
      admission.stop();
      stopWatching();
      tokens.close();
      await Promise.all([sessions.close(), modern.close()]);
    },
    status: () => ({
      running: admission.taken("running"),
      sessions: sessions.size,
      subscriptions: admission.taken("subscriptions"),
    }),
  };
}

function isLegacy({ headers }: IncomingMessage, body: unknown): boolean {
  const request = requestOf(body);
  const { _meta: meta } = (request?.params ?? {}) as { _meta?: Record<string, unknown> };
  // Requests that name their revision are of newer clients. The SDK's own check takes 2 % of a small call, and is repeated later.
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

const TOO_MUCH_TO_KEEP = {
  status: 413,
  code: ProtocolErrorCode.InvalidRequest,
  message: `A message that begins a session or a subscription may have ${MAX_KEPT_BYTES} bytes. Name fewer resources.`,
};
