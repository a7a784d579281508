import { expect, test } from "vitest";
import { isWorking } from "../support/lake.ts";
import { ENDLESS, ERAS, type HttpLake, INITIALIZE, JSON_HEADERS, openHttpLake, until } from "./http-lake.ts";

const open = (lake: HttpLake) => lake.send({ method: "POST", headers: JSON_HEADERS, body: INITIALIZE });
const ask = (lake: HttpLake, session: string, method = "POST") =>
  lake.send({
    method,
    headers: { ...JSON_HEADERS, "mcp-session-id": session },
    body: method === "POST" ? '{"jsonrpc":"2.0","id":1,"method":"ping"}' : "",
  });
const sessionOf = async (lake: HttpLake): Promise<string> => String((await open(lake)).headers["mcp-session-id"]);

test("a session lives until DELETE", async () => {
  await using lake = await openHttpLake();
  const session = await sessionOf(lake);
  expect(lake.listeners()).toBe(2);
  expect((await ask(lake, session)).status).toBe(200);
  expect((await ask(lake, session, "DELETE")).status).toBe(200);
  expect((await ask(lake, session)).status).toBe(404);
  expect((await ask(lake, session, "DELETE")).status).toBe(404);
  expect(lake.server.status().sessions).toBe(0);
  expect(lake.listeners()).toBe(1);
});

test("a message without a session says how to get one", async () => {
  await using lake = await openHttpLake();
  for (const method of ["POST", "GET", "DELETE"]) {
    const { status, body } = await lake.send({
      method,
      headers: JSON_HEADERS,
      body: method === "POST" ? '{"jsonrpc":"2.0","id":1,"method":"tools/list"}' : "",
    });
    expect(status, method).toBe(400);
    expect(JSON.parse(body).error.message).toContain("initialize");
  }
});

test("a refused initialize leaves no session and nothing that listens", async () => {
  await using lake = await openHttpLake();
  const { status } = await lake.send({
    method: "POST",
    headers: { "content-type": "application/json", accept: "text/html" },
    body: INITIALIZE,
  });
  expect(status).toBe(406);
  expect(lake.server.status().sessions).toBe(0);
  expect(lake.listeners()).toBe(1);
});

test("a session that is not used expires, one that is does not", { tags: ["slow"] }, async () => {
  await using lake = await openHttpLake({ http: { sessionIdleMs: 500 } });
  const [idle, busy] = [await sessionOf(lake), await sessionOf(lake)];
  const streaming = await sessionOf(lake);
  const abort = new AbortController();
  // Kept until the end: a response that nobody can read any more is closed by the garbage collector.
  const stream = await fetch(`${lake.url}/mcp`, {
    headers: { accept: "text/event-stream", "mcp-session-id": streaming },
    signal: abort.signal,
  });
  for (let turn = 0; turn < 12; turn++) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect((await ask(lake, busy)).status).toBe(200);
  }
  expect((await ask(lake, idle)).status).toBe(404);
  expect((await ask(lake, streaming)).status).toBe(200);
  expect(stream.bodyUsed).toBe(false);
  abort.abort();
  await until(() => lake.server.status().sessions === 0, "all have expired");
  expect(lake.listeners()).toBe(1);
});

/** A stream of a session, which keeps it in use until it is let go of. */
async function stream(lake: HttpLake, session: string, token?: string): Promise<() => void> {
  const abort = new AbortController();
  const headers = { accept: "text/event-stream", "mcp-session-id": session, ...(token && bearer(token)) };
  const response = await fetch(`${lake.url}/mcp`, { headers, signal: abort.signal });
  expect(response.status).toBe(200);
  KEPT.add(response);
  return () => abort.abort();
}
/** A response that nobody can read any more is closed by the garbage collector. */
const KEPT = new Set<Response>();
const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

test("where all sessions are open, the one that was not used for longest gives way, and its client begins anew", async () => {
  await using lake = await openHttpLake({ http: { maxSessions: 3 } });
  const sessions = [await sessionOf(lake), await sessionOf(lake), await sessionOf(lake)];
  const [first = "", second = "", third = ""] = sessions;
  expect((await ask(lake, first)).status).toBe(200);
  const fourth = await sessionOf(lake);
  expect(lake.server.status().sessions).toBe(3);
  const gone = await ask(lake, second);
  expect(gone.status).toBe(404);
  expect(JSON.parse(gone.body).error.message).toContain("initialize");
  for (const session of [first, third, fourth]) expect((await ask(lake, session)).status).toBe(200);
  expect(lake.listeners()).toBe(4);
});

