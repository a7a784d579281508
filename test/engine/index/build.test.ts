import { setTimeout as sleep } from "node:timers/promises";
import { expect, test, vi } from "vitest";
import type { Engine } from "../../../src/engine/engine.ts";
import type { CreateRequest } from "../../../src/engine/index/types.ts";
import { VECTOR } from "../../support/embedder.ts";
import { failure, openVectorLake, sorted } from "../../support/vectors.ts";

const ROWS = `id,role,city,state,resume,rate
1,forklift driver,Joliet,IL,certified on reach trucks; nights ok,21
2,welder,Gary,IN,TIG and MIG; eight years,29
3,forklift driver,Peoria,IL,counterbalance license,20
4,nurse,Joliet,IL,registered nurse; ICU,44
5,picker,Joliet,IL,,17
`;
const REQUEST: CreateRequest = {
  name: "resumes",
  source: { dataset: "workers", id: "id", text: "{role} in {city}. {resume}" },
};

async function ids(engine: Engine, sql = "SELECT id FROM resumes ORDER BY id"): Promise<unknown[]> {
  return (await engine.query(sql)).rows.map(([id]) => id);
}

test("an index of a dataset is found by what its rows say, with the row", async () => {
  await using lake = await openVectorLake();
  const { engine } = lake;
  await lake.csv("workers", ROWS);
  expect(await engine.createIndex(REQUEST)).toMatchObject({
    created: true,
    unchanged: false,
    count: 5,
    embedded: 5,
    kept: 0,
    removed: 0,
    skipped: 0,
    model: "builtin-512",
    lexical: true,
  });
  const { hits, note } = await engine.search({
    index: "resumes",
    text: "certified forklift driver, nights",
    k: 2,
    include: ["row", "text"],
  });
  expect(hits[0]).toMatchObject({
    id: "1",
    metadata: null,
    text: "forklift driver in Joliet. certified on reach trucks; nights ok",
    row: { id: 1, role: "forklift driver", rate: 21 },
  });
  expect(note).toContain("words and spelling");
  expect((await engine.query("SELECT text FROM resumes WHERE id = '5'")).rows).toEqual([["picker in Joliet. "]]);
  const described = await engine.describe("resumes");
  expect(described.manifest.index?.source).toEqual({
    dataset: "workers",
    version: 1,
    id: "id",
    text: "{role} in {city}. {resume}",
    where: null,
    metadata: [],
    complete: true,
  });
});

test("called again, it embeds only texts that changed, and removes rows that went", async () => {
  await using lake = await openVectorLake();
  const { engine } = lake;
  await lake.csv("workers", ROWS);
  await engine.createIndex(REQUEST);
  expect(await engine.createIndex(REQUEST)).toMatchObject({ unchanged: true, embedded: 0, kept: 5 });

  await lake.csv(
    "workers",
    ROWS.replace("2,welder,Gary,IN,TIG and MIG; eight years,29\n", "6,driver,Gary,IN,class A license,31\n").replace(
      "counterbalance license,20",
      "counterbalance and reach,22",
    ),
  );
  const requests = engine.embedStatus().requests;
  expect(await engine.createIndex(REQUEST)).toMatchObject({
    unchanged: false,
    embedded: 2,
    kept: 3,
    removed: 1,
    count: 5,
  });
  expect(engine.embedStatus().requests - requests).toBe(1);
  expect(await ids(engine)).toEqual(["1", "3", "4", "5", "6"]);
  expect((await engine.search({ index: "resumes", text: "counterbalance and reach", k: 1 })).hits).toMatchObject([
    { id: "3" },
  ]);
  expect((await engine.describe("resumes")).manifest.index?.source).toMatchObject({ version: 2, complete: true });
});

