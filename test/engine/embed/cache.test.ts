import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { openTestEmbedder, refusal } from "../../support/embedder.ts";
import { type EmbeddingServer, json, ollamaAnswer, openOllamaServer, vectorFor } from "../../support/ollama.ts";

const sent = (server: EmbeddingServer): string[] =>
  server.requests.flatMap(({ input }) => input.map((text) => text.replace("search_document: ", "")));
const expected = (texts: string[]) => texts.map((text) => Float32Array.from(vectorFor(`search_document: ${text}`, 8)));

/** Holds every answer back until it is released. */
function held(server: EmbeddingServer): () => void {
  const released = later();
  server.behave(async (_, __, vectors) => {
    await released.promise;
    return ollamaAnswer(vectors);
  });
  return released.resolve;
}
const requested = async (server: EmbeddingServer, count: number): Promise<void> => {
  while (server.requests.length < count) await sleep(5);
};

test("a mixed batch fetches only what is not known, and keeps the order", async () => {
  await using server = await openOllamaServer();
  await using embedder = openTestEmbedder({ ollamaUrl: server.url });
  await embedder.embed(["a", "c"]);
  const { vectors } = await embedder.embed(["c", "b", "a", "d", "b"]);
  expect(vectors).toEqual(expected(["c", "b", "a", "d", "b"]));
  expect(sent(server)).toEqual(["a", "c", "b", "d"]);
  expect(embedder.status()).toMatchObject({ requests: 2, cache: { entries: 4, hits: 2, misses: 5, bytes: 4 * 512 } });
});

test("kind and model are part of what is remembered", async () => {
  await using server = await openOllamaServer();
  server.models.set("all-minilm", { dimension: 8, capabilities: ["embedding"] });
  await using embedder = openTestEmbedder({ ollamaUrl: server.url });
  await embedder.embed(["a"]);
  await embedder.embed(["a"], { kind: "query" });
  await embedder.embed(["a"], { model: "all-minilm" });
  await embedder.embed(["a"], { model: "nomic-embed-text:latest" });
  expect(server.requests.map(({ model, input }) => [model, input[0]])).toEqual([
    ["nomic-embed-text", "search_document: a"],
    ["nomic-embed-text", "search_query: a"],
    ["all-minilm", "a"],
  ]);
});

test("what a caller does to its vectors stays with it", async () => {
  await using server = await openOllamaServer();
  await using embedder = openTestEmbedder({ ollamaUrl: server.url });
  const first = await embedder.embed(["a", "a"]);
  first.vectors[0]?.fill(9);
  structuredClone(first.vectors[1], { transfer: [first.vectors[1]?.buffer as ArrayBuffer] });
  expect((await embedder.embed(["a"])).vectors).toEqual(expected(["a"]));
});

test("two callers who ask together send a text once", async () => {
  await using server = await openOllamaServer();
  const release = held(server);
  await using embedder = openTestEmbedder({ ollamaUrl: server.url });
  const one = embedder.embed(["a", "b"]);
  await requested(server, 1);
  const two = embedder.embed(["b", "c"]);
  const three = embedder.embed(["c", "a"]);
  await requested(server, 2);
  release();
  expect((await one).vectors).toEqual(expected(["a", "b"]));
  expect((await two).vectors).toEqual(expected(["b", "c"]));
  expect((await three).vectors).toEqual(expected(["c", "a"]));
  expect(sent(server)).toEqual(["a", "b", "c"]);
});

test("many callers of many batches send every text once", async () => {
  await using server = await openOllamaServer();
  server.behave(async (_, __, vectors) => {
    await sleep(5);
    return ollamaAnswer(vectors);
  });
  await using embedder = openTestEmbedder({ ollamaUrl: server.url });
  const texts = Array.from({ length: 400 }, (_, n) => `text ${n}`);
  const results = await Promise.all(
    Array.from({ length: 8 }, (_, n) => embedder.embed([...texts.slice(n * 50), ...texts.slice(0, n * 50)])),
  );
  expect(results[3]?.vectors).toEqual(expected([...texts.slice(150), ...texts.slice(0, 150)]));
  expect(server.requests.flatMap(({ input }) => input)).toHaveLength(texts.length);
  expect(new Set(sent(server))).toEqual(new Set(texts));
});

