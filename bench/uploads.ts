import { once } from "node:events";
import { createReadStream } from "node:fs";
import { open, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { type Context, script } from "./context.ts";
import { alternate, askProbe, median, memoryOf, timed } from "./measure.ts";
import { atMost, type Report } from "./report.ts";
import { type Served, serveBare, serveLake } from "./served.ts";

const MB = 1e6;
const MIB = 2 ** 20;
/** What is loaded once, also for embeddings, is loaded by then. */
const SETTLE_MS = 3_000;

interface Rounds {
  ms: number[];
  /** Bytes above what the process had before. */
  extra: number[];
  blocked: number[];
}

/** A large file through `PUT /uploads`, beside a bare HTTP server that streams it to disk. */
export async function benchUploads(context: Context): Promise<Report> {
  const folder = await context.folder();
  const bytes = context.quick ? 50 * MB : 500 * MB;
  context.say(`uploads: writing a file of ${bytes / MB} MB`);
  const file = join(folder, "big.csv");
  await writeRows(file, bytes);

  const flags = ["--max-ingest-bytes", String(bytes)];
  const ours = await serveLake(join(folder, "lake"), flags, join(folder, "ours.json"));
  const bare = await serveBare([script("bare-upload"), folder], join(folder, "bare.json"));
  try {
    await sleep(SETTLE_MS);
    const small = join(folder, "small.csv");
    await writeRows(small, MB);
    for (const receiver of [ours, bare]) await upload(receiver, small);
    const [lake, stream]: [Rounds, Rounds] = [
      { ms: [], extra: [], blocked: [] },
      { ms: [], extra: [], blocked: [] },
    ];
    const rounds = context.quick ? 1 : 5;
    context.say(`uploads: ${rounds} rounds`);
    await alternate(rounds, [() => measure(ours, file, lake), () => measure(bare, file, stream)]);
    const extra = Math.max(...lake.extra);
    return {
      title: `uploads: ${bytes / MB} MB over HTTP to a synced file, median of ${rounds}`,
      headings: ["lakehouse", "bare http"],
      figures: [
        { what: "time, with SHA-256", unit: "ms", ours: median(lake.ms), other: median(stream.ms) },
        {
          what: "memory above what the process had, highest of rounds",
          unit: "MB",
          ours: extra / MB,
          other: Math.max(...stream.extra) / MB,
          target: atMost(extra, 64 * MIB, "≤ 64 MiB"),
        },
        {
          what: "longest block of the event loop, median of rounds",
          unit: "ms",
          ours: median(lake.blocked),
          other: median(stream.blocked),
          target: atMost(median(lake.blocked), 20, "≤ 20 ms"),
        },
      ],
    };
  } finally {
    await ours.close();
    await bare.close();
  }
}

async function measure(receiver: Served, file: string, into: Rounds): Promise<void> {
  await sleep(500);
  await askProbe(receiver.pid, receiver.probe);
  // The kernel's high-water mark starts again from here. Linux only.
  await writeFile(`/proc/${receiver.pid}/clear_refs`, "5").catch(() => undefined);
  const before = (await memoryOf(receiver.pid)).now;
  into.ms.push(await timed(() => upload(receiver, file)));
  into.extra.push((await memoryOf(receiver.pid)).peak - before);
  into.blocked.push((await askProbe(receiver.pid, receiver.probe)).blocked);
}

/** Sends the file, and removes what was kept. */
export async function upload({ url }: Served, file: string): Promise<void> {
  const handle = await open(file);
  const { size } = await handle.stat();
  await handle.close();
  const outgoing = request(`${url}/uploads?name=big.csv`, { method: "PUT", headers: { "content-length": size } });
  const answered = once(outgoing, "response");
  await pipeline(createReadStream(file, { highWaterMark: MIB }), outgoing);
  const [response] = await answered;
  response.resume();
  await once(response, "end");
  if (response.statusCode >= 300) throw new Error(`The upload was answered with ${response.statusCode}`);
  const { location } = response.headers;
  if (location !== undefined) await fetch(`${url}${location}`, { method: "DELETE" });
}

export async function writeRows(path: string, bytes: number): Promise<void> {
  const handle = await open(path, "w");
  const block = Buffer.alloc(MB);
  for (let done = 0; done < bytes; done += block.length) {
    block.fill(`${done},some text in a row\n`);
    await handle.write(block, 0, Math.min(block.length, bytes - done));
  }
  await handle.close();
}