test("rows that changed besides their text keep their vectors and take the new metadata", async () => {
  await using lake = await openVectorLake();
  const { engine } = lake;
  await lake.csv("workers", ROWS);
  const request = { ...REQUEST, source: { dataset: "workers", id: "id", text: "role", metadata: ["rate", "state"] } };
  await engine.createIndex(request);
  const before = (await engine.query("SELECT id, vector FROM resumes ORDER BY id")).rows;
  expect((await engine.query("SELECT id, metadata->>'rate' FROM resumes ORDER BY id LIMIT 1")).rows).toEqual([
    ["1", "21"],
  ]);

  await lake.csv("workers", ROWS.replace("nights ok,21", "nights ok,25"));
  expect(await engine.createIndex(request)).toMatchObject({ embedded: 0, kept: 5, count: 5, unchanged: false });
  expect((await engine.query("SELECT id, vector FROM resumes ORDER BY id")).rows).toEqual(before);
  expect((await engine.query("SELECT metadata->>'rate' FROM resumes WHERE id = '1'")).rows).toEqual([["25"]]);
  expect((await engine.search({ index: "resumes", text: "nurse", k: 1 })).hits).toMatchObject([
    { metadata: { rate: 44, state: "IL" } },
  ]);
});

test("items of upserts stay when the dataset is taken over again", async () => {
  await using lake = await openVectorLake();
  const { engine } = lake;
  await lake.csv("workers", ROWS);
  await engine.createIndex(REQUEST);
  await engine.upsert("resumes", [{ id: "extra", text: "crane operator" }]);
  await lake.csv("workers", ROWS.replace("4,nurse,Joliet,IL,registered nurse; ICU,44\n", ""));
  expect(await engine.createIndex(REQUEST)).toMatchObject({ removed: 1, count: 5 });
  expect(await ids(engine)).toEqual(["1", "2", "3", "5", "extra"]);
});

test("where leaves rows out, and rows without a text are skipped and counted", async () => {
  await using lake = await openVectorLake();
  const { engine } = lake;
  await lake.csv("workers", ROWS);
  const source = { dataset: "workers", id: "id", text: "resume", where: "state = 'IL'" };
  expect(await engine.createIndex({ name: "resumes", source })).toMatchObject({ count: 3, skipped: 1 });
  expect(await ids(engine)).toEqual(["1", "3", "4"]);
});

test.each<{ what: string; source: object; says: RegExp }>([
  {
    what: "a column there is not",
    source: { text: "resum" },
    says: /text: workers has no column "resum"\. Did you mean resume/,
  },
  { what: "a column there is not, in a template", source: { text: "{rol} x" }, says: /no column "rol"/ },
  { what: "braces without a column", source: { text: "{}" }, says: /no column ""/ },
  { what: "no column in it", source: { text: "{" }, says: /names no column/ },
  { what: "an id column there is not", source: { id: "worker" }, says: /id: workers has no column "worker"/ },
  {
    what: "ids that are not unique",
    source: { id: "state" },
    says: /id: state is not unique in workers@1: "IL" 4 times/,
  },
  { what: "ids that are NULL", source: { id: "resume" }, says: /id: resume is NULL in 1 rows of workers@1/ },
  {
    what: "a metadata column there is not",
    source: { metadata: ["pay"] },
    says: /metadata: workers has no column "pay"/,
  },
  { what: "a where that goes on", source: { where: "true) UNION SELECT 1, '', '' --" }, says: /where/ },
  { what: "a where with an unknown column", source: { where: "stat = 'IL'" }, says: /stat/ },
])("a source with $what is refused, and no index is made of it", async ({ source, says }) => {
  await using lake = await openVectorLake();
  const { engine } = lake;
  await lake.csv("workers", ROWS);
  const error = await failure(
    engine.createIndex({ name: "resumes", source: { dataset: "workers", id: "id", text: "role", ...source } }),
  );
  expect(error.message).toMatch(says);
  expect(error.kind).toBe("invalid");
  expect((await failure(engine.indexStatus("resumes"))).kind).toBe("not_found");
});

