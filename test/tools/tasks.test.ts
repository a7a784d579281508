import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { z } from "zod";
import { openGate } from "../engine/jobs/support.ts";
import { type Lake, openLake } from "../support/lake.ts";
import { until } from "../support/vectors.ts";
import { type HttpLake, openHttpLake } from "../transport/http-lake.ts";

/** A client of the 2026 revision, message by message: the client library refuses answers that are tasks. */
interface Raw extends AsyncDisposable {
  engine: Lake["engine"];
  request(method: string, params: Record<string, unknown>, extensions?: Record<string, unknown>): Promise<Answer>;
}

interface Answer {
  result?: Record<string, unknown> & { structuredContent?: unknown };
  error?: { code: number; message: string; data?: unknown };
}

const TASKS = "io.modelcontextprotocol/tasks";
const DECLARED = { [TASKS]: {} };
const ENDLESS = "SELECT count(*) AS n FROM range(1000000) a, range(1000000) b WHERE a.range * b.range = 7";
const UUID = /^[0-9a-f-]{36}$/;
const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d/;

function message(
  method: string,
  { progressToken, ...params }: Record<string, unknown> & { progressToken?: string },
  extensions: Record<string, unknown>,
) {
  const _meta = {
    ...(progressToken !== undefined && { progressToken }),
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": { name: "raw", version: "1" },
    "io.modelcontextprotocol/clientCapabilities": { extensions },
  };
  return { jsonrpc: "2.0" as const, id: 1, method, params: { ...params, _meta } };
}

async function overHttp(settings: Parameters<typeof openHttpLake>[0] = {}): Promise<Raw> {
  const lake: HttpLake = await openHttpLake(settings);
  return {
    engine: lake.engine,
    request: async (method, params, extensions = DECLARED) => {
      const name = params.name ?? params.taskId;
      const { body } = await lake.send({
        method: "POST",
        headers: {
          "content-type": "application/json",
          accept: "application/json, text/event-stream",
          "mcp-protocol-version": "2026-07-28",
          "mcp-method": method,
          ...(typeof name === "string" && { "mcp-name": name }),
        },
        body: JSON.stringify(message(method, params, extensions)),
      });
      const data = body.split("\n").findLast((line) => line.startsWith("data: {"));
      return JSON.parse(data?.slice(6) ?? body) as Answer;
    },
    [Symbol.asyncDispose]: () => lake[Symbol.asyncDispose](),
  };
}

async function overStdio(settings: Parameters<typeof openHttpLake>[0] = {}): Promise<Raw> {
  const lake = await openLake({ ...(settings.engine && { settings: settings.engine }) });
  const { transport } = lake.client;
  if (!transport) throw new Error("The client is not connected.");
  const received = transport.onmessage;
  const waiting = new Map<string, (answer: Answer) => void>();
  transport.onmessage = (incoming, extra) => {
    const waits = "id" in incoming ? waiting.get(String(incoming.id)) : undefined;
    if (waits) waits(incoming as Answer);
    else received?.(incoming, extra);
  };
  let ids = 0;
  return {
    engine: lake.engine,
    request: async (method, params, extensions = DECLARED) => {
      const id = `raw-${++ids}`;
      const answered = new Promise<Answer>((resolve) => waiting.set(id, resolve));
      await transport.send({ ...message(method, params, extensions), id });
      return answered;
    },
    [Symbol.asyncDispose]: () => lake[Symbol.asyncDispose](),
  };
}

const WIRES = [
  ["stdio", overStdio],
  ["HTTP", overHttp],
] as const;

const call = (raw: Raw, name: string, args: Record<string, unknown>, extensions?: Record<string, unknown>) =>
  raw.request("tools/call", { name, arguments: args }, extensions);

async function taskOf(raw: Raw, name: string, args: Record<string, unknown>): Promise<string> {
  const { result } = await call(raw, name, args);
  expect(result).toMatchObject({ resultType: "task", status: "working" });
  return String(result?.taskId);
}

async function polled(raw: Raw, taskId: string): Promise<Record<string, unknown>> {
  let task: Record<string, unknown> = {};
  await until(async () => {
    task = (await raw.request("tasks/get", { taskId })).result ?? {};
    return task.status !== "working";
  });
  return task;
}

