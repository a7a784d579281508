import { expect, test } from "vitest";
import { isWorking } from "../support/lake.ts";
import {
  ENDLESS,
  ERAS,
  INITIALIZE,
  JSON_HEADERS,
  messagesIn,
  modernRequest,
  openHttpLake,
  until,
} from "./http-lake.ts";

const rows = (count: number): string =>
  `id,name,score\n${Array.from({ length: count }, (_, n) => `${n},name ${n},${n / 7}`).join("\n")}\n`;

test.each(ERAS)("a %s client lists tools, ingests with progress, queries and reads resources", async (era) => {
  await using lake = await openHttpLake();
  const { client, call } = await lake.connect(era);
  expect(client.getProtocolEra()).toBe(era);
  expect((await client.listTools()).tools.map((tool) => tool.name)).toContain("sql");
  expect(client.getInstructions()).toContain("catalog-list");

  const path = await lake.file("big.csv", rows(200_000));
  const seen: number[] = [];
  const ingested = await client.callTool(
    { name: "ingest", arguments: { name: "big", path } },
    { onprogress: ({ progress }) => void seen.push(progress) },
  );
  expect(ingested.structuredContent).toMatchObject({ name: "big", rows: 200_000 });
  expect(seen.length).toBeGreaterThan(0);
  expect(seen).toEqual([...seen].sort((a, b) => a - b));

  expect(await call("sql", { sql: "SELECT count(*) AS n FROM big" })).toMatchObject({ rows: [[200_000]] });
  const { resources } = await client.listResources();
  expect(resources.map((resource) => resource.uri)).toContain("lakehouse://datasets/big");
  const failed = await client.callTool({ name: "sql", arguments: { sql: "SELEC 1" } });
  expect(failed.isError).toBe(true);
});

test("the log has one line a call, with who called and nothing of what was asked", async () => {
  await using lake = await openHttpLake({ gates: { token: "ann:0123456789abcdef0123" } });
  for (const era of ERAS) {
    const { call } = await lake.connect(era, { token: "0123456789abcdef0123" });
    await call("sql", { sql: "SELECT 'kumquat'" });
  }
  expect(lake.log.filter(({ message }) => message === "call")).toEqual(
    ERAS.map(() => ({
      level: "info",
      message: "call",
      tool: "sql",
      outcome: "ok",
      ms: expect.any(Number),
      caller: "ann",
    })),
  );
  expect(JSON.stringify(lake.log)).not.toMatch(/kumquat|0123456789abcdef/);
});

test.each(ERAS)("a call of a tool that is none by a %s client is a line of the log too", async (era) => {
  await using lake = await openHttpLake({ gates: { token: "ann:0123456789abcdef0123" } });
  const { client } = await lake.connect(era, { token: "0123456789abcdef0123" });
  await expect(client.callTool({ name: "nope", arguments: { sql: "SELECT 'kumquat'" } })).rejects.toMatchObject({
    code: -32602,
  });
  expect(lake.log.filter(({ message }) => message === "call")).toEqual([
    expect.objectContaining({ tool: "unknown", asked: "nope", outcome: "not_found", caller: "ann" }),
  ]);
  expect(JSON.stringify(lake.log)).not.toContain("kumquat");
});

test.each(ERAS)("a %s client that cancels stops the query", async (era) => {
  await using lake = await openHttpLake({ engine: { maxConcurrentQueries: 1 } });
  const { client, call } = await lake.connect(era);
  const abort = new AbortController();
  const endless = client.callTool({ name: "sql", arguments: { sql: ENDLESS } }, { signal: abort.signal });
  await until(() => isWorking(lake.engine), "the query runs");
  abort.abort("enough");
  await expect(endless).rejects.toThrow();
  await until(() => !isWorking(lake.engine), "the query stops");
  await until(() => lake.server.status().running === 0, "its request ends");
  expect(await call("sql", { sql: "SELECT 1 AS one" })).toMatchObject({ rows: [[1]] });
});

test.each(ERAS)("a query stops when its %s client goes away", async (era) => {
  await using lake = await openHttpLake({ engine: { maxConcurrentQueries: 1 } });
  const gone = await lake.connect(era);
  const endless = gone.client.callTool({ name: "sql", arguments: { sql: ENDLESS } }).catch(() => "gone");
  await until(() => isWorking(lake.engine), "the query runs");
  await gone.client.close();
  expect(await endless).toBe("gone");
  await until(() => !isWorking(lake.engine), "the query stops");
  await until(() => lake.server.status().running === 0, "its request ends");
  const { call } = await lake.connect(era);
  expect(await call("sql", { sql: "SELECT 1 AS one" })).toMatchObject({ rows: [[1]] });
});

test("a cancelled ingest leaves nothing", async () => {
  await using lake = await openHttpLake();
  const { client, call } = await lake.connect("modern");
  const path = await lake.file("big.csv", rows(400_000));
  const abort = new AbortController();
  const ingest = client.callTool(
    { name: "ingest", arguments: { name: "big", path } },
    { signal: abort.signal, onprogress: () => abort.abort() },
  );
  await expect(ingest).rejects.toThrow();
  await until(() => !isWorking(lake.engine), "the ingest stops");
  expect(await call("catalog-list")).toMatchObject({ total: 0 });
});