test("a caller that leaves does not take the other's answer with it", async () => {
  await using server = await openOllamaServer();
  const release = held(server);
  await using embedder = openTestEmbedder({ ollamaUrl: server.url });
  const abort = new AbortController();
  const leaving = refusal(embedder.embed(["a", "b"], { signal: abort.signal }));
  await requested(server, 1);
  const staying = embedder.embed(["b"]);
  await sleep(20);
  abort.abort();
  expect((await leaving).message).toBe("The call was cancelled.");
  release();
  expect((await staying).vectors).toEqual(expected(["b"]));
  expect(server.requests).toHaveLength(1);
});

test("who comes after the last one left asks again", async () => {
  await using server = await openOllamaServer();
  held(server);
  await using embedder = openTestEmbedder({ ollamaUrl: server.url });
  const abort = new AbortController();
  const leaving = refusal(embedder.embed(["a"], { signal: abort.signal }));
  await requested(server, 1);
  abort.abort();
  await leaving;
  server.behave(undefined);
  expect((await embedder.embed(["a"])).vectors).toEqual(expected(["a"]));
});

test("a failure over somebody else's text is not shared", async () => {
  await using server = await openOllamaServer();
  const fail = later();
  server.behave(async (body, response, vectors) => {
    if (!body.input.some((text) => text.includes("poison"))) return ollamaAnswer(vectors);
    await fail.promise;
    return json(response, 400, { error: "bad input" });
  });
  await using embedder = openTestEmbedder({ ollamaUrl: server.url });
  const poisoned = refusal(embedder.embed(["fine", "poison"]));
  await requested(server, 1);
  const other = embedder.embed(["x", "fine"]);
  await requested(server, 2);
  fail.resolve();
  expect((await poisoned).message).toContain("bad input");
  expect((await other).vectors).toEqual(expected(["x", "fine"]));
});

test("closing ends whoever waits for somebody else's request too, and nothing is sent again", async () => {
  await using server = await openOllamaServer();
  held(server);
  const embedder = openTestEmbedder({ ollamaUrl: server.url });
  const one = refusal(embedder.embed(["a"]));
  await requested(server, 1);
  const two = refusal(embedder.embed(["a"]));
  await sleep(20);
  await embedder[Symbol.asyncDispose]();
  expect([(await one).kind, (await two).kind]).toEqual(["closed", "closed"]);
  await sleep(50);
  expect(server.requests).toHaveLength(1);
});

test("the oldest go when the bytes are used up", async () => {
  await using server = await openOllamaServer(256);
  await using embedder = openTestEmbedder({ ollamaUrl: server.url, cacheBytes: 3 * 256 * 4 });
  for (const text of ["a", "b", "c", "a", "d"]) await embedder.embed([text]);
  expect(embedder.status().cache).toMatchObject({ entries: 3, bytes: 3 * 1024, maxBytes: 3 * 1024, hits: 1 });
  await embedder.embed(["a", "c", "d"]);
  expect(sent(server)).toEqual(["a", "b", "c", "d"]);
  await embedder.embed(["b"]);
  expect(sent(server)).toEqual(["a", "b", "c", "d", "b"]);
});

test("ten thousand vectors of 768 dimensions fit by default, and short ones are not counted as nothing", async () => {
  await using large = openTestEmbedder({ provider: "builtin", dimension: 768 });
  await large.embed(Array.from({ length: 10_000 }, (_, n) => `text ${n}`));
  expect(large.status().cache.entries).toBe(10_000);
  await using small = openTestEmbedder({ provider: "builtin", dimension: 16, cacheBytes: 512 * 100 });
  await small.embed(Array.from({ length: 200 }, (_, n) => `text ${n}`));
  expect(small.status().cache.entries).toBe(100);
});

test("a cache of 0 bytes keeps nothing, and a call still sends a text once", async () => {
  await using server = await openOllamaServer();
  await using embedder = openTestEmbedder({ ollamaUrl: server.url, cacheBytes: 0 });
  const { vectors } = await embedder.embed(["a", "a"]);
  expect(vectors).toEqual(expected(["a", "a"]));
  await embedder.embed(["a"]);
  expect(sent(server)).toEqual(["a", "a"]);
  expect(embedder.status().cache).toEqual({ entries: 0, bytes: 0, maxBytes: 0, hits: 0, misses: 3 });
});

function later(): { promise: Promise<void>; resolve: () => void } {
  let resolve = (): void => {};
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}