test("when all sessions are in use, one more is refused, with what helps", async () => {
  await using lake = await openHttpLake({ http: { maxSessions: 2 } });
  const streams = [await stream(lake, await sessionOf(lake)), await stream(lake, await sessionOf(lake))];
  const { status, headers, body } = await open(lake);
  expect([status, headers["retry-after"]]).toEqual([503, "5"]);
  expect(JSON.parse(body).error).toMatch(/max_sessions.*request or a stream is open in each.*DELETE/);
  streams[0]?.();
  await until(async () => (await open(lake)).status === 200, "one that is no longer used gives way");
  // Newer clients have no sessions to run out of.
  const { call } = await lake.connect("modern");
  expect(await call("sql", { sql: "SELECT 1 AS one" })).toMatchObject({ rows: [[1]] });
  streams[1]?.();
});

const [ANN, BOB, CY] = ["0123456789abcdef-ann", "0123456789abcdef-bob", "0123456789abcdef-cyd"] as const;
const TOKENS = { token: `ann:${ANN},bob:${BOB},cy:${CY}` };
const initialize = (lake: HttpLake, token: string) =>
  lake.send({ method: "POST", headers: { ...JSON_HEADERS, ...bearer(token) }, body: INITIALIZE });
const idOf = async (lake: HttpLake, token: string) => String((await initialize(lake, token)).headers["mcp-session-id"]);
const use = async (lake: HttpLake, session: string, token: string): Promise<number> => {
  const headers = { ...JSON_HEADERS, ...bearer(token), "mcp-session-id": session };
  return (await lake.send({ method: "POST", headers, body: '{"jsonrpc":"2.0","id":1,"method":"ping"}' })).status;
};

test("a client that opens 200 sessions and ends none is always served, and so is everybody else", {
  tags: ["slow"],
}, async () => {
  await using lake = await openHttpLake({ gates: TOKENS });
  const theirs = await idOf(lake, BOB);
  let last = "";
  for (let n = 0; n < 200; n++) {
    const { status, headers } = await initialize(lake, ANN);
    expect(status).toBe(200);
    last = String(headers["mcp-session-id"]);
  }
  expect(lake.server.status().sessions).toBe(49);
  expect(await use(lake, last, ANN)).toBe(200);
  expect(await use(lake, theirs, BOB)).toBe(200);
  expect(lake.listeners()).toBe(50);
  expect(lake.log.filter(({ message }) => message === "refused")).toEqual([]);
});

test("of all sessions, those of whom has most give way, and nobody's who has fewer", async () => {
  await using lake = await openHttpLake({ gates: TOKENS, http: { maxSessions: 5 } });
  const ann = [await idOf(lake, ANN), await idOf(lake, ANN), await idOf(lake, ANN)];
  const bob = [await idOf(lake, BOB), await idOf(lake, BOB)];
  const cy = await idOf(lake, CY);
  expect(await Promise.all(ann.map((session) => use(lake, session, ANN)))).toEqual([404, 200, 200]);
  for (const session of bob) expect(await use(lake, session, BOB)).toBe(200);
  expect(await use(lake, cy, CY)).toBe(200);
  // Ann's next one takes the place of one of her own.
  expect((await initialize(lake, ANN)).status).toBe(200);
  for (const session of bob) expect(await use(lake, session, BOB)).toBe(200);
  expect(await use(lake, cy, CY)).toBe(200);
});

test("a session that is in use never gives way, neither to its caller nor to another", async () => {
  await using lake = await openHttpLake({ gates: TOKENS, http: { maxSessions: 4, maxPerCaller: 2 } });
  const ann = [await idOf(lake, ANN), await idOf(lake, ANN)];
  const close = await Promise.all(ann.map((session) => stream(lake, session, ANN)));
  const refused = await initialize(lake, ANN);
  expect(refused.status).toBe(429);
  expect(JSON.parse(refused.body).error).toMatch(/Your token has 2 sessions \(max_per_caller\).*DELETE/);
  const bob = [await idOf(lake, BOB), await idOf(lake, BOB)];
  expect((await initialize(lake, CY)).status).toBe(200);
  expect(await Promise.all(bob.map((session) => use(lake, session, BOB)))).toEqual([404, 200]);
  expect(await Promise.all(ann.map((session) => use(lake, session, ANN)))).toEqual([200, 200]);
  for (const end of close) end();
});

