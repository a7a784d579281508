import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { openTestEmbedder, refusal } from "../../support/embedder.ts";
import { json, ollamaAnswer, openOllamaServer, vectorFor } from "../../support/ollama.ts";

const texts = (count: number): string[] => Array.from({ length: count }, (_, n) => `text ${n}`);

test("texts go out with the prefix of their kind and come back in order as float32", async () => {
  await using server = await openOllamaServer();
  await using embedder = openTestEmbedder({ ollamaUrl: server.url });
  const { vectors, ...rest } = await embedder.embed(["one", "two"]);
  expect(rest).toEqual({ provider: "ollama", model: "nomic-embed-text", dimension: 8, lexical: false });
  expect(vectors[0]).toBeInstanceOf(Float32Array);
  expect(vectors).toEqual(["one", "two"].map((text) => Float32Array.from(vectorFor(`search_document: ${text}`, 8))));
  await embedder.embed(["one"], { kind: "query" });
  expect(server.requests).toEqual([
    {
      model: "nomic-embed-text",
      input: ["search_document: one", "search_document: two"],
      truncate: true,
    },
    { model: "nomic-embed-text", input: ["search_query: one"], truncate: true },
  ]);
});

test.each([
  ["nomic-embed-text:v1.5", "search_query: ", "search_document: "],
  ["jeffh/intfloat-multilingual-e5-large:f16", "query: ", "passage: "],
  ["e5-mistral-7b-instruct", "", ""],
  ["bge-large", "Represent this sentence for searching relevant passages: ", ""],
  ["bge-m3", "", ""],
  ["bge-large-zh-v1.5", "为这个句子生成表示以用于检索相关文章：", ""],
  ["all-minilm", "", ""],
])("%s is asked with its family's prefixes", async (model, query, document) => {
  await using embedder = openTestEmbedder({ model });
  expect((await embedder.model()).prefixes).toEqual({ query, document });
  await using own = openTestEmbedder({ model, queryPrefix: "", documentPrefix: "doc: " });
  expect((await own.model()).prefixes).toEqual({ query: "", document: "doc: " });
});

test("many texts go in batches, a few at a time, and keep their order", async () => {
  await using server = await openOllamaServer();
  server.behave(async (_, __, vectors) => {
    await sleep(Math.abs(vectors[0]?.[0] ?? 0) * 20);
    return ollamaAnswer(vectors);
  });
  await using embedder = openTestEmbedder({ ollamaUrl: server.url, concurrency: 3 });
  const { vectors } = await embedder.embed(texts(500));
  expect(vectors).toEqual(texts(500).map((text) => Float32Array.from(vectorFor(`search_document: ${text}`, 8))));
  expect(Math.max(...server.requests.map(({ input }) => input.length))).toBeLessThanOrEqual(64);
  expect(server.mostAtOnce()).toBe(3);
});

test("long texts do not pile up in one request", async () => {
  await using server = await openOllamaServer();
  await using embedder = openTestEmbedder({ ollamaUrl: server.url });
  await embedder.embed(texts(30).map((text) => text.padEnd(30_000, "x")));
  expect(Math.max(...server.requests.map(({ input }) => input.length))).toBeLessThanOrEqual(9);
});

test("a missing model is answered with the command that gets it", async () => {
  await using server = await openOllamaServer();
  await using embedder = openTestEmbedder({ ollamaUrl: server.url, model: "mxbai-embed-large" });
  const error = await refusal(embedder.embed(["one"]));
  expect(error.kind).toBe("unavailable");
  expect(error.message).toContain("has no model mxbai-embed-large");
  expect(error.hint).toContain("ollama pull mxbai-embed-large");
});

test("an Ollama that does not run is answered with the command that starts it", async () => {
  const server = await openOllamaServer();
  await server.stop();
  await using embedder = openTestEmbedder({ ollamaUrl: server.url });
  const error = await refusal(embedder.embed(["one"]));
  expect(error.kind).toBe("unavailable");
  expect(error.message).toBe(`Ollama does not answer at ${server.url}.`);
  expect(error.hint).toContain("ollama serve");
  expect(error.hint).toContain("ollama pull nomic-embed-text");
  expect(embedder.status()).toMatchObject({ requests: 1, failures: 1 });
});

test("dropped connections are tried again, three times in all", { tags: ["slow"] }, async () => {
  await using server = await openOllamaServer();
  let drops = 2;
  server.behave((_, response, vectors) => {
    if (drops-- > 0) {
      response.destroy();
      return undefined;
    }
    return ollamaAnswer(vectors);
  });
  await using embedder = openTestEmbedder({ ollamaUrl: server.url });
  expect((await embedder.embed(["one"])).vectors).toHaveLength(1);
  expect(server.requests).toHaveLength(3);
  drops = 100;
  expect((await refusal(embedder.embed(["two"]))).message).toContain("does not answer");
  expect(server.requests).toHaveLength(6);
});

