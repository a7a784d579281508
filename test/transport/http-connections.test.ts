import { request } from "node:http";
import { connect, type Socket } from "node:net";
import { availableParallelism, loadavg } from "node:os";
import { expect, onTestFinished, test } from "vitest";
import { shareOf } from "../../src/transport/http-limits.ts";
import { openLoopTurns } from "../../src/transport/http-loop-turns.ts";
import {
  type HttpLake,
  type HttpLakeOptions,
  INITIALIZE,
  JSON_HEADERS,
  modernRequest,
  openHttpLake,
  until,
} from "./http-lake.ts";

/** What one caller, or one address, may have at a time: each attack beside a caller who is served within a second. */

const ANN = "ann-0123456789abcdef";
const BOB = "bob-0123456789abcdef";
const isLinux = process.platform === "linux";

async function open(options: HttpLakeOptions = {}): Promise<HttpLake> {
  const lake = await openHttpLake({ ...options, gates: { token: `ann:${ANN},bob:${BOB}`, ...options.gates } });
  onTestFinished(() => lake[Symbol.asyncDispose]());
  return lake;
}

interface Line {
  socket: Socket;
  isClosed(): boolean;
  said(): string;
}

/** A connection that sends only what it is told to. */
async function dial(lake: HttpLake, text = "", localAddress = "127.0.0.1"): Promise<Line> {
  const socket = connect({ host: "127.0.0.1", port: Number(new URL(lake.url).port), localAddress });
  let [closed, said] = [false, ""];
  socket.on("error", () => {});
  socket.on("close", () => {
    closed = true;
  });
  socket.on("data", (chunk) => {
    said += chunk;
  });
  await new Promise<void>((resolve) => socket.once("connect", resolve));
  if (text !== "") socket.write(text);
  onTestFinished(() => void socket.destroy());
  return { socket, isClosed: () => closed, said: () => said };
}

const dialMany = (lake: HttpLake, count: number, text = "", from = "127.0.0.1"): Promise<Line[]> =>
  Promise.all(Array.from({ length: count }, () => dial(lake, text, from)));

const closedOf = (lines: Line[]): number => lines.filter((line) => line.isClosed()).length;

/** Bob's call, the metrics, and the health of the server: all of them within a second. */
async function assertServed(lake: HttpLake): Promise<void> {
  const started = performance.now();
  const [call, metrics, health] = await Promise.all([
    lake.send(modernRequest("tools/call", { name: "sql", arguments: { sql: "SELECT 1 AS one" } }, BOB)),
    lake.send({ path: "/metrics", headers: { authorization: `Bearer ${BOB}` } }),
    lake.send({ path: "/health" }),
  ]);
  expect([call.status, metrics.status, health.status]).toEqual([200, 200, 200]);
  expect(performance.now() - started).toBeLessThan(LIMIT_MS());
}
/** A machine on which others take all of the time gives this process a part of it. */
const LIMIT_MS = (): number => ((loadavg()[0] ?? 0) > 2 * availableParallelism() ? 6_000 : 1_000);

/** A first call, which opens DuckDB, is not what is measured. */
const warmed = async (options: HttpLakeOptions = {}): Promise<HttpLake> => {
  const lake = await open(options);
  await lake.send(modernRequest("tools/call", { name: "sql", arguments: { sql: "SELECT 1" } }, BOB));
  return lake;
};

const headOf = (headers: Record<string, string>, method = "POST"): string =>
  [`${method} /mcp HTTP/1.1`, "Host: localhost", ...Object.entries(headers).map(([k, v]) => `${k}: ${v}`), "", ""].join(
    "\r\n",
  );

test("a connection that sends nothing, or never ends its headers, is closed when its time is up", {
  tags: ["slow"],
}, async () => {
  const lake = await open({ http: { headersTimeoutMs: 500 } });
  const silent = await dial(lake);
  const slow = await dial(lake, "POST /mcp HTTP/1.1\r\nHost: localhost\r\n");
  const drip = setInterval(() => slow.socket.write("X-More: 1\r\n"), 100);
  onTestFinished(() => clearInterval(drip));
  await until(() => silent.isClosed() && slow.isClosed(), "both are closed", 5_000);
  expect(slow.said()).toMatch(/^HTTP\/1.1 408 /);
});

