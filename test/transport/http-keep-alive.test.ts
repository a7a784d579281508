import { expect, onTestFinished, test } from "vitest";
import { BUILD, type Gate, openGate, TEXTS } from "../engine/jobs/support.ts";
import { isWorking } from "../support/lake.ts";
import {
  ENDLESS,
  type HttpLake,
  INITIALIZE,
  JSON_HEADERS,
  messagesIn,
  modernRequest,
  openHttpLake,
  until,
} from "./http-lake.ts";

const EMBED = { name: "embed", arguments: { texts: ["line cook"] } };
const EMBEDDED = { structuredContent: { dimension: 8, vectors: [expect.any(Array)] } };

/** A lake whose calls that embed say nothing until the gate is opened, and whose streams show signs of life soon. */
async function openSilent(): Promise<{ lake: HttpLake; gate: Gate }> {
  const gate = await openGate();
  onTestFinished(() => gate[Symbol.asyncDispose]());
  const lake = await openHttpLake({ http: { keepAliveMs: 20 }, engine: { embed: gate.embed } });
  onTestFinished(() => lake[Symbol.asyncDispose]());
  return { lake, gate };
}

interface Stream {
  type: string | null;
  /** What has come so far. */
  text: string;
  ended: Promise<void>;
}

/** Sends a request and reads its answer as it comes. */
async function stream(lake: HttpLake, request: RequestInit): Promise<Stream> {
  const abort = new AbortController();
  onTestFinished(() => abort.abort());
  const response = await fetch(`${lake.url}/mcp`, { ...request, signal: abort.signal });
  expect(response.status).toBe(200);
  const decoder = new TextDecoder();
  const come: Stream = { type: response.headers.get("content-type"), text: "", ended: Promise.resolve() };
  come.ended = (async () => {
    for await (const chunk of response.body ?? []) come.text += decoder.decode(chunk, { stream: true });
  })();
  come.ended.catch(() => {});
  return come;
}

const comments = ({ text }: Stream): number => text.split("\n").filter((line) => line.startsWith(":")).length;

async function untilAlive(come: Stream): Promise<void> {
  await until(() => comments(come) >= 3, "three comments arrive", 30_000);
}

test("a long call of a 2026 client is kept alive, and its last event is the result", async () => {
  const { lake, gate } = await openSilent();
  const come = await stream(lake, modernRequest("tools/call", EMBED));
  expect(come.type).toBe("text/event-stream");
  await untilAlive(come);
  expect(messagesIn(come.text)).toEqual([]);
  gate.open();
  await come.ended;
  expect(messagesIn(come.text)).toMatchObject([{ jsonrpc: "2.0", id: 1, result: EMBEDDED }]);
});

test("what a kept-alive call has to say besides comes before its result", async () => {
  const { lake, gate } = await openSilent();
  await lake.engine.ingest({ name: "texts", source: { text: TEXTS } });
  const { name, source } = BUILD;
  const come = await stream(
    lake,
    modernRequest("tools/call", {
      name: "vector-index-create",
      arguments: { name, ...source },
      _meta: { progressToken: "p" },
    }),
  );
  await untilAlive(come);
  expect(messagesIn(come.text)).toEqual([]);
  gate.open();
  await come.ended;
  const [first, ...rest] = messagesIn(come.text);
  expect(first).toMatchObject({ method: "notifications/progress", params: { progressToken: "p" } });
  expect(rest.at(-1)).toMatchObject({ id: 1, result: { structuredContent: { embedded: 3 } } });
});

test("a kept-alive call whose client goes away is stopped", async () => {
  await using lake = await openHttpLake({ http: { keepAliveMs: 20 } });
  const abort = new AbortController();
  const call = modernRequest("tools/call", { name: "sql", arguments: { sql: ENDLESS, timeout_ms: 60_000 } });
  await fetch(`${lake.url}/mcp`, { ...call, signal: abort.signal });
  await until(() => isWorking(lake.engine), "it runs", 30_000);
  abort.abort();
  await until(() => lake.server.status().running === 0 && !isWorking(lake.engine), "it stops", 30_000);
  expect(lake.log.filter(({ level }) => level === "error")).toEqual([]);
});

test("a quick call of a 2026 client is answered as JSON", async () => {
  await using lake = await openHttpLake();
  const call = modernRequest("tools/call", { name: "sql", arguments: { sql: "SELECT 1 AS one" } });
  const { status, headers, body } = await lake.send(call);
  expect([status, headers["content-type"]]).toEqual([200, "application/json"]);
  expect(JSON.parse(body)).toMatchObject({ id: 1, result: { structuredContent: { rows: [[1]] } } });
});

test("a long call of a 2025 client is kept alive, and its last event is the result", async () => {
  const { lake, gate } = await openSilent();
  const { headers } = await lake.send({ method: "POST", headers: JSON_HEADERS, body: INITIALIZE });
  const come = await stream(lake, {
    method: "POST",
    headers: { ...JSON_HEADERS, "mcp-session-id": String(headers["mcp-session-id"]) },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params: EMBED }),
  });
  expect(come.type).toBe("text/event-stream");
  await untilAlive(come);
  gate.open();
  await come.ended;
  expect(messagesIn(come.text)).toMatchObject([{ jsonrpc: "2.0", id: 1, result: EMBEDDED }]);
});

test("a 2026 client of the SDK gets the result of a call that was kept alive", async () => {
  const { lake, gate } = await openSilent();
  const types: (string | null)[] = [];
  const { call } = await lake.connect("modern", {
    onResponse: (response) => void types.push(response.headers.get("content-type")),
  });
  types.length = 0;
  const called = call("embed", EMBED.arguments);
  await until(() => types.length > 0, "the answer begins", 30_000);
  expect(types).toEqual(["text/event-stream"]);
  gate.open();
  expect(await called).toMatchObject(EMBEDDED.structuredContent);
});

test("a subscription of a 2026 client is kept alive", async () => {
  const { lake } = await openSilent();
  const come = await stream(
    lake,
    modernRequest("subscriptions/listen", { notifications: { resourcesListChanged: true } }),
  );
  expect(come.type).toBe("text/event-stream");
  await untilAlive(come);
  expect(messagesIn(come.text)).toEqual([
    expect.objectContaining({ method: "notifications/subscriptions/acknowledged" }),
  ]);
});