test("an answer that breaks off in the middle is tried again", async () => {
  await using server = await openOllamaServer();
  let breaks = 1;
  server.behave((_, response, vectors) => {
    if (breaks-- > 0) {
      response.writeHead(200, { "content-type": "application/json", "content-length": "1000" });
      response.write('{"embeddings":[[0.1,');
      setTimeout(() => response.destroy(), 20);
      return undefined;
    }
    return ollamaAnswer(vectors);
  });
  await using embedder = openTestEmbedder({ ollamaUrl: server.url });
  expect((await embedder.embed(["one"])).dimension).toBe(8);
});

test("an answer with an error status is not tried again", async () => {
  await using server = await openOllamaServer();
  server.behave((_, response) => json(response, 500, { error: "llama runner\nhas  terminated" }));
  await using embedder = openTestEmbedder({ ollamaUrl: server.url });
  const error = await refusal(embedder.embed(["one"]));
  expect(error.kind).toBe("unavailable");
  expect(error.message).toContain("status 500: llama runner has terminated");
  expect(server.requests).toHaveLength(1);
});

test("a stuck Ollama is given up at the deadline, for all batches together", async () => {
  await using server = await openOllamaServer();
  server.behave(() => undefined);
  await using embedder = openTestEmbedder({ ollamaUrl: server.url, timeoutMs: 300, concurrency: 1 });
  const error = await refusal(embedder.embed(texts(300)));
  expect(error.kind).toBe("unavailable");
  expect(error.message).toContain("300 ms");
  expect(server.requests).toHaveLength(1);
  server.behave(undefined);
  expect((await embedder.embed(["text 0"])).vectors).toHaveLength(1);
});

test("a slow Ollama is waited for", async () => {
  await using server = await openOllamaServer();
  server.behave(async (_, __, vectors) => {
    await sleep(300);
    return ollamaAnswer(vectors);
  });
  await using embedder = openTestEmbedder({ ollamaUrl: server.url });
  expect((await embedder.embed(["one"])).vectors).toHaveLength(1);
});

test("cancelling ends the request at once", async () => {
  await using server = await openOllamaServer();
  let closed = false;
  server.behave((_, response) => {
    response.on("close", () => {
      closed = true;
    });
    return undefined;
  });
  await using embedder = openTestEmbedder({ ollamaUrl: server.url });
  const abort = new AbortController();
  const work = embedder.embed(["one"], { signal: abort.signal });
  while (server.requests.length === 0) await sleep(5);
  abort.abort();
  expect((await refusal(work)).message).toBe("The call was cancelled.");
  while (!closed) await sleep(5);
  expect(embedder.status().failures).toBe(0);
});

test("closing ends what is under way, and refuses what comes", async () => {
  await using server = await openOllamaServer();
  server.behave(() => undefined);
  const embedder = openTestEmbedder({ ollamaUrl: server.url });
  const work = refusal(embedder.embed(texts(200)));
  while (server.requests.length === 0) await sleep(5);
  await embedder[Symbol.asyncDispose]();
  expect((await work).kind).toBe("closed");
  expect((await refusal(embedder.embed(["one"]))).kind).toBe("closed");
});

test.each<[string, (vectors: number[][]) => unknown, string]>([
  ["NaN", (vectors) => `{"embeddings":[${JSON.stringify(vectors[0])},[NaN,0,0,0,0,0,0,0]]}`, "no finite number"],
  ["null", (vectors) => ollamaAnswer([vectors[0], [null, 0, 0, 0, 0, 0, 0, 0]]), "no finite number"],
  ["a string", (vectors) => ollamaAnswer([vectors[0], ["1", 0, 0, 0, 0, 0, 0, 0]]), "no finite number"],
  ["a number beyond float32", (vectors) => ollamaAnswer([vectors[0], [1e39, 0, 0, 0, 0, 0, 0, 0]]), "no finite number"],
  ["zeros", (vectors) => ollamaAnswer([vectors[0], [0, 0, 0, 0, 0, 0, 0, 0]]), "a vector of zeros"],
  ["no vector", (vectors) => ollamaAnswer([vectors[0], null]), "no vector"],
  ["another length", (vectors) => ollamaAnswer([vectors[0], [1, 2, 3]]), "3 dimensions where 8 are expected"],
])("a vector with %s is refused by the index of its text, and the good one is remembered", async (_, make, problem) => {
  await using server = await openOllamaServer();
  server.behave((_, response, vectors) => {
    const own = make(vectors);
    if (typeof own !== "string") return own;
    return json(response, 200, own);
  });
  await using embedder = openTestEmbedder({ ollamaUrl: server.url });
  const error = await refusal(embedder.embed(["good", "bad"]));
  expect(error.kind).toBe("unavailable");
  expect(error.message).toContain("texts[1]");
  expect(error.message).toContain(problem);
  server.behave(undefined);
  expect((await embedder.embed(["good", "bad"])).vectors).toHaveLength(2);
  expect(server.requests.at(-1)?.input).toEqual(["search_document: bad"]);
});

