import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import type { JobRecord } from "../../../src/engine/jobs/types.ts";
import type { EmbedSettings } from "../../../src/engine/settings.ts";
import { EMBED } from "../../support/embedder.ts";
import { type EmbedBody, type EmbeddingServer, ollamaAnswer, openOllamaServer } from "../../support/ollama.ts";

/** Runs until it is stopped. */
export const ENDLESS = {
  name: "endless",
  source: { sql: "SELECT count(*) AS n FROM range(1000000) a, range(1000000) b WHERE a.range * b.range = 7" },
};
export const TEXTS = "id,words\n1,forklift driver\n2,line cook\n3,welder of pipes\n";
export const BUILD = { name: "texts_index", source: { dataset: "texts", text: "words", id: "id" } };

export interface Gate extends AsyncDisposable {
  server: EmbeddingServer;
  embed: EmbedSettings;
  /** From now on texts are embedded; until then requests for those of `TEXTS` wait. */
  open(): void;
  /** Requests for those so far. */
  asked(): number;
}

/** An embedding service that keeps its callers waiting. */
export async function openGate(): Promise<Gate> {
  const server = await openOllamaServer();
  let open = (): void => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  const ofTexts = ({ input }: EmbedBody): boolean => input.some((text) => text.includes("line cook"));
  server.behave(async (body, _response, vectors) => {
    // The question for the length of the vectors comes before.
    if (ofTexts(body)) await opened;
    return ollamaAnswer(vectors);
  });
  return {
    server,
    embed: { ...EMBED, provider: "ollama", ollamaUrl: server.url, timeoutMs: 60_000 },
    open,
    asked: () => server.requests.filter(ofTexts).length,
    [Symbol.asyncDispose]: async () => {
      open();
      await server.stop();
    },
  };
}

/** The number of a process that has ended. */
export async function goneProcess(): Promise<number> {
  const child = spawn(process.execPath, ["--eval", ""]);
  await once(child, "exit");
  return child.pid ?? 0;
}

export interface JobFiles {
  read(id: string): Promise<JobRecord>;
  write(id: string, content: string | object): Promise<void>;
  names(): Promise<string[]>;
}

export function jobFiles(lake: { folder: string }): JobFiles {
  const folder = join(lake.folder, "lake", "jobs");
  return {
    read: async (id) => JSON.parse(await readFile(join(folder, `${id}.json`), "utf8")),
    write: async (id, content) => {
      await mkdir(folder, { recursive: true });
      await writeFile(join(folder, `${id}.json`), typeof content === "string" ? content : JSON.stringify(content));
    },
    names: async () => (await readdir(folder).catch(() => [])).sort(),
  };
}

/** The record of a job as a server leaves it behind that is killed. */
export function leftBehind(id: string, pid: number, more: Partial<JobRecord> = {}): JobRecord {
  const now = new Date().toISOString();
  return {
    format: 1,
    id,
    kind: "vector-index-create",
    request: BUILD,
    owner: { host: hostname(), pid, process: "00000000-0000-4000-8000-000000000000" },
    state: "running",
    progress: { fraction: 0.5, message: "embedding 3 texts" },
    resumed: 0,
    created: now,
    updated: now,
    finished: null,
    ...more,
  } as JobRecord;
}
