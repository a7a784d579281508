import { join } from "node:path";
import { SERVER, startServer } from "../demo/server.ts";
import { listAll } from "./catalog.ts";
import { type Context, script } from "./context.ts";
import { fillLake } from "./lake.ts";
import { alternate, median } from "./measure.ts";
import { atMost, type Report } from "./report.ts";

const DATASETS = 1_000;

/** From starting the process to the answer a client waits for, beside an SDK server with one tool. */
export async function benchStart(context: Context): Promise<Report> {
  const folder = await context.folder();
  const full = join(folder, "full");
  const datasets = context.quick ? DATASETS / 10 : DATASETS;
  context.say(`start: writing ${datasets} datasets`);
  await fillLake(full, datasets);

  const bare: number[] = [];
  const empty: number[] = [];
  const listed: number[] = [];
  const fullTools: number[] = [];
  const rounds = context.quick ? 2 : 15;
  await alternate(rounds, [
    async () => void bare.push((await start(script("bare-server"), join(folder, "none"))).toolsMs),
    async () => void empty.push((await start(SERVER, join(folder, `empty-${empty.length}`))).toolsMs),
    async () => {
      const { toolsMs, listMs } = await start(SERVER, full, datasets);
      fullTools.push(toolsMs);
      listed.push(listMs);
    },
  ]);
  const base = median(bare);
  return {
    title: `start: process start to answer, median of ${rounds}`,
    headings: ["lakehouse", "bare SDK"],
    figures: [
      {
        what: "tools/list, empty folder",
        unit: "ms",
        ours: median(empty),
        other: base,
        target: atMost(median(empty) - base, 100, "≤ +100 ms"),
      },
      { what: `tools/list, ${datasets} datasets`, unit: "ms", ours: median(fullTools), other: base },
      {
        what: `complete catalog-list, ${datasets} datasets`,
        unit: "ms",
        ours: median(listed),
        other: base,
        target: atMost(median(listed) - base, 700, "≤ +700 ms"),
      },
    ],
  };
}

async function start(server: string, data: string, datasets = 0): Promise<{ toolsMs: number; listMs: number }> {
  const started = performance.now();
  const running = await startServer({ data, script: server });
  try {
    await running.client.listTools();
    const toolsMs = performance.now() - started;
    const listed = datasets === 0 ? 0 : await listAll(running);
    if (listed !== datasets) throw new Error(`catalog-list gave ${listed} of ${datasets} datasets`);
    return { toolsMs, listMs: performance.now() - started };
  } finally {
    await running.close();
  }
}
