import { expect, onTestFinished, test } from "vitest";
import type { CreateRequest } from "../../../src/engine/index/types.ts";
import { builtText, viewOfBuild } from "../../../src/tools/vector-index-create.ts";
import { EMBED } from "../../support/embedder.ts";
import { type Behaviour, type EmbeddingServer, json, ollamaAnswer, openOllamaServer } from "../../support/ollama.ts";
import { failure, openVectorLake, type VectorLake } from "../../support/vectors.ts";

const REQUEST: CreateRequest = { name: "notes_index", source: { dataset: "notes", id: "id", text: "note" } };

/** Rows of which those named have a text with `poison` in it. */
function notes(count: number, poisoned: readonly number[], word = "poison"): string {
  const rows = Array.from({ length: count }, (_, n) => `n${n},${poisoned.includes(n) ? `${word} ${n}` : `note ${n}`}`);
  return ["id,note", ...rows, ""].join("\n");
}

const isPoisoned = (text: string | undefined): boolean => text?.includes("poison") === true;
const failsWith =
  (status: number, error: string): Behaviour =>
  ({ input }, response, vectors) =>
    input.some(isPoisoned) ? json(response, status, { error }) : ollamaAnswer(vectors);
const answersWith =
  (bad: (vector: number[]) => unknown): Behaviour =>
  ({ input }, response, vectors) => {
    const embeddings = vectors.map((vector, at) => (isPoisoned(input[at]) ? bad(vector) : vector));
    return json(response, 200, JSON.stringify(ollamaAnswer(embeddings)).replaceAll('"NaN"', "NaN"));
  };

async function open(embed = {}): Promise<{ lake: VectorLake; ollama: EmbeddingServer }> {
  const ollama = await openOllamaServer();
  onTestFinished(() => ollama[Symbol.asyncDispose]());
  const lake = await openVectorLake({ embed: { ...EMBED, provider: "ollama", ollamaUrl: ollama.url, ...embed } });
  onTestFinished(() => lake[Symbol.asyncDispose]());
  return { lake, ollama };
}