test.each<[string, unknown]>([
  ["too few vectors", ollamaAnswer([[1, 2]])],
  ["too many vectors", ollamaAnswer([[1], [2], [3]])],
  ["no list", ollamaAnswer("none")],
  ["nothing", {}],
  ["null", null],
  ["no JSON", "<html>It works!</html>"],
])("an answer with %s is refused", async (_, answer) => {
  await using server = await openOllamaServer();
  server.behave((_, response) => json(response, 200, answer ?? "null"));
  await using embedder = openTestEmbedder({ ollamaUrl: server.url });
  const error = await refusal(embedder.embed(["one", "two"]));
  expect(error.kind).toBe("unavailable");
  expect(error.message).toMatch(/gave an answer without (valid JSON|one vector for each of 2 texts)/);
});

test("the dimension of the settings is asked for and checked", async () => {
  await using server = await openOllamaServer(64);
  await using embedder = openTestEmbedder({ ollamaUrl: server.url, dimension: 32 });
  expect((await embedder.embed(["one"])).dimension).toBe(32);
  expect(server.requests[0]?.dimensions).toBe(32);
  server.behave((_, __, vectors) => ollamaAnswer(vectors.map((vector) => [...vector, ...vector])));
  const error = await refusal(embedder.embed(["two"]));
  expect(error.message).toContain("64 dimensions where 32 are expected");
  expect(error.hint).toContain("embed_dimension");
});

test("a model that changed its dimension meanwhile is refused", async () => {
  await using server = await openOllamaServer();
  await using embedder = openTestEmbedder({ ollamaUrl: server.url });
  await embedder.embed(["one"]);
  server.models.set("nomic-embed-text", { dimension: 4, capabilities: ["embedding"] });
  expect((await refusal(embedder.embed(["two"]))).message).toContain("4 dimensions where 8 are expected");
});

test("of several batches, the good ones are remembered when one fails", async () => {
  await using server = await openOllamaServer();
  server.behave((body, response, vectors) =>
    body.input.some((text) => text.endsWith("text 150"))
      ? json(response, 400, { error: "the input length exceeds the context length" })
      : ollamaAnswer(vectors),
  );
  await using embedder = openTestEmbedder({ ollamaUrl: server.url, concurrency: 1, truncate: false });
  const many = texts(200);
  const error = await refusal(embedder.embed(many));
  expect(error.kind).toBe("invalid");
  expect(error.message).toContain("exceeds the context length");
  expect(error.message).toMatch(/^For texts\[150\], of 8 characters: /);
  expect(error.hint).toContain("split the long texts");
  expect(server.requests[0]?.truncate).toBe(false);
  const before = server.requests.length;
  await embedder.embed(many.slice(0, 60));
  expect(server.requests).toHaveLength(before);
});

test("a model that is no embedding model is told apart", async () => {
  await using server = await openOllamaServer();
  server.models.set("llama3.2", { dimension: 8, capabilities: ["completion"] });
  server.behave((_, response) => json(response, 400, { error: "this model does not support embeddings" }));
  await using embedder = openTestEmbedder({ ollamaUrl: server.url, model: "llama3.2" });
  await embedder.warm();
  expect(embedder.logged[0]).toMatchObject({ level: "warn", fields: { model: "llama3.2" } });
  expect((await refusal(embedder.embed(["one"]))).message).toContain("does not make embeddings");
});

test.each([
  [[], "invalid", "texts is empty"],
  [["fine", ""], "invalid", "texts[1] is empty"],
  [["fine", " \n\t\u00A0"], "invalid", "texts[1] is empty"],
  [["fine", "fine", 7], "invalid", "texts[2] is not a string"],
  [["fine", null], "invalid", "texts[1] is not a string"],
  [["x".repeat(32_769)], "limit", "texts[0] has 32769 characters"],
  [new Array(10_001).fill("x"), "limit", "10001 texts"],
] as [unknown[], string, string][])(
  "texts that cannot be embedded are refused before any request: %#",
  async (bad, kind, named) => {
    await using server = await openOllamaServer();
    await using embedder = openTestEmbedder({ ollamaUrl: server.url });
    const error = await refusal(embedder.embed(bad as string[]));
    expect(error.kind).toBe(kind);
    expect(error.message).toContain(named);
    expect(server.log).toEqual([]);
  },
);

test("a redirect is not followed", async () => {
  await using elsewhere = await openOllamaServer();
  await using server = await openOllamaServer();
  server.behave((_, response) => {
    response.writeHead(307, { location: `${elsewhere.url}/api/embed` }).end();
    return undefined;
  });
  await using embedder = openTestEmbedder({ ollamaUrl: server.url });
  expect((await refusal(embedder.embed(["one"]))).message).toContain("a redirect");
  expect(elsewhere.log).toEqual([]);
});

test("an answer without end is given up", async () => {
  await using server = await openOllamaServer();
  server.behave((_, response) => {
    response.writeHead(200, { "content-type": "application/json" });
    const chunk = Buffer.alloc(2 ** 20, "[");
    const more = (): void => {
      while (!response.destroyed && response.write(chunk));
      if (!response.destroyed) response.once("drain", more);
    };
    more();
    return undefined;
  });
  await using embedder = openTestEmbedder({ ollamaUrl: server.url });
  expect((await refusal(embedder.embed(["one"]))).message).toContain("without end");
});
