import { join } from "node:path";
import { type Context, script } from "./context.ts";
import { type Loaded, loadOverHttp } from "./http-load.ts";
import { alternate, percentile } from "./measure.ts";
import { atLeast, type Figure, type Report } from "./report.ts";
import { type Served, serveBare, serveLake } from "./served.ts";

const CONNECTIONS = 32;
const ROWS = 1_000;
const ITEMS = 2_000;
const LEAST = 0.8;

export const ONE_ROW = "SELECT count(*) AS n, avg(value) AS mean FROM small";
/** Another value each time, so that nothing can answer from memory. */
export const COMPUTED = "SELECT count(*) AS n, avg(value) AS mean FROM small WHERE id <> $1";

interface Case {
  what: string;
  tool: string;
  args: (round: number) => Record<string, unknown>[];
  target?: boolean;
}

const CASES: Case[] = [
  { what: "sql, one row, repeated", tool: "sql", args: () => [{ sql: ONE_ROW }], target: true },
  { what: "sql, one row, computed each time", tool: "sql", args: (round) => computed(round) },
  {
    what: "vector-search by text",
    tool: "vector-search",
    args: () => Array.from({ length: 20 }, (_, at) => ({ index: "things", text: `the thing with number ${at}`, k: 5 })),
  },
  { what: "catalog-list", tool: "catalog-list", args: () => [{}] },
];

/** Small calls over HTTP from 32 connections, beside the SDK's own server with a tool that does nothing. */
export async function benchHttp(context: Context): Promise<Report> {
  const folder = await context.folder();
  const flags = ["--embed-provider", "builtin"];
  const ours = await serveLake(join(folder, "lake"), flags);
  const bare = await serveBare([script("bare-http")]);
  try {
    context.say("http: loading a table and an index");
    await fill(ours);
    const figures: Figure[] = [];
    for (const each of CASES) figures.push(...(await compare(context, each, ours, bare)));
    return {
      title: `http: ${CONNECTIONS} connections, protocol 2026-07-28`,
      headings: ["lakehouse", "bare SDK, echo"],
      figures,
    };
  } finally {
    await ours.close();
    await bare.close();
  }
}

/** Loads the table `small`, and the vector index `things`. */
async function fill({ url }: Served): Promise<void> {
  await loadSmall(url);
  const lines = Array.from({ length: ITEMS }, (_, at) => `${at},a thing with number ${at}`);
  await call(url, "ingest", { name: "texts", text: `id,text\n${lines.join("\n")}\n` });
  await call(url, "vector-index-create", { name: "things", dataset: "texts", text: "text", id: "id" });
}

export async function loadSmall(url: string): Promise<void> {
  const rows = Array.from({ length: ROWS }, (_, id) => `${id},k${id % 5},${id / 4}`);
  await call(url, "ingest", { name: "small", text: `id,kind,value\n${rows.join("\n")}\n` });
}

export function computed(round: number): Record<string, unknown>[] {
  return Array.from({ length: 20_000 }, (_, at) => ({ sql: COMPUTED, params: [ROWS + round * 20_000 + at] }));
}

async function call(url: string, tool: string, args: Record<string, unknown>): Promise<void> {
  await loadOverHttp({ url, tool, args: [args], connections: 1, calls: 1 });
}

async function compare(context: Context, { what, tool, args, target }: Case, ours: Served, bare: Served) {
  context.say(`http: ${what}`);
  const ms = context.quick ? 500 : 4_000;
  const rounds = context.quick ? 1 : 4;
  const lake: Loaded[] = [];
  const echo: Loaded[] = [];
  const onLake = (round: number): Promise<Loaded> =>
    loadOverHttp({ url: ours.url, tool, args: args(round), connections: CONNECTIONS, ms });
  const onEcho = (): Promise<Loaded> =>
    loadOverHttp({ url: bare.url, tool: "echo", args: [{ text: "ping" }], connections: CONNECTIONS, ms });
  // Both run as long before: what is compiled by then is compiled in both.
  await onLake(0);
  await onEcho();
  await alternate(rounds, [
    async () => void lake.push(await onLake(lake.length + 1)),
    async () => void echo.push(await onEcho()),
  ]);
  const [oursPerSecond, barePerSecond] = [perSecond(lake), perSecond(echo)];
  const least = atLeast(oursPerSecond, LEAST * barePerSecond, `≥ ${LEAST} × bare`);
  const at = (list: Loaded[], percent: number): number =>
    percentile(
      list.flatMap(({ times }) => times),
      percent,
    );
  const figures: Figure[] = [
    { what: `${what}: calls`, unit: "/s", ours: oursPerSecond, other: barePerSecond, ...(target && { target: least }) },
    { what: `${what}: p50`, unit: "ms", ours: at(lake, 50), other: at(echo, 50) },
    { what: `${what}: p99`, unit: "ms", ours: at(lake, 99), other: at(echo, 99) },
  ];
  return figures;
}

function perSecond(list: Loaded[]): number {
  const sum = (of: (loaded: Loaded) => number): number => list.reduce((total, loaded) => total + of(loaded), 0);
  return (1_000 * sum(({ times }) => times.length)) / sum(({ ms }) => ms);
}
