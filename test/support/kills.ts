import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";
import { MAIN, type ServerProcess, type Workspace } from "../real/process.ts";
import {
  acknowledge,
  type Content,
  chooseWrite,
  contentSql,
  csvOf,
  itemsOf,
  type Ledger,
  openLedger,
  parseContent,
  settle,
  type Write,
} from "./ledger.ts";
import { sorted } from "./vectors.ts";

/** Clients that work at the same time, each with a server of its own over the same lake. */
const LANES = 2;
/** So long after the first answer at most: within several writes. */
const LONGEST_MS = 400;
const SHARED = "shared";

export interface Kills {
  rounds: number;
  /** For the environment of every process: where the lake is. */
  env: Record<string, string>;
}

export interface Killed {
  kills: number;
  acknowledged: number;
  /** Writes that a kill left without an answer, and what became of them. */
  done: number;
  notDone: number;
}

interface World extends Kills, Killed {
  workspace: Workspace;
  /** Rows that every client appended to one dataset: whether that was acknowledged. */
  shared: Map<string, boolean>;
}

/** How many kills, unless the environment says. */
export const roundsOr = (usual: number): number => Number(process.env.LAKEHOUSE_TEST_KILLS || usual);

/**
 * Kills built servers at random moments, while clients write and remember what was acknowledged. After each kill the
 * next server has to have it, and what was not acknowledged wholly or not at all; in the end `verify` finds nothing.
 */
export async function killServers(workspace: Workspace, kills: Kills): Promise<Killed> {
  const world: World = { ...kills, workspace, shared: new Map(), kills: 0, acknowledged: 0, done: 0, notDone: 0 };
  const lanes = Array.from({ length: LANES }, (_, lane) => [
    openLedger(`rows_${lane}`, "table"),
    openLedger(`items_${lane}`, "vectors"),
  ]);
  await Promise.all(
    lanes.map(async (ledgers, lane) => {
      while (world.kills < world.rounds) await oneRound(world, ledgers, `k${world.kills++}l${lane}`);
    }),
  );
  await expectAllThere(world, lanes.flat());
  const { kills: count, acknowledged, done, notDone } = world;
  return { kills: count, acknowledged, done, notDone };
}

async function oneRound(world: World, ledgers: Ledger[], tag: string): Promise<void> {
  if (Math.random() < 0.1) return killWhileStarting(world);
  const server = await start(world);
  const children: ChildProcess[] = [];
  let killed = false;
  let answered = (): void => undefined;
  // The first answers take longest, since what they need is loaded; one in five is not waited for.
  const firstAnswer =
    Math.random() < 0.2
      ? sleep(Math.random() * 2 * LONGEST_MS)
      : new Promise<void>((resolve) => {
          answered = resolve;
        });
  try {
    for (const ledger of ledgers) await settleBy(world, server, ledger);
    const streams = ledgers.map(async (ledger) => {
      for (let step = 0; !killed; step++) {
        const write = chooseWrite(ledger, `${tag}s${step}`, Math.floor(Math.random() * 2 ** 31));
        ledger.pending = write;
        const version = await perform(world, server, ledger.name, write, children);
        acknowledge(ledger, version);
        world.acknowledged++;
        answered();
      }
    });
    const appends = async (): Promise<void> => {
      for (let step = 0; !killed; step++) {
        const row = `${tag}s${step}`;
        world.shared.set(row, false);
        await server.call("ingest", { name: SHARED, text: `id\n${row}\n`, mode: "append" });
        world.shared.set(row, true);
        answered();
      }
    };
    const working = [...streams, appends()].map((stream) =>
      stream.catch((error: unknown) => {
        // What fails by itself is a failure of the test.
        if (!killed) throw error;
      }),
    );
    await Promise.race([firstAnswer.then(() => sleep(Math.random() * LONGEST_MS)), Promise.all(working)]);
    killed = true;
    process.kill(server.pid, "SIGKILL");
    for (const child of children) child.kill("SIGKILL");
    await Promise.all(working);
  } finally {
    await server[Symbol.asyncDispose]();
  }
}

function start({ workspace, env }: World): Promise<ServerProcess> {
  const own = { LAKEHOUSE_EMBED_PROVIDER: "builtin", LAKEHOUSE_MAX_RESULT_BYTES: "1MiB" };
  return workspace.start({ env: { ...env, ...own } });
}

