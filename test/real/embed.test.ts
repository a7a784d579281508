import { spawnSync } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { openOllamaServer } from "../support/ollama.ts";
import { MAIN, openWorkspace } from "./process.ts";

const KEY = "sk-real-0123456789";
const lines = (stderr: string): Record<string, unknown>[] =>
  stderr
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));

test("with Ollama the built server embeds through it, and logs nothing but JSON whatever it answers", async () => {
  await using ollama = await openOllamaServer();
  await using workspace = await openWorkspace();
  const server = await workspace.start({ env: { LAKEHOUSE_OLLAMA_URL: ollama.url } });
  expect(await server.call("embed", { texts: ["one"] })).toMatchObject({ model: "nomic-embed-text", dimension: 8 });
  ollama.behave((_, response) => {
    response.writeHead(500, { "content-type": "text/html" }).end("<html>not found</html>");
    return undefined;
  });
  await expect(server.call("embed", { texts: ["two"] })).rejects.toThrow("status 500");
  ollama.behave((_, response) => {
    response.writeHead(200, { "content-type": "application/json" }).end("{nonsense");
    return undefined;
  });
  await expect(server.call("embed", { texts: ["three"] })).rejects.toThrow("valid JSON");
  const logged = lines(server.stderr());
  expect(logged).toContainEqual(expect.objectContaining({ level: "info", message: "embeddings", provider: "ollama" }));
});

test("without Ollama the built server says so once, soon after its start, and what to do", async () => {
  const ollama = await openOllamaServer();
  await ollama.stop();
  await using workspace = await openWorkspace();
  const server = await workspace.start({ env: { LAKEHOUSE_OLLAMA_URL: ollama.url } });
  while (!server.stderr().includes('"embeddings"')) await sleep(20);
  expect(await server.call("embed", { texts: ["one"] })).toMatchObject({ model: "builtin-512", lexical: true });
  const said = lines(server.stderr()).filter(({ message }) => message === "embeddings");
  expect(said).toMatchObject([
    {
      level: "warn",
      provider: "builtin",
      reason: `Ollama does not answer at ${ollama.url}.`,
      next: expect.stringContaining("ollama pull nomic-embed-text"),
    },
  ]);
});

test("the API key is shown nowhere", async () => {
  await using service = await openOllamaServer();
  service.models.set("text-embedding-3-small", { dimension: 8, capabilities: [] });
  await using workspace = await openWorkspace();
  const env = {
    LAKEHOUSE_EMBED_PROVIDER: "openai",
    LAKEHOUSE_OPENAI_URL: `${service.url}/v1`,
    LAKEHOUSE_OPENAI_API_KEY: KEY,
  };
  const run = (...args: string[]) =>
    spawnSync(process.execPath, [MAIN, ...args], { cwd: workspace.folder, encoding: "utf8", env });
  expect(JSON.parse(run("--print-config").stdout)).toMatchObject({ openai_api_key: "***", embed_provider: "openai" });
  expect(run("--help").stdout).not.toContain("--openai-api-key");
  const flag = run("--openai-api-key", KEY);
  expect(flag.status).toBe(2);
  expect(flag.stderr).toContain("LAKEHOUSE_OPENAI_API_KEY");
  expect(flag.stderr).not.toContain(KEY);

  const server = await workspace.start({ env: { ...env, LAKEHOUSE_LOG_LEVEL: "debug" } });
  await server.call("embed", { texts: ["one"] });
  expect(service.authorization()).toBe(`Bearer ${KEY}`);
  service.behave((_, response) => {
    response.writeHead(500, { "content-type": "application/json" }).end(`{"error":{"message":"no ${KEY}"}}`);
    return undefined;
  });
  await expect(server.call("embed", { texts: ["two"] })).rejects.toThrow("no ***");
  expect(server.stderr()).not.toContain(KEY);
});