test.each<[string, Behaviour, string, object?]>([
  ["status 500", failsWith(500, "unsupported value: NaN"), "status 500: unsupported value: NaN"],
  ["status 502", failsWith(502, "upstream"), "status 502: upstream"],
  [
    "status 400 for its length",
    failsWith(400, "the input length exceeds the context length"),
    "context length",
    { truncate: false },
  ],
  [
    "a cut connection",
    ({ input }, response, vectors) => (input.some(isPoisoned) ? void response.destroy() : ollamaAnswer(vectors)),
    "does not answer",
  ],
  ["NaN", answersWith((vector) => ["NaN", ...vector.slice(1)]), "no finite number"],
  ["zeros", answersWith((vector) => vector.map(() => 0)), "a vector of zeros"],
  ["another length", answersWith((vector) => vector.slice(1)), "7 dimensions where 8 are expected"],
  ["no vector", answersWith(() => null), "no vector"],
])(
  "a text that the service answers with %s is left out and named, and all others are indexed",
  { tags: ["slow"] },
  async (_, behaviour, reason, embed) => {
    const { lake, ollama } = await open(embed);
    await lake.csv("notes", notes(300, [7, 190]));
    ollama.behave(behaviour);
    const built = await lake.engine.createIndex(REQUEST);
    expect(built).toMatchObject({
      count: 298,
      embedded: 298,
      leftOut: {
        count: 2,
        items: [
          { id: "n7", reason: expect.stringContaining(reason) },
          { id: "n190", reason: expect.stringContaining(reason) },
        ],
      },
    });
    const { rows } = await lake.engine.query("SELECT id FROM notes WHERE id NOT IN (SELECT id FROM notes_index)");
    expect(rows.map(([id]) => id)).toEqual(["n7", "n190"]);
    const { hits, note } = await lake.engine.search({ index: "notes_index", text: "note 5", k: 3 });
    expect(hits).toHaveLength(3);
    expect(note).toMatch(/^2 rows of notes are not in it.*vector-index-create/);

    // Ten batches, two plain texts, and halving, each sent three times where the connection is cut.
    expect(ollama.requests.length).toBeLessThan(100);
    const text = builtText(viewOfBuild(built, lake.engine), true);
    expect(text).toMatch(/2 rows left out.*\n\[data [\s\S]*id "n7": "[\s\S]*id "n190": "[\s\S]*\[end /);
  },
);

test("what was left out is tried again by the same call, and changes nothing until it has a vector", {
  tags: ["slow"],
}, async () => {
  const { lake, ollama } = await open();
  await lake.csv("notes", notes(20, [3, 4]));
  ollama.behave(failsWith(500, "boom"));
  const first = await lake.engine.createIndex(REQUEST);
  expect(first).toMatchObject({ count: 18, leftOut: { count: 2 } });
  const again = await lake.engine.createIndex(REQUEST);
  expect(again).toMatchObject({ count: 18, unchanged: true, embedded: 0, kept: 18, leftOut: { count: 2 } });
  expect(again.version).toBe(first.version);

  ollama.behave(undefined);
  const whole = await lake.engine.createIndex(REQUEST);
  expect(whole).toMatchObject({ count: 20, embedded: 2, kept: 18 });
  expect(whole.leftOut).toBeUndefined();
  expect((await lake.engine.search({ index: "notes_index", text: "note 5" })).note).toBeUndefined();
});

test("of a row whose new text has no vector, the index no longer finds the old one", { tags: ["slow"] }, async () => {
  const { lake, ollama } = await open();
  await lake.csv("notes", notes(20, []));
  await lake.engine.createIndex(REQUEST);
  await lake.csv("notes", notes(20, [3]));
  ollama.behave(failsWith(500, "boom"));
  expect(await lake.engine.createIndex(REQUEST)).toMatchObject({
    count: 19,
    leftOut: { count: 1, items: [{ id: "n3" }] },
  });
  expect((await lake.engine.query("SELECT count(*) FROM notes_index WHERE id = 'n3'")).rows).toEqual([[0]]);
});

test("what fails once is tried again, and is not left out", { tags: ["slow"] }, async () => {
  const { lake, ollama } = await open();
  await lake.csv("notes", notes(100, [50]));
  let failures = 0;
  ollama.behave(({ input }, response, vectors) =>
    input.some(isPoisoned) && input.length === 1 && failures++ < 1
      ? json(response, 500, { error: "busy" })
      : input.some(isPoisoned) && input.length > 1
        ? json(response, 500, { error: "busy" })
        : ollamaAnswer(vectors),
  );
  const built = await lake.engine.createIndex(REQUEST);
  expect(built).toMatchObject({ count: 100, embedded: 100 });
  expect(built.leftOut).toBeUndefined();
  expect(failures).toBe(2);
});

test("many texts without a vector among many do not stop the others", { tags: ["slow"] }, async () => {
  const { lake, ollama } = await open();
  const bad = Array.from({ length: 60 }, (_, n) => n * 5);
  await lake.csv("notes", notes(300, bad));
  ollama.behave(failsWith(500, "boom"));
  const built = await lake.engine.createIndex(REQUEST);
  expect(built).toMatchObject({ count: 240, leftOut: { count: 60 } });
  expect(built.leftOut?.items).toHaveLength(20);
  expect(builtText(viewOfBuild(built, lake.engine), true)).toContain("and 40 more");
});

test.each<[string, Behaviour, RegExp]>([
  [
    "answers everything with 500",
    (_, response) => json(response, 500, { error: "out of memory" }),
    /status 500: out of memory/,
  ],
  [
    "refuses everything",
    (_, response) => json(response, 400, { error: "invalid model" }),
    /refused the texts: invalid model/,
  ],
  ["is overloaded", (_, response) => json(response, 503, { error: "server busy" }), /status 503: server busy/],
  [
    "gives vectors of another length",
    (_, __, vectors) => ollamaAnswer(vectors.map((vector) => [...vector, 1])),
    /9 dimensions where 8/,
  ],
  [
    "gives no vectors",
    (_, __, vectors) => ollamaAnswer(vectors.map((vector) => vector.map(() => 0))),
    /a vector of zeros/,
  ],
])("a service that %s is told at once, and nothing is left out", { tags: ["slow"] }, async (_, behaviour, says) => {
  const { lake, ollama } = await open();
  await lake.csv("notes", notes(600, []));
  await lake.engine.createIndex({
    name: "notes_index",
    source: { ...REQUEST.source, dataset: "notes", id: "id", text: "note", where: "id = 'n1'" },
  });
  await lake.engine.deleteItems({ index: "notes_index", all: true });
  await lake.engine.embed(["learn the dimension"]);
  const before = ollama.requests.length;
  ollama.behave(behaviour);
  // The index is there, so that the service fails at its rows.
  const started = performance.now();
  const error = await failure(lake.engine.createIndex(REQUEST));
  expect(error.message).toMatch(says);
  expect(performance.now() - started).toBeLessThan(8_000);
  expect(ollama.requests.length - before).toBeLessThan(60);
});

test("a service that stops in the middle is told, with what is in the index", async () => {
  const { lake, ollama } = await open({ concurrency: 1 });
  await lake.csv("notes", notes(600, []));
  let answered = 0;
  ollama.behave((_, response, vectors) =>
    ++answered > 6 ? json(response, 500, { error: "gone" }) : ollamaAnswer(vectors),
  );
  const error = await failure(lake.engine.createIndex(REQUEST));
  expect(error.message).toMatch(/status 500: gone.* Of 600 texts to embed, \d+ are in notes_index/);
  expect(ollama.requests.length).toBeLessThan(15);
  ollama.behave(undefined);
  expect(await lake.engine.createIndex(REQUEST)).toMatchObject({ count: 600 });
});

test("more than a thousand texts without a vector stop the build", { tags: ["slow"] }, async () => {
  const { lake, ollama } = await open();
  await lake.csv(
    "notes",
    notes(
      1_400,
      Array.from({ length: 1_399 }, (_, n) => n + 1),
    ),
  );
  ollama.behave(failsWith(400, "no"));
  const error = await failure(lake.engine.createIndex(REQUEST));
  expect(error.message).toMatch(/more than 1000 rows, first for that of id "n1"/);
});

test("an upsert is all or nothing, and its error names the item", async () => {
  const { lake, ollama } = await open();
  await lake.engine.createIndex({ name: "texts" });
  ollama.behave(failsWith(500, "boom"));
  const items = Array.from({ length: 100 }, (_, n) => ({ id: `i${n}`, text: n === 71 ? "poison" : `text ${n}` }));
  const error = await failure(lake.engine.upsert("texts", items));
  expect(error.message).toBe(
    `For items[71].text, of 6 characters: Ollama at ${ollama.url} answered with status 500: boom`,
  );
  expect((await lake.engine.indexStatus("texts")).count).toBe(0);
  const alone = await failure(lake.engine.upsert("texts", items.slice(71, 72)));
  expect(alone.message).toContain("status 500: boom");
  expect(alone.message).toContain("items[0].text");
});

test("a job's result names what was left out", { tags: ["slow"] }, async () => {
  const { lake, ollama } = await open();
  await lake.csv("notes", notes(40, [9]));
  ollama.behave(failsWith(500, "boom"));
  const { jobId } = await lake.engine.startJob("vector-index-create", REQUEST);
  const record = await lake.engine.jobStatus(jobId, { waitMs: 20_000 });
  expect(record).toMatchObject({ state: "done", result: { count: 39, leftOut: { count: 1, items: [{ id: "n9" }] } } });
});