test("a build that is cancelled keeps what it committed, and goes on when called again", {
  tags: ["slow"],
}, async () => {
  await using lake = await openVectorLake();
  const { engine } = lake;
  await engine.ingest({
    name: "many",
    source: { sql: "SELECT i AS id, 'text number ' || i || ' of many' AS words FROM range(12000) t(i)" },
  });
  const request = { name: "index_of_many", source: { dataset: "many", id: "id", text: "words" } };
  const stop = new AbortController();
  let reports = 0;
  const error = await failure(
    engine.createIndex(request, {
      signal: stop.signal,
      onProgress: (fraction) => {
        reports++;
        if (fraction > 0.88) stop.abort();
      },
    }),
  );
  expect(reports).toBeGreaterThan(5);
  expect(error.message).toMatch(/Of 12000 texts to embed, 10\d\d\d are in index_of_many, and stay there\./);
  expect(error.hint).toContain("goes on from there");
  const status = await engine.indexStatus("index_of_many");
  expect(status.count).toBeGreaterThan(10_000);
  expect(status.count).toBeLessThan(12_000);
  expect(status.index_details.source?.complete).toBe(false);
  expect((await engine.search({ index: "index_of_many", text: "text number 7 of many", k: 1 })).note).toMatch(
    /Building from many was not finished/,
  );

  expect(await engine.createIndex(request)).toMatchObject({
    count: 12_000,
    embedded: 12_000 - status.count,
    kept: status.count,
  });
  expect((await engine.query("SELECT count(*), count(DISTINCT id) FROM index_of_many")).rows).toEqual([
    [12_000, 12_000],
  ]);
});

test("another source, or an index that upserts filled, is a conflict that names the difference", async () => {
  await using lake = await openVectorLake();
  const { engine } = lake;
  await lake.csv("workers", ROWS);
  await engine.createIndex(REQUEST);
  const other = await failure(
    engine.createIndex({ name: "resumes", source: { dataset: "workers", id: "id", text: "role", where: "rate > 20" } }),
  );
  expect(other.kind).toBe("conflict");
  expect(other.message).toBe(
    'resumes exists and is different: text is "{role} in {city}. {resume}", not "role"; where is null, not "rate > 20".',
  );
  await engine.createIndex({ name: "filled" });
  await engine.upsert("filled", [{ id: "a", text: "a text" }]);
  const filled = await failure(engine.createIndex({ ...REQUEST, name: "filled" }));
  expect(filled.message).toContain("it was filled by vector-upsert, not from a dataset");
});

test("a filter is SQL over the dataset's columns as they are now, and over metadata", async () => {
  await using lake = await openVectorLake();
  const { engine } = lake;
  await lake.csv("workers", ROWS);
  await engine.createIndex({
    name: "resumes",
    source: { dataset: "workers", id: "id", text: "{role} in {city}. {resume}", metadata: ["role"] },
  });
  const found = async (where: string): Promise<{ ids: string[]; matched: number | undefined }> => {
    const { hits, matched } = await engine.search({ index: "resumes", text: "driver", where });
    return { ids: sorted(hits.map((hit) => hit.id)), matched };
  };
  expect(await found("state = 'IL' AND rate > 20")).toEqual({ ids: ["1", "4"], matched: 2 });
  expect(await found("metadata->>'role' = 'welder'")).toEqual({ ids: ["2"], matched: 1 });
  expect(await found("metadata->>'role' = 'forklift driver' AND city = 'Peoria'")).toEqual({ ids: ["3"], matched: 1 });
  expect(await found("false")).toEqual({ ids: [], matched: 0 });
  await lake.csv("workers", ROWS.replace("TIG and MIG; eight years,29", "TIG and MIG; eight years,19"));
  expect(await found("rate < 20")).toEqual({ ids: ["2", "5"], matched: 2 });
  for (const where of ["stat = 'IL'", "rate >", "true) --", "true; SELECT 1", "", "SELECT 1"]) {
    const error = await failure(engine.search({ index: "resumes", text: "driver", where }));
    expect(error.kind).toBe("invalid");
    expect(error.message).toMatch(/where/);
  }
});

