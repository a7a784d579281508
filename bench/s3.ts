import { fork } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { CreateBucketCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import type { Server } from "../demo/server.ts";
import { startCeph } from "../test/support/ceph.ts";
import { type Context, callTool, ingestOptions, withServer } from "./context.ts";
import { fillLake, openLake } from "./lake.ts";
import { alternate, median, timed } from "./measure.ts";
import { atMost, type Figure, type Report } from "./report.ts";

const KEYS = { accessKeyId: "AK", secretAccessKey: "SK" };
const SQL =
  "SELECT state, role, count(*) AS n, avg(reliability) AS mean FROM workers WHERE available GROUP BY ALL ORDER BY n DESC, 1, 2";

interface Bucket {
  client: S3Client;
  endpoint: string;
  name: string;
}

/** A lake in a bucket of a real S3 server on this machine, beside one in a folder. */
export async function benchS3(context: Context): Promise<Report> {
  context.say("starting Ceph RGW");
  const ceph = await startCeph();
  const client = new S3Client({
    endpoint: ceph.endpoint,
    region: "us-east-1",
    forcePathStyle: true,
    credentials: KEYS,
    requestChecksumCalculation: "WHEN_REQUIRED",
  });
  try {
    const bucket = { client, endpoint: ceph.endpoint, name: "bench" };
    await client.send(new CreateBucketCommand({ Bucket: bucket.name }));
    const figures = [
      ...(await tables(context, bucket)),
      ...(await catalogs(context, bucket)),
      ...(await writers(context, bucket)),
    ];
    return { title: "s3: a lake on Ceph RGW", headings: ["S3", "local"], figures };
  } finally {
    client.destroy();
    await ceph.stop();
  }
}

async function tables(context: Context, bucket: Bucket): Promise<Figure[]> {
  const options = await ingestOptions(context);
  const { path } = await context.workers();
  const inBucket = {
    LAKEHOUSE_STORE: `s3://${bucket.name}/tables`,
    LAKEHOUSE_S3_ENDPOINT: bucket.endpoint,
    AWS_ACCESS_KEY_ID: KEYS.accessKeyId,
    AWS_SECRET_ACCESS_KEY: KEYS.secretAccessKey,
  };
  const remote = { ...options, env: { ...options.env, ...inBucket } };
  const ingest = (server: Server, name: string): Promise<number> =>
    timed(() => callTool(server, "ingest", { name, path }));
  const query = (server: Server): Promise<number> => timed(() => callTool(server, "sql", { sql: SQL }));

  context.say("ingest into a folder and into a bucket");
  return withServer(context, options, (local, data) =>
    withServer(context, remote, async (writer) => {
      const ingests = { local: [] as number[], s3: [] as number[], upload: [] as number[] };
      const names = context.quick ? ["workers"] : ["workers", "again", "last"];
      const name = (times: number[]): string => names[times.length] ?? "";
      await alternate(names.length, [
        async () => void ingests.local.push(await ingest(local, name(ingests.local))),
        async () => void ingests.s3.push(await ingest(writer, name(ingests.s3))),
        async () => {
          const folder = join(data, "data", names[0] ?? "");
          ingests.upload.push(await timed(() => uploadBare(bucket, folder, ingests.upload.length)));
        },
      ]);
      const [localIngest, s3Ingest, upload] = [median(ingests.local), median(ingests.s3), median(ingests.upload)];
      return withServer(context, remote, async (reader) => {
        context.say("cold and warm queries");
        await callTool(reader, "catalog-list", {});
        await query(local);
        const cold = await query(reader);
        const warm: number[] = [];
        const there: number[] = [];
        await alternate(context.quick ? 5 : 40, [
          async () => void warm.push(await query(reader)),
          async () => void there.push(await query(local)),
        ]);
        const limit = localIngest + upload * 1.2;
        return [
          { what: "bare SDK: upload of the same bytes", unit: "ms", ours: upload },
          {
            what: `ingest of ${context.rows} rows`,
            unit: "ms",
            ours: s3Ingest,
            other: localIngest,
            target: atMost(s3Ingest, limit, `≤ local + upload × 1.2 (${limit.toFixed(0)} ms)`),
          },
          { what: "query, cold (other machine's disk)", unit: "ms", ours: cold, other: median(there) },
          {
            what: "query, warm",
            unit: "ms",
            ours: median(warm),
            other: median(there),
            target: atMost(median(warm), median(there) * 1.05, "≤ +5 %"),
          },
        ] satisfies Figure[];
      });
    }),
  );
}

async function uploadBare({ client, name }: Bucket, folder: string, round: number): Promise<void> {
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const Body = await readFile(join(entry.parentPath, entry.name));
    await client.send(new PutObjectCommand({ Bucket: name, Key: `bare/${round}/${entry.name}`, Body }));
  }
}

