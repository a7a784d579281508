import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type CallToolResult, Client } from "@modelcontextprotocol/client";
import { InMemoryTransport } from "@modelcontextprotocol/server";
import { serveStdio } from "@modelcontextprotocol/server/stdio";
import { type Engine, openEngine } from "../../src/engine/engine.ts";
import { type EngineSettings, systemClock } from "../../src/engine/settings.ts";
import type { Watch } from "../../src/mcp/serve-call.ts";
import { createServer } from "../../src/mcp/server.ts";
import { EMBED, VECTOR } from "./embedder.ts";

export type Era = "legacy" | "modern";

export interface LakeOptions {
  /** Default: a folder of its own. */
  data?: "memory";
  era?: Era;
  settings?: Partial<EngineSettings>;
  /** Opens a lake that another one left behind. */
  folder?: string;
  trustRoots?: boolean;
  /** Who else is told of calls. */
  watch?: Pick<Watch, "trace" | "onCall">;
  client?: (client: Client) => void;
  capabilities?: Record<string, unknown>;
}

export interface Lake extends AsyncDisposable {
  engine: Engine;
  client: Client;
  /** Holds `inbox/` (the allowed root) and `lake/`. */
  folder: string;
  /** Writes a file into the allowed root and returns its path as a caller would give it. */
  file(name: string, content: string | Uint8Array): Promise<string>;
  /** Calls a tool; fails the test when the result is an error. */
  call<Result = Record<string, unknown>>(tool: string, args?: Record<string, unknown>): Promise<Result>;
  /** Calls a tool that must fail and returns the message. */
  refused(tool: string, args?: Record<string, unknown>): Promise<string>;
  raw(tool: string, args?: Record<string, unknown>): Promise<CallToolResult>;
}

export function testSettings(folder: string, settings: Partial<EngineSettings> = {}): EngineSettings {
  return {
    data: join(folder, "lake"),
    allow: [join(folder, "inbox")],
    maxIngestBytes: 256 * 2 ** 20,
    uploadQuotaBytes: 2 ** 30,
    uploadExpiryMs: 3600e3,
    maxIngestRows: 1_000_000,
    ingestTimeoutMs: 60_000,
    ingestMemoryBytes: 256 * 2 ** 20,
    queryMemoryBytes: 512 * 2 ** 20,
    maxTempBytes: 2 ** 30,
    threads: 2,
    queryTimeoutMs: 30_000,
    maxConcurrentIngests: 2,
    maxConcurrentQueries: 4,
    maxQueuedQueries: 128,
    maxResultBytes: 64 * 1024,
    refreshMs: 0,
    embed: EMBED,
    vector: VECTOR,
    clock: systemClock,
    log: () => {},
    ...settings,
  };
}

/** Whether it runs statements or ingests. */
export function isWorking(engine: Engine): boolean {
  const { queries, ingests } = engine.stats();
  return queries.running + ingests.running > 0;
}

/** The engine with a real MCP server and a real client over an in-memory transport. */
export async function openLake(options: LakeOptions = {}): Promise<Lake> {
  const { mkdir } = await import("node:fs/promises");
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), "lakehouse-test-")));
  await mkdir(join(folder, "inbox"), { recursive: true });
  const settings = testSettings(folder, options.settings);
  if (options.data === "memory") settings.data = "memory";
  const engine = await openEngine(settings);

  const [clientSide, serverSide] = InMemoryTransport.createLinkedPair();
  const trustRoots = options.trustRoots ?? false;
  const handle = serveStdio(
    (request) => createServer({ ...options.watch, engine, log: settings.log, trustRoots }, request),
    {
      transport: serverSide,
    },
  );
  const versions = options.era === "legacy" ? {} : { versionNegotiation: { mode: { pin: "2026-07-28" } } };
  const client = new Client(
    { name: "test", version: "1" },
    { ...versions, ...(options.capabilities && { capabilities: options.capabilities }) },
  );
  options.client?.(client);
  await client.connect(clientSide);

  const raw = (tool: string, args: Record<string, unknown> = {}): Promise<CallToolResult> =>
    client.callTool({ name: tool, arguments: args }) as Promise<CallToolResult>;
  return {
    engine,
    client,
    folder,
    raw,
    file: async (name, content) => {
      await writeFile(join(folder, "inbox", name), content);
      return name;
    },
    call: async <Result>(tool: string, args?: Record<string, unknown>) => {
      const result = await raw(tool, args);
      if (result.isError) throw new Error(`${tool} failed: ${textOf(result)}`);
      return result.structuredContent as Result;
    },
    refused: async (tool, args) => {
      const result = await raw(tool, args);
      if (!result.isError) throw new Error(`${tool} should have failed but answered: ${textOf(result)}`);
      return textOf(result);
    },
    [Symbol.asyncDispose]: async () => {
      await client.close();
      await handle.close();
      await engine.close();
      if (options.folder === undefined) await rm(folder, { recursive: true, force: true });
    },
  };
}

export function textOf(result: CallToolResult): string {
  return result.content.map((block) => (block.type === "text" ? block.text : `<${block.type}>`)).join("\n");
}

/** The text with what differs from run to run made equal: fence ids, times, hashes of moments. */
export function stable(text: string): string {
  return text
    .replace(/\[data [0-9a-f]{8}:/g, "[data ID:")
    .replace(/\[end [0-9a-f]{8}\]/g, "[end ID]")
    .replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/g, "TIME")
    .replace(/\d+(\.\d+)? ms/g, "N ms");
}
