import { readdirSync, readFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { connect } from "node:net";
import { expect, test } from "vitest";
import { openWorkspace } from "./process.ts";
import { serve } from "./serve.ts";

const CALLS = 10_000;
const AT_A_TIME = 24;
const MIB = 2 ** 20;
/** The heap after a collection: 1 kB a call is 10 MiB. What is outside of it goes up and down with DuckDB's buffers. */
const FLAT_KIB = 4 * 1024;
const FLAT_MIB = 256;
const HEAP_ON_SIGNAL = new URL("../support/heap-on-signal.mjs", import.meta.url).href;

const HEADERS = { "content-type": "application/json", accept: "application/json, text/event-stream" };
const ENVELOPE = {
  "io.modelcontextprotocol/protocolVersion": "2026-07-28",
  "io.modelcontextprotocol/clientInfo": { name: "raw", version: "1" },
  "io.modelcontextprotocol/clientCapabilities": {},
};
const INITIALIZE = JSON.stringify({
  jsonrpc: "2.0",
  id: 0,
  method: "initialize",
  params: { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "raw", version: "1" } },
});
const SLOW = "SELECT count(*) FROM range(100000000) a, range(100000000) b WHERE (a.range * b.range) % 7 = 3";

interface Sending {
  body: string | Buffer;
  headers?: Record<string, string>;
  cutAfter?: number;
  begun?: () => void;
}

interface Sent {
  status: number;
  session: string | undefined;
}

/**
 * One request. `cutAfter`: the client goes away then, and there is no status. `begun`: there is a response, which may not
 * be complete yet.
 */
function send(url: string, agent: Agent, { body, headers = {}, cutAfter, begun }: Sending): Promise<Sent> {
  return new Promise((resolve) => {
    const outgoing = request(url, { method: "POST", agent, headers: { ...HEADERS, ...headers } }, (response) => {
      begun?.();
      response.on("error", () => {});
      response.on("close", () =>
        resolve({
          status: response.complete ? (response.statusCode ?? 0) : 0,
          session: response.headers["mcp-session-id"]?.toString(),
        }),
      );
      response.resume();
    });
    outgoing.on("error", () => resolve({ status: 0, session: undefined }));
    outgoing.end(body);
    if (cutAfter !== undefined) setTimeout(() => outgoing.destroy(), cutAfter);
  });
}

