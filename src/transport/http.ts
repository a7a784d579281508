import { createServer as createHttpServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { hasCode, LakeError } from "../engine/kernel/errors.ts";
import { type NextStep, next, setting } from "../engine/kernel/next-step.ts";
import { openScope } from "../engine/kernel/scope.ts";
import { CLAUDE_CODE, SEND_TOKEN } from "./gates/bearer.ts";
import type { Caller } from "./gates/caller.ts";
import { isRefusal, type Refusal } from "./gates/refusal.ts";
import { answer, refuse, refuseWith } from "./http-answer.ts";
import { openConnections } from "./http-connections.ts";
import { type Gate, type HttpCounts, openHttpCounts } from "./http-counts.ts";
import { refusalOf } from "./http-error.ts";
import { type GateSettings, type Gates, isNamed, openGates } from "./http-gates.ts";
import { openPlaces } from "./http-limits.ts";
import { type McpSettings, openMcp } from "./http-mcp.ts";

const MAX_CONNECTIONS = 1024;
const MAX_CONNECTIONS_PER_ADDRESS = 128;
const CHECK_CONNECTIONS_MS = 1_000;
const REQUEST_MS = 300_000;
/** Time for written answers to reach their clients. */
const FLUSH_MS = 1_000;
const NOBODY: Caller = { name: "" };

export interface HttpSettings extends McpSettings {
  gates: GateSettings;
  headersTimeoutMs: number;
  /** For a whole request, unless its route is `slow`. Default: 5 min. */
  requestTimeoutMs?: number;
  /** Connections at a time. Default: 1,024. */
  maxConnections?: number;
  /** Of one address, as long as no request on them had a valid token. Default: 128. */
  maxConnectionsPerAddress?: number;
  /** More paths. `/x/*` matches every path with one segment more than `/x`. */
  routes?: Record<string, Route>;
}

export interface Route {
  methods: readonly string[];
  /**
   * `public`: no gates. `network`: Host, Origin and address. `caller`: also a token, where tokens are configured; the
   * handler gets its caller.
   */
  access: "public" | "network" | "caller";
  /** Methods whose bodies may take any time, because the route limits it. */
  slow?: readonly string[];
  /** Refuses new requests. Resolves when the running ones have ended, or after `ms`. */
  drain?(ms: number): Promise<void>;
  handle(request: IncomingMessage, response: ServerResponse, caller: Caller): void | Promise<void>;
}

export interface HttpServer {
  /** As `127.0.0.1:3110`. */
  address: string;
  status(): HttpStatus;
  /** Stops listening and refuses new requests, lets the running ones end within `ms`, then ends the rest. */
  drain(ms: number): Promise<void>;
}

/** What is open now, and counts since the start. */
export interface HttpStatus extends HttpCounts {
  running: number;
  sessions: number;
  subscriptions: number;
  connections: number;
}

/** Resolves when it listens. Throws `LakeError` for a wrong setting, so that no gate is left open by a mistake. */
export async function serveHttp(settings: HttpSettings): Promise<HttpServer> {
  const scope = openScope();
  try {
    const gates = openGates(scope, settings.gates, settings.log);
    const mcp = openMcp(isNamed(settings.gates) ? settings : { ...settings, maxPerCaller: Number.POSITIVE_INFINITY });
    scope.defer(() => mcp.close());
    let draining = false;
    const routes: Record<string, Route> = {
      ...settings.routes,
      "/mcp": { methods: ["POST", "GET", "DELETE"], access: "caller", handle: mcp.handle },
      // Load balancers call it by address, under any name, without a token. It reveals nothing.
      "/health": {
        methods: ["GET", "HEAD"],
        access: "public",
        handle: (_, response) =>
          draining ? answer(response, 503, { status: "draining" }) : answer(response, 200, { status: "ok" }),
      },
      ...metadataRoutes(gates),
      ...tokenRoutes(settings.gates),
    };

    const counts = openHttpCounts();
    const answers = openPlaces(Number.POSITIVE_INFINITY);
    const serve = (request: IncomingMessage, response: ServerResponse): void => {
      response.once("close", answers.take() ?? (() => {}));
      // The client went away in the middle of its answer.
      response.on("error", () => {});
      counts.watch(response);
      connections.use(request.socket, response);
      const admitted = ({ name }: Caller): void => connections.admit(request.socket, name);
      route(request, response, { routes, gates, settings, refused: counts.refuse, admitted }).catch(
        (error: unknown) => {
          if (response.headersSent) response.destroy();
          refuse(request, response, refusalOf(error, settings.log));
        },
      );
    };
    const server = createHttpServer(
      {
        headersTimeout: settings.headersTimeoutMs,
        // Node's own timer does not know routes, and uploads may take any time: see `limitTime`.
        requestTimeout: 0,
        connectionsCheckingInterval: CHECK_CONNECTIONS_MS,
        // With Nagle, a small answer may be delayed by 40 ms.
        noDelay: true,
      },
      serve,
    );
    const connections = openConnections(server, {
      most: settings.maxConnections ?? MAX_CONNECTIONS,
      perAddress: settings.maxConnectionsPerAddress ?? MAX_CONNECTIONS_PER_ADDRESS,
      isProxy: gates.isProxy,
    });
    // The gates come before 100 Continue, so that a refused body is not sent.
    server.on("checkContinue", serve);
    await listen(server, settings.gates.bind);
    server.on("error", (error) => settings.log("error", "the listener failed", { error: error.message }));

    const { address, port, family } = server.address() as AddressInfo;
    const shown = family === "IPv6" ? `[${address}]:${port}` : `${address}:${port}`;
    settings.log("info", "listening", { address: shown, ...gates.summary });
    return {
      address: shown,
      status: () => ({ ...mcp.status(), ...counts.read(), connections: connections.size }),
      drain: async (ms) => {
        draining = true;
        settings.log("info", "draining", mcp.status());
        const closed = new Promise<void>((resolve) => void server.close(() => resolve()));
        await Promise.all([mcp.drain(ms), ...Object.values(routes).map((each) => each.drain?.(ms))]);
        await scope.close();
        await answers.empty(FLUSH_MS);
        server.closeAllConnections();
        await closed;
      },
    };
  } catch (error) {
    await scope.close();
    throw error;
  }
}

interface Routing {
  routes: Record<string, Route>;
  gates: Gates;
  settings: HttpSettings;
  refused: (response: ServerResponse, gate: Gate) => void;
  admitted: (caller: Caller) => void;
}

/** Path and method → Host and Origin → address → token → limits and handler. */
async function route(
  request: IncomingMessage,
  response: ServerResponse,
  { routes, gates, settings, refused, admitted }: Routing,
) {
  const [path = ""] = (request.url ?? "").split("?");
  const found = routeOf(routes, path);
  if (!found?.slow?.includes(request.method ?? "")) limitTime(request, settings.requestTimeoutMs ?? REQUEST_MS);
  if (!found) {
    refused(response, "path");
    return refuse(request, response, { status: 404, message: "There is nothing at this path; try /mcp, or /uploads." });
  }
  if (!found.methods.includes(request.method ?? "")) {
    const allow = found.methods.join(", ");
    refused(response, "method");
    return refuse(request, response, { status: 405, message: `Use ${allow}.`, headers: { allow } });
  }
  const stop = (gate: Gate, refusal: Refusal): void => {
    refused(response, gate);
    settings.log("info", "refused", {
      status: refusal.status,
      path,
      address: gates.address(request),
      reason: refusal.message,
    });
    refuse(request, response, refusal);
  };
  if (found.access === "public") return found.handle(request, response, NOBODY);
  const stranger = gates.judgeHost(request);
  if (stranger) return stop("host", stranger);
  const outsider = gates.judgeAddress(request);
  if (outsider) return stop("address", outsider);
  if (found.access === "network") return found.handle(request, response, NOBODY);
  const caller = await gates.judgeCaller(request);
  if (isRefusal(caller)) return stop("token", caller);
  admitted(caller);
  // The client is gone: no `close` event would release what the handler takes.
  if (response.destroyed) return;
  await found.handle(request, response, caller);
}

function routeOf(routes: Record<string, Route>, path: string): Route | undefined {
  const pattern = path.replace(/[^/]+$/, "*");
  return [path, pattern].flatMap((each) => (Object.hasOwn(routes, each) ? (routes[each] ?? []) : []))[0];
}

function limitTime(request: IncomingMessage, ms: number): void {
  const timer = setTimeout(() => {
    if (!request.complete) request.socket.destroy();
  }, ms);
  timer.unref();
  for (const last of ["end", "close"]) request.once(last, () => clearTimeout(timer));
}

function metadataRoutes({ metadata }: Gates): Record<string, Route> {
  if (!metadata) return {};
  const published: Route = {
    methods: ["GET", "HEAD"],
    access: "network",
    handle: (_, response) => answer(response, 200, metadata.read()),
  };
  // Clients look at the path of RFC 9728, older ones at the root.
  return { "/.well-known/oauth-protected-resource": published, [metadata.path]: published };
}

/**
 * Where clients look for an authorization server, and try to register, although there is none. They show their users the
 * answer, which has the form of RFC 6749 and 7591.
 */
function tokenRoutes(gates: GateSettings): Record<string, Route> {
  if (gates.oauth !== undefined || !isNamed(gates)) return {};
  const body = {
    error: "access_denied",
    error_description: `There is no sign-in here: this server takes bearer tokens, which whoever runs it gives out. ${SEND_TOKEN} ${CLAUDE_CODE}`,
  };
  const told: Route = {
    methods: ["GET", "HEAD", "POST"],
    access: "network",
    handle: (request, response) => refuseWith(request, response, { status: 404, message: "" }, body),
  };
  return Object.fromEntries(
    [
      ...["oauth-protected-resource", "oauth-authorization-server", "openid-configuration"].flatMap((document) => [
        `/.well-known/${document}`,
        `/.well-known/${document}/mcp`,
      ]),
      "/mcp/.well-known/openid-configuration",
      "/register",
      "/authorize",
      "/token",
    ].map((path) => [path, told]),
  );
}

function listen(server: Server, { host, port }: { host: string; port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (error) => reject(bindError(error, `${host.includes(":") ? `[${host}]` : host}:${port}`)));
    server.listen({ host, port }, resolve);
  });
}

function bindError(error: Error, address: string): Error {
  const place = setting("http");
  const reasons: Record<string, [why: string, hint: NextStep]> = {
    EADDRINUSE: ["something else listens there", next`Stop it, or choose another port with ${place}.`],
    EACCES: ["this user may not listen there", next`Choose a port from 1024 on with ${place}.`],
    EADDRNOTAVAIL: ["this machine does not have the address", next`Choose one that it has with ${place}.`],
    ENOTFOUND: ["the name has no address", next`Give an address with ${place}.`],
  };
  const code = Object.keys(reasons).find((known) => hasCode(error, known));
  const [why, hint] = reasons[code ?? ""] ?? [error.message, next`Choose another address with ${place}.`];
  return new LakeError("unavailable", `http: cannot listen on ${address}: ${why}.`, { hint, cause: error });
}