test.each(ERAS)("a %s client is told of changes that another client makes", async (era) => {
  await using lake = await openHttpLake();
  const seen: string[] = [];
  const { client } = await lake.connect(era, {
    prepare: (prepared) => {
      prepared.setNotificationHandler("notifications/resources/list_changed", () => void seen.push("list"));
      prepared.setNotificationHandler("notifications/resources/updated", ({ params }) => void seen.push(params.uri));
    },
  });
  const uri = "lakehouse://datasets/workers";
  if (era === "legacy") await client.subscribeResource({ uri });
  else await client.listen({ resourcesListChanged: true, resourceSubscriptions: [uri] });
  // The stream that a 2025 client listens on is opened beside its first requests.
  await until(async () => {
    if (era === "modern") return lake.server.status().subscriptions === 1;
    return lake.server.status().connections >= 1;
  }, "the client listens");

  const other = await lake.connect(era === "legacy" ? "modern" : "legacy");
  await other.call("ingest", { name: "places", text: "id\n1\n" });
  await other.call("ingest", { name: "workers", text: "id\n1\n" });
  await until(() => seen.includes(uri), "the client hears of workers");
  expect(seen).toContain("list");
  expect(seen.filter((told) => told !== "list")).toEqual([uri]);
});

test("an open stream shows signs of life", async () => {
  await using lake = await openHttpLake({ http: { keepAliveMs: 50 } });
  const opened = await lake.send({ method: "POST", headers: JSON_HEADERS, body: INITIALIZE });
  const abort = new AbortController();
  const response = await fetch(`${lake.url}/mcp`, {
    headers: { accept: "text/event-stream", "mcp-session-id": String(opened.headers["mcp-session-id"]) },
    signal: abort.signal,
  });
  expect(response.status).toBe(200);
  const reader = response.body?.getReader();
  let text = "";
  await until(async () => {
    text += new TextDecoder().decode((await reader?.read())?.value);
    return text.split(": keepalive").length > 3;
  }, "three comments arrive");
  abort.abort();
});

test("clients of both eras work side by side", { tags: ["slow"] }, async () => {
  await using lake = await openHttpLake();
  const clients = await Promise.all([...ERAS, ...ERAS].map((era) => lake.connect(era)));
  await clients[0]?.call("ingest", { name: "workers", text: "id\n1\n2\n" });
  const answers = await Promise.all(
    Array.from({ length: 40 }, async (_, n) => {
      const sql = "SELECT count(*) + $1 FROM workers";
      const answered = await clients[n % 4]?.call("sql", { sql, params: [n] });
      const found = answered?.rows as unknown[][];
      return Number(found[0]?.[0]);
    }),
  );
  expect(answers).toEqual(Array.from({ length: 40 }, (_, n) => n + 2));
});

test.each(ERAS)(
  "a %s client sends messages of many megabytes where that is allowed",
  { tags: ["slow"] },
  async (era) => {
    await using lake = await openHttpLake({ http: { maxBodyBytes: 16 * 2 ** 20 } });
    const { call } = await lake.connect(era);
    const text = rows(300_000);
    expect(text.length).toBeGreaterThan(8 * 2 ** 20);
    expect(await call("ingest", { name: "big", text })).toMatchObject({ rows: 300_000 });
  },
);

test("calls that run when the server is told to stop are answered, new ones are not taken", async () => {
  const lake = await openHttpLake();
  const [legacy, modern] = [await lake.connect("legacy"), await lake.connect("modern")];
  const path = await lake.file("big.csv", rows(300_000));
  const running = legacy.call("ingest", { name: "big", path });
  await until(() => isWorking(lake.engine), "the ingest runs");
  const draining = lake.server.drain(15_000);
  await expect(modern.call("sql", { sql: "SELECT 1" })).rejects.toThrow();
  expect(await running).toMatchObject({ rows: 300_000 });
  await draining;
  expect(lake.server.status()).toMatchObject({ running: 0, sessions: 0, subscriptions: 0 });
  await until(() => lake.server.status().connections === 0, "all connections are closed");
  expect(lake.listeners()).toBe(0);
  await lake[Symbol.asyncDispose]();
});

test("a call that does not end in time is stopped by the shutdown", async () => {
  const lake = await openHttpLake();
  for (const era of ERAS) {
    const { client } = await lake.connect(era);
    client.callTool({ name: "sql", arguments: { sql: ENDLESS, timeout_ms: 60_000 } }).catch(() => {});
  }
  await until(() => lake.server.status().running === 2 && isWorking(lake.engine), "both run");
  const started = performance.now();
  await lake.server.drain(200);
  expect(performance.now() - started).toBeLessThan(5_000);
  await until(() => !isWorking(lake.engine), "both stop");
  await lake[Symbol.asyncDispose]();
});

const CUT = { jsonrpc: "2.0", id: 1, error: { code: -32603, message: expect.stringContaining("stopped") } };

test("a call of a 2026 client that is stopped by the shutdown is told so, and when to come back", async () => {
  const lake = await openHttpLake();
  const call = modernRequest("tools/call", { name: "sql", arguments: { sql: ENDLESS, timeout_ms: 60_000 } });
  const answered = lake.send(call);
  await until(() => lake.server.status().running === 1 && isWorking(lake.engine), "it runs");
  await lake.server.drain(100);
  const { status, headers, body } = await answered;
  expect([status, headers["retry-after"]]).toEqual([503, "5"]);
  expect(JSON.parse(body)).toEqual(CUT);
  await lake[Symbol.asyncDispose]();
});

test("a call that was kept alive and is stopped by the shutdown is told so", async () => {
  const lake = await openHttpLake({ http: { keepAliveMs: 20 } });
  const call = modernRequest("tools/call", { name: "sql", arguments: { sql: ENDLESS, timeout_ms: 60_000 } });
  const answered = await fetch(`${lake.url}/mcp`, call);
  await lake.server.drain(100);
  expect(answered.headers.get("content-type")).toBe("text/event-stream");
  expect(messagesIn(await answered.text())).toEqual([CUT]);
  await lake[Symbol.asyncDispose]();
});