test("10 000 calls, many cancelled or cut off, and whatever else comes, leave the server as it was", async () => {
  await using workspace = await openWorkspace();
  const args = ["--session-idle", "2s", "--max-sessions", "300", "--max-queued-queries", "1000"];
  await using served = await serve(workspace, args, { NODE_OPTIONS: `--expose-gc --import=${HEAP_ON_SIGNAL}` });
  const { url, child } = served;
  const pid = child.pid ?? 0;
  const agent = new Agent({ keepAlive: true, maxSockets: AT_A_TIME });
  const notices = new Agent({ keepAlive: true });
  const look = async () => {
    // Idle sessions end after two seconds, and are looked for every second.
    await new Promise((resolve) => setTimeout(resolve, 5_000));
    const seen = served.stderr().length;
    child.kill("SIGUSR2");
    let told: string | undefined;
    while (told === undefined) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      told = /^.*"message":"heap".*$/m.exec(served.stderr().slice(seen))?.[0];
    }
    const { kib, handles } = JSON.parse(told) as { kib: number; handles: number };
    const rss = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    return { kib, handles, files: readdirSync(`/proc/${pid}/fd`).length, rssMib: Math.round(Number(rss) / 1024) };
  };
  const rpc = (id: string, method: string, params: Record<string, unknown>) =>
    JSON.stringify({ jsonrpc: "2.0", id, method, params });

  let seed = 7;
  const random = (): number => {
    seed = (seed * 16_807) % 2_147_483_647;
    return seed / 2_147_483_647;
  };
  const answers = new Map<number, number>();
  let session = "";

  async function call(id: string): Promise<void> {
    const legacy = random() < 0.5;
    const fate = random();
    // A third is cut off, and another third of the 2025 ones cancelled; one in ten of those would run for ever.
    const ends = fate < 0.66;
    const sql = ends && random() < 0.1 ? SLOW : "SELECT 1 AS one";
    const args = { name: "sql", arguments: { sql, timeout_ms: 60_000 } };
    const after = Math.floor(random() * 15);
    const headers: Record<string, string> = legacy
      ? { "mcp-session-id": session }
      : { "mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "sql" };
    const body = rpc(id, "tools/call", legacy ? args : { ...args, _meta: ENVELOPE });
    const cancels = legacy && fate >= 0.33 && ends;
    let sent: Promise<Sent> | undefined;
    const began = new Promise<void>((begun) => {
      sent = send(url, agent, { body, headers, begun, ...(ends && !cancels && { cutAfter: after }) });
    });
    if (cancels) {
      // One that overtakes its call is about nothing.
      await began;
      await new Promise((resolve) => setTimeout(resolve, after));
      const params = { requestId: id, reason: "enough" };
      const notice = JSON.stringify({ jsonrpc: "2.0", method: "notifications/cancelled", params });
      await send(url, notices, { body: notice, headers: { "mcp-session-id": session } });
    }
    const status = (await sent)?.status ?? 0;
    answers.set(status, (answers.get(status) ?? 0) + 1);
    if (!ends) expect(status).toBe(200);
  }

  async function calls(count: number, name: string): Promise<void> {
    answers.clear();
    session = String((await send(url, agent, { body: INITIALIZE })).session);
    let next = 0;
    const work = async (): Promise<void> => {
      while (next < count) await call(`${name}-${next++}`);
    };
    await Promise.all(Array.from({ length: AT_A_TIME }, work));
  }

  async function others(): Promise<void> {
    const opened = await Promise.all(Array.from({ length: 200 }, () => send(url, agent, { body: INITIALIZE })));
    expect(new Set(opened.map(({ status }) => status))).toEqual(new Set([200]));
    const text = "x".repeat(4 * MIB - 1_000);
    const ingest = { name: "ingest", arguments: { name: "big", text: `a\n${text}\n` }, _meta: ENVELOPE };
    const headers = { "mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "ingest" };
    const statuses: number[] = [];
    for (let n = 0; n < 10; n++) {
      for (const body of [
        rpc(`big-${n}`, "tools/call", ingest),
        Buffer.alloc(4 * MIB, "["),
        Buffer.alloc(4 * MIB + 1, " "),
        `${'{"a":'.repeat(10_000)}`,
      ]) {
        statuses.push((await send(url, agent, { body, headers })).status);
      }
    }
    expect(statuses).toEqual(Array(10).fill([200, 400, 413, 400]).flat());
    const strange: number[] = [];
    for (let n = 0; n < 20; n++) {
      for (const odd of [{ "content-type": "text/plain" }, { "x-bomb": "x".repeat(20_000) }]) {
        strange.push((await send(url, agent, { body: INITIALIZE, headers: odd })).status);
      }
    }
    // A server that closes while more comes in cannot be heard for sure.
    expect(strange.filter((status) => status !== 0 && status !== 431)).toEqual(Array(20).fill(415));
    await Promise.all(Array.from({ length: 50 }, (_, n) => leave(n)));
  }

  /** A client that says half of what it has to say, and goes. */
  function leave(n: number): Promise<void> {
    const { hostname, port, host } = new URL(url);
    const begun = [
      `POST /mcp HTTP/1.1\r\nHost: ${host}\r\nX-Slow: `,
      `POST /mcp HTTP/1.1\r\nHost: ${host}\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"a`,
      `PUT /uploads?name=half-${n}.csv HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 1000\r\n\r\na,b\n`,
    ];
    return new Promise((resolve) => {
      const socket = connect(Number(port), hostname, () => {
        socket.write(begun[n % begun.length] as string);
        setTimeout(() => socket.destroy(), 500);
      });
      socket.on("error", () => {});
      socket.on("close", () => resolve());
    });
  }

  await calls(2_000, "warm");
  await others();
  const before = await look();
  await calls(CALLS, "call");
  await others();
  const after = await look();
  process.stdout.write(`\n10 000 calls: ${JSON.stringify({ answers: [...answers], before, after })}\n`);
  expect(child.exitCode).toBeNull();
  expect(answers.get(200)).toBeGreaterThan(CALLS / 4);
  expect(answers.get(0)).toBeGreaterThan(CALLS / 4);
  expect([...answers.keys()].filter((status) => status !== 200 && status !== 0)).toEqual([]);
  expect(after.files).toBeLessThanOrEqual(before.files);
  expect(after.handles).toBeLessThanOrEqual(before.handles);
  expect(after.kib - before.kib).toBeLessThan(FLAT_KIB);
  expect(after.rssMib - before.rssMib).toBeLessThan(FLAT_MIB);
  // No call is stuck: neither a request nor a statement is under way.
  const metrics = await (await fetch(new URL("/metrics", url))).text();
  const busy = metrics.split("\n").filter((line) => /^lakehouse_(http_requests_in_flight|running|queued)\b/.test(line));
  expect(busy.length).toBeGreaterThan(2);
  expect(busy.filter((line) => !line.endsWith(" 0"))).toEqual([]);

  const fresh = new Agent();
  const quick = performance.now();
  const last = rpc("last", "tools/call", { name: "sql", arguments: { sql: "SELECT 1" }, _meta: ENVELOPE });
  const headers = { "mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "sql" };
  expect((await send(url, fresh, { body: last, headers })).status).toBe(200);
  // No query is left over that it would have to wait for.
  expect(performance.now() - quick).toBeLessThan(2_000);
  child.kill("SIGTERM");
  expect(await served.ended).toEqual([0, null]);
  agent.destroy();
  notices.destroy();
}, 400_000);
