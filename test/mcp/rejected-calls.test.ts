import { expect, test } from "vitest";
import type { Attributes, Trace } from "../../src/engine/kernel/trace.ts";
import type { OnCall } from "../../src/mcp/serve-call.ts";
import { openLake } from "../support/lake.ts";

interface Seen {
  lines: Record<string, unknown>[];
  counted: Parameters<OnCall>[0][];
  spans: { name: string; attributes: Attributes; failed: string | undefined }[];
}

async function openWatched(era: "legacy" | "modern") {
  const seen: Seen = { lines: [], counted: [], spans: [] };
  const trace: Trace = async (name, attributes, work) => {
    const span: Seen["spans"][number] = { name, attributes, failed: undefined };
    seen.spans.push(span);
    return work({
      traceId: "4bf92f3577b34da6a3ce929d0e0e4736",
      note: (more) => {
        span.attributes = { ...span.attributes, ...more };
      },
      fail: (type) => {
        span.failed = type;
      },
    });
  };
  const lake = await openLake({
    data: "memory",
    era,
    settings: {
      log: (level, message, fields) => {
        if (message !== "protocol error") seen.lines.push({ level, message, ...fields });
      },
    },
    watch: { trace, onCall: (call) => seen.counted.push(call) },
  });
  seen.lines.length = 0;
  return { lake, seen };
}

/** The code of the error that a client gets. */
async function codeOf(answer: Promise<unknown>): Promise<unknown> {
  return answer.then(
    () => undefined,
    (error: { code?: unknown }) => error.code,
  );
}

const LONG = `drop\n\u202e${"x".repeat(10_000)}`;

test.each(["legacy", "modern"] as const)(
  "calls of a %s client that the SDK refuses by itself are logged, counted and traced under few names",
  async (era) => {
    const { lake, seen } = await openWatched(era);
    await using _ = lake;
    const { client } = lake;
    for (const name of ["nope", LONG, "constructor"]) expect(await codeOf(lake.raw(name, { a: 1 }))).toBe(-32602);
    expect(await codeOf(client.getPrompt({ name: "nope" }))).toBe(-32602);
    expect(await codeOf(client.getPrompt({ name: "explore-dataset", arguments: {} }))).toBe(-32602);
    expect(await codeOf(client.readResource({ uri: "lakehouse://secret-kumquats/x/y/z" }))).toBe(-32602);

    const common = { level: "info", message: "call", ms: expect.any(Number), trace_id: expect.any(String) };
    expect(seen.lines).toEqual([
      { ...common, tool: "unknown", asked: "nope", outcome: "not_found" },
      { ...common, tool: "unknown", asked: `drop??${"x".repeat(58)}`, outcome: "not_found" },
      { ...common, tool: "unknown", asked: "constructor", outcome: "not_found" },
      { ...common, prompt: "unknown", asked: "nope", outcome: "not_found" },
      { ...common, prompt: "explore-dataset", outcome: "invalid" },
      { ...common, resource: "unknown", outcome: "not_found" },
    ]);
    expect(seen.counted.map(({ kind, name, outcome }) => `${kind} ${name} ${outcome}`)).toEqual([
      ...Array(3).fill("tool unknown not_found"),
      "prompt unknown not_found",
      "prompt explore-dataset invalid",
      "resource unknown not_found",
    ]);
    expect(seen.spans.map(({ name, failed }) => [name, failed])).toEqual([
      ...Array(3).fill(["tools/call unknown", "-32602"]),
      ["prompts/get unknown", "-32602"],
      ["prompts/get explore-dataset", "-32602"],
      ["resources/read", "-32602"],
    ]);
    for (const { attributes } of seen.spans) expect(attributes["rpc.response.status_code"]).toBe("-32602");
    expect(JSON.stringify([seen.counted, seen.spans])).not.toMatch(/nope|xxx|constructor|kumquats/);
  },
);

test.each(["legacy", "modern"] as const)(
  "a %s client's failed call of ours is told once: a tool's as its result, a resource's by its code",
  async (era) => {
    const { lake, seen } = await openWatched(era);
    await using _ = lake;
    await lake.refused("sql", { sql: "SELEC 1" });
    const uris = ["lakehouse://datasets/nowhere", "lakehouse://jobs/nowhere"];
    for (const uri of uris) expect(await codeOf(lake.client.readResource({ uri }))).toBe(-32602);
    expect(seen.lines.map(({ tool, resource, outcome }) => [tool ?? resource, outcome])).toEqual([
      ["sql", "invalid"],
      ["dataset", "not_found"],
      ["job", "not_found"],
    ]);
    const [sql, ...reads] = seen.spans.filter(({ name }) => name.includes("/"));
    expect(sql).toMatchObject({ name: "tools/call sql", failed: "tool_error" });
    expect(sql?.attributes).not.toHaveProperty("rpc.response.status_code");
    for (const { failed, attributes } of reads) {
      expect([failed, attributes["rpc.response.status_code"]]).toEqual(["-32602", "-32602"]);
    }
    expect(reads).toHaveLength(2);
  },
);

test("a read that breaks inside is told as internal, with the code the client gets", async () => {
  const { lake, seen } = await openWatched("modern");
  await using _ = lake;
  lake.engine.list = () => Promise.reject(new Error("the secret reason"));
  lake.engine.describe = lake.engine.list as never;
  expect(await codeOf(lake.client.readResource({ uri: "lakehouse://datasets/nowhere" }))).toBe(-32603);
  expect(seen.lines.at(-1)).toMatchObject({ resource: "dataset", outcome: "internal" });
  expect(seen.spans.at(-1)).toMatchObject({ failed: "-32603" });
  expect(seen.spans.at(-1)?.attributes).toMatchObject({ "rpc.response.status_code": "-32603" });
});
