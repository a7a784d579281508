import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { expect, onTestFinished, test } from "vitest";
import {
  ENDLESS,
  type HttpLake,
  type HttpLakeOptions,
  INITIALIZE,
  JSON_HEADERS,
  modernRequest,
  openHttpLake,
  until,
} from "./http-lake.ts";

/** What is refused because there is too much, or no time left for it: each says when to come back. */

const ANN = "ann-0123456789abcdef";
const BOB = "bob-0123456789abcdef";
const CALL = { name: "sql", arguments: { sql: ENDLESS, timeout_ms: 60_000 } };
const LISTEN = { notifications: { resourcesListChanged: true } };

type Http = NonNullable<HttpLakeOptions["http"]>;

async function open(http: Http = {}): Promise<HttpLake> {
  const lake = await openHttpLake({ http, gates: { token: `ann:${ANN},bob:${BOB}` } });
  onTestFinished(() => lake[Symbol.asyncDispose]());
  return lake;
}

/** A call of Ann's that runs until it is stopped. */
async function run(lake: HttpLake): Promise<() => Promise<void>> {
  const { client } = await lake.connect("modern", { token: ANN });
  client.callTool(CALL).catch(() => {});
  await until(() => lake.server.status().running === 1, "it runs");
  return () => client.close();
}

async function subscribe(lake: HttpLake): Promise<void> {
  const { client } = await lake.connect("modern", { token: ANN });
  await client.listen({ resourcesListChanged: true });
}

const refusals = (lake: HttpLake) => lake.log.filter(({ message }) => message === "refused");

test.each<[string, Http, string, number, string, string]>([
  ["a call when all are taken", { maxInFlight: 1 }, BOB, 503, "1", "max_in_flight"],
  ["a call of one who has as many as one may have", { maxPerCaller: 1 }, ANN, 429, "1", "max_per_caller"],
])("%s is refused with when to come back", async (_, http, token, status, retryAfter, named) => {
  const lake = await open(http);
  await run(lake);
  const { headers, ...refused } = await lake.send(modernRequest("tools/call", CALL, token));
  expect([refused.status, headers["retry-after"]]).toEqual([status, retryAfter]);
  expect(JSON.parse(refused.body)).toEqual({ error: expect.stringContaining(named) });
});

test.each<[string, Http, string, number, string, string]>([
  ["a subscription when all are taken", { maxSessions: 1 }, BOB, 503, "10", "max_sessions"],
  ["a subscription of one who has as many as one may have", { maxPerCaller: 1 }, ANN, 429, "10", "max_per_caller"],
])("%s is refused with when to come back", async (_, http, token, status, retryAfter, named) => {
  const lake = await open(http);
  await subscribe(lake);
  const { headers, ...refused } = await lake.send(modernRequest("subscriptions/listen", LISTEN, token));
  expect([refused.status, headers["retry-after"]]).toEqual([status, retryAfter]);
  expect(JSON.parse(refused.body)).toEqual({ error: expect.stringContaining(named) });
});

/** A request that is being sent: what comes back when the rest of it is. */
function begin(lake: HttpLake, head: string): (rest: string) => Promise<string> {
  const socket = connect({ host: "127.0.0.1", port: Number(new URL(lake.url).port) });
  onTestFinished(() => void socket.destroy());
  socket.write(head);
  return (rest) => {
    socket.write(rest);
    return text(socket);
  };
}

const headOf = (method: string, headers: Record<string, string>): string =>
  [
    `${method} /mcp HTTP/1.1`,
    "Host: localhost",
    "Connection: close",
    `Authorization: Bearer ${ANN}`,
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    "",
  ].join("\r\n");

test.each([
  ["POST", { ...JSON_HEADERS, "content-length": String(INITIALIZE.length) }, `\r\n${INITIALIZE}`],
  ["GET", { accept: "text/event-stream" }, "\r\n"],
])("a %s that comes while the server shuts down is refused with when to come back", async (method, headers, rest) => {
  const lake = await open();
  const stop = await run(lake);
  const connections = lake.server.status().connections;
  const end = begin(lake, headOf(method, headers));
  await until(() => lake.server.status().connections > connections, "it is connected");
  const draining = lake.server.drain(60_000);
  const answered = await end(rest);
  expect(answered).toMatch(/^HTTP\/1.1 503 /);
  expect(answered).toMatch(/\r\nretry-after: 5\r\n/i);
  expect(answered).toContain("shutting down");
  const reason = "The server is shutting down. Try again in 5 s.";
  expect(refusals(lake)).toEqual([{ level: "info", message: "refused", status: 503, caller: "ann", reason }]);
  await stop();
  await draining;
});

test("a refused call is one line of the log, with its status and its caller", async () => {
  const lake = await open({ maxPerCaller: 1 });
  await run(lake);
  await lake.send(modernRequest("tools/call", CALL, ANN));
  expect(refusals(lake)).toEqual([
    {
      level: "info",
      message: "refused",
      status: 429,
      caller: "ann",
      reason: expect.stringContaining("max_per_caller"),
    },
  ]);
});

test("a refused subscription is one line of the log, with its status and its caller", async () => {
  const lake = await open({ maxSessions: 1 });
  await subscribe(lake);
  await lake.send(modernRequest("subscriptions/listen", LISTEN, BOB));
  expect(refusals(lake)).toEqual([
    { level: "info", message: "refused", status: 503, caller: "bob", reason: expect.stringContaining("max_sessions") },
  ]);
});