test("too many subscriptions are refused, and a closed one makes room", async () => {
  await using lake = await openHttpLake({ http: { maxSessions: 2 } });
  const { client } = await lake.connect("modern");
  const first = await client.listen({ resourcesListChanged: true });
  await client.listen({ resourcesListChanged: true });
  await expect(client.listen({ resourcesListChanged: true })).rejects.toThrow(/503|max_sessions/);
  await first.close();
  await until(() => lake.server.status().subscriptions === 1, "the first is gone");
  await client.listen({ resourcesListChanged: true });
});

test("a subscription names short addresses, and so many, or takes no place", async () => {
  await using lake = await openHttpLake();
  const { client } = await lake.connect("modern");
  const uris = Array.from({ length: 1000 }, (_, n) => `lakehouse://datasets/d${n}`);
  const listen = (resourceSubscriptions: string[]) => client.listen({ resourceSubscriptions });
  await expect(listen([...uris, "lakehouse://catalog"])).rejects.toThrow(/1001 .*1000/);
  await expect(listen(["x".repeat(200_000)])).rejects.toThrow(/"x{100}…" has 200000 characters, more than 1024/);
  await expect(listen(["x".repeat(3_900_000)])).rejects.toThrow(/413|262144 bytes/);
  const long = { method: "POST", headers: JSON_HEADERS, body: INITIALIZE.replace("raw", "x".repeat(3_900_000)) };
  expect((await lake.send(long)).status).toBe(413);
  expect(lake.server.status().sessions).toBe(0);
  expect(lake.server.status().subscriptions).toBe(0);
  await listen(uris);
  expect(lake.server.status().subscriptions).toBe(1);
});

test.each(ERAS)("too many calls of %s clients are refused, and a cancellation still gets through", async (era) => {
  await using lake = await openHttpLake({ http: { maxInFlight: 2 }, engine: { maxConcurrentQueries: 1 } });
  const { client, call } = await lake.connect(era);
  const aborts = [new AbortController(), new AbortController()];
  const running = aborts.map(({ signal }) =>
    client
      .callTool({ name: "sql", arguments: { sql: ENDLESS, timeout_ms: 60_000 } }, { signal })
      .catch(() => "stopped"),
  );
  await until(() => lake.server.status().running === 2, "both run");
  await expect(call("sql", { sql: "SELECT 1" })).rejects.toThrow(/503|max_in_flight/);
  for (const abort of aborts) abort.abort();
  expect(await Promise.all(running)).toEqual(["stopped", "stopped"]);
  await until(() => lake.server.status().running === 0, "their places are free");
  expect(await call("sql", { sql: "SELECT 1 AS one" })).toMatchObject({ rows: [[1]] });
  expect(isWorking(lake.engine)).toBe(false);
});

test("one token cannot take everybody's places: it is told to wait with 429, others are served", async () => {
  const [ann, bob] = ["0123456789abcdef-ann", "0123456789abcdef-bob"];
  await using lake = await openHttpLake({
    http: { maxPerCaller: 2, maxSessions: 5, maxInFlight: 5, sessionIdleMs: 2_000 },
    gates: { token: `ann:${ann},bob:${bob}` },
    engine: { maxConcurrentQueries: 1 },
  });
  const post = (token: string, body: string, headers = {}) =>
    lake.send({ method: "POST", headers: { ...JSON_HEADERS, authorization: `Bearer ${token}`, ...headers }, body });
  const refused = async (answer: ReturnType<typeof post>, least: number, most: number) => {
    const { status, headers, body } = await answer;
    expect(status).toBe(429);
    expect(JSON.parse(body).error).toContain("max_per_caller");
    expect(Number(headers["retry-after"])).toBeGreaterThanOrEqual(least);
    expect(Number(headers["retry-after"])).toBeLessThanOrEqual(most);
  };

  // Sessions: more than two do not stay, however many are opened.
  const opened = [await post(ann, INITIALIZE), await post(ann, INITIALIZE), await post(ann, INITIALIZE)];
  expect(opened.map(({ status }) => status)).toEqual([200, 200, 200]);
  expect(lake.server.status().sessions).toBe(2);
  expect((await post(bob, INITIALIZE)).status).toBe(200);

  // Calls.
  const { client } = await lake.connect("modern", { token: ann });
  const abort = new AbortController();
  const call = { name: "sql", arguments: { sql: ENDLESS, timeout_ms: 60_000 } };
  const running = [1, 2].map(() => client.callTool(call, { signal: abort.signal }).catch(() => "stopped"));
  await until(() => lake.server.status().running === 2, "both run");
  const session = String(opened.at(-1)?.headers["mcp-session-id"]);
  await refused(post(ann, '{"jsonrpc":"2.0","id":1,"method":"ping"}', { "mcp-session-id": session }), 1, 1);
  const other = await lake.connect("modern", { token: bob });
  expect((await other.client.listTools()).tools.length).toBeGreaterThan(0);
  abort.abort();
  expect(await Promise.all(running)).toEqual(["stopped", "stopped"]);
  await until(() => lake.server.status().running === 0, "their places are free");
  expect((await client.listTools()).tools.length).toBeGreaterThan(0);

  // Subscriptions.
  const listen = () => client.listen({ resourcesListChanged: true });
  const subscriptions = [await listen(), await listen()];
  await expect(listen()).rejects.toThrow(/429|max_per_caller/);
  const theirs = await other.client.listen({ resourcesListChanged: true });
  for (const subscription of [...subscriptions, theirs]) await subscription.close();
});

