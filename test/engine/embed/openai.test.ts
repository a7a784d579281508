import { expect, test } from "vitest";
import { inWords } from "../../../src/engine/kernel/next-step.ts";
import { TOOL_WORDS } from "../../../src/tools/words.ts";
import { openTestEmbedder, refusal } from "../../support/embedder.ts";
import { json, openAIAnswer, openOllamaServer, vectorFor } from "../../support/ollama.ts";

const KEY = "sk-test-0123456789abcdef";

async function open() {
  const server = await openOllamaServer();
  server.models.set("text-embedding-3-small", { dimension: 8, capabilities: [] });
  const embedder = openTestEmbedder({ provider: "openai", openaiUrl: `${server.url}/v1/`, openaiApiKey: KEY });
  return {
    server,
    embedder,
    [Symbol.asyncDispose]: async () => {
      await embedder[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}

test("texts go to /v1/embeddings with the key, and come back by their index", async () => {
  await using opened = await open();
  const { server, embedder } = opened;
  server.behave((_, __, vectors) => {
    const answer = openAIAnswer(vectors);
    return { ...answer, data: answer.data.toReversed() };
  });
  const { vectors, ...rest } = await embedder.embed(["one", "two", "three"]);
  expect(rest).toEqual({ provider: "openai", model: "text-embedding-3-small", dimension: 8, lexical: false });
  expect(vectors).toEqual(["one", "two", "three"].map((text) => Float32Array.from(vectorFor(text, 8))));
  expect(server.log).toEqual(["POST /v1/embeddings"]);
  expect(server.authorization()).toBe(`Bearer ${KEY}`);
  expect(server.requests).toEqual([
    { model: "text-embedding-3-small", input: ["one", "two", "three"], encoding_format: "float" },
  ]);
});

test("without a key there is no header", async () => {
  await using opened = await open();
  await using embedder = openTestEmbedder({ provider: "openai", openaiUrl: `${opened.server.url}/v1`, dimension: 4 });
  expect((await embedder.embed(["one"])).dimension).toBe(4);
  expect(opened.server.authorization()).toBeUndefined();
  expect(opened.server.requests[0]).toMatchObject({ dimensions: 4 });
});

test.each([
  [
    401,
    { error: { message: `Incorrect API key provided: ${KEY.slice(0, 7)}***` } },
    "unavailable",
    "refused the API key",
  ],
  [403, { error: { message: "forbidden" } }, "unavailable", "refused the API key"],
  [404, { error: { message: "no such model" } }, "unavailable", "has no model text-embedding-3-small"],
  [400, { error: { message: "maximum context length is 8192 tokens" } }, "invalid", "maximum context length"],
  [413, "too large", "invalid", "status 413"],
  [429, { error: { message: "Rate limit reached" } }, "unavailable", "Rate limit reached"],
  [500, { error: { message: `failed for Bearer ${KEY}` } }, "unavailable", "failed for Bearer ***"],
  [503, "<html>", "unavailable", "status 503"],
] as const)("status %i says what to do and never shows the key", async (status, body, kind, named) => {
  await using opened = await open();
  opened.server.behave((_, response) => json(response, status, body));
  const error = await refusal(opened.embedder.embed(["one"]));
  expect(error.kind).toBe(kind);
  expect(error.message).toContain(named);
  const hint = inWords(error.hint ?? "", TOOL_WORDS);
  expect(hint.length).toBeGreaterThan(10);
  expect(`${error.message} ${hint} ${error.stack} ${JSON.stringify(opened.embedder.logged)}`).not.toContain(
    KEY.slice(0, 7),
  );
  expect(opened.server.requests).toHaveLength(1);
});

test.each<[string, (vectors: number[][]) => unknown]>([
  ["the same index twice", (vectors) => ({ data: vectors.map((embedding) => ({ index: 0, embedding })) })],
  ["an index beyond", (vectors) => ({ data: vectors.map((embedding, n) => ({ index: n + 1, embedding })) })],
  ["an index that is no number", (vectors) => ({ data: vectors.map((embedding) => ({ index: "0", embedding })) })],
  ["too few", (vectors) => openAIAnswer(vectors.slice(1))],
  ["no data", () => ({})],
  ["null", () => "null"],
  ["no JSON", () => "<html>"],
])("an answer with %s is refused", async (_, make) => {
  await using opened = await open();
  opened.server.behave((_, response, vectors) => json(response, 200, make(vectors)));
  const error = await refusal(opened.embedder.embed(["one", "two"]));
  expect(error.kind).toBe("unavailable");
  expect(error.message).toContain("gave an answer without");
});

test("an answer without indexes counts in its order; one bad vector is named", async () => {
  await using opened = await open();
  opened.server.behave((_, __, vectors) => ({ data: vectors.map((embedding) => ({ embedding })) }));
  expect((await opened.embedder.embed(["one", "two"])).vectors[1]).toEqual(Float32Array.from(vectorFor("two", 8)));
  opened.server.behave((_, response, vectors) =>
    json(response, 200, `{"data":[{"embedding":[${vectors[0]}]},{"embedding":[NaN,1]}]}`),
  );
  expect((await refusal(opened.embedder.embed(["three", "four"]))).message).toContain("For texts[1]");
});

test("a service that does not run, drops connections or is stuck is told apart", { tags: ["slow"] }, async () => {
  const opened = await open();
  opened.server.behave((_, response) => void response.destroy());
  expect((await refusal(opened.embedder.embed(["one"]))).message).toContain("does not answer");
  expect(opened.server.requests).toHaveLength(3);
  opened.server.behave(() => undefined);
  await using hasty = openTestEmbedder({ provider: "openai", openaiUrl: `${opened.server.url}/v1`, timeoutMs: 200 });
  expect((await refusal(hasty.embed(["one"]))).message).toContain("longer than 200 ms");
  await opened.server.stop();
  const error = await refusal(opened.embedder.embed(["one"]));
  expect(error.message).toContain("The embedding service does not answer at http://127.0.0.1:");
  expect(error.hint).toContain("openai_url");
  await opened.embedder[Symbol.asyncDispose]();
});
