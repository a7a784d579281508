import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { datasetResources, jobResource, resources } from "../../src/resources/index.ts";
import { VECTOR } from "../support/embedder.ts";
import { type Era, openLake } from "../support/lake.ts";

const ERAS: Era[] = ["legacy", "modern"];
const until = async (condition: () => boolean): Promise<void> => {
  for (let tries = 0; tries < 200 && !condition(); tries += 1) await new Promise((resolve) => setTimeout(resolve, 25));
  expect(condition()).toBe(true);
};
const json = (contents: { text?: string }[]): Record<string, unknown> => JSON.parse(contents[0]?.text ?? "null");

test.each(ERAS)("a %s client lists, completes and reads resources", async (era) => {
  await using lake = await openLake({ era });
  await lake.call("ingest", { name: "workers", text: "id,name\n1,Ann\n" });
  await lake.call("ingest", { name: "places", text: "id,city\n1,Joliet\n" });
  await lake.call("vector-index-create", { name: "workers_index", dimension: 3, metric: "l2" });

  const { resources } = await lake.client.listResources();
  expect(resources.map((resource) => resource.uri).sort()).toEqual([
    "lakehouse://catalog",
    "lakehouse://datasets/places",
    "lakehouse://datasets/workers",
    "lakehouse://embed/stats",
    "lakehouse://vectors/workers_index",
  ]);
  const listed = resources.find(({ uri }) => uri.endsWith("/workers_index"));
  expect(listed?.description).toBe("0 items of 3 dimensions, version 1");
  const { resourceTemplates } = await lake.client.listResourceTemplates();
  expect(resourceTemplates.map((template) => template.uriTemplate)).toEqual([
    "lakehouse://datasets/{name}",
    "lakehouse://datasets/{name}/sample",
    "lakehouse://vectors/{name}",
    "lakehouse://jobs/{id}",
  ]);
  const complete = async (uri: string) => {
    const ref = { type: "ref/resource" as const, uri };
    return (await lake.client.complete({ ref, argument: { name: "name", value: "wo" } })).completion.values;
  };
  expect(await complete("lakehouse://datasets/{name}")).toEqual(["workers", "workers_index"]);
  expect(await complete("lakehouse://vectors/{name}")).toEqual(["workers_index"]);

  const catalog = json((await lake.client.readResource({ uri: "lakehouse://catalog" })).contents as never);
  expect(catalog).toMatchObject({
    total: 3,
    datasets: [{ name: "places" }, { name: "workers", rows: 1 }, { name: "workers_index", kind: "vectors" }],
  });
  const dataset = json((await lake.client.readResource({ uri: "lakehouse://datasets/workers" })).contents as never);
  expect(dataset).toMatchObject({ name: "workers", columns: [{ name: "id", min: "1" }, { name: "name" }] });
  const sample = json(
    (await lake.client.readResource({ uri: "lakehouse://datasets/workers/sample" })).contents as never,
  );
  expect(sample).toMatchObject({ dataset: "workers@1", rows: [[1, "Ann"]] });
});

test.each(ERAS)("a %s client reads how embeddings are doing", async (era) => {
  await using lake = await openLake({ data: "memory", era });
  const read = async () => json((await lake.client.readResource({ uri: "lakehouse://embed/stats" })).contents as never);
  expect(await read()).toMatchObject({ provider: "builtin", lexical: true, requests: 0, cache: { hit_rate: null } });
  await lake.call("embed", { texts: ["a", "b"] });
  await lake.call("embed", { texts: ["a", "c", "b", "a"] });
  expect(await read()).toEqual({
    provider: "builtin",
    model: "builtin-512",
    dimension: 512,
    lexical: true,
    requests: 2,
    failures: 0,
    cache: { entries: 3, bytes: 6144, max_bytes: 30_720_000, hits: 3, misses: 3, hit_rate: 0.5 },
  });
});

test.each(ERAS)("a %s client reads how a vector index is doing", async (era) => {
  await using lake = await openLake({ era });
  const read = async (name: string) =>
    json((await lake.client.readResource({ uri: `lakehouse://vectors/${name}` })).contents as never);
  await lake.call("ingest", { name: "workers", text: "id,role\n1,driver\n2,cook\n" });
  await lake.call("vector-index-create", { name: "roles", dataset: "workers", text: "role", id: "id" });
  await lake.call("vector-index-create", { name: "points", dimension: 2, metric: "l2" });
  const roles = await read("roles");
  expect(roles).toMatchObject({
    index: "roles",
    count: 2,
    dimension: 512,
    metric: "cosine",
    model: "builtin-512",
    provider: "builtin",
    lexical: true,
    prefixes: { query: "", document: "" },
    source: { dataset: "workers", version: 1, text: "role", id: "id", where: null, metadata: [], complete: true },
  });
  expect(roles.segments).toBeGreaterThan(0);
  expect(roles.bytes).toBeGreaterThan(0);
  expect(await read("points")).toMatchObject({ count: 0, segments: 0, bytes: 0, model: null, source: null });
  await lake.call("vector-search", { index: "roles", text: "driver" });
  expect(await read("roles")).toMatchObject({ memory: { deleted: 0, bytes: expect.any(Number) } });
  await expect(read("workers")).rejects.toThrow(/workers/);
  await expect(read("nope")).rejects.toThrow(/nope/);
});