test("headers without end are refused", async () => {
  const lake = await warmed();
  const long = await dial(lake, `POST /mcp HTTP/1.1\r\nHost: localhost\r\nX-Long: ${"x".repeat(40_000)}`);
  const many = await dial(lake, `POST /mcp HTTP/1.1\r\nHost: localhost\r\n${"X-Many: 1\r\n".repeat(20_000)}`);
  await until(() => long.isClosed() && many.isClosed(), "both are closed", 5_000);
  expect(long.said()).toMatch(/^HTTP\/1.1 431 /);
  await assertServed(lake);
});

test("of connections of one address without a token, the oldest gives way, and never one that has shown one", async () => {
  const lake = await warmed({ http: { maxConnectionsPerAddress: 4 } });
  const session = await lake.send({
    method: "POST",
    headers: { ...JSON_HEADERS, authorization: `Bearer ${BOB}` },
    body: INITIALIZE,
  });
  const stream = await dial(
    lake,
    headOf(
      {
        authorization: `Bearer ${BOB}`,
        accept: "text/event-stream",
        "mcp-session-id": String(session.headers["mcp-session-id"]),
      },
      "GET",
    ),
  );
  await until(() => stream.said().startsWith("HTTP/1.1 200"), "the stream is open");
  const refused = await dial(lake, headOf({ authorization: "Bearer wrong-0123456789abcdef", "content-length": "0" }));
  await until(() => refused.said().startsWith("HTTP/1.1 401"), "a wrong token is none");
  const idle = await dialMany(lake, 20);
  await until(() => closedOf(idle) === 16, "all but the newest four are closed");
  expect(refused.isClosed()).toBe(true);
  expect(stream.isClosed()).toBe(false);
  await assertServed(lake);
  expect(lake.server.status().connections).toBeLessThanOrEqual(8);
});

test.skipIf(!isLinux)("a proxy stands for many clients, and has no limit of its own", async () => {
  const lake = await warmed({
    http: { maxConnectionsPerAddress: 4 },
    gates: { proxies: ["127.0.0.9"] },
  });
  const idle = await dialMany(lake, 20, "", "127.0.0.9");
  await assertServed(lake);
  expect(closedOf(idle)).toBe(0);
  const others = await dialMany(lake, 20, "", "127.0.0.10");
  await until(() => closedOf(others) === 16, "those of another address have their limit");
});

test.skipIf(!isLinux)("when all connections are taken, that of another address and caller still gets one", async () => {
  const lake = await warmed({ http: { maxConnections: 40, maxConnectionsPerAddress: 15 } });
  const floods = [];
  for (const from of ["127.0.0.21", "127.0.0.22", "127.0.0.23"]) floods.push(...(await dialMany(lake, 30, "", from)));
  await until(() => lake.server.status().connections <= 40, "no more than there may be");
  await assertServed(lake);
  expect(lake.server.status().connections).toBeLessThanOrEqual(40);
  for (const { socket } of floods) socket.destroy();
});

test("a caller who keeps all connections open with a token takes nobody's place", async () => {
  const lake = await warmed({ http: { maxConnections: 30 } });
  const ping = modernRequest("tools/list", {}, ANN);
  const lines = await dialMany(
    lake,
    60,
    headOf({ ...ping.headers, "content-length": String(Buffer.byteLength(ping.body)) }) + ping.body,
  );
  await until(() => lines.every((line) => line.isClosed() || line.said() !== ""), "each is answered, or closed");
  await assertServed(lake);
  expect(lake.server.status().connections).toBeLessThanOrEqual(30);
});

test("bodies that never come take a caller's places only, and end when their time is up", {
  tags: ["slow"],
}, async () => {
  const lake = await warmed({ http: { maxInFlight: 8, maxPerCaller: 100, bodyTimeoutMs: 1_500 } });
  const head = headOf({ ...JSON_HEADERS, authorization: `Bearer ${ANN}`, "content-length": "1000" });
  const lines = await dialMany(lake, 30, `${head}{"jsonrpc"`);
  await until(() => lines.filter((line) => line.said().startsWith("HTTP/1.1 429")).length === 24, "six are read");
  await assertServed(lake);
  await until(() => closedOf(lines) === 30, "all are closed", 10_000);
  expect(lines.filter((line) => line.said().startsWith("HTTP/1.1 408"))).toHaveLength(6);
  expect(lines.find((line) => line.said().startsWith("HTTP/1.1 429"))?.said()).toContain(
    "three quarters of max_in_flight",
  );
});