/** Opening, reading the catalog, sweeping up after others. */
async function killWhileStarting({ workspace, env }: World): Promise<void> {
  const child = spawn(process.execPath, [MAIN, "--data", join(workspace.folder, "lake")], {
    env: { PATH: process.env.PATH, ...env },
    stdio: ["pipe", "ignore", "ignore"],
  });
  await sleep(50 + Math.random() * 750);
  child.kill("SIGKILL");
  await once(child, "exit");
}

async function perform(
  world: World,
  server: ServerProcess,
  name: string,
  write: Write,
  children: ChildProcess[],
): Promise<number> {
  const version = async (tool: string, args: Record<string, unknown>): Promise<number> =>
    Number((await server.call(tool, args)).version);
  switch (write.do) {
    case "append":
    case "replace":
      return version("ingest", { name, text: csvOf(write.values), mode: write.do });
    case "upsert":
      return version("vector-upsert", { index: name, items: itemsOf(write.values) });
    case "delete":
      return version("vector-delete", { index: name, ids: write.ids });
    case "create":
      return version("vector-index-create", { name, dimension: 3 });
    case "drop":
      return version("dataset-drop", { name });
    case "restore": {
      const { code, stdout, stderr } = await command(
        world,
        ["restore", `${name}@${write.version}`, "--json"],
        children,
      );
      if (code !== 0) throw new Error(`restore ended with ${code}: ${stderr}`);
      return Number((JSON.parse(stdout) as { version: number }).version);
    }
  }
}

function command(
  { workspace, env }: World,
  args: string[],
  children: ChildProcess[] = [],
): Promise<{ code: unknown; stdout: string; stderr: string }> {
  const all = { PATH: process.env.PATH, ...env, LAKEHOUSE_DATA: join(workspace.folder, "lake") };
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [MAIN, ...args], { env: all }, (error, stdout, stderr) =>
      resolve({ code: error ? (error.code ?? error.signal) : 0, stdout, stderr }),
    );
    children.push(child);
  });
}

async function settleBy(world: World, server: ServerProcess, ledger: Ledger): Promise<void> {
  const outcome = settle(ledger, await read(server, ledger));
  if (outcome === "done") world.done++;
  if (outcome === "not done") world.notDone++;
}

async function read(server: ServerProcess, ledger: Ledger): Promise<Content> {
  try {
    const { rows } = await server.call("sql", { sql: contentSql(ledger) });
    return parseContent((rows as unknown[][])[0]?.[0]);
  } catch (error) {
    if (/not_found:/.test(String(error))) return undefined;
    throw error;
  }
}

async function expectAllThere(world: World, ledgers: Ledger[]): Promise<void> {
  const server = await start(world);
  for (const ledger of ledgers) {
    await settleBy(world, server, ledger);
    await expectGraph(server, ledger);
    ledger.pending = chooseWrite(ledger, "last", 12_345);
    acknowledge(ledger, await perform(world, server, ledger.name, ledger.pending, []));
    settle(ledger, await read(server, ledger));
  }
  world.shared.set("last", true);
  await server.call("ingest", { name: SHARED, text: "id\nlast\n", mode: "append" });
  const { rows } = await server.call("sql", { sql: `SELECT id FROM ${SHARED}`, max_rows: 10_000 });
  const there = (rows as [string][]).map(([id]) => id);
  expect(new Set(there).size, "a row is there twice").toBe(there.length);
  expect(there.filter((id) => !world.shared.has(id))).toEqual([]);
  const acknowledged = [...world.shared].filter(([, yes]) => yes).map(([id]) => id);
  expect(acknowledged.filter((id) => !there.includes(id))).toEqual([]);
  world.acknowledged += acknowledged.length;
  await server[Symbol.asyncDispose]();

  const verified = await command(world, ["verify"]);
  expect(verified).toMatchObject({ code: 0, stdout: expect.stringContaining("all sound.") });
  // What the killed have left unfinished is swept up.
  const files = await readdir(join(world.workspace.folder, "lake"), { recursive: true });
  const left = files.filter((path) => /(^|\/)\.spool\//.test(path));
  expect(left.filter((path) => !/\.spool\/uploads(\/|$)/.test(path))).toEqual([]);
}

/** The graphs say the same as the rows. */
async function expectGraph(server: ServerProcess, { name, kind, content }: Ledger): Promise<void> {
  if (kind !== "vectors" || !content) return;
  const { hits } = await server.call("vector-search", { index: name, vector: [1, 1, 1], k: 400 });
  const found = (hits as { id: string }[]).map(({ id }) => id);
  expect(sorted(found)).toEqual(sorted([...content.keys()]));
}
