import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test, vi } from "vitest";
import { openTestEmbedder, refusal } from "../../support/embedder.ts";
import { openOllamaServer } from "../../support/ollama.ts";

test("auto takes Ollama when it runs and has the model", async () => {
  await using server = await openOllamaServer();
  await using embedder = openTestEmbedder({ provider: "auto", ollamaUrl: server.url });
  expect(embedder.status()).toMatchObject({ provider: undefined, model: "nomic-embed-text", dimension: undefined });
  await embedder.warm();
  expect(embedder.status()).toMatchObject({ provider: "ollama", dimension: 8, lexical: false, fallback: undefined });
  expect(embedder.logged).toEqual([
    {
      level: "info",
      message: "embeddings",
      fields: { provider: "ollama", model: "nomic-embed-text", dimension: 8, lexical: false },
    },
  ]);
  expect((await embedder.embed(["one"])).provider).toBe("ollama");
  expect(server.log).toEqual(["POST /api/show", "POST /api/embed"]);
});

test("auto takes the builtin when Ollama does not run, and says why and when", async () => {
  const server = await openOllamaServer();
  await server.stop();
  await using embedder = openTestEmbedder({ provider: "auto", ollamaUrl: server.url });
  const embedded = await embedder.embed(["one"]);
  expect(embedded).toMatchObject({ provider: "builtin", model: "builtin-512", dimension: 512, lexical: true });
  expect(embedder.status().fallback).toEqual({
    reason: `Ollama does not answer at ${server.url}.`,
    next: expect.stringMatching(/ollama serve.* The server looks again every minute, and then embeds with it\.$/),
  });
  expect(embedder.status().chosenAt).toMatch(/^\d{4}-\d\d-\d\dT/);
  expect(embedder.logged).toMatchObject([
    { level: "warn", fields: { provider: "builtin", reason: expect.stringContaining("does not answer") } },
  ]);

  const port = Number(new URL(server.url).port);
  await using revived = await openOllamaServer(8, port);
  // It was looked for a moment ago.
  expect((await embedder.embed(["two"])).provider).toBe("builtin");
  expect(await embedder.embed(["two"], { model: "nomic-embed-text" })).toMatchObject({
    provider: "ollama",
    dimension: 8,
  });
  expect(revived.requests).toHaveLength(1);
});

test("an Ollama that starts later is found without a call, and its vectors are used from then on", {
  tags: ["slow"],
}, async () => {
  const port = Number(new URL((await closedServer()).url).port);
  await using embedder = openTestEmbedder({
    provider: "auto",
    ollamaUrl: `http://127.0.0.1:${port}`,
    lookAgainMs: 50,
  });
  expect((await embedder.embed(["one"])).model).toBe("builtin-512");
  await using late = await openOllamaServer(8, port);
  await vi.waitFor(() => expect(embedder.status().provider).toBe("ollama"), 5_000);
  expect(embedder.status()).toMatchObject({ lexical: false, dimension: 8, fallback: undefined });
  expect(embedder.logged.at(-1)).toEqual({
    level: "info",
    message: "embeddings",
    fields: {
      provider: "ollama",
      model: "nomic-embed-text",
      dimension: 8,
      lexical: false,
      before: "builtin-512",
      reason: "Ollama answers now.",
    },
  });
  expect(await embedder.embed(["one"])).toMatchObject({ provider: "ollama", dimension: 8 });
  // What is asked for by its name stays what it was.
  expect(await embedder.embed(["one"], { model: "builtin-512" })).toMatchObject({
    provider: "builtin",
    dimension: 512,
  });

  // Once chosen it is not given up: other vectors could not be compared with its own.
  await late.stop();
  await sleep(200);
  expect((await refusal(embedder.embed(["two"]))).message).toContain("does not answer");
  expect(embedder.logged).toHaveLength(2);
});

test("an Ollama that starts later is found by the next call after a pause", { tags: ["slow"] }, async () => {
  const port = Number(new URL((await closedServer()).url).port);
  await using embedder = openTestEmbedder({ provider: "auto", ollamaUrl: `http://127.0.0.1:${port}`, lookPauseMs: 0 });
  expect((await embedder.embed(["one"])).provider).toBe("builtin");
  await using late = await openOllamaServer(8, port);
  expect((await embedder.embed(["one"])).provider).toBe("ollama");
  expect(late.log).toEqual(["POST /api/show", "POST /api/embed"]);
});

test("a model that is pulled later is found, too", async () => {
  await using server = await openOllamaServer();
  server.models.clear();
  await using embedder = openTestEmbedder({ provider: "auto", ollamaUrl: server.url, lookPauseMs: 0 });
  expect((await embedder.embed(["one"])).provider).toBe("builtin");
  server.models.set("nomic-embed-text", { dimension: 8, capabilities: ["embedding"] });
  expect((await embedder.embed(["one"])).provider).toBe("ollama");
});

