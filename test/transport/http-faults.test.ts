import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseJson } from "../../src/transport/http-body.ts";
import { type HttpLake, INITIALIZE, JSON_HEADERS, openHttpLake, until } from "./http-lake.ts";

let lake: HttpLake;
beforeAll(async () => {
  lake = await openHttpLake({ http: { maxBodyBytes: 100_000, bodyTimeoutMs: 400, headersTimeoutMs: 600 } });
});
afterAll(async () => {
  await lake[Symbol.asyncDispose]();
});

const post = (body: string | Buffer, headers: Record<string, string> = {}) =>
  lake.send({ method: "POST", headers: { ...JSON_HEADERS, ...headers }, body });
const alive = async (): Promise<void> => {
  expect((await lake.send({ path: "/health" })).status).toBe(200);
};

test("health says that it is well and nothing else, to anybody", async () => {
  for (const headers of [{}, { host: "evil.example" }, { origin: "http://evil.example" }, { authorization: "x" }]) {
    const { status, body } = await lake.send({ path: "/health", headers });
    expect([status, body]).toEqual([200, '{"status":"ok"}']);
  }
  expect((await lake.send({ path: "/health", method: "HEAD" })).body).toBe("");
});

test.each([
  "/",
  "/mcp/",
  "/MCP",
  "/mcp/../mcp",
  "//mcp",
  "/constructor",
  "/__proto__",
  "/.well-known/oauth-protected-resource",
])("there is nothing at %s", async (path) => {
  const { status, body } = await lake.send({ path });
  expect(status).toBe(404);
  expect(JSON.parse(body)).toEqual({ error: expect.stringContaining("/mcp") });
});

test.each([
  ["PUT", "/mcp", "POST, GET, DELETE"],
  ["OPTIONS", "/mcp", "POST, GET, DELETE"],
  ["POST", "/health", "GET, HEAD"],
])("%s %s is answered with what is allowed", async (method, path, allow) => {
  const { status, headers } = await lake.send({ method, path });
  expect([status, headers.allow]).toEqual([405, allow]);
});

test.each(["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", undefined])(
  "a message of type %s is refused",
  async (type) => {
    const { accept } = JSON_HEADERS;
    const headers = { accept, ...(type !== undefined && { "content-type": type }) };
    expect((await lake.send({ method: "POST", headers, body: INITIALIZE })).status).toBe(415);
  },
);

test("a compressed message is refused", async () => {
  expect((await post(INITIALIZE, { "content-encoding": "gzip" })).status).toBe(415);
});

test.each([
  ["nothing", ""],
  ["half a message", INITIALIZE.slice(0, 40)],
  ["something else", "<xml/>"],
  ["bytes that are no UTF-8", Buffer.from([0x22, 0xff, 0xfe, 0x22])],
])("%s is answered as a message that cannot be parsed", async (_, body) => {
  const { status, body: answer } = await post(body);
  expect(status).toBe(400);
  expect(JSON.parse(answer)).toMatchObject({ jsonrpc: "2.0", id: null, error: { code: -32700 } });
  await alive();
});

test.each([
  ["lists 100 000 deep", "[".repeat(99_999)],
  ["objects 10 000 deep", `${'{"a":'.repeat(10_000)}1${"}".repeat(10_000)}`],
])("%s is refused by its depth", async (_, body) => {
  const { status, body: answer } = await post(body);
  expect(status).toBe(400);
  expect(JSON.parse(answer)).toMatchObject({
    id: null,
    error: { code: -32700, message: expect.stringContaining("100 deep") },
  });
  await alive();
});

test.each(["7", "null", '"x"', "{}", '{"jsonrpc":"1.0","id":1,"method":"ping"}', "[]", '[{"jsonrpc":"2.0"}]'])(
  "%s is JSON and no message",
  async (body) => {
    const { status, body: answer } = await post(body);
    expect(status).toBe(400);
    expect(JSON.parse(answer)).toMatchObject({ jsonrpc: "2.0", error: { code: expect.any(Number) } });
  },
);

test.each(["resources/read", "resources/subscribe", "tools/call", "prompts/get", "no/such/method"])(
  "a name of megabytes in %s is refused in a few words",
  async (method) => {
    const long = "x".repeat(90_000);
    for (const params of [{ uri: `lakehouse://datasets/${long}` }, { name: long }]) {
      for (const batch of [false, true]) {
        const message = { jsonrpc: "2.0", id: 1, method, params };
        const { status, body } = await post(JSON.stringify(batch ? [message] : message));
        expect(status).toBe(400);
        expect(body.length).toBeLessThan(300);
        expect(JSON.parse(body).error.message).toMatch(/its (uri|name) has 900\d\d characters/);
      }
    }
    const { status, body } = await post(JSON.stringify({ jsonrpc: "2.0", id: long, method }));
    expect([status, JSON.parse(body).error.message]).toEqual([400, expect.stringContaining("id has 90000 characters")]);
  },
);

