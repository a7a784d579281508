import { connect } from "node:net";
import { expect, test } from "vitest";
import { VERSION } from "../../src/engine/kernel/package.ts";
import { tools } from "../../src/tools/index.ts";
import { BUILD, openGate, TEXTS } from "../engine/jobs/support.ts";
import { parseExposition } from "../support/exposition.ts";
import { ENDLESS, ERAS, type HttpLake, JSON_HEADERS, openHttpLake, until } from "./http-lake.ts";

const TOKEN = "0123456789abcdef0123";

async function scrape(lake: HttpLake, token?: string) {
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const { status, headers: answered, body } = await lake.send({ path: "/metrics", headers });
  expect(status).toBe(200);
  expect(answered["content-type"]).toBe("text/plain; version=0.0.4; charset=utf-8");
  return parseExposition(body);
}

test("calls of real clients are counted and timed by tool and kind of error, and no counter ever falls", async () => {
  await using lake = await openHttpLake();
  const before = await scrape(lake);
  for (const { name } of tools) expect(before.value(`lakehouse_tool_calls_total{tool="${name}"}`)).toBe(0);
  expect(before.value(`lakehouse_info{version="${VERSION}",node="${process.version}"}`)).toBe(1);

  for (const era of ERAS) {
    const { client, call } = await lake.connect(era);
    await call("ingest", { name: "kumquats", text: "id,word\n1,papaya\n2,quince\n" });
    await call("sql", { sql: "SELECT * FROM kumquats" });
    for (const sql of ["SELEC 1", "DROP TABLE kumquats", "SELECT * FROM nowhere"]) {
      await expect(call("sql", { sql })).rejects.toThrow();
    }
    await client.callTool({ name: "no-such-tool", arguments: {} }).catch(() => undefined);
    await client.readResource({ uri: "lakehouse://datasets/kumquats" });
    await expect(client.readResource({ uri: "lakehouse://datasets/elsewhere" })).rejects.toThrow();
    await client.getPrompt({ name: "explore-dataset", arguments: { dataset: "kumquats" } });
  }
  const { call } = await lake.connect("modern");
  await call("vector-index-create", { name: "kumquats_index", dataset: "kumquats", text: "word", id: "id" });
  await call("vector-search", { index: "kumquats_index", text: "papaya" });
  await call("embed", { texts: ["papaya", "rambutan"] });

  const after = await scrape(lake);
  expect(after.value('lakehouse_tool_calls_total{tool="sql"}')).toBe(8);
  expect(after.value('lakehouse_tool_calls_total{tool="ingest"}')).toBe(2);
  expect(after.value('lakehouse_tool_errors_total{tool="sql",kind="invalid"}')).toBe(2);
  expect(before.value('lakehouse_tool_calls_total{tool="unknown"}')).toBe(0);
  expect(after.value('lakehouse_tool_calls_total{tool="unknown"}')).toBe(2);
  expect(after.value('lakehouse_tool_errors_total{tool="unknown",kind="not_found"}')).toBe(2);
  expect(after.value('lakehouse_tool_errors_total{tool="sql",kind="denied"}')).toBe(2);
  expect(after.value('lakehouse_tool_errors_total{tool="sql",kind="not_found"}')).toBe(2);
  expect(after.value('lakehouse_tool_duration_seconds_count{tool="sql"}')).toBe(8);
  expect(after.value('lakehouse_tool_duration_seconds_bucket{tool="sql",le="+Inf"}')).toBe(8);
  expect(after.value('lakehouse_tool_duration_seconds_sum{tool="sql"}')).toBeGreaterThan(0);
  expect(after.value('lakehouse_resource_reads_total{resource="dataset"}')).toBe(4);
  expect(after.value('lakehouse_resource_errors_total{resource="dataset",kind="not_found"}')).toBe(2);
  expect(after.value('lakehouse_prompts_total{prompt="explore-dataset"}')).toBe(2);

  expect(after.value('lakehouse_datasets{kind="table"}')).toBe(1);
  expect(after.value('lakehouse_datasets{kind="vectors"}')).toBe(1);
  expect(after.value("lakehouse_dataset_rows")).toBe(2);
  expect(after.value("lakehouse_vector_items")).toBe(2);
  expect(after.value("lakehouse_dataset_size_bytes")).toBeGreaterThan(0);
  expect(after.value("lakehouse_vector_indexes_in_memory")).toBe(1);
  expect(after.value("lakehouse_vector_memory_bytes")).toBeGreaterThan(1024);
  expect(after.value("lakehouse_embedding_cache_entries")).toBeGreaterThanOrEqual(2);
  expect(after.value("lakehouse_embedding_cache_misses_total")).toBeGreaterThanOrEqual(3);
  expect(after.value("lakehouse_embedding_requests_total")).toBeGreaterThanOrEqual(2);
  expect(after.value("lakehouse_http_sessions")).toBe(1);
  expect(after.value("process_resident_memory_bytes")).toBeGreaterThan(2 ** 25);
  expect(after.value("nodejs_eventloop_lag_max_seconds")).toBeLessThan(30);

  for (const [series, value] of before.values) {
    const name = series.replace(/\{.*/, "").replace(/_(bucket|sum|count)$/, "");
    if (after.types.get(name) === "gauge") continue;
    expect(after.value(series), series).toBeGreaterThanOrEqual(value);
  }
  for (const [name, type] of after.types) expect(name.endsWith("_total"), name).toBe(type === "counter");
  // What a client sends is never a label.
  expect([...after.values.keys()].join()).not.toMatch(/kumquat|papaya|elsewhere|no-such-tool/);
});

test("work that runs and work that waits for its turn show up, and are gone when it has ended", async () => {
  await using lake = await openHttpLake({ engine: { maxConcurrentQueries: 1 } });
  const { client } = await lake.connect("modern");
  const abort = new AbortController();
  const calls = [1, 2, 3].map(() =>
    client.callTool({ name: "sql", arguments: { sql: ENDLESS } }, { signal: abort.signal }).catch(() => "stopped"),
  );
  await until(async () => {
    const now = await scrape(lake);
    return now.value('lakehouse_running{work="query"}') === 1 && now.value('lakehouse_queued{work="query"}') === 2;
  }, "one runs, two wait");
  expect((await scrape(lake)).value("lakehouse_http_requests_in_flight")).toBe(3);
  abort.abort();
  expect(await Promise.all(calls)).toEqual(["stopped", "stopped", "stopped"]);
  await until(async () => {
    const now = await scrape(lake);
    return now.value('lakehouse_running{work="query"}') + now.value("lakehouse_http_requests_in_flight") === 0;
  }, "nothing runs");
  const after = await scrape(lake);
  expect(after.value('lakehouse_queued{work="query"}')).toBe(0);
  expect(after.value('lakehouse_http_requests_total{code="aborted"}')).toBeGreaterThan(0);
});

test("index builds, and requests for embeddings, that wait for their turn show up", async () => {
  await using gate = await openGate();
  await using lake = await openHttpLake({ engine: { embed: { ...gate.embed, concurrency: 1 } } });
  const queued = async () => {
    const now = await scrape(lake);
    return ["build", "embed"].map((work) => now.value(`lakehouse_queued{work="${work}"}`));
  };
  await lake.engine.ingest({ name: "texts", source: { text: TEXTS } });
  expect(await queued()).toEqual([0, 0]);
  const jobs: string[] = [];
  for (const _ of [1, 2, 3]) jobs.push((await lake.engine.startJob("vector-index-create", BUILD)).jobId);
  await until(() => gate.asked() === 1, "the first build embeds", 30_000);
  await until(async () => (await queued()).join() === "2,0", "the others wait", 30_000);
  const embedded = lake.engine.embed(["pastry chef"], { kind: "query" });
  await until(async () => (await queued()).join() === "2,1", "a text waits, too", 30_000);
  gate.open();
  await embedded;
  for (const id of jobs) expect(await lake.engine.jobStatus(id, { waitMs: 30_000 })).toMatchObject({ state: "done" });
  expect(await queued()).toEqual([0, 0]);
});

test("statements that are answered from memory are counted, by what was kept", async () => {
  await using lake = await openHttpLake();
  const counted = async () => {
    const now = await scrape(lake);
    return ["entries", "hits_total"].map((name) => now.value(`lakehouse_query_cache_${name}`));
  };
  await lake.engine.ingest({ name: "t", source: { text: "a\n1\n" } });
  await lake.engine.query("SELECT a + 4 FROM t");
  expect(await counted()).toEqual([1, 0]);
  await lake.engine.query("SELECT a + 4 FROM t");
  expect(await counted()).toEqual([1, 1]);
});

test("refused requests are counted by gate, answers by class", async () => {
  await using lake = await openHttpLake({
    gates: { token: `ann:${TOKEN}`, proxies: ["127.0.0.1"], addresses: ["127.0.0.1"] },
    http: { maxBodyBytes: 100 },
  });
  const authorization = `Bearer ${TOKEN}`;
  const statuses: number[] = [];
  const send = async (options: Parameters<HttpLake["send"]>[0]) =>
    void statuses.push((await lake.send(options)).status);
  await send({ path: "/nowhere" });
  await send({ path: "/metrics", method: "POST" });
  await send({ path: "/metrics" });
  await send({ path: "/metrics", headers: { authorization: "Bearer wrong" } });
  await send({ path: "/metrics", headers: { authorization, host: "evil.example.com" } });
  await send({ path: "/metrics", headers: { authorization, "x-forwarded-for": "203.0.113.9" } });
  await send({ method: "POST", headers: { ...JSON_HEADERS, authorization }, body: "x".repeat(200) });
  await send({ path: "/health" });
  expect(statuses).toEqual([404, 405, 401, 401, 403, 403, 413, 200]);

  const now = await scrape(lake, TOKEN);
  const refused = ["path", "method", "host", "address", "token", "limits"].map((gate) =>
    now.value(`lakehouse_http_refused_total{gate="${gate}"}`),
  );
  expect(refused).toEqual([1, 1, 1, 1, 2, 1]);
  expect(now.value('lakehouse_http_requests_total{code="2xx"}')).toBe(1);
  expect(now.value('lakehouse_http_requests_total{code="4xx"}')).toBe(7);
  expect(now.value('lakehouse_http_requests_total{code="5xx"}')).toBe(0);
});

test("uploads show up while they run, and what they take until they are gone", async () => {
  await using lake = await openHttpLake({ engine: { uploadQuotaBytes: 5_000 } });
  const gauges = async () => {
    const now = await scrape(lake);
    return ["uploads_running", "upload_bytes", "upload_quota_bytes"].map((name) => now.value(`lakehouse_${name}`));
  };
  expect(await gauges()).toEqual([0, 0, 5_000]);
  const body = "id\n1\n";
  const { headers } = await lake.send({
    method: "PUT",
    path: "/uploads?name=a.csv",
    headers: { "content-length": String(body.length) },
    body,
  });
  expect(await gauges()).toEqual([0, body.length, 5_000]);
  const { port } = new URL(lake.url);
  const socket = connect(Number(port), "127.0.0.1");
  socket.write("PUT /uploads?name=b.csv HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nid\n");
  await until(async () => (await gauges())[0] === 1, "the second is being written", 30_000);
  expect(await gauges()).toEqual([1, body.length + 1_000, 5_000]);
  socket.destroy();
  await until(async () => (await gauges())[0] === 0, "it has ended");
  expect(await gauges()).toEqual([0, body.length, 5_000]);
  await lake.send({ method: "DELETE", path: String(headers.location) });
  expect(await gauges()).toEqual([0, 0, 5_000]);
});

test("a scrape opens nothing, and many at once answer alike", async () => {
  await using lake = await openHttpLake();
  const first = await scrape(lake);
  // The catalog was not asked for yet.
  expect(first.types.has("lakehouse_datasets")).toBe(false);
  expect(lake.engine.stats()).toMatchObject({ catalog: undefined, jobs: 0, queries: { running: 0, waiting: 0 } });
  const all = await Promise.all(Array.from({ length: 50 }, () => scrape(lake)));
  expect(new Set(all.map(({ types }) => types.size)).size).toBe(1);
  // One that goes away in the middle harms nobody.
  const { port } = new URL(lake.url);
  for (let n = 0; n < 20; n++) {
    const socket = connect(Number(port), "127.0.0.1");
    socket.write("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    setTimeout(() => socket.destroy(), n);
  }
  expect((await scrape(lake)).value('lakehouse_http_requests_total{code="2xx"}')).toBeGreaterThanOrEqual(51);
});
