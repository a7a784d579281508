import { rmSync } from "node:fs";
import { mkdtemp, realpath } from "node:fs/promises";
import { availableParallelism, cpus, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { packageVersion } from "../demo/server.ts";
import { benchCatalog } from "./catalog.ts";
import { type Context, openContext } from "./context.ts";
import { benchCopilot } from "./copilot.ts";
import { benchEmbed } from "./embed.ts";
import { benchHttp } from "./http.ts";
import { benchIngest } from "./ingest.ts";
import { benchMany } from "./many.ts";
import { benchMixed } from "./mixed.ts";
import { benchPeers } from "./peers.ts";
import { type Report, render } from "./report.ts";
import { benchS3 } from "./s3.ts";
import { benchSmall } from "./small.ts";
import { benchSql } from "./sql.ts";
import { benchStart } from "./start.ts";
import { benchUploads } from "./uploads.ts";
import { benchVectors } from "./vectors.ts";

const USAGE = `npm run bench -- [--only NAME]... [--rows N] [--sizes N,N] [--quick] [--json]

  --only NAME  ingest, sql, copilot, small, peers, many, start, catalog, embed, http, mixed, uploads, vectors or s3 (starts a
               Ceph RGW); may be repeated (default: all)
  --rows N     rows of the workers table (default 500000, with --quick 20000)
  --sizes N,N  vectors in an index (default 100000, with --quick 10000); several show how the figures grow
  --quick      few rounds and small sizes: shows that it runs, not how fast
  --json       one JSON document on stdout

Every figure stands beside the bare library, measured in turn in the same run. Needs the built server (npm run build).
`;

const CAPABILITIES: Record<string, (context: Context) => Promise<Report>> = {
  ingest: benchIngest,
  sql: benchSql,
  copilot: benchCopilot,
  small: benchSmall,
  peers: benchPeers,
  many: benchMany,
  start: benchStart,
  catalog: benchCatalog,
  embed: benchEmbed,
  http: benchHttp,
  mixed: benchMixed,
  uploads: benchUploads,
  s3: benchS3,
  vectors: (context) => benchVectors(context, sizesOf(flags.sizes)),
};

const { values: flags } = parseArgs({
  options: {
    only: { type: "string", multiple: true, default: Object.keys(CAPABILITIES) },
    rows: { type: "string" },
    sizes: { type: "string" },
    quick: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
if (flags.help) process.stdout.write(USAGE);
else {
  await main().catch((error: unknown) => {
    process.stderr.write(`The benchmark stopped: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  });
}

async function main(): Promise<void> {
  const rows = Number(flags.rows ?? (flags.quick ? 20_000 : 500_000));
  if (!Number.isSafeInteger(rows) || rows < 1) throw new Error(`--rows ${flags.rows}: expected a whole number`);
  sizesOf(flags.sizes);
  const unknown = flags.only.find((name) => !Object.hasOwn(CAPABILITIES, name));
  if (unknown !== undefined) throw new Error(`--only ${unknown}: expected ${Object.keys(CAPABILITIES).join(", ")}`);

  const root = await realpath(await mkdtemp(join(tmpdir(), "lakehouse-bench-")));
  const cleanUp = (): void => rmSync(root, { recursive: true, force: true, maxRetries: 3 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => {
      cleanUp();
      process.exit(130);
    });
  }
  try {
    const context = openContext(root, rows, flags.quick, (text) => process.stderr.write(`… ${text}\n`));
    const machine = await describeMachine();
    if (!flags.json) process.stdout.write(`${Object.values(machine).join(" · ")}\n`);
    const reports: Record<string, Report> = {};
    for (const [name, run] of Object.entries(CAPABILITIES)) {
      if (!flags.only.includes(name)) continue;
      const report = await run(context);
      reports[name] = report;
      if (!flags.json) process.stdout.write(`\n${render(report)}\n`);
    }
    if (flags.json)
      process.stdout.write(`${JSON.stringify({ machine, rows, quick: flags.quick, reports }, null, 2)}\n`);
  } finally {
    cleanUp();
  }
}

function sizesOf(text: string | undefined): number[] | undefined {
  const sizes = text?.split(",").map(Number);
  if (sizes?.every((size) => Number.isSafeInteger(size) && size >= 1_000) ?? true) return sizes;
  throw new Error(`--sizes ${text}: expected whole numbers from 1000, separated by commas`);
}

async function describeMachine(): Promise<Record<string, string>> {
  return {
    version: `lakehouse-mcp ${await packageVersion()}`,
    node: `node ${process.version}`,
    platform: `${process.platform} ${process.arch}`,
    cpu: `${availableParallelism()} × ${cpus()[0]?.model ?? "unknown CPU"}`,
    memory: `${(totalmem() / 2 ** 30).toFixed(0)} GiB`,
  };
}