test.each(WIRES)(
  "a client over %s that declares tasks gets one, polls it, and has the call's result",
  async (_, open) => {
    await using raw = await open();
    const args = { name: "workers", text: "id,name\n1,Ann\n2,Bob\n", background: true };
    const { result: created } = await call(raw, "ingest", args);
    expect(created).toMatchObject({
      resultType: "task",
      taskId: expect.stringMatching(UUID),
      status: "working",
      createdAt: expect.stringMatching(ISO),
      lastUpdatedAt: expect.stringMatching(ISO),
      ttlMs: 604_800_000,
      pollIntervalMs: 1_000,
    });
    for (const absent of ["result", "error", "inputRequests", "task", "ttl"])
      expect(created).not.toHaveProperty(absent);
    const taskId = String(created?.taskId);

    const task = await polled(raw, taskId);
    expect(task).toMatchObject({ resultType: "complete", taskId, status: "completed", createdAt: created?.createdAt });
    const { result: waited } = await call(raw, "ingest", { ...args, background: false });
    expect(waited).toMatchObject({ resultType: "complete", structuredContent: { unchanged: true } });
    const expected = waited?.structuredContent as Record<string, unknown>;
    expect(task.result).toEqual({
      resultType: "complete",
      content: [{ type: "text", text: expect.stringMatching(/^workers is at version 1: 2 rows/) }],
      structuredContent: { ...expected, unchanged: false, rows_written: 2, notes: expect.any(Object) },
    });

    const index = { name: "names", dataset: "workers", text: "name", id: "id", background: true };
    const built = await polled(raw, await taskOf(raw, "vector-index-create", index));
    expect(built.result).toMatchObject({ structuredContent: { index: "names", embedded: 2, created: true } });
  },
);

test.each(WIRES)(
  "over %s, a call that takes long becomes a task, also when its progress is asked for",
  async (_, open) => {
    await using raw = await open({ engine: { jobAfterMs: 200 } });
    const { result } = await raw.request("tools/call", {
      name: "ingest",
      arguments: { name: "endless", sql: ENDLESS },
      progressToken: "p",
    });
    const taskId = String(result?.taskId);
    expect(result).toMatchObject({ resultType: "task", taskId: expect.stringMatching(UUID) });
    const { result: working } = await raw.request("tasks/get", { taskId });
    expect(working).toMatchObject({
      resultType: "complete",
      status: "working",
      statusMessage: expect.stringMatching(/ %, /),
    });
    expect(working).not.toHaveProperty("result");

    const { result: acknowledged } = await raw.request("tasks/cancel", { taskId });
    expect(Object.keys(acknowledged ?? {}).filter((key) => key !== "_meta")).toEqual(["resultType"]);
    const cancelled = await polled(raw, taskId);
    expect(cancelled).toMatchObject({ status: "cancelled", statusMessage: "The job was cancelled." });
    expect(cancelled).not.toHaveProperty("result");
    // One that has ended is cancelled without an effect.
    expect((await raw.request("tasks/cancel", { taskId })).result).toMatchObject({ resultType: "complete" });
    expect((await raw.request("tasks/update", { taskId, inputResponses: { x: {} } })).result).toMatchObject({
      resultType: "complete",
    });
  },
);

test("a tool's error is the result of a completed task", async () => {
  await using raw = await overStdio();
  const taskId = await taskOf(raw, "ingest", { name: "a", sql: "SELECT * FROM nope", background: true });
  const task = await polled(raw, taskId);
  expect(task).toMatchObject({ status: "completed", statusMessage: expect.stringContaining("nope") });
  expect(task).not.toHaveProperty("error");
  expect(task.result).toMatchObject({
    isError: true,
    content: [{ type: "text", text: expect.stringMatching(/^not_found: .*nope.*\nNext: /s) }],
  });
});

test.each(WIRES)("over %s, those who do not declare tasks see no difference and have no tasks", async (_, open) => {
  await using raw = await open();
  for (const extensions of [{}, { "io.modelcontextprotocol/other": {} }, { constructor: {} }]) {
    const args = { name: "workers", text: "id\n1\n", background: true };
    const { result } = await call(raw, "ingest", args, extensions);
    expect(result).toMatchObject({ resultType: "complete", structuredContent: { state: "running" } });
    expect(result).not.toHaveProperty("taskId");
    const { job_id: taskId } = (result?.structuredContent ?? {}) as { job_id?: string };
    for (const method of ["tasks/get", "tasks/cancel", "tasks/update"]) {
      const { error } = await raw.request(method, { taskId, inputResponses: {} }, extensions);
      expect(error).toMatchObject({ code: -32021, data: { requiredCapabilities: { extensions: { [TASKS]: {} } } } });
    }
  }
  // Nor does it change what is no long work.
  const { result: listed } = await call(raw, "catalog-list", {});
  expect(listed).toMatchObject({ resultType: "complete" });
  const { result: begun } = await call(raw, "ingest", { name: "b", text: "i\n1\n", background: true }, {});
  const { job_id } = (begun?.structuredContent ?? {}) as { job_id?: string };
  const { result: status } = await call(raw, "job-status", { job_id, wait_ms: 10_000 });
  expect(status).toMatchObject({ resultType: "complete", structuredContent: { state: "done" } });
});