test("a vector index tells what is saved of it", async () => {
  await using lake = await openLake({ settings: { vector: { ...VECTOR, quietMs: 50 } } });
  const uri = "lakehouse://vectors/points";
  const snapshot = async () => json((await lake.client.readResource({ uri })).contents as never).snapshot;
  const items = Array.from({ length: 300 }, (_, n) => ({ id: `p${n}`, vector: [1, n] }));
  await lake.call("vector-index-create", { name: "points", dimension: 2 });
  await lake.call("vector-upsert", { index: "points", items });
  // What was never searched is not in memory, and not saved.
  expect(await snapshot()).toBeNull();
  await lake.call("vector-search", { index: "points", vector: [1, 1] });
  await expect
    .poll(snapshot, { timeout: 30_000 })
    .toEqual({ version: 2, age_ms: expect.any(Number), bytes: expect.any(Number) });
});

test.each(ERAS)("a %s client hears of changes to a vector index it subscribed to", async (era) => {
  const seen: string[] = [];
  await using lake = await openLake({
    era,
    client: (client) => {
      client.setNotificationHandler("notifications/resources/list_changed", () => void seen.push("list"));
      client.setNotificationHandler("notifications/resources/updated", ({ params }) => void seen.push(params.uri));
    },
  });
  const uri = "lakehouse://vectors/points";
  if (era === "modern") await lake.client.listen({ resourcesListChanged: true, resourceSubscriptions: [uri] });
  else await lake.client.subscribeResource({ uri });
  await lake.call("vector-index-create", { name: "points", dimension: 2 });
  await until(() => seen.includes("list") && seen.includes(uri));
  seen.length = 0;
  await lake.call("vector-upsert", { index: "points", items: [{ id: "a", vector: [1, 2] }] });
  await until(() => seen.includes(uri));
  expect(seen).not.toContain("list");
  seen.length = 0;
  await lake.call("vector-delete", { index: "points", all: true });
  await until(() => seen.includes("list") && seen.includes(uri));
});

test.each(ERAS)("a %s client is told that a resource does not exist", async (era) => {
  await using lake = await openLake({ era });
  await expect(lake.client.readResource({ uri: "lakehouse://datasets/nope" })).rejects.toThrow(/nope/);
  await expect(lake.client.readResource({ uri: "lakehouse://datasets/..%2Fx/sample" })).rejects.toThrow();
  await expect(lake.client.readResource({ uri: "lakehouse://elsewhere" })).rejects.toThrow(/elsewhere/);
});

test.each(ERAS)("a %s client hears of new datasets and of changes to what it subscribed to", async (era) => {
  const seen: string[] = [];
  await using lake = await openLake({
    era,
    client: (client) => {
      client.setNotificationHandler("notifications/resources/list_changed", () => void seen.push("list"));
      client.setNotificationHandler("notifications/resources/updated", ({ params }) => void seen.push(params.uri));
    },
  });
  const uri = "lakehouse://datasets/workers";
  const uris = [uri, "lakehouse://embed/stats"];
  if (era === "modern") await lake.client.listen({ resourcesListChanged: true, resourceSubscriptions: uris });
  else for (const each of uris) await lake.client.subscribeResource({ uri: each });

  await lake.call("ingest", { name: "workers", text: "id\n1\n" });
  await until(() => seen.includes("list") && seen.includes(uri));
  seen.length = 0;
  await lake.call("ingest", { name: "workers", text: "id\n2\n" });
  await until(() => seen.includes(uri));
  expect(seen).not.toContain("list");
  await lake.call("ingest", { name: "other", text: "id\n2\n" });
  await until(() => seen.includes("list"));
  expect(seen).not.toContain("lakehouse://datasets/other");
  expect(seen).not.toContain("lakehouse://embed/stats");
});

test("a 2025 session subscribes to addresses that are short enough, and to so many", async () => {
  await using lake = await openLake({ era: "legacy" });
  const subscribe = (uri: string) => lake.client.subscribeResource({ uri });
  for (const uri of [
    "lakehouse://catalog",
    "lakehouse://datasets/later/sample",
    "lakehouse://vectors/later",
    "lakehouse://jobs/01890a5d-ac96-774b-bcce-b302099a8057",
  ]) {
    await subscribe(uri);
  }
  // What there is not does no harm, and the official suite wants it.
  await subscribe("test://watched-resource");
  await lake.client.unsubscribeResource({ uri: "test://watched-resource" });
  for (const uri of [`lakehouse://datasets/${"x".repeat(1_010)}`, "x".repeat(3_900_000)]) {
    const error = await subscribe(uri).catch((thrown: Error) => thrown);
    expect(error, uri.slice(0, 50)).toMatchObject({ code: -32602 });
    expect((error as Error).message.length).toBeLessThan(400);
  }
  const nth = (n: number): string => `lakehouse://datasets/d${n}`;
  for (let n = 0; n < 996; n++) await subscribe(nth(n));
  await expect(subscribe(nth(996))).rejects.toThrow(/1000 resources.*resources\/unsubscribe/);
  await subscribe(nth(0));
  await lake.client.unsubscribeResource({ uri: nth(0) });
  await subscribe(nth(996));
});

test("README lists every resource", () => {
  const [listed = ""] = /^Resources: .*?\. Prompts:/ms.exec(readFileSync("README.md", "utf8")) ?? [];
  const all = [...resources.map(({ uri }) => uri), ...[...datasetResources, jobResource].map((each) => each.template)];
  expect(new Set(listed.match(/lakehouse:[^`]+/g))).toEqual(new Set(all));
});
