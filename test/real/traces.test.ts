import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { expect, test } from "vitest";
import { parseExposition } from "../support/exposition.ts";
import { openOllamaServer } from "../support/ollama.ts";
import { openReceiver, type ReceivedSpan, type Receiver } from "../support/otlp.ts";
import { MAIN, openWorkspace, type ServerProcess } from "./process.ts";

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT = "00f067aa0ba902b7";
const TRACEPARENT = `00-${TRACE}-${PARENT}-01`;
const SERVER = 2;
const CLIENT = 3;
const SECRET = "0123456789abcdef-the-secret";

/** Every span of a trace under its parent's, as names. */
function treeOf(spans: ReceivedSpan[], parent: string | undefined): unknown[] {
  return spans
    .filter((span) => span.parentSpanId === parent)
    .map((span) => {
      const below = treeOf(spans, span.spanId);
      return below.length === 0 ? span.name : { [span.name]: below };
    });
}

function only(receiver: Receiver, name: string): ReceivedSpan {
  const [span, ...more] = receiver.named(name);
  if (!span || more.length > 0) throw new Error(`${name}: ${JSON.stringify(receiver.spans.map((each) => each.name))}`);
  return span;
}

const callOf = (server: ServerProcess, name: string, args: object, traceparent?: string) =>
  server.client.callTool({
    name,
    arguments: args as Record<string, unknown>,
    ...(traceparent && { _meta: { traceparent, tracestate: "rojo=1" } }),
  });

/** Logged as JSON, in all calls. */
function callsIn(stderr: string): Record<string, unknown>[] {
  const lines = stderr.trim().split("\n");
  return lines.map((line) => JSON.parse(line)).filter(({ message }) => message === "call");
}

test.each(["legacy", "modern"] as const)(
  "over stdio a %s client's call is a span of its trace, with the engine's steps below it",
  async (era) => {
    await using workspace = await openWorkspace();
    await using receiver = await openReceiver();
    const env = { OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url, OTEL_EXPORTER_OTLP_HEADERS: `authorization=${SECRET}` };
    const server = await workspace.start({ era, env });
    await callOf(server, "ingest", { name: "kumquats", text: "id,word\n1,papaya\n2,quince\n" });
    const sql = "SELECT word FROM kumquats WHERE word <> 'rambutan'";
    await callOf(server, "sql", { sql }, TRACEPARENT);
    const failed = await callOf(server, "sql", { sql: "SELECT tamarillo FROM kumquats" }, TRACEPARENT);
    expect(failed.isError).toBe(true);
    await server.client.readResource({ uri: "lakehouse://datasets/kumquats" });
    await server.client.getPrompt({ name: "explore-dataset", arguments: { dataset: "kumquats" } });
    await server.client.close();

    const [query, wrong] = receiver.named("tools/call sql");
    expect(query).toMatchObject({ traceId: TRACE, parentSpanId: PARENT, kind: SERVER, status: 0 });
    expect(query?.attributes).toEqual({
      "mcp.method.name": "tools/call",
      "mcp.protocol.version": era === "modern" ? "2026-07-28" : "2025-11-25",
      "jsonrpc.request.id": expect.any(String),
      "gen_ai.operation.name": "execute_tool",
      "gen_ai.tool.name": "sql",
      "network.transport": "pipe",
    });
    const ofTrace = receiver.spans.filter((span) => span.traceId === TRACE);
    expect(treeOf(ofTrace, query?.spanId)).toEqual([{ query: ["query.execute"] }]);
    expect(only(receiver, "ingest").attributes).toMatchObject({ "lakehouse.rows": 2, "lakehouse.unchanged": false });

    expect(wrong).toMatchObject({ traceId: TRACE, parentSpanId: PARENT, status: 2, message: undefined });
    expect(wrong?.attributes).toMatchObject({ "error.type": "tool_error", "lakehouse.error.kind": "invalid" });
    const failedQuery = receiver.named("query").find((span) => span.parentSpanId === wrong?.spanId);
    expect(failedQuery).toMatchObject({ status: 2, attributes: { "error.type": "invalid" } });

    const ingest = only(receiver, "tools/call ingest");
    expect(ingest.traceId).not.toBe(TRACE);
    expect(ingest.parentSpanId).toBeUndefined();
    expect(treeOf(receiver.spans, ingest.spanId)).toEqual([{ ingest: ["ingest.convert", "commit"] }]);
    expect(only(receiver, "resources/read").attributes).toMatchObject({ "lakehouse.resource": "dataset" });
    expect(only(receiver, "prompts/get explore-dataset").attributes).toMatchObject({
      "mcp.method.name": "prompts/get",
      "gen_ai.prompt.name": "explore-dataset",
    });

    expect(receiver.resource).toMatchObject({ "service.name": "lakehouse-mcp", "telemetry.sdk.language": "nodejs" });
    expect(receiver.headers.every((headers) => headers.authorization === SECRET)).toBe(true);
    expect(new Set(receiver.paths)).toEqual(new Set(["/v1/traces"]));
    expect(receiver.bodies.join()).not.toMatch(/kumquat|papaya|rambutan|tamarillo|SELECT|the-secret/);
    expect(server.stderr()).not.toMatch(/the-secret|rambutan|tamarillo/);

    const calls = callsIn(server.stderr());
    expect(calls.map((call) => call.tool ?? call.resource ?? call.prompt)).toEqual([
      "ingest",
      "sql",
      "sql",
      "dataset",
      "explore-dataset",
    ]);
    expect(calls.map((call) => call.trace_id)).toEqual([
      ingest.traceId,
      TRACE,
      TRACE,
      only(receiver, "resources/read").traceId,
      only(receiver, "prompts/get explore-dataset").traceId,
    ]);
  },
);

