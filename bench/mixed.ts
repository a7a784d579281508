import { join } from "node:path";
import type { Context } from "./context.ts";
import { computed, loadSmall } from "./http.ts";
import { loadOverHttp } from "./http-load.ts";
import { percentile } from "./measure.ts";
import { atMost, type Figure, type Report } from "./report.ts";
import { type Served, serveLake } from "./served.ts";
import { upload, writeRows } from "./uploads.ts";

const MB = 1e6;
const AT_ONCE = 50;
const MOST_MS = 250;
/** Runs until it is stopped. */
const ENDLESS = "SELECT count(*) FROM range(100000000) a, range(100000000) b WHERE (a.range * b.range) % 7 = 3";

/** Small queries, fifty at once, while a statement runs away and a large file is uploaded. */
export async function benchMixed(context: Context): Promise<Report> {
  const folder = await context.folder();
  const bytes = context.quick ? 50 * MB : 500 * MB;
  const file = join(folder, "big.csv");
  await writeRows(file, bytes);
  const flags = ["--max-ingest-bytes", String(bytes)];
  const server = await serveLake(join(folder, "lake"), flags);
  try {
    await loadSmall(server.url);
    context.say("mixed: small queries alone");
    await smallOnes(context, server, 0);
    const alone = await smallOnes(context, server, 1);
    context.say("mixed: beside a runaway statement and an upload");
    const beside = await disturbed(server, file, () => smallOnes(context, server, 2));
    const at = (percent: number): Figure => ({
      what: `p${percent}`,
      unit: "ms",
      ours: percentile(beside, percent),
      other: percentile(alone, percent),
    });
    const p99 = at(99);
    return {
      title: `mixed: ${AT_ONCE} small queries at once over HTTP, beside a runaway statement and uploads of ${bytes / MB} MB`,
      headings: ["beside", "alone"],
      figures: [at(50), { ...p99, target: atMost(p99.ours, MOST_MS, `≤ ${MOST_MS} ms`) }],
    };
  } finally {
    await server.close();
  }
}

async function smallOnes(context: Context, { url }: Served, round: number): Promise<number[]> {
  const bursts = context.quick ? 3 : 20;
  const load = { url, tool: "sql", args: computed(round), connections: AT_ONCE, calls: AT_ONCE, bursts };
  return (await loadOverHttp(load)).times;
}

/** Does `work` while both are under way from its beginning to its end. */
async function disturbed<T>(server: Served, file: string, work: () => Promise<T>): Promise<T> {
  const runaway = new AbortController();
  const args = [{ sql: ENDLESS, timeout_ms: 600_000 }];
  const running = loadOverHttp({ url: server.url, tool: "sql", args, connections: 1, calls: 1 }, runaway.signal);
  let done = false;
  const uploading = (async () => {
    while (!done) await upload(server, file);
  })();
  try {
    return await work();
  } finally {
    done = true;
    runaway.abort();
    await running.catch(() => undefined);
    await uploading;
  }
}
