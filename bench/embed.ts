import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { Ollama } from "ollama";
import { ROOT } from "../demo/server.ts";
import type { Context } from "./context.ts";
import { watchLoop } from "./loop-delay.ts";
import { alternate, median, timed } from "./measure.ts";
import { atMost, type Figure, type Report } from "./report.ts";

interface Embedder {
  embed(texts: readonly string[], options?: { kind?: string }): Promise<{ vectors: Float32Array[] }>;
}

const DIMENSION = 768;
const BATCH = 64;

/** The engine's embedder beside the bare Ollama client, both against one server that answers at once. */
export async function benchEmbed(context: Context): Promise<Report> {
  const server = await openServer();
  try {
    return {
      title: "embed: in the engine",
      headings: ["embed", "bare ollama"],
      figures: [
        ...(await cached(context, server.url)),
        ...(await remote(context, server.url)),
        ...(await builtin(context)),
      ],
    };
  } finally {
    await server.close();
  }
}

async function cached(context: Context, ollamaUrl: string): Promise<Figure[]> {
  context.say("embed: from the cache");
  await using embedder = await openEmbedder({ provider: "ollama", ollamaUrl });
  const texts = resumes(context.quick ? 500 : 10_000, 0);
  await embedder.embed(texts);
  const late = watchLoop();
  const whole: number[] = [];
  const single: number[] = [];
  const blocks: number[] = [];
  for (let round = 0; round < (context.quick ? 3 : 15); round++) {
    await sleep(5);
    late();
    whole.push((await timed(() => embedder.embed(texts))) / texts.length);
    blocks.push(late().blocked);
    const some = texts.slice(0, 500);
    const ms = await timed(async () => {
      for (const text of some) await embedder.embed([text]);
    });
    single.push(ms / some.length);
  }
  const figure = (what: string, values: number[]): Figure => ({
    what,
    unit: "µs",
    ours: median(values) * 1e3,
    target: atMost(median(values) * 1e3, 10, "≤ 10 µs"),
  });
  return [
    figure(`cached, ${texts.length} texts in one call, a text`, whole),
    figure("cached, one text a call", single),
    {
      what: "cached, longest block of the event loop, median of rounds",
      unit: "ms",
      ours: median(blocks),
      target: atMost(median(blocks), 20, "≤ 20 ms"),
    },
  ];
}

async function remote(context: Context, ollamaUrl: string): Promise<Figure[]> {
  context.say("embed: through Ollama's protocol");
  await using embedder = await openEmbedder({ provider: "ollama", ollamaUrl });
  const client = new Ollama({ host: ollamaUrl });
  const ours: number[] = [];
  const other: number[] = [];
  await alternate(context.quick ? 5 : 100, [
    async () => {
      const texts = resumes(BATCH, ours.length + 1);
      ours.push(await timed(() => embedder.embed(texts)));
    },
    async () => {
      const texts = resumes(BATCH, other.length + 1);
      other.push(
        await timed(async () => {
          const { embeddings } = await client.embed({ model: "nomic-embed-text", input: texts });
          return embeddings.map((vector) => Float32Array.from(vector));
        }),
      );
    },
  ]);
  return [
    {
      what: `new texts, ${BATCH} in one request, p50`,
      unit: "ms",
      ours: median(ours),
      other: median(other),
      target: atMost(median(ours) - median(other), 3, "≤ +3 ms"),
    },
  ];
}

async function builtin(context: Context): Promise<Figure[]> {
  context.say("embed: builtin");
  await using embedder = await openEmbedder({ provider: "builtin" });
  const count = context.quick ? 500 : 10_000;
  await embedder.embed(resumes(500, 0));
  const late = watchLoop();
  const rates: number[] = [];
  const blocks: number[] = [];
  for (let round = 1; round <= (context.quick ? 1 : 5); round++) {
    const texts = resumes(count, round);
    await sleep(5);
    late();
    rates.push(count / ((await timed(() => embedder.embed(texts))) / 1e3));
    blocks.push(late().blocked);
  }
  return [
    { what: "builtin, new texts of 400 characters a second", unit: "", ours: median(rates) },
    {
      what: "builtin, longest block of the event loop, median of rounds",
      unit: "ms",
      ours: median(blocks),
      target: atMost(median(blocks), 20, "≤ 20 ms"),
    },
  ];
}

async function openEmbedder(settings: object): Promise<Embedder & AsyncDisposable> {
  const load = (module: string) => import(pathToFileURL(join(ROOT, ".build", "src", "engine", `${module}.js`)).href);
  const { openScope } = await load("kernel/scope");
  const { openEmbedder: open } = await load("embed/embedder");
  const scope = openScope();
  const embedder = open(
    scope,
    {
      ollamaUrl: "http://127.0.0.1:9",
      openaiUrl: "http://127.0.0.1:9/v1",
      truncate: true,
      timeoutMs: 60_000,
      concurrency: 4,
      cacheBytes: 10_000 * DIMENSION * 4,
      ...settings,
    },
    () => {},
  );
  return { ...embedder, [Symbol.asyncDispose]: () => scope.close() };
}

/** Answers every text with one of a few prepared vectors, so that what is measured is the way there and back. */
async function openServer(): Promise<{ url: string; close: () => Promise<void> }> {
  const vectors = Array.from({ length: BATCH }, (_, n) =>
    JSON.stringify(Array.from({ length: DIMENSION }, (_, at) => Number(Math.sin(n * 7 + at).toPrecision(8)))),
  );
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    const { input } = JSON.parse(body) as { input: string[] };
    response.setHeader("content-type", "application/json");
    response.end(`{"embeddings":[${input.map((_, n) => vectors[n % BATCH]).join(",")}]}`);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const WORDS = "forklift driver warehouse Joliet nights certified loading dock pallet shift safety inventory team".split(
  " ",
);

/** About 400 characters each; no two rounds share a text. */
function resumes(count: number, round: number): string[] {
  return Array.from({ length: count }, (_, n) => {
    const words = Array.from(
      { length: 48 },
      (_, at) => `${WORDS[(n * 7 + at * (n % 5)) % WORDS.length]}${(n * at) % 13}`,
    );
    return `${round} ${n} ${words.join(" ")}`.slice(0, 400);
  });
}
