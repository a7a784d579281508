import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DuckDBInstance } from "@duckdb/node-api";
import { openBareDuckDB } from "./bare-duckdb.ts";
import { type Context, callTool, SETTINGS, withServer } from "./context.ts";
import { alternate, median, percentile, timed } from "./measure.ts";
import { useOfTree } from "./processes.ts";
import { atMost, type Report } from "./report.ts";

const TABLE_ROWS = 1_000;

/** One row in, and statements over a thousand rows that are different each time: what an agent does all day. */
export async function benchSmall(context: Context): Promise<Report> {
  return await withServer(context, {}, async (server, data) => {
    const folder = await context.folder();
    const rounds = context.quick ? 20 : 100;
    const ours: number[] = [];
    const bare: number[] = [];
    const one = (round: number): Promise<unknown> =>
      callTool(server, "ingest", { name: "one", text: `id,name\n${round},x\n` });
    context.say("small: ingest of one row");
    for (let round = 0; round < 5; round++) await one(-round - 1);
    await alternate(rounds, [
      async () => void ours.push(await timed(() => one(ours.length))),
      async () => void bare.push(await timed(() => bareIngest(folder, bare.length))),
    ]);
    const before = (await useOfTree(server.pid)).cpu;
    for (let round = 0; round < rounds; round++) await one(rounds + round);
    const cpu = ((await useOfTree(server.pid)).cpu - before) / rounds;
    const bareCpu = await cpuOf(rounds, (round) => bareIngest(folder, rounds + round));

    context.say("small: statements");
    const lines = Array.from({ length: TABLE_ROWS }, (_, id) => `${id},w${id},${["IL", "MA", "NY"][id % 3]}`);
    await callTool(server, "ingest", { name: "small", text: `id,name,state\n${lines.join("\n")}\n` });
    const instance = await openBareDuckDB(data, "small");
    const connection = await instance.connect();
    const sql = (round: number): string => `SELECT count(*) AS n FROM small WHERE state = 'IL' AND id > ${round}`;
    const statements: number[] = [];
    const direct: number[] = [];
    for (let round = 0; round < 20; round++) await callTool(server, "sql", { sql: sql(-round - 1) });
    await alternate(rounds * 3, [
      async () => void statements.push(await timed(() => callTool(server, "sql", { sql: sql(statements.length) }))),
      async () => void direct.push(await timed(() => connection.runAndReadAll(sql(direct.length)))),
    ]);
    connection.closeSync();
    instance.closeSync();
    const extra = median(statements) - median(direct);
    return {
      title: `small: one row, and statements over ${TABLE_ROWS} rows, through stdio; no answer from memory`,
      headings: ["small", "bare DuckDB"],
      figures: [
        {
          what: `ingest of one row, p50 of ${rounds}`,
          unit: "ms",
          ours: median(ours),
          other: median(bare),
          target: atMost(median(ours), 1.5 * median(bare), "≤ 1.5×"),
        },
        { what: "ingest of one row, processor", unit: "ms", ours: cpu, other: bareCpu },
        {
          what: `another literal each time, p50 of ${rounds * 3}`,
          unit: "ms",
          ours: median(statements),
          other: median(direct),
          target: atMost(extra, 1, "≤ +1 ms"),
        },
        {
          what: "another literal each time, p99",
          unit: "ms",
          ours: percentile(statements, 99),
          other: percentile(direct, 99),
        },
      ],
    };
  });
}

/** What an ingest needs of DuckDB and the disk, and no more: types found, Parquet written, instance opened and closed. */
async function bareIngest(folder: string, round: number): Promise<void> {
  const [csv, parquet] = [join(folder, "one.csv"), join(folder, `one-${round}.parquet`)];
  await writeFile(csv, `id,name\n${round},x\n`);
  const instance = await DuckDBInstance.create(":memory:", { threads: "1", memory_limit: SETTINGS.ingestMemory });
  const connection = await instance.connect();
  await connection.run(`COPY (FROM read_csv('${csv}')) TO '${parquet}' (FORMAT parquet, COMPRESSION zstd)`);
  connection.closeSync();
  instance.closeSync();
}

async function cpuOf(rounds: number, work: (round: number) => Promise<void>): Promise<number> {
  const before = process.cpuUsage();
  for (let round = 0; round < rounds; round++) await work(round);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000 / rounds;
}