test.each(WIRES)("over %s, an unknown task and a malformed request are errors in the parameters", async (_, open) => {
  await using raw = await open();
  for (const method of ["tasks/get", "tasks/cancel", "tasks/update"]) {
    const unknown = await raw.request(method, { taskId: "nope", inputResponses: {} });
    expect(unknown.error).toMatchObject({ code: -32602, message: expect.stringContaining("nope") });
    for (const taskId of [undefined, 7, null, {}, "x".repeat(5_000), "../../etc/passwd"]) {
      const { error } = await raw.request(method, { taskId, inputResponses: {} });
      expect(error?.code).toBe(-32602);
      expect(error?.message.length).toBeLessThan(1_000);
    }
  }
  for (const method of ["tasks/list", "tasks/result"]) {
    expect((await raw.request(method, { taskId: "nope" })).error?.code).toBe(-32601);
  }
});

test("a task whose record is damaged is an internal error that says so", async () => {
  await using lake = await openLake();
  await using raw = await overStdio({ engine: { data: join(lake.folder, "lake") } });
  const id = "00000000-0000-7000-8000-000000000000";
  await mkdir(join(lake.folder, "lake", "jobs"), { recursive: true });
  await writeFile(join(lake.folder, "lake", "jobs", `${id}.json`), "{");
  const { error } = await raw.request("tasks/get", { taskId: id });
  expect(error).toMatchObject({ code: -32603, message: expect.stringMatching(/record of job .* cannot be read/) });
});

test("a build that its server left behind is working, and goes on under the same id", { tags: ["slow"] }, async () => {
  await using gate = await openGate();
  await using lake = await openLake({ settings: { embed: gate.embed } });
  let taskId: string;
  {
    await using first = await overStdio({ engine: { data: join(lake.folder, "lake"), embed: gate.embed } });
    await call(first, "ingest", { name: "texts", text: "id,words\n1,forklift driver\n2,line cook\n" });
    const args = { name: "texts_index", dataset: "texts", text: "words", id: "id", background: true };
    taskId = await taskOf(first, "vector-index-create", args);
    await until(() => gate.asked() > 0);
  }
  gate.open();
  await using second = await overStdio({ engine: { data: join(lake.folder, "lake"), embed: gate.embed } });
  const task = await polled(second, taskId);
  expect(task).toMatchObject({ taskId, status: "completed", result: { structuredContent: { index: "texts_index" } } });
});

test("the client library declares tasks, sees the extension, and polls with its own requests", async () => {
  await using lake = await openLake({ capabilities: { extensions: DECLARED } });
  expect(lake.client.getServerCapabilities()?.extensions).toEqual({ [TASKS]: {} });
  const { jobId } = (await lake.engine.perform(
    "ingest",
    { name: "a", source: { text: "i\n1\n" }, mode: "replace", schemaChange: "refuse", onBadRows: "fail" },
    { background: true },
  )) as { jobId: string };
  const schema = z.looseObject({ status: z.string() });
  const get = () => lake.client.request({ method: "tasks/get", params: { taskId: jobId } }, schema);
  await until(async () => (await get()).status === "completed");
  expect(await get()).toMatchObject({ result: { structuredContent: { rows: 1 } } });
});

test("a 2025 client is offered no tasks and gets none", async () => {
  await using lake = await openLake({ era: "legacy", capabilities: { extensions: DECLARED } });
  expect(lake.client.getServerCapabilities()).not.toHaveProperty("extensions");
  expect(lake.client.getServerCapabilities()).not.toHaveProperty("tasks");
  const result = await lake.raw("ingest", { name: "a", text: "i\n1\n", background: true });
  expect(result.structuredContent).toMatchObject({ state: "running" });
  expect(result).not.toHaveProperty("taskId");
});