async function settingsOf(context: Context, bucket: Bucket, prefix: string) {
  const credentialsFile = join(await context.folder(), "credentials");
  await writeFile(
    credentialsFile,
    `[default]\naws_access_key_id=${KEYS.accessKeyId}\naws_secret_access_key=${KEYS.secretAccessKey}\n`,
  );
  return {
    bucket: bucket.name,
    prefix,
    endpoint: bucket.endpoint,
    region: "us-east-1",
    pathStyle: true,
    credentialsFile,
    timeoutMs: 30_000,
    singleWriter: false,
    cacheBytes: 2 ** 30,
  };
}

async function catalogs(context: Context, bucket: Bucket): Promise<Figure[]> {
  const count = context.quick ? 100 : 1_000;
  context.say(`${count} datasets`);
  const settings = await settingsOf(context, bucket, "catalogs");
  const folder = await context.folder();
  await fillLake(folder, count, settings);
  await fillLake(await context.folder(), count);
  const opens: number[] = [];
  const refreshes: number[] = [];
  for (let round = 0; round < 3; round++) {
    const started = performance.now();
    const lake = await openLake(await context.folder(), settings);
    opens.push(performance.now() - started);
    for (let again = 0; again < 3; again++) refreshes.push(await timed(() => lake.catalog.refresh()));
    await lake.close();
  }
  return [
    {
      what: `start-up with ${count} datasets, probe included`,
      unit: "ms",
      ours: median(opens),
      target: atMost(median(opens), 3_000, "≤ 3000 ms"),
    },
    { what: "refresh with nothing new (LIST calls only: a test)", unit: "ms", ours: median(refreshes) },
  ];
}

async function writers(context: Context, bucket: Bucket): Promise<Figure[]> {
  const commits = context.quick ? 10 : 50;
  const figures: Figure[] = [];
  for (const count of [1, 2, 4]) {
    context.say(`${count} writers on one dataset`);
    const local = await race(context, count, commits);
    const s3 = await race(context, count, commits, await settingsOf(context, bucket, `writers-${count}`));
    figures.push({
      what: `${count} writers: one commit takes a writer`,
      unit: "ms",
      ours: s3 / commits,
      other: local / commits,
    });
    const rate = (ms: number): number => (count * commits * 1_000) / ms;
    figures.push({ what: `${count} writers: commits a second`, unit: "", ours: rate(s3), other: rate(local) });
  }
  return figures;
}

/** Milliseconds from the start of the first to the end of the last writer, each a process. */
async function race(context: Context, count: number, commits: number, settings?: object): Promise<number> {
  const script = join(process.cwd(), "test/support/committer.mjs");
  const shared = await context.folder();
  const started = await Promise.all(
    Array.from({ length: count }, async (_, writer) => {
      const folder = settings ? await context.folder() : shared;
      const child = fork(script, [folder, `${writer}`, `${commits}`, ...(settings ? [JSON.stringify(settings)] : [])]);
      await once(child, "message");
      return child;
    }),
  );
  return timed(() =>
    Promise.all(
      started.map(async (child) => {
        child.send("go");
        await once(child, "message");
      }),
    ),
  );
}
