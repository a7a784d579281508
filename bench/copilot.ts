import { join } from "node:path";
import type { Context } from "./context.ts";
import { loadOverHttp } from "./http-load.ts";
import { percentile } from "./measure.ts";
import type { Figure, Report } from "./report.ts";
import { type Served, serveLake } from "./served.ts";

const WORKERS = 20_000;
const QUESTIONS = 200;
const ROLES = ["forklift", "welder", "picker", "driver", "nurse", "cook", "cleaner", "electrician", "clerk", "guard"];
const STATES = ["IL", "IN", "WI", "MI", "OH"];

interface Case {
  what: string;
  connections: number;
  statements: (round: number) => string[];
}

const CASES: Case[] = [
  { what: `${QUESTIONS} questions, Zipf, 32 connections`, connections: 32, statements: replayed },
  { what: "statements of an analyst, each new, 4 connections", connections: 4, statements: adHoc },
];

const LAKES = { "result cache": [], "no cache": ["--query-cache-bytes", "0"] };

/** What the result cache is worth: a co-pilot that asks the same again, and an analyst who does not. */
export async function benchCopilot(context: Context): Promise<Report> {
  const folder = await context.folder();
  const served = new Map<string, Served>();
  const figures: Figure[] = [];
  try {
    for (const [name, flags] of Object.entries(LAKES)) {
      const lake = await serveLake(join(folder, name.replaceAll(" ", "-")), ["--embed-provider", "builtin", ...flags]);
      served.set(name, lake);
      await load(lake);
    }
    for (const { what, connections, statements } of CASES) {
      const times = new Map<string, { perSecond: number; times: number[] }>();
      for (let round = 0; round < (context.quick ? 1 : 3); round++) {
        for (const [name, { url }] of served) {
          context.say(`copilot: ${what}, ${name}`);
          const args = statements(round).map((sql) => ({ sql }));
          const loaded = await loadOverHttp({ url, tool: "sql", args, connections, ms: context.quick ? 500 : 3_000 });
          const sofar = times.get(name) ?? { perSecond: 0, times: [] };
          times.set(name, {
            perSecond: Math.max(sofar.perSecond, (loaded.times.length / loaded.ms) * 1000),
            times: [...sofar.times, ...loaded.times],
          });
        }
      }
      const none = times.get("no cache");
      for (const [name, { perSecond, times: each }] of times) {
        figures.push({ what: `${what}: ${name}`, unit: "/s", ours: perSecond, other: none?.perSecond ?? 0 });
        figures.push({
          what: "  p50",
          unit: "ms",
          ours: percentile(each, 50),
          other: percentile(none?.times ?? [], 50),
        });
      }
    }
  } finally {
    for (const lake of served.values()) await lake.close();
  }
  return { title: `copilot: ${WORKERS} workers`, headings: ["lakehouse", "no cache"], figures };
}

async function load({ url }: Served): Promise<void> {
  const rows = Array.from({ length: WORKERS }, (_, id) =>
    [
      id,
      `Worker ${id}`,
      ROLES[id % 10],
      STATES[(id * 7) % 5],
      id % 3 === 0,
      (id % 101) / 100,
      `${id % 60} years`,
    ].join(),
  );
  const text = `id,name,role,state,available,reliability,note\n${rows.join("\n")}\n`;
  await loadOverHttp({ url, tool: "ingest", args: [{ name: "workers", text }], connections: 1, calls: 1 });
}

/** The n-th most frequent is asked for 1/n as often as the first. */
function replayed(round: number): string[] {
  const distinct = Array.from({ length: QUESTIONS }, (_, at) => {
    const [role, state, least] = [
      ROLES[at % 10],
      STATES[Math.floor(at / 10) % 5],
      (50 + Math.floor(at / 50) * 10) / 100,
    ];
    return `SELECT id, name, reliability FROM workers WHERE role = '${role}' AND state = '${state}' AND available AND reliability > ${least} ORDER BY reliability DESC LIMIT 10`;
  });
  /** Of each, and of all before it. */
  const upTo = distinct.map((_, at) => 1 / (at + 1));
  for (let at = 1; at < upTo.length; at++) upTo[at] = (upTo[at] ?? 0) + (upTo[at - 1] ?? 0);
  const total = upTo.at(-1) ?? 0;
  let seed = 1 + round;
  return Array.from({ length: 5_000 }, () => {
    seed = (seed * 48_271) % 2_147_483_647;
    const drawn = (seed / 2_147_483_647) * total;
    return distinct[upTo.findIndex((sum) => sum >= drawn)] ?? "";
  });
}

function adHoc(round: number): string[] {
  return Array.from({ length: 20_000 }, (_, at) => {
    const least = round * 20_000 + at;
    const kinds = [
      `SELECT state, count(*) AS n, avg(reliability) AS mean FROM workers WHERE id > ${least % WORKERS} AND ${least} >= 0 GROUP BY state ORDER BY n DESC`,
      `SELECT role, max(reliability) AS best FROM workers WHERE available AND id <> ${least} GROUP BY role`,
      `SELECT name FROM workers WHERE reliability > 0.9 AND id % 1000 = ${least % 1000} AND ${least} >= 0 ORDER BY name LIMIT 20`,
    ];
    return kinds[at % kinds.length] ?? "";
  });
}
