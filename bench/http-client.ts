import { Agent, request } from "node:http";
import { json } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import type { Load, Loaded } from "./http-load.ts";

/** The process of `loadOverHttp`. */

const PROTOCOL = "2026-07-28";
const PAUSE_MS = 100;

const load = (await json(process.stdin)) as Load;
const agent = new Agent({ keepAlive: true, maxSockets: load.connections, noDelay: true });
const bodies = load.args.map((args, id) => Buffer.from(JSON.stringify(messageOf(load.tool, args, id))));
const loaded: Loaded = { times: [], ms: 0, failed: 0 };
let next = 0;
for (let burst = 0; burst < (load.bursts ?? 1); burst++) {
  if (burst > 0) await sleep(PAUSE_MS);
  await run();
}
process.stdout.write(JSON.stringify(loaded));
agent.destroy();

async function run(): Promise<void> {
  const { connections, calls = Number.POSITIVE_INFINITY, ms = Number.POSITIVE_INFINITY } = load;
  const started = performance.now();
  let made = 0;
  const lane = async (): Promise<void> => {
    while (made++ < calls && performance.now() - started < ms) {
      const from = performance.now();
      const problem = await post(bodies[next++ % bodies.length] ?? Buffer.alloc(0)).catch(String);
      loaded.times.push(performance.now() - from);
      if (problem === undefined) continue;
      loaded.failed++;
      loaded.problem ??= problem;
    }
  };
  await Promise.all(Array.from({ length: connections }, lane));
  loaded.ms += performance.now() - started;
}

function messageOf(name: string, args: Record<string, unknown>, id: number) {
  const _meta = {
    "io.modelcontextprotocol/protocolVersion": PROTOCOL,
    "io.modelcontextprotocol/clientInfo": { name: "bench", version: "1" },
    "io.modelcontextprotocol/clientCapabilities": {},
  };
  return { jsonrpc: "2.0", id, method: "tools/call", params: { name, arguments: args, _meta } };
}

/** What was wrong with the answer, if anything. */
function post(body: Buffer): Promise<string | undefined> {
  const headers = {
    "content-type": "application/json",
    "content-length": body.length,
    accept: "application/json, text/event-stream",
    "mcp-protocol-version": PROTOCOL,
    "mcp-method": "tools/call",
    "mcp-name": load.tool,
  };
  return new Promise((resolve, reject) => {
    const outgoing = request(`${load.url}/mcp`, { method: "POST", agent, headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.once("error", reject);
      response.once("end", () => {
        const answer = Buffer.concat(chunks).toString();
        const sound = response.statusCode === 200 && answer.includes('"result"') && !answer.includes('"isError":true');
        resolve(sound ? undefined : `${response.statusCode} ${answer.slice(0, 500)}`);
      });
    });
    outgoing.once("error", reject);
    outgoing.end(body);
  });
}