test("200 initialise requests at the same moment take nobody's place", async () => {
  const lake = await warmed();
  const initialise = (): Promise<number> =>
    new Promise((resolve, reject) => {
      const headers = { ...JSON_HEADERS, authorization: `Bearer ${ANN}` };
      const port = Number(new URL(lake.url).port);
      const sent = request(
        { host: "127.0.0.1", port, path: "/mcp", method: "POST", headers, agent: false },
        (response) => response.resume().on("end", () => resolve(response.statusCode ?? 0)),
      );
      sent.on("error", reject);
      sent.end(INITIALIZE);
    });
  const flood = Promise.all(Array.from({ length: 200 }, initialise));
  await assertServed(lake);
  const statuses = new Set(await flood);
  expect([...statuses].every((status) => status === 200 || status === 429)).toBe(true);
  expect(lake.server.status().sessions).toBeLessThanOrEqual(48);
  await assertServed(lake);
});

test("messages of one caller that take long to read are read one a turn, and others come between", {
  tags: ["slow"],
}, async () => {
  const lake = await warmed({ http: { maxInFlight: 16 } });
  const numbers = `[${new Array(1_900_000).fill(1).join(",")}]`;
  const body = `{"jsonrpc":"2.0","id":1,"method":"nothing","params":{"numbers":${numbers}}}`;
  const headers = { ...JSON_HEADERS, authorization: `Bearer ${ANN}` };
  const flood = Promise.all(Array.from({ length: 12 }, () => lake.send({ method: "POST", headers, body })));
  await assertServed(lake);
  expect(new Set((await flood).map(({ status }) => status))).toEqual(new Set([400]));
});

test("turns: the first message of a caller goes on at once, those behind it in order, and nobody else's waits", async () => {
  const turns = openLoopTurns();
  const seen: string[] = [];
  const take = (caller: string, name: string) => turns.take(caller).then(() => void seen.push(name));
  const all = [take("ann", "a1"), take("ann", "a2"), take("ann", "a3"), take("bob", "b1")];
  await Promise.resolve().then(() => {});
  await Promise.resolve();
  expect(seen).toEqual(["a1", "b1"]);
  await Promise.all(all);
  expect(seen).toEqual(["a1", "b1", "a2", "a3"]);
});

test("streams that a caller keeps open, one a session, leave a quarter of the sessions to others", async () => {
  const lake = await warmed({ http: { maxSessions: 8, maxPerCaller: 100 } });
  const headers = { ...JSON_HEADERS, authorization: `Bearer ${ANN}` };
  const statuses: number[] = [];
  for (let n = 0; n < 12; n++) {
    const session = await lake.send({ method: "POST", headers, body: INITIALIZE });
    statuses.push(session.status);
    if (session.status !== 200) continue;
    const id = String(session.headers["mcp-session-id"]);
    const stream = await dial(
      lake,
      headOf({ authorization: headers.authorization, accept: "text/event-stream", "mcp-session-id": id }, "GET"),
    );
    await until(() => stream.said().startsWith("HTTP/1.1 200"), "the stream is open");
  }
  expect(statuses).toEqual([...new Array(6).fill(200), ...new Array(6).fill(429)]);
  const theirs = await lake.send({
    method: "POST",
    headers: { ...JSON_HEADERS, authorization: `Bearer ${BOB}` },
    body: INITIALIZE,
  });
  expect(theirs.status).toBe(200);
  await assertServed(lake);
});

test.each([
  [64, 48, 48],
  [64, 1_000, 48],
  [8, 48, 6],
  [1, 48, 1],
  [2, 1, 1],
  [64, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY],
])("of %d places a caller who may have %d has %d", (most, maxPerCaller, share) => {
  expect(shareOf(most, maxPerCaller)).toBe(share);
});

test("subscriptions of one caller leave a quarter of the places to others", async () => {
  const lake = await warmed({ http: { maxSessions: 8, maxPerCaller: 100 } });
  const ann = await lake.connect("modern", { token: ANN });
  for (let n = 0; n < 6; n++) await ann.client.listen({ resourcesListChanged: true });
  await expect(ann.client.listen({ resourcesListChanged: true })).rejects.toThrow(/429|max_per_caller/);
  const bob = await lake.connect("modern", { token: BOB });
  await bob.client.listen({ resourcesListChanged: true });
  expect(lake.server.status().subscriptions).toBe(7);
  await assertServed(lake);
});
