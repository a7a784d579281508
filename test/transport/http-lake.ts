import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { type IncomingHttpHeaders, type OutgoingHttpHeaders, request } from "node:http";
import { connect as connectSocket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type CallToolResult, Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { type Engine, openEngine } from "../../src/engine/engine.ts";
import type { EngineSettings } from "../../src/engine/settings.ts";
import { forwardChanges } from "../../src/mcp/resources.ts";
import { createServer } from "../../src/mcp/server.ts";
import { metricsRoute, openMetrics } from "../../src/observability/metrics.ts";
import { whyNotSubscribed } from "../../src/resources/subscriptions.ts";
import { type HttpServer, type HttpSettings, serveHttp } from "../../src/transport/http.ts";
import { type GateSettings, isNamed } from "../../src/transport/http-gates.ts";
import { type UploadRouteSettings, uploadRoutes } from "../../src/transport/uploads.ts";
import { type Era, testSettings } from "../support/lake.ts";

export const ERAS: Era[] = ["legacy", "modern"];

/** Runs until it is stopped. */
export const ENDLESS = "SELECT count(*) FROM range(100000000) a, range(100000000) b WHERE (a.range * b.range) % 7 = 3";

export interface LogLine extends Record<string, unknown> {
  level: string;
  message: string;
}

export interface HttpLake extends AsyncDisposable {
  engine: Engine;
  server: HttpServer;
  url: string;
  folder: string;
  log: LogLine[];
  /** How many parts of the process listen to the engine. */
  listeners(): number;
  file(name: string, content: string): Promise<string>;
  connect(era: Era, options?: ConnectOptions): Promise<Connected>;
  /** One request as it is written, without a client's help. */
  send(options: RawRequest): Promise<RawResponse>;
  /** Bytes over a socket; resolves with everything that came back when the server has closed it. */
  socket(bytes: string | Buffer, keepOpenMs?: number): Promise<string>;
}

export interface ConnectOptions {
  token?: string;
  prepare?: (client: Client) => void;
  /** Hears of every response, before it is read. */
  onResponse?: (response: Response) => void;
}

export interface Connected {
  client: Client;
  call(tool: string, args?: Record<string, unknown>): Promise<Record<string, unknown>>;
}

export interface RawRequest {
  method?: string;
  path?: string;
  headers?: OutgoingHttpHeaders;
  body?: string | Buffer;
  /** Headers as they are written, in place of `headers`. */
  raw?: string[];
}

export interface RawResponse {
  status: number;
  headers: IncomingHttpHeaders;
  body: string;
}

export interface HttpLakeOptions {
  http?: Partial<Omit<HttpSettings, "gates">>;
  gates?: Partial<GateSettings>;
  engine?: Partial<EngineSettings>;
  uploads?: Partial<UploadRouteSettings>;
  /** Opens a lake that another one left behind, and leaves it behind. */
  folder?: string;
}

/** The engine behind a real HTTP server on a free port. */
export async function openHttpLake(options: HttpLakeOptions = {}): Promise<HttpLake> {
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), "lakehouse-http-")));
  await mkdir(join(folder, "inbox"), { recursive: true });
  const lines: LogLine[] = [];
  const log: EngineSettings["log"] = (level, message, fields) => void lines.push({ level, message, ...fields });
  const engine = await openEngine(testSettings(folder, { log, ...options.engine }));
  let listeners = 0;
  const counted: Engine = {
    ...engine,
    onChange: (listener) => {
      listeners++;
      const stop = engine.onChange(listener);
      let stopped = false;
      return () => {
        if (!stopped) listeners--;
        stopped = true;
        stop();
      };
    },
  };
  let server: HttpServer | undefined;
  const metrics = openMetrics({ engine, http: () => server?.status() });
  const gates: GateSettings = { bind: { host: "127.0.0.1", port: 0 }, hosts: [], proxies: [], ...options.gates };
  const maxPerCaller = isNamed(gates) ? (options.http?.maxPerCaller ?? 48) : Number.POSITIVE_INFINITY;
  server = await serveHttp({
    gates,
    createServer: ({ era, caller, tool }) =>
      createServer(
        { engine: counted, log, caller, onCall: metrics.onCall, trustRoots: false, notifies: era === "legacy" },
        { era, tool },
      ),
    watch: (notifier) => forwardChanges(counted, notifier),
    whyNotSubscribed,
    routes: {
      ...uploadRoutes({ uploads: engine.uploads, log, maxPerCaller, ...options.uploads }),
      "/metrics": metricsRoute(metrics),
    },
    maxSessions: 64,
    sessionIdleMs: 60_000,
    maxInFlight: 64,
    maxPerCaller: 48,
    maxBodyBytes: 4 * 2 ** 20,
    bodyTimeoutMs: 10_000,
    headersTimeoutMs: 10_000,
    keepAliveMs: 15_000,
    log,
    ...options.http,
  });
  const url = `http://${server.address}`;
  const port = Number(new URL(url).port);
  const clients: Client[] = [];

  return {
    engine,
    server,
    url,
    folder,
    log: lines,
    listeners: () => listeners,
    file: async (name, content) => {
      await writeFile(join(folder, "inbox", name), content);
      return name;
    },
    connect: async (era, { token, prepare, onResponse } = {}) => {
      const versions = era === "legacy" ? {} : { versionNegotiation: { mode: { pin: "2026-07-28" } } };
      const client = new Client({ name: "test", version: "1" }, versions);
      prepare?.(client);
      const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
      const watched = async (to: string | URL, init?: RequestInit): Promise<Response> => {
        const response = await fetch(to, init);
        onResponse?.(response);
        return response;
      };
      const transport = { requestInit: { headers }, fetch: watched };
      await client.connect(new StreamableHTTPClientTransport(new URL(`${url}/mcp`), transport));
      clients.push(client);
      return {
        client,
        call: async (name, args = {}) => {
          const result = (await client.callTool({ name, arguments: args })) as CallToolResult;
          if (result.isError) throw new Error(JSON.stringify(result.content));
          return result.structuredContent as Record<string, unknown>;
        },
      };
    },
    send: ({ method = "GET", path = "/mcp", headers = {}, body, raw }) =>
      new Promise((resolve, reject) => {
        const outgoing = request(
          { host: "127.0.0.1", port, method, path, headers: raw ?? headers, agent: false },
          (response) => {
            let text = "";
            response.setEncoding("utf8");
            response.on("data", (chunk) => {
              text += chunk;
            });
            response.on("end", () =>
              resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text }),
            );
          },
        );
        outgoing.on("error", reject);
        outgoing.end(body);
      }),
    socket: (bytes, keepOpenMs = 20_000) =>
      new Promise((resolve, reject) => {
        const socket = connectSocket({ host: "127.0.0.1", port }, () => socket.write(bytes));
        let text = "";
        const timer = setTimeout(() => {
          socket.destroy();
          reject(new Error(`The server kept the connection open; so far it said: ${text}`));
        }, keepOpenMs);
        socket.on("data", (chunk) => {
          text += chunk;
        });
        socket.on("error", () => {});
        socket.on("close", () => {
          clearTimeout(timer);
          resolve(text);
        });
      }),
    [Symbol.asyncDispose]: async () => {
      await Promise.all(clients.map((client) => client.close().catch(() => {})));
      await server.drain(5_000);
      metrics.close();
      await engine.close();
      if (options.folder === undefined) await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Headers that a 2025 client sends with a message. */
export const JSON_HEADERS = {
  "content-type": "application/json",
  accept: "application/json, text/event-stream",
};

export const INITIALIZE = JSON.stringify({
  jsonrpc: "2.0",
  id: 0,
  method: "initialize",
  params: { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "raw", version: "1" } },
});

/** A request of a 2026 client, as it is written. */
export function modernRequest(method: string, params: Record<string, unknown> = {}, token?: string) {
  const { name, _meta } = params;
  const envelope = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": { name: "raw", version: "1" },
    "io.modelcontextprotocol/clientCapabilities": {},
  };
  const headers: Record<string, string> = {
    ...JSON_HEADERS,
    "mcp-protocol-version": "2026-07-28",
    "mcp-method": method,
    ...(typeof name === "string" && { "mcp-name": name }),
    ...(token !== undefined && { authorization: `Bearer ${token}` }),
  };
  const message = { jsonrpc: "2.0", id: 1, method, params: { ...params, _meta: { ...envelope, ...Object(_meta) } } };
  return { method: "POST", headers, body: JSON.stringify(message) };
}

/** The messages in a stream of events. */
export function messagesIn(events: string): Record<string, unknown>[] {
  const lines = events.split("\n").filter((line) => line.startsWith("data: "));
  return lines.map((line) => JSON.parse(line.slice("data: ".length)) as Record<string, unknown>);
}

export async function until(condition: () => boolean | Promise<boolean>, what: string, ms = 10_000): Promise<void> {
  const deadline = performance.now() + ms;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`It did not happen in ${ms} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
