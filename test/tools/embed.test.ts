import { expect, test } from "vitest";
import { EMBED } from "../support/embedder.ts";
import { openLake, textOf } from "../support/lake.ts";
import { openOllamaServer, vectorFor } from "../support/ollama.ts";

interface Result {
  model: string;
  vectors: number[][];
}

function fromText(text: string): Float32Array[] {
  return [...text.matchAll(/^\d+: (\S+)$/gm)].map(([, base64 = ""]) => {
    const bytes = Buffer.from(base64, "base64");
    return Float32Array.from({ length: bytes.length / 4 }, (_, at) => bytes.readFloatLE(at * 4));
  });
}

test("text and structured content each hold every vector exactly", async () => {
  await using server = await openOllamaServer();
  await using lake = await openLake({
    data: "memory",
    settings: { embed: { ...EMBED, provider: "auto", ollamaUrl: server.url } },
  });
  const result = await lake.raw("embed", { texts: ["one", "two"] });
  const exact = ["one", "two"].map((text) => Float32Array.from(vectorFor(`search_document: ${text}`, 8)));
  const { vectors, ...rest } = result.structuredContent as unknown as Result;
  expect(vectors.map((vector) => Float32Array.from(vector))).toEqual(exact);
  expect(rest).toEqual({ model: "nomic-embed-text", provider: "ollama", dimension: 8 });
  expect(fromText(textOf(result))).toEqual(exact);
  expect(textOf(result)).toMatchInlineSnapshot(`
    "2 vectors of 8 dimensions by nomic-embed-text (ollama), each as base64 of little-endian float32:
    0: b2Q7P7YaRb/ImQi/Ck5oPwV6mT5XFHy/rns8vXYdfz8=
    1: hVwcPxzdND/O90q/pI8Av8YYbD9xcYc+QYx9vxSlGLw="
  `);
});

test("the builtin says that it is lexical, why it is used and how to get a better one", async () => {
  const server = await openOllamaServer();
  await server.stop();
  await using lake = await openLake({
    data: "memory",
    settings: { embed: { ...EMBED, provider: "auto", ollamaUrl: server.url, dimension: 16 } },
  });
  expect(lake.client.getInstructions()).toContain("embed uses nomic-embed-text when Ollama runs");
  const result = await lake.raw("embed", { texts: ["forklift"], kind: "query" });
  const { vectors, ...rest } = result.structuredContent as unknown as Result;
  expect(rest).toEqual({
    model: "builtin-16",
    provider: "builtin",
    dimension: 16,
    lexical: true,
    note: expect.stringContaining("ollama serve"),
  });
  expect(
    textOf(result)
      .replace(server.url, "URL")
      .replace(/at \d{4}-\S+Z:/, "at TIME:"),
  ).toMatchInlineSnapshot(`
    "1 vector of 16 dimensions by builtin-16 (builtin, lexical: compares words and spelling, not meaning), each as base64 of little-endian float32:
    0: AAAAADnr6b4AAAAAAAAAADnr6b4AAAAAuxUnvwAAAAAAAAAAAAAAADnrab4AAAAAAAAAADnraT4562k+AAAAAA==
    Chosen at TIME: Ollama does not answer at URL. Start it with: ollama serve. Get the model with: ollama pull nomic-embed-text. Or set embed_provider or ollama_url. The server looks again every minute, and then embeds with it."
  `);
  expect(vectors[0]).toHaveLength(16);
});

test("the largest result is a message of reasonable size", async () => {
  await using lake = await openLake({ data: "memory" });
  const texts = Array.from({ length: 64 }, (_, n) => `text ${n} `.repeat(100));
  const result = await lake.raw("embed", { texts });
  expect((result.structuredContent as unknown as Result).vectors).toHaveLength(64);
  expect(JSON.stringify(result).length).toBeLessThan(2 ** 20);
});

test("a closed lake embeds nothing, used before or not", async () => {
  for (const used of [false, true]) {
    const lake = await openLake({ data: "memory" });
    if (used) await lake.call("embed", { texts: ["one"] });
    await lake[Symbol.asyncDispose]();
    await expect(lake.engine.embed(["one"])).rejects.toMatchObject({ kind: "closed" });
  }
});

test("a client that knows what embeddings come from is told so from the start", async () => {
  await using lake = await openLake({
    data: "memory",
    settings: { embed: { ...EMBED, provider: "ollama", ollamaUrl: "http://127.0.0.1:9", model: "bge-m3" } },
  });
  expect(lake.client.getInstructions()).toContain("embed uses bge-m3 (ollama).");
  expect(await lake.refused("embed", { texts: ["one"] })).toMatch(/^unavailable: .*\nNext: .*ollama serve/);
});