test("embeddings and searches are spans, of a query that searches too", async () => {
  await using workspace = await openWorkspace();
  await using receiver = await openReceiver();
  await using ollama = await openOllamaServer();
  const server = await workspace.start({
    env: { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${receiver.url}/collect`, OTEL_SERVICE_NAME: "our-lake" },
    args: ["--embed-provider", "ollama", "--ollama-url", ollama.url],
  });
  // Of a dataset it would be in memory already.
  await server.call("vector-index-create", { name: "notes_index" });
  const items = ["papaya", "quince"].map((text) => ({ id: text, text }));
  await server.call("vector-upsert", { index: "notes_index", items });
  const sql = "SELECT id FROM vector_search('notes_index', 'rambutan', 1)";
  await callOf(server, "sql", { sql }, TRACEPARENT);
  await callOf(server, "sql", { sql });
  await server.client.close();

  const ofTrace = receiver.spans.filter((span) => span.traceId === TRACE);
  expect(treeOf(ofTrace, PARENT)).toEqual([
    {
      "tools/call sql": [
        { query: [{ "vector.search": [{ embed: ["embeddings nomic-embed-text"] }, "vector.load"] }, "query.execute"] },
      ],
    },
  ]);
  const fetched = ofTrace.find((span) => span.name.startsWith("embeddings"));
  expect(fetched).toMatchObject({ kind: CLIENT, status: 0 });
  expect(fetched?.attributes).toMatchObject({
    "gen_ai.operation.name": "embeddings",
    "gen_ai.provider.name": "ollama",
    "gen_ai.request.model": "nomic-embed-text",
    "gen_ai.embeddings.dimension.count": 8,
    "lakehouse.embed.texts": 1,
  });
  const again = receiver.named("embed").at(-1);
  expect(again?.attributes).toMatchObject({ "lakehouse.embed.texts": 1, "lakehouse.embed.missing": 0 });
  expect(receiver.named("vector.create")).toHaveLength(1);
  expect(receiver.resource).toMatchObject({ "service.name": "our-lake" });
  expect(new Set(receiver.paths)).toEqual(new Set(["/collect"]));
  expect(receiver.bodies.join()).not.toMatch(/papaya|rambutan|notes_index/);
});

interface Served {
  child: ChildProcess;
  stderr: () => string;
  url: string;
  ended: Promise<unknown[]>;
}

async function serve(folder: string, env: Record<string, string>, args: string[] = []): Promise<Served> {
  const all = [MAIN, "serve", "--data", join(folder, "lake"), "--http", "127.0.0.1:0", ...args];
  const child = spawn(process.execPath, all, { cwd: folder, env: { PATH: process.env.PATH, ...env } });
  let stderr = "";
  child.stderr.on("data", (chunk) => {
    stderr += chunk;
  });
  for (;;) {
    const address = /"listening","address":"([^"]+)"/.exec(stderr)?.[1];
    if (address !== undefined)
      return { child, stderr: () => stderr, url: `http://${address}`, ended: once(child, "close") };
    if (child.exitCode !== null) throw new Error(`The server ended: ${stderr}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function connect(url: string, era: "legacy" | "modern", headers: Record<string, string>): Promise<Client> {
  const versions = era === "legacy" ? {} : { versionNegotiation: { mode: { pin: "2026-07-28" } } };
  const client = new Client({ name: "test", version: "1" }, versions);
  await client.connect(new StreamableHTTPClientTransport(new URL(`${url}/mcp`), { requestInit: { headers } }));
  return client;
}

test.each(["legacy", "modern"] as const)(
  "over HTTP a %s client's call belongs to its message's trace, else to its request's, and SIGTERM sends the last spans",
  async (era) => {
    await using workspace = await openWorkspace();
    await using receiver = await openReceiver();
    const served = await serve(workspace.folder, {
      OTEL_EXPORTER_OTLP_ENDPOINT: `${receiver.url}/`,
      OTEL_BSP_SCHEDULE_DELAY: "60000",
      LAKEHOUSE_HTTP_TOKEN: `ann:${SECRET}`,
    });
    const other = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`;
    const client = await connect(served.url, era, { authorization: `Bearer ${SECRET}`, traceparent: other });
    await client.callTool({ name: "sql", arguments: { sql: "SELECT 1" }, _meta: { traceparent: TRACEPARENT } });
    await client.callTool({ name: "sql", arguments: { sql: "SELECT 2" } });
    await client.callTool({ name: "sql", arguments: { sql: "SELECT 3" }, _meta: { traceparent: "nonsense" } });
    expect(receiver.spans).toEqual([]);
    expect((await fetch(`${served.url}/metrics`)).status).toBe(401);
    const metrics = await fetch(`${served.url}/metrics`, { headers: { authorization: `Bearer ${SECRET}` } });
    expect(parseExposition(await metrics.text()).value('lakehouse_tool_calls_total{tool="sql"}')).toBe(3);
    served.child.kill("SIGTERM");
    expect(await served.ended).toEqual([0, null]);

    const calls = receiver.named("tools/call sql");
    expect(calls.map(({ traceId, parentSpanId }) => [traceId, parentSpanId])).toEqual([
      [TRACE, PARENT],
      ["a".repeat(32), "b".repeat(16)],
      ["a".repeat(32), "b".repeat(16)],
    ]);
    expect(calls[0]?.attributes).toMatchObject({
      "network.transport": "tcp",
      "network.protocol.name": "http",
      "enduser.id": "ann",
      "mcp.protocol.version": era === "modern" ? "2026-07-28" : "2025-11-25",
      ...(era === "legacy" && { "mcp.session.id": expect.stringMatching(/^[0-9a-f-]{36}$/) }),
    });
    expect(receiver.bodies.join() + served.stderr()).not.toContain("the-secret");
  },
);

test("a caller that samples its trace out gets none, and arguments are in spans only where that is set", async () => {
  await using workspace = await openWorkspace();
  await using receiver = await openReceiver();
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url };
  const server = await workspace.start({ env, args: ["--trace-arguments", "on"] });
  await callOf(server, "sql", { sql: "SELECT 'unsampled'" }, `00-${TRACE}-${PARENT}-00`);
  await callOf(server, "sql", { sql: "SELECT 'rambutan'" });
  await server.client.readResource({ uri: "lakehouse://catalog" });
  await server.client.close();
  expect(receiver.spans.some((span) => span.traceId === TRACE)).toBe(false);
  expect(only(receiver, "tools/call sql").attributes).toMatchObject({
    "gen_ai.tool.call.arguments": JSON.stringify({ sql: "SELECT 'rambutan'" }),
  });
  expect(only(receiver, "resources/read").attributes).toMatchObject({ "mcp.resource.uri": "lakehouse://catalog" });
});

test.each(["refuses", "hangs", "is absent"] as const)(
  "a collector that %s neither delays nor fails a call nor the end, and is told once",
  async (fault) => {
    await using workspace = await openWorkspace();
    await using receiver = await openReceiver();
    if (fault === "refuses") receiver.behave(401);
    if (fault === "hangs") receiver.behave("hang");
    const endpoint = fault === "is absent" ? "http://user:the-secret@127.0.0.1:9" : receiver.url;
    const server = await workspace.start({
      env: {
        OTEL_EXPORTER_OTLP_ENDPOINT: endpoint,
        OTEL_EXPORTER_OTLP_TIMEOUT: "300",
        OTEL_BSP_SCHEDULE_DELAY: "50",
      },
    });
    await server.call("sql", { sql: "SELECT 0" });
    const started = performance.now();
    for (let n = 1; n <= 20; n++) {
      expect(await server.call("sql", { sql: `SELECT ${n}` })).toMatchObject({ rows: [[n]] });
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    expect(performance.now() - started).toBeLessThan(20 * 300);
    const closing = performance.now();
    await server.client.close();
    expect(performance.now() - closing).toBeLessThan(4_000);
    const told = server.stderr().match(/traces cannot be sent/g);
    expect(told).toHaveLength(1);
    expect(server.stderr()).toMatch(/"message":"closed"/);
    expect(server.stderr()).not.toContain("the-secret");
  },
);

test("without the variables nothing of OpenTelemetry is loaded; with unfit ones the server says so and serves", async () => {
  await using workspace = await openWorkspace();
  const loaded = { NODE_DEBUG: "module,esm" };
  for (const [env, loads] of [
    [loaded, false],
    [{ ...loaded, OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:9", OTEL_SDK_DISABLED: "true" }, false],
    [{ ...loaded, OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:9" }, true],
  ] as [Record<string, string>, boolean][]) {
    const server = await workspace.start({ env });
    await server.call("sql", { sql: "SELECT 1" });
    await server.client.close();
    expect(server.stderr().includes("@opentelemetry")).toBe(loads);
  }

  for (const [env, said] of [
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: "collector" }, "OTEL_EXPORTER_OTLP_ENDPOINT is no http or https address"],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:4317", OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" }, "grpc"],
  ] as [Record<string, string>, string][]) {
    const server = await workspace.start({ env });
    expect(await server.call("sql", { sql: "SELECT 1" })).toMatchObject({ rows: [[1]] });
    await server.client.close();
    expect(server.stderr()).toContain(said);
    expect(server.stderr()).not.toContain('"traces are sent"');
  }
});
