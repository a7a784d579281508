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
/** For what is already written to reach its readers. */
const FLUSH_MS = 1_000;
const NOBODY: Caller = { name: "" };

export interface HttpSettings extends McpSettings {
  gates: GateSettings;
  headersTimeoutMs: number;
  /** For a whole request: the net under the time a body has, where its route does not look after that. Default: 5 min. */
  requestTimeoutMs?: number;
  /** All together. Default: 1,024. */
  maxConnections?: number;
  /** Of one address, before a token was shown on them. Default: 128. */
  maxConnectionsPerAddress?: number;
  /** More paths, with the gates they want. `/x/*` is every path with one segment more than `/x`. */
  routes?: Record<string, Route>;
}

export interface Route {
  methods: readonly string[];
  /**
   * `public`: no gates. `network`: Host, Origin and address. `caller`: also a token, when there are any; whose it is is
   * handed on.
   */
  access: "public" | "network" | "caller";
  /** Methods whose bodies may take any time: it looks after that itself. */
  slow?: readonly string[];
  /** Lets what is under way end within `ms`, and refuses what comes. */
  drain?(ms: number): Promise<void>;
  handle(request: IncomingMessage, response: ServerResponse, caller: Caller): void | Promise<void>;
}

export interface HttpServer {
  /** Such as `127.0.0.1:3110`. */
  address: string;
  status(): HttpStatus;
  /** Stops accepting, refuses new requests, lets those under way end within `ms`, then ends the rest. */
  drain(ms: number): Promise<void>;
}

/** What is under way, and what was answered since the start. */
export interface HttpStatus extends HttpCounts {
  running: number;
  sessions: number;
  subscriptions: number;
  connections: number;
}

/** Listens when it resolves. Throws `LakeError` naming the setting and the fix: no gate is left open by a mistake. */
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
      // A load balancer asks by address, under any name, without a token: no gate, and nothing to learn.
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
      // A client that goes away in the middle of its answer is no error of ours.
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
        // Node's own timer knows no routes, and an upload takes as long as it takes: see `limitTime`.
        requestTimeout: 0,
        connectionsCheckingInterval: CHECK_CONNECTIONS_MS,
        // A pending Nagle delay costs 40 ms on a small answer.
        noDelay: true,
      },
      serve,
    );
    const connections = openConnections(server, {
      most: settings.maxConnections ?? MAX_CONNECTIONS,
      perAddress: settings.maxConnectionsPerAddress ?? MAX_CONNECTIONS_PER_ADDRESS,
      isProxy: gates.isProxy,
    });
    // A body that will be refused need not be sent: the gates are passed before the client is told to go on.
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
  // Nobody would be told when a response ends that has ended already.
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
  // Clients look before the path of /mcp; older ones at the root.
  return { "/.well-known/oauth-protected-resource": published, [metadata.path]: published };
}

/**
 * Where clients look for an authorization server that there is not, and then ask to be registered: they show their users
 * what is answered there, in the form of RFC 6749 and 7591.
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
