import { join } from "node:path";
import type { DuckDBValue } from "@duckdb/node-api";
import { startServer } from "../demo/server.ts";
import { openBareDuckDB } from "./bare-duckdb.ts";
import { type Context, callTool, ingestOptions, script, withServer } from "./context.ts";
import { alternate, median, percentile, timed } from "./measure.ts";
import { atMost, type Figure, type Report } from "./report.ts";

interface Query {
  name: string;
  sql: string;
  params?: (round: number) => DuckDBValue[];
}

const queries = (rows: number): Query[] => [
  { name: "count", sql: "SELECT count(*) FROM workers" },
  { name: "group by state", sql: "SELECT state, count(*) AS n FROM workers GROUP BY state ORDER BY n DESC" },
  { name: "average", sql: "SELECT avg(hourly_rate) FROM workers" },
  { name: "schema", sql: "DESCRIBE workers" },
  {
    name: "top 20 of a filter",
    sql: `SELECT worker_id, name, city, reliability FROM workers
      WHERE role = 'forklift driver' AND state = 'IL' AND available AND reliability > 0.9
      ORDER BY reliability DESC, worker_id LIMIT 20`,
  },
  {
    name: "point lookup",
    sql: "SELECT * FROM workers WHERE worker_id = $1",
    params: (round) => [1 + ((round * 7919) % rows)],
  },
  {
    name: "text LIKE",
    sql: "SELECT count(*) FROM workers WHERE resume_text LIKE $1",
    params: (round) => [`%badge ${100 + (round % 900)}%`],
  },
];

/** The same statements through stdio and in this process, on the same Parquet files, in turn. */
export async function benchSql(context: Context): Promise<Report> {
  return await withServer(context, await ingestOptions(context), async (server, data) => {
    const { path } = await context.workers();
    context.say("loading workers");
    await callTool(server, "ingest", { name: "workers", path });
    const instance = await openBareDuckDB(data, "workers");
    const bare = await instance.connect();
    const figures: Figure[] = [];
    for (const query of queries(context.rows)) {
      context.say(`sql: ${query.name}`);
      const viaServer = (sql: string, round: number) =>
        callTool(server, "sql", { sql, ...(query.params && { params: query.params(round) }) });
      const direct = async (sql: string, round: number) =>
        (await bare.runAndReadAll(sql, query.params?.(round))).getRowsJson();
      const first = newEachTime(query.sql);
      figures.push(
        ...(await compare(
          context,
          `${query.name}, first time`,
          (round) => viaServer(first(round), round),
          (round) => direct(first(round), round),
        )),
      );
      if (query.params) continue;
      const [repeated] = await compare(
        context,
        `${query.name}, repeated (a kept result here, DuckDB's work there)`,
        (round) => viaServer(query.sql, round),
        (round) => direct(query.sql, round),
      );
      if (repeated) figures.push(repeated);
    }
    figures.push({
      what: "round trip of an empty tool, bare SDK server",
      unit: "ms",
      ours: await emptyRoundTrip(context),
    });
    bare.closeSync();
    instance.closeSync();
    return {
      title: `sql: through stdio on ${context.rows} workers`,
      headings: ["sql", "bare DuckDB"],
      figures,
    };
  });
}

/** The same statement as a text that was never seen before, so that nothing can answer from memory. */
function newEachTime(sql: string): (round: number) => string {
  return (round) => `${sql} -- ${round}`;
}

async function compare(
  context: Context,
  name: string,
  viaServer: (round: number) => Promise<unknown>,
  direct: (round: number) => Promise<unknown>,
): Promise<Figure[]> {
  const warm = await timed(async () => {
    for (let round = 0; round < 3; round++) {
      await viaServer(round);
      await direct(round);
    }
  });
  const budgetMs = context.quick ? 1_000 : 15_000;
  const rounds = Math.round(Math.min(context.quick ? 30 : 300, Math.max(10, budgetMs / (warm / 3))));
  const ours: number[] = [];
  const other: number[] = [];
  await alternate(rounds, [
    async () => void ours.push(await timed(() => viaServer(ours.length + 3))),
    async () => void other.push(await timed(() => direct(other.length + 3))),
  ]);
  const difference = median(ours) - median(other);
  return [
    {
      what: `${name}, p50 of ${rounds}`,
      unit: "ms",
      ours: median(ours),
      other: median(other),
      target: atMost(difference, 3, "≤ +3 ms"),
    },
    { what: `${name}, p99`, unit: "ms", ours: percentile(ours, 99), other: percentile(other, 99) },
  ];
}

async function emptyRoundTrip(context: Context): Promise<number> {
  const server = await startServer({ data: join(await context.folder(), "none"), script: script("bare-server") });
  try {
    const times: number[] = [];
    for (let round = 0; round < 200; round++) {
      times.push(await timed(() => callTool(server, "echo", { text: "ping" })));
    }
    return median(times);
  } finally {
    await server.close();
  }
}