describe("nesting", () => {
  const nested = (depth: number): Buffer => Buffer.from("[".repeat(depth) + "]".repeat(depth));
  test("counts what is open at the same time, outside of strings", async () => {
    expect(await parseJson(nested(100))).toHaveProperty("json");
    expect(await parseJson(nested(101))).toMatchObject({ status: 400 });
    const flat = Buffer.from(JSON.stringify({ a: Array(500).fill([{}]), b: `${"[{".repeat(500)}\\" "` }));
    expect(await parseJson(flat)).toHaveProperty("json");
    expect(await parseJson(Buffer.from(`["\\\\", ${"[".repeat(100)}`))).toMatchObject({ status: 400 });
    const members = (count: number) => Array.from({ length: count }, (_, n) => `"k${n}":0`).join(",");
    expect(await parseJson(Buffer.from(`{"a":{${members(1_000)}},"b":{${members(1_000)}}}`))).toHaveProperty("json");
    expect(await parseJson(Buffer.from(`[[{${members(1_001)}}]]`))).toMatchObject({ status: 400 });
    expect(await parseJson(Buffer.from(`["${":".repeat(20_000)}", ":"]`))).toHaveProperty("json");
    const empty = (count: number) => Buffer.from(`[[${new Array(count).fill("{}").join(",")}]]`);
    expect(await parseJson(empty(99_998))).toHaveProperty("json");
    expect(await parseJson(empty(100_000))).toMatchObject({
      status: 400,
      message: expect.stringContaining("100000 objects and arrays"),
    });
  });
});

describe("a body over the limit", () => {
  test("is refused by its length, before any of it is read", async () => {
    const { status, body } = await post("x".repeat(100_001));
    expect(status).toBe(413);
    expect(body).toContain("max_body_bytes");
    const text = await lake.socket(
      "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100001\r\n\r\n",
    );
    expect(text).toMatch(/^HTTP\/1.1 413 /);
    expect(text).toMatch(/connection: close/i);
  });

  test("is not asked for when the client asks first, and one within it is", async () => {
    const head = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n";
    expect(await lake.socket(`${head}Content-Length: 100001\r\n\r\n`)).toMatch(/^HTTP\/1.1 413 /);
    const asked = await lake.socket(`${head}Connection: close\r\nContent-Length: 2\r\n\r\n{}`);
    expect(asked).toMatch(/^HTTP\/1.1 100 Continue\r\n\r\nHTTP\/1.1 400 /);
  });

  test("is refused as soon as it is too long when it comes in chunks", async () => {
    const chunk = `10000\r\n${"x".repeat(0x10000)}\r\n`;
    const text = await lake.socket(
      `POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n${chunk}${chunk}`,
    );
    expect(text).toMatch(/^HTTP\/1.1 413 /);
  });

  test("is cut off when it does not stop", async () => {
    const huge = Buffer.alloc(20 * 2 ** 20, 0x20);
    const head = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    const text = await lake.socket(Buffer.concat([Buffer.from(`${head}Content-Length: ${huge.length}\r\n\r\n`), huge]));
    // The answer is written before the connection is cut; whether it is still read is up to the client.
    if (text !== "") expect(text).toMatch(/^HTTP\/1.1 413 /);
    await alive();
  });

  test("is no request when it goes on after the length it claims", async () => {
    const text = await lake.socket(
      `POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}${"x".repeat(200_000)}`,
    );
    expect(new Set(text.match(/HTTP\/1.1 \d+/g))).toEqual(new Set(["HTTP/1.1 400"]));
    await alive();
  });
});

test("a client that sends its headers, or a message, too slowly is let go", { tags: ["slow"] }, async () => {
  const started = performance.now();
  const [headers, body] = await Promise.all([
    lake.socket("POST /mcp HTTP/1.1\r\nHost: localhost\r\nX-Slow: "),
    lake.socket(
      "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{",
    ),
  ]);
  expect(headers).toMatch(/^HTTP\/1.1 408 /);
  expect(body).toMatch(/^HTTP\/1.1 408 /);
  expect(performance.now() - started).toBeLessThan(6_000);
});

test("headers that are too large are refused, in one or in many", async () => {
  const head = "GET /health HTTP/1.1\r\nHost: localhost\r\n";
  expect(await lake.socket(`${head}X-Big: ${"x".repeat(100_000)}\r\n\r\n`)).toMatch(/^HTTP\/1.1 431 /);
  const many = Array.from({ length: 5_000 }, (_, n) => `X-${n}: y\r\n`).join("");
  expect(await lake.socket(`${head}${many}\r\n`)).toMatch(/^HTTP\/1.1 431 /);
  await alive();
});

test.each(["\0\0\0\0", "GET\r\n\r\n", "GET /mcp HTTP/9.9\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"])(
  "%j is not HTTP",
  async (bytes) => {
    const text = await lake.socket(bytes);
    expect(text === "" || /^HTTP\/1.1 (400|505) /.test(text)).toBe(true);
    await alive();
  },
);

test("connections that end in the middle of a message hold nothing", async () => {
  await Promise.all(
    Array.from({ length: 100 }, () =>
      lake
        .socket(
          "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{",
          5,
        )
        .catch(() => {}),
    ),
  );
  await until(() => lake.server.status().connections === 0, "their connections are gone");
  expect(lake.server.status().running).toBe(0);
  await alive();
});
