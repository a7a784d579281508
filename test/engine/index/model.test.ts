import { expect, test } from "vitest";
import { EMBED } from "../../support/embedder.ts";
import { ollamaAnswer, openOllamaServer } from "../../support/ollama.ts";
import { failure, openVectorLake } from "../../support/vectors.ts";

test("an index of Ollama's texts is refused by a server with another model, with both names", async () => {
  await using ollama = await openOllamaServer();
  await using lake = await openVectorLake({ embed: { ...EMBED, provider: "ollama", ollamaUrl: ollama.url } });
  expect(await lake.engine.createIndex({ name: "texts" })).toMatchObject({
    model: "nomic-embed-text",
    provider: "ollama",
    lexical: false,
  });
  await lake.engine.upsert("texts", [
    { id: "a", text: "forklift driver" },
    { id: "b", text: "registered nurse" },
  ]);
  expect(ollama.requests.at(-1)?.input).toEqual([
    "search_document: forklift driver",
    "search_document: registered nurse",
  ]);
  const { hits, note } = await lake.engine.search({ index: "texts", text: "nurse", k: 1 });
  expect(hits).toHaveLength(1);
  expect(note ?? "").not.toContain("words and spelling");
  expect(ollama.requests.at(-1)?.input).toEqual(["search_query: nurse"]);

  const builtin = await lake.reopen({ embed: EMBED });
  for (const work of [
    builtin.search({ index: "texts", text: "nurse" }),
    builtin.upsert("texts", [{ id: "c", text: "welder" }]),
  ]) {
    const error = await failure(work);
    expect(error.kind).toBe("invalid");
    expect(error.message).toMatch(/texts was made with nomic-embed-text \(ollama, \d+ dimensions\)/);
    expect(error.message).toContain("builtin-512 (builtin)");
  }
  expect((await builtin.search({ index: "texts", likeId: "a", k: 1 })).hits).toMatchObject([{ id: "b" }]);
});

test.each([
  { set: { queryPrefix: "find: " }, would: "nomic-embed-text with other prefixes" },
  { set: { documentPrefix: "keep: " }, would: "nomic-embed-text with other prefixes" },
  { set: { dimension: 16 }, would: "nomic-embed-text with 16 dimensions" },
])("an index is refused by a server with its model and $set, before anything is embedded", async ({ set, would }) => {
  await using ollama = await openOllamaServer();
  const embed = { ...EMBED, provider: "ollama" as const, ollamaUrl: ollama.url };
  await using lake = await openVectorLake({ embed });
  await lake.engine.createIndex({ name: "texts" });
  await lake.engine.upsert("texts", [{ id: "a", text: "forklift driver" }]);
  const embedded = ollama.requests.length;
  const engine = await lake.reopen({ embed: { ...embed, ...set } });
  for (const work of [
    () => engine.search({ index: "texts", text: "nurse" }),
    () => engine.upsert("texts", [{ id: "b", text: "welder" }]),
  ]) {
    const error = await failure(work());
    expect(error.kind).toBe("invalid");
    expect(error.message).toContain(
      `texts was made with nomic-embed-text (ollama, 8 dimensions), and this server would use ${would}:`,
    );
  }
  expect(ollama.requests).toHaveLength(embedded);
  expect(await engine.indexStatus("texts")).toMatchObject({ count: 1, version: 2 });
});

test("an index is refused where its model makes vectors of another length by now, with both lengths", async () => {
  await using ollama = await openOllamaServer();
  await using lake = await openVectorLake({ embed: { ...EMBED, provider: "ollama", ollamaUrl: ollama.url } });
  await lake.engine.createIndex({ name: "texts" });
  ollama.models.set("nomic-embed-text", { dimension: 16, capabilities: ["embedding"] });
  const engine = await lake.reopen();
  const error = await failure(engine.upsert("texts", [{ id: "a", text: "welder" }]));
  expect(error.kind).toBe("invalid");
  expect(error.message).toMatch(/\(ollama, 8 dimensions\).* nomic-embed-text with 16 dimensions/);
  expect(await engine.indexStatus("texts")).toMatchObject({ count: 0, version: 1 });
});