test("vector_search finds the same inside of a statement, and joins", async () => {
  await using lake = await openVectorLake();
  const { engine } = lake;
  await lake.csv("workers", ROWS);
  await engine.createIndex(REQUEST);
  const text = "forklift license";
  const { hits } = await engine.search({ index: "resumes", text, k: 3 });
  const { rows, datasets } = await engine.query("SELECT id, distance, score FROM vector_search('resumes', $1, 3)", {
    params: [text],
  });
  expect(rows.map(([id]) => id)).toEqual(hits.map((hit) => hit.id));
  for (const [at, row] of rows.entries()) expect(row[1]).toBeCloseTo(hits[at]?.distance ?? Number.NaN, 6);
  expect(datasets).toEqual(["resumes@3"]);

  const hybrid = await engine.query(
    `WITH near AS (SELECT * FROM vector_search('resumes', $q, k := 4))
     SELECT w.city, count(*) AS n FROM near JOIN workers w ON w.id = near.id::BIGINT
     WHERE w.state = 'IL' AND w.id NOT IN (SELECT id::BIGINT FROM vector_search('resumes', 'nurse', 1))
     GROUP BY w.city ORDER BY n DESC, w.city`,
    { params: { q: text } },
  );
  expect(hybrid.rows.map(([city]) => city)).toEqual(["Joliet", "Peoria"]);
  const filtered = await engine.query(
    "SELECT id FROM vector_search('resumes', 'driver', 5, filter := 'rate > 25') ORDER BY id",
  );
  expect(filtered.rows).toEqual([["2"], ["4"]]);
  const kept = await engine.ingest({
    name: "kept",
    source: { sql: "SELECT * FROM vector_search('resumes', 'driver', 2)" },
  });
  expect(kept.rows).toBe(2);
});

test("array functions of DuckDB work on an index as a table", async () => {
  await using lake = await openVectorLake();
  const { engine } = lake;
  await lake.csv("workers", ROWS);
  await engine.createIndex(REQUEST);
  const { rows } = await engine.query(
    `SELECT id, array_cosine_distance(vector, (SELECT vector FROM resumes WHERE id = '1')) AS d FROM resumes ORDER BY d LIMIT 2`,
  );
  expect(rows.map(([id]) => id)).toEqual(["1", "3"]);
  const like = await engine.search({ index: "resumes", likeId: "1", k: 1 });
  expect(like.hits[0]?.id).toBe("3");
  expect(like.hits[0]?.distance).toBeCloseTo(Number(rows[1]?.[1]), 5);
});

const MANY_ROWS = `id,resume\n${Array.from({ length: 25_000 }, (_, n) => `${n},driver number ${n}\n`).join("")}`;
const MANY: CreateRequest = {
  name: "resumes",
  dimension: 512,
  source: { dataset: "workers", id: "id", text: "resume" },
};

test("an index is in memory when it was built, before anybody searches it", { tags: ["slow"] }, async () => {
  await using lake = await openVectorLake();
  const { engine } = lake;
  await lake.csv("workers", MANY_ROWS);
  expect(await engine.createIndex(MANY)).toMatchObject({ count: 25_000 });
  await vi.waitFor(
    async () => {
      const { memory } = await engine.indexStatus("resumes");
      expect(memory && memory.graph + memory.pending).toBe(25_000);
    },
    { timeout: 20_000 },
  );
  const { hits } = await engine.search({ index: "resumes", text: "driver number 24999", k: 1 });
  expect(hits).toMatchObject([{ id: "24999" }]);
});

test.each([
  // The first segments fit, and in the end not even the index alone.
  ["alone", 30_000_000],
  // It would fit without the other.
  ["beside another", 50_500_000],
])(
  "an index that does not fit %s takes no memory from others while it is built",
  { tags: ["slow"] },
  async (_, memoryBytes) => {
    await using lake = await openVectorLake({ vector: { ...VECTOR, memoryBytes } });
    const { engine } = lake;
    await lake.csv("workers", MANY_ROWS);
    await engine.createIndex({ name: "other", dimension: 512 });
    await engine.upsert(
      "other",
      Array.from({ length: 2_000 }, (_, n) => ({
        id: `${n}`,
        vector: Array.from({ length: 512 }, (_, at) => n - at + 0.5),
      })),
    );
    await engine.search({ index: "other", likeId: "1" });
    await engine.createIndex(MANY);
    expect((await engine.indexStatus("other")).memory).toBeDefined();
    await sleep(300);
    expect((await engine.indexStatus("other")).memory).toBeDefined();
    expect(await engine.search({ index: "resumes", text: "driver number 24999", k: 1 })).toMatchObject({
      hits: [{ id: "24999" }],
    });
  },
);