test("without tokens everybody is one caller, and has all places", async () => {
  await using lake = await openHttpLake({ http: { maxPerCaller: 1, maxSessions: 3 } });
  for (let n = 0; n < 4; n++) expect((await open(lake)).status).toBe(200);
  expect(lake.server.status().sessions).toBe(3);
});

test("200 sessions that are opened and left behind expire, with all that listened for them", {
  tags: ["slow"],
}, async () => {
  await using lake = await openHttpLake({ http: { maxSessions: 500, sessionIdleMs: 4_000 } });
  await Promise.all(Array.from({ length: 200 }, () => open(lake)));
  expect(lake.server.status().sessions).toBe(200);
  expect(lake.listeners()).toBe(201);
  await until(() => lake.server.status().sessions === 0, "they have expired");
  expect(lake.listeners()).toBe(1);
  await until(() => lake.server.status().connections === 0, "their connections are gone");
});

test("requests of newer clients leave nothing that listens", { tags: ["slow"] }, async () => {
  await using lake = await openHttpLake();
  const { client, call } = await lake.connect("modern");
  for (let turn = 0; turn < 20; turn++) {
    await call("sql", { sql: "SELECT 1" });
    await client.listTools();
    const subscription = await client.listen({ resourcesListChanged: true });
    await subscription.close();
  }
  expect(lake.listeners()).toBe(1);
});

test("500 calls that are cut off at any moment leave none behind", { tags: ["slow"] }, async () => {
  await using lake = await openHttpLake({ http: { maxInFlight: 500 }, engine: { maxConcurrentQueries: 2 } });
  const session = await sessionOf(lake);
  const envelope = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": { name: "raw", version: "1" },
    "io.modelcontextprotocol/clientCapabilities": {},
  };
  let random = 7;
  const next = (): number => {
    random = (random * 16_807) % 2_147_483_647;
    return random / 2_147_483_647;
  };
  let cut = 0;
  for (let round = 0; round < 25; round++) {
    await Promise.all(
      Array.from({ length: 20 }, async (_unused, n) => {
        const era = ERAS[n % 2];
        const sql = next() < 0.5 ? ENDLESS : "SELECT count(*) FROM range(3000000) t WHERE t.range % 7 = 3";
        const params = {
          name: "sql",
          arguments: { sql, timeout_ms: 60_000 },
          _meta: { progressToken: `${round}-${n}`, ...(era === "modern" && envelope) },
        };
        const headers: Record<string, string> =
          era === "legacy"
            ? { ...JSON_HEADERS, "mcp-session-id": session }
            : { ...JSON_HEADERS, "mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "sql" };
        const body = JSON.stringify({ jsonrpc: "2.0", id: `${round}-${n}`, method: "tools/call", params });
        const signal = AbortSignal.timeout(1 + Math.floor(next() * 60));
        await fetch(`${lake.url}/mcp`, { method: "POST", headers, body, signal })
          .then((response) => response.text())
          .catch(() => {
            cut++;
          });
      }),
    );
  }
  expect(cut).toBeGreaterThan(200);
  await until(() => lake.server.status().running === 0, "no call is under way");
  await until(() => !isWorking(lake.engine), "no query is running");
  expect(lake.listeners()).toBe(2);
  expect((await ask(lake, session)).status).toBe(200);
});