test("an index of the builtin is searched and filled by it after the server has found Ollama, and new ones are Ollama's", async () => {
  const gone = await openOllamaServer();
  await gone.stop();
  const embed = { ...EMBED, provider: "auto" as const, ollamaUrl: gone.url, lookPauseMs: 0 };
  await using lake = await openVectorLake({ embed });
  const { engine } = lake;
  await lake.csv("notes", "id,note\n1,forklift driver\n2,nurse\n");
  const request = { name: "before", source: { dataset: "notes", id: "id", text: "note" } };
  expect(await engine.createIndex(request)).toMatchObject({ model: "builtin-512", lexical: true, count: 2 });
  await using ollama = await openOllamaServer(8, Number(new URL(gone.url).port));
  expect((await engine.embed(["one"])).provider).toBe("ollama");

  const asked = ollama.requests.length;
  expect((await engine.search({ index: "before", text: "forklift driver", k: 1 })).hits).toMatchObject([{ id: "1" }]);
  await engine.upsert("before", [{ id: "3", text: "welder" }]);
  expect((await engine.search({ index: "before", text: "welder", k: 1 })).hits).toMatchObject([{ id: "3" }]);
  await lake.csv("notes", "id,note\n1,forklift driver\n2,nurse\n4,cook\n");
  expect(await engine.createIndex(request)).toMatchObject({ model: "builtin-512", embedded: 1, count: 4 });
  expect(ollama.requests).toHaveLength(asked);

  expect(await engine.createIndex({ ...request, name: "after" })).toMatchObject({
    model: "nomic-embed-text",
    lexical: false,
    count: 3,
  });
  expect((await engine.search({ index: "after", text: "nurse", k: 3 })).hits).toHaveLength(3);
});

test("a model that has gone, or answers with vectors of another length, changes nothing", async () => {
  await using ollama = await openOllamaServer();
  await using lake = await openVectorLake({ embed: { ...EMBED, provider: "ollama", ollamaUrl: ollama.url } });
  const { engine } = lake;
  await engine.createIndex({ name: "texts" });
  await engine.upsert("texts", [{ id: "a", text: "forklift driver" }]);
  ollama.behave((_, __, vectors) => ollamaAnswer(vectors.map((vector) => vector.slice(1))));
  const short = await failure(engine.upsert("texts", [{ id: "b", text: "welder" }]));
  expect(short.kind).toBe("unavailable");
  expect(short.message).toMatch(/items\[0\]\.text/);
  ollama.behave(undefined);
  ollama.models.clear();
  const gone = await failure(engine.upsert("texts", [{ id: "b", text: "nurse" }]));
  expect(gone.hint).toContain("ollama pull");
  expect(await engine.indexStatus("texts")).toMatchObject({ count: 1, version: 2 });
});

test("a text that one of many fails on is named by its item", async () => {
  await using ollama = await openOllamaServer();
  await using lake = await openVectorLake({ embed: { ...EMBED, provider: "ollama", ollamaUrl: ollama.url } });
  await lake.engine.createIndex({ name: "texts" });
  ollama.behave(({ input }, _, vectors) =>
    ollamaAnswer(vectors.map((vector, at) => (input[at]?.includes("poison") ? vector.map(() => 0) : vector))),
  );
  const items = Array.from({ length: 300 }, (_, n) => ({ id: `i${n}`, text: n === 271 ? "poison" : `text ${n}` }));
  const error = await failure(lake.engine.upsert("texts", items));
  expect(error.message).toContain("items[271].text");
  expect(error.message).toContain("a vector of zeros");
  expect(await lake.engine.indexStatus("texts")).toMatchObject({ count: 0, version: 1 });
});

test.each([
  { request: { dimension: 0 }, says: /dimension is 0/ },
  { request: { dimension: 9_000 }, says: /dimension is 9000/ },
  { request: { dimension: 1.5 }, says: /dimension is 1.5/ },
  { request: { dimension: 100, model: "builtin" }, says: /dimension is 100, and vectors of builtin-512 have 512/ },
  { request: { model: "nomic-embed-text" }, says: /There is no model nomic-embed-text here/ },
  { request: { name: "Bad Name" }, says: /"Bad Name" is not a dataset name/ },
  { request: { name: "lakehouse_x", dimension: 2 }, says: /names that begin with lakehouse_ are reserved/ },
])("an index with $request is refused", async ({ request, says }) => {
  await using lake = await openVectorLake();
  const error = await failure(lake.engine.createIndex({ name: "texts", ...request }));
  expect(error.message).toMatch(says);
  expect((await lake.engine.list()).total).toBe(0);
});