test("an Ollama whose first answer is slow is waited for as long as the setting says, and found later where that was not enough", {
  tags: ["slow"],
}, async () => {
  let delay = 400;
  const slow = createServer((request, response) => {
    const body = request.url === "/api/show" ? { capabilities: ["embedding"] } : { embeddings: [[1, 2, 3]] };
    request.resume();
    setTimeout(() => response.end(JSON.stringify(body)), delay);
  });
  await new Promise<void>((resolve) => slow.listen(0, "127.0.0.1", resolve));
  const ollamaUrl = `http://127.0.0.1:${(slow.address() as AddressInfo).port}`;
  await using patient = openTestEmbedder({ provider: "auto", ollamaUrl, probeMs: 5_000 });
  expect((await patient.embed(["one"])).provider).toBe("ollama");

  await using hasty = openTestEmbedder({ provider: "auto", ollamaUrl, probeMs: 100, lookPauseMs: 0 });
  expect((await hasty.embed(["one"])).provider).toBe("builtin");
  expect(hasty.status().fallback?.reason).toContain("did not answer in 100 ms");
  // A look that takes its time holds up no call.
  delay = 2_000;
  const started = performance.now();
  expect((await hasty.embed(["two"])).provider).toBe("builtin");
  expect(performance.now() - started).toBeLessThan(1_000);
  delay = 0;
  await vi.waitFor(async () => expect((await hasty.embed(["three"])).provider).toBe("ollama"), 5_000);
  slow.closeAllConnections();
  slow.close();
});

/** The address of an Ollama that has gone. */
async function closedServer() {
  const server = await openOllamaServer();
  await server.stop();
  return server;
}

test("auto takes the builtin when the model is missing, or is no embedding model", async () => {
  await using server = await openOllamaServer();
  server.models.clear();
  await using missing = openTestEmbedder({ provider: "auto", ollamaUrl: server.url });
  expect((await missing.embed(["one"])).provider).toBe("builtin");
  expect(missing.status().fallback).toMatchObject({
    reason: expect.stringContaining("has no model nomic-embed-text"),
    next: expect.stringContaining("ollama pull nomic-embed-text"),
  });
  server.models.set("llama3.2", { dimension: 8, capabilities: ["completion"] });
  await using wrong = openTestEmbedder({ provider: "auto", ollamaUrl: server.url, model: "llama3.2", dimension: 64 });
  expect(await wrong.embed(["one"])).toMatchObject({ model: "builtin-64", dimension: 64 });
});

test("auto does not wait for a stuck Ollama", { tags: ["slow"] }, async () => {
  const { createServer } = await import("node:http");
  const stuck = createServer(() => undefined);
  await new Promise<void>((resolve) => stuck.listen(0, "127.0.0.1", resolve));
  const { port } = stuck.address() as { port: number };
  await using embedder = openTestEmbedder({ provider: "auto", ollamaUrl: `http://127.0.0.1:${port}` });
  await embedder.warm();
  expect(embedder.status()).toMatchObject({
    provider: "builtin",
    fallback: { reason: expect.stringContaining("1500 ms") },
  });
  stuck.closeAllConnections();
  stuck.close();
});

test("what the settings name is used, running or not, and the log says what is wrong", async () => {
  const server = await openOllamaServer();
  await server.stop();
  await using embedder = openTestEmbedder({ provider: "ollama", ollamaUrl: server.url });
  await embedder.warm();
  expect(embedder.status()).toMatchObject({ provider: "ollama", fallback: undefined });
  expect(embedder.logged).toMatchObject([{ level: "warn", fields: { next: expect.stringContaining("ollama serve") } }]);
  expect((await refusal(embedder.embed(["one"]))).kind).toBe("unavailable");
});

test("closing does not wait for the choice, nor log it", async () => {
  await using server = await openOllamaServer();
  const embedder = openTestEmbedder({ provider: "auto", ollamaUrl: server.url });
  const choosing = embedder.warm();
  await embedder[Symbol.asyncDispose]();
  await choosing;
  expect(embedder.logged).toEqual([]);
});

test("a caller may name the builtin, with its dimension", async () => {
  await using server = await openOllamaServer();
  await using embedder = openTestEmbedder({ ollamaUrl: server.url });
  expect(await embedder.embed(["one"], { model: "builtin" })).toMatchObject({ model: "builtin-512", lexical: true });
  expect(await embedder.embed(["one"], { model: "builtin-64" })).toMatchObject({ model: "builtin-64", dimension: 64 });
  expect(await embedder.model("builtin-64")).toMatchObject({ provider: "builtin", dimension: 64 });
  for (const model of ["builtin-0", "builtin-15", "builtin-8193", "builtin-999999999"]) {
    expect((await refusal(embedder.embed(["one"], { model }))).message).toContain("dimensions");
  }
  expect(server.log).toEqual([]);
});

test("names that are no models are refused before any request", async () => {
  await using server = await openOllamaServer();
  await using embedder = openTestEmbedder({ ollamaUrl: server.url });
  for (const model of ["", "x; rm -rf /", "$(id)", "a b", "../x\n", "-x", "x".repeat(201)]) {
    expect((await refusal(embedder.embed(["one"], { model }))).kind).toBe("invalid");
  }
  await using builtin = openTestEmbedder({ provider: "builtin", ollamaUrl: server.url });
  expect((await refusal(builtin.embed(["one"], { model: "nomic-embed-text" }))).message).toContain(
    "embed_provider is builtin",
  );
  expect(server.log).toEqual([]);
});
