import { createHash } from "node:crypto";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { type ClientRequest, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { LakeError } from "../../src/engine/kernel/errors.ts";
import type { Uploads } from "../../src/engine/uploads/uploads.ts";
import { ERAS, type HttpLake, type HttpLakeOptions, openHttpLake, until } from "./http-lake.ts";

const ANN = "ann-0123456789abcdef";
const BOB = "bob-0123456789abcdef";
const CSV = "id,name\n1,Ann\n2,Bob\n";
const digestOf = (text: string | Buffer): string => createHash("sha256").update(text).digest("base64");

async function open(options: HttpLakeOptions = {}): Promise<HttpLake> {
  const lake = await openHttpLake({ ...options, gates: { token: `ann:${ANN},bob:${BOB}`, ...options.gates } });
  onTestFinished(() => lake[Symbol.asyncDispose]());
  return lake;
}

interface Answer {
  status: number;
  headers: Record<string, string>;
  body: Record<string, unknown>;
}

async function ask(
  lake: HttpLake,
  method: string,
  path: string,
  {
    body,
    token = ANN,
    headers = {},
  }: { body?: string | Buffer; token?: string; headers?: Record<string, string> } = {},
): Promise<Answer> {
  const length: Record<string, string> =
    body === undefined || "transfer-encoding" in headers ? {} : { "content-length": String(Buffer.byteLength(body)) };
  const answer = await lake.send({
    method,
    path,
    headers: { authorization: `Bearer ${token}`, ...length, ...headers },
    ...(body !== undefined && { body }),
  });
  return {
    status: answer.status,
    headers: answer.headers as Record<string, string>,
    body: answer.body === "" ? {} : (JSON.parse(answer.body) as Record<string, unknown>),
  };
}

const put = (
  lake: HttpLake,
  body: string | Buffer,
  headers: Record<string, string> = {},
  path = "/uploads?name=w.csv",
) => ask(lake, "PUT", path, { body, headers });
const left = (lake: HttpLake): Promise<string[]> =>
  readdir(join(lake.folder, "lake", ".spool", "uploads")).catch(() => []);
const listed = async (lake: HttpLake) => (await ask(lake, "GET", "/uploads")).body.uploads as Record<string, unknown>[];

/** A PUT whose body is written from outside. */
function slowPut(lake: HttpLake, path: string, headers: Record<string, string>, token = ANN): ClientRequest {
  const outgoing = request(`${lake.url}${path}`, {
    method: "PUT",
    headers: { authorization: `Bearer ${token}`, ...headers },
    agent: false,
  });
  outgoing.on("error", () => {});
  outgoing.flushHeaders();
  return outgoing;
}

const head = (more: string): string =>
  `PUT /uploads?name=w.csv HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${ANN}\r\nConnection: close\r\n${more}\r\n`;

test.each(ERAS)("a %s client loads what was uploaded, once", async (era) => {
  const lake = await open();
  const { client, call } = await lake.connect(era, { token: ANN });
  const sent = await put(lake, CSV, {}, "/uploads?name=w%C3%B6rk+ers.csv");
  const upload = String(sent.body.upload);
  expect(sent.status).toBe(201);
  expect(sent.body).toMatchObject({ name: "wörk ers.csv", bytes: CSV.length, complete: true });
  expect(sent.headers).toMatchObject({
    location: `/uploads/${upload}`,
    "repr-digest": `sha-256=:${digestOf(CSV)}:`,
  });

  const other = await lake.connect(era, { token: BOB });
  const stolen = await other.client.callTool({ name: "ingest", arguments: { name: "stolen", upload } });
  expect(stolen.isError).toBe(true);
  expect(JSON.stringify(stolen.content)).toContain("not_found");

  expect(await call("ingest", { name: "workers", upload })).toMatchObject({ rows: 2, version: 1 });
  expect(await call("sql", { sql: "SELECT name FROM workers ORDER BY id" })).toMatchObject({
    rows: [["Ann"], ["Bob"]],
  });
  const again = await client.callTool({ name: "ingest", arguments: { name: "workers", upload } });
  expect(JSON.stringify(again.content)).toContain("There is no upload");
  expect(await left(lake)).toEqual([]);
});

test("an ingest in the background uses an upload, and its job tells the id", async () => {
  const lake = await open();
  const { call } = await lake.connect("modern", { token: ANN });
  const { body } = await put(lake, CSV);
  const { job_id } = await call("ingest", { name: "workers", upload: body.upload, background: true });
  expect(await call("job-status", { job_id, wait_ms: 30_000 })).toMatchObject({ state: "done", result: { rows: 2 } });
  expect(await lake.engine.jobStatus(String(job_id))).toMatchObject({ request: { source: { upload: body.upload } } });
  expect(await left(lake)).toEqual([]);
});

test("ingest takes one source", async () => {
  const lake = await open();
  const { client } = await lake.connect("modern", { token: ANN });
  const both = await client.callTool({ name: "ingest", arguments: { name: "t", upload: "x", text: "a\n1\n" } });
  expect(JSON.stringify(both.content)).toContain("exactly one of path, text, sql and upload");
});

test("all gates stand before an upload, and nothing of a refused one is read", async () => {
  const lake = await open({ gates: { addresses: ["127.0.0.1"] } });
  const paths = ["/uploads?name=w.csv", "/uploads/00000000-0000-4000-8000-000000000000"];
  for (const path of paths) {
    for (const method of ["PUT", "GET"]) {
      expect((await ask(lake, method, path, { body: CSV, token: "wrong-token-0123456789" })).status).toBe(401);
      expect((await lake.send({ method, path })).status).toBe(401);
      expect((await ask(lake, method, path, { headers: { host: "evil.example" } })).status).toBe(403);
      expect((await ask(lake, method, path, { headers: { origin: "http://evil.example" } })).status).toBe(403);
    }
  }
  // The body is not asked for.
  const asked = head("Expect: 100-continue\r\nContent-Length: 20\r\n").replace(ANN, "wrong-token-0123456789");
  expect(await lake.socket(asked)).toMatch(/^HTTP\/1.1 401 /);
  expect(await left(lake)).toEqual([]);
  const closed = await open({ gates: { addresses: ["192.0.2.1"] } });
  expect((await put(closed, CSV)).status).toBe(403);
});

test.each([
  ["POST", "/uploads", "PUT, GET"],
  ["DELETE", "/uploads", "PUT, GET"],
  ["POST", "/uploads/x", "PUT, GET, HEAD, DELETE"],
  ["PATCH", "/uploads/x", "PUT, GET, HEAD, DELETE"],
])("%s %s is answered with what is allowed", async (method, path, allow) => {
  const lake = await open();
  const { status, headers } = await ask(lake, method, path, { body: CSV });
  expect([status, headers.allow]).toEqual([405, allow]);
});

test.each(["/uploads/", "/uploads/a/b", "/uploads//", "/upload", "/uploads.csv"])(
  "there is nothing at %s",
  async (path) => {
    const lake = await open();
    expect((await ask(lake, "PUT", path, { body: CSV })).status).toBe(404);
  },
);

test.each([
  ["/uploads/..%2f..%2fetc%2fpasswd", 404],
  ["/uploads/*", 404],
  ["/uploads/00000000-0000-4000-8000-000000000000", 404],
])("GET and DELETE of %s answer %i", async (path, status) => {
  const lake = await open();
  for (const method of ["GET", "HEAD", "DELETE"]) expect((await ask(lake, method, path)).status).toBe(status);
});

test.each([
  [{ "content-type": "multipart/form-data; boundary=x" }, 415],
  [{ "content-type": "application/x-www-form-urlencoded" }, 415],
  [{ "content-encoding": "gzip" }, 415],
  [{ "content-range": "bytes 5-24/25" }, 400],
  [{ "upload-complete": "?0" }, 400],
  [{ "repr-digest": "sha-512=:AAAA:" }, 400],
  [{ "repr-digest": `sha-256=:${digestOf("else")}:` }, 400],
  [{ "content-digest": `sha-256=:${digestOf("else")}:` }, 400],
  [{ digest: `sha-256=${digestOf("else")}` }, 400],
])("a whole file with %j is refused with %i, and nothing is kept", async (headers, status) => {
  const lake = await open();
  const answer = await put(lake, CSV, headers as Record<string, string>);
  expect(answer.status).toBe(status);
  expect(answer.body.error).toMatch(/^[A-Z].*\.$/);
  expect(await left(lake)).toEqual([]);
});

test("a digest that is right is accepted, in each of its fields", async () => {
  const lake = await open();
  const digest = `sha-256=:${digestOf(CSV)}:`;
  const bare = `sha-256=${digestOf(CSV)}`;
  expect((await put(lake, CSV, { "repr-digest": digest, "content-digest": digest, digest: bare })).status).toBe(201);
});

test.each([
  ["/uploads?name=%2e%2e%2f%2e%2e%2fw.csv", 201],
  ["/uploads", 201],
  ["/uploads?name=..", 400],
  ["/uploads?name=a%00b", 400],
  ["/uploads?name=", 400],
  ["/uploads?name=a&name=b", 400],
  ["/uploads?nmae=a.csv", 400],
  ["/uploads?name=%FF%FE.csv", 201],
  [`/uploads?name=${"x".repeat(256)}`, 400],
])("PUT %s is answered with %i", async (path, status) => {
  const lake = await open();
  expect((await put(lake, CSV, {}, path)).status).toBe(status);
  expect(await left(lake)).toHaveLength(status === 201 ? 1 : 0);
  expect(await readdir(join(lake.folder, "lake", ".spool"))).toEqual(status === 201 ? ["uploads"] : []);
});

test("an empty body is refused, with a length and without", async () => {
  const lake = await open();
  expect((await put(lake, "")).status).toBe(400);
  expect(await lake.socket(`${head("Transfer-Encoding: chunked\r\n")}0\r\n\r\n`)).toMatch(/^HTTP\/1.1 400 /);
  expect(await lake.socket(head(""))).toMatch(/^HTTP\/1.1 400 /);
  expect(await left(lake)).toEqual([]);
});

describe("the cap", { tags: ["slow"] }, () => {
  const options = { engine: { maxIngestBytes: 100_000 } };

  test("is enforced by the length that is told, before the body is sent", async () => {
    const lake = await open(options);
    expect(await lake.socket(head("Content-Length: 100001\r\n"))).toMatch(/^HTTP\/1.1 413 [\s\S]*max_ingest_bytes/);
    const asked = await lake.socket(head("Content-Length: 100001\r\nExpect: 100-continue\r\n"));
    expect(asked).toMatch(/^HTTP\/1.1 413 /);
    expect(await left(lake)).toEqual([]);
  });

  test("asks for the body when it is within it", async () => {
    const lake = await open(options);
    const asked = await lake.socket(`${head("Content-Length: 5\r\nExpect: 100-continue\r\n")}a\n1\n\n`);
    expect(asked).toMatch(/^HTTP\/1.1 100 Continue\r\n\r\nHTTP\/1.1 201 /);
  });

  test("is enforced on chunks as soon as they are too many, and the sender gets to see it", async () => {
    const lake = await open(options);
    const chunk = `8000\r\n${"x".repeat(0x8000)}\r\n`;
    const text = await lake.socket(head("Transfer-Encoding: chunked\r\n") + chunk.repeat(5));
    expect(text).toMatch(/^HTTP\/1.1 413 [\s\S]*max_ingest_bytes/);
    expect(await left(lake)).toEqual([]);
    expect((await put(lake, "x".repeat(100_000), { "transfer-encoding": "chunked" })).status).toBe(201);
  });

  test("does not depend on an honest length: what is beyond it is no part of the upload", async () => {
    const lake = await open(options);
    const text = await lake.socket(`${head("Content-Length: 4\r\n")}a\n1\n${"x".repeat(200_000)}`);
    // What follows is no request, which Node may say before the upload is answered.
    expect(text).toMatch(/^HTTP\/1.1 (201|400) /);
    await until(() => lake.log.some(({ message }) => message === "upload"), "the upload ends");
    for (const { bytes } of await listed(lake)) expect(bytes).toBe(4);
    const two = head("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n");
    expect(await lake.socket(`${two}4\r\na\n1\n\r\n0\r\n\r\n`)).toMatch(/^HTTP\/1.1 400 /);
    expect(await lake.socket(`${head("Content-Length: -4\r\n")}a\n1\n`)).toMatch(/^HTTP\/1.1 400 /);
    for (const { bytes } of await listed(lake)) expect(bytes).toBeLessThanOrEqual(4);
  });
});

test("the quota is told with 503 and when to come back, and DELETE makes room", async () => {
  const lake = await open({ engine: { uploadQuotaBytes: 30 } });
  const { body } = await put(lake, CSV);
  const refused = await put(lake, CSV);
  expect(refused.status).toBe(503);
  expect(refused.headers["retry-after"]).toMatch(/^\d+$/);
  expect(refused.body.error).toContain("upload_quota");
  const path = `/uploads/${body.upload}`;
  expect((await ask(lake, "DELETE", path, { token: BOB })).status).toBe(404);
  expect((await ask(lake, "DELETE", path)).status).toBe(204);
  expect((await put(lake, CSV)).status).toBe(201);
});

test("one token's uploads of a byte leave places to others, who are served at once", {
  tags: ["slow"],
  timeout: 120_000,
}, async () => {
  const lake = await open({ uploads: { maxPerCaller: 48 } });
  let refused: Answer | undefined;
  let taken = 0;
  const fill = async (): Promise<void> => {
    while (!refused) {
      const answer = await put(lake, "1");
      if (answer.status === 201) taken++;
      else refused = answer;
    }
  };
  await Promise.all([1, 2, 3, 4].map(fill));
  expect(taken).toBe(750);
  expect(refused?.status).toBe(429);
  expect(refused?.body.error).toBe(
    "750 uploads of yours are waiting, of 750 that one token may have. " +
      "Load waiting uploads with ingest, or remove some with DELETE /uploads/<id>.",
  );
  const started = performance.now();
  expect((await ask(lake, "PUT", "/uploads?name=w.csv", { body: CSV, token: BOB })).status).toBe(201);
  expect(performance.now() - started).toBeLessThan(3_000);
  // One that goes makes room for one, and what was begun goes on.
  const [some] = await listed(lake);
  await ask(lake, "DELETE", `/uploads/${some?.upload}`);
  expect((await put(lake, CSV)).status).toBe(201);
  expect((await put(lake, CSV)).status).toBe(429);
});

test("one token's uploads leave room to others, whether their length is told or not", async () => {
  const lake = await open({ engine: { uploadQuotaBytes: 400, maxIngestBytes: 120 } });
  const body = "x".repeat(100);
  for (let n = 0; n < 3; n++) expect((await put(lake, body)).status).toBe(201);
  const refused = await put(lake, "1");
  expect(refused.status).toBe(429);
  expect(refused.body.error).toMatch(/uploads of one token may have 300 bytes\. .*upload_quota/);
  expect(refused.headers["retry-after"]).toBeUndefined();
  const chunked = await ask(lake, "PUT", "/uploads", { body: "1", headers: { "transfer-encoding": "chunked" } });
  expect(chunked.status).toBe(429);
  expect((await ask(lake, "PUT", "/uploads?name=w.csv", { body, token: BOB })).status).toBe(201);
});

test("a connection that is cut acknowledges nothing and leaves nothing, and what goes on is told to send the whole", async () => {
  const lake = await open();
  const text = `id\n${Array.from({ length: 50_000 }, (_, n) => n).join("\n")}\n`;
  const outgoing = slowPut(lake, "/uploads?name=big.csv", { "content-length": String(text.length) });
  outgoing.write(text.slice(0, 100_000));
  await until(async () => (await listed(lake))[0]?.bytes === 100_000, "the first bytes arrive");
  const [{ upload, ...begun } = {}] = await listed(lake);
  expect(begun).toMatchObject({ total: text.length, complete: false, sha256: null });
  const { client } = await lake.connect("modern", { token: ANN });
  const early = await client.callTool({ name: "ingest", arguments: { name: "big", upload: String(upload) } });
  expect(JSON.stringify(early.content)).toContain("in use by another request");
  outgoing.destroy();
  await until(
    () => lake.log.some(({ message, outcome }) => message === "upload" && outcome === "cut"),
    "it is noticed",
  );
  expect(await left(lake)).toEqual([]);

  const headers = { "content-range": `bytes 100000-${text.length - 1}/${text.length}` };
  const rest = text.slice(100_000);
  for (const path of [`/uploads/${upload}`, "/uploads?name=big.csv"]) {
    const { status, body } = await ask(lake, "PUT", path, { body: rest, headers });
    expect([status, body.error]).toEqual([400, expect.stringContaining("PUT all of the file to /uploads?name=FILE")]);
  }
  expect(await left(lake)).toEqual([]);
});

test("a chunked body that is cut in the middle is not taken for a whole one", async () => {
  const lake = await open();
  const outgoing = slowPut(lake, "/uploads?name=big.csv", { "transfer-encoding": "chunked" });
  outgoing.write(CSV);
  await until(async () => (await listed(lake))[0]?.bytes === CSV.length, "the first bytes arrive");
  expect(await listed(lake)).toMatchObject([{ total: null, complete: false, sha256: null }]);
  outgoing.destroy();
  await until(() => lake.log.some(({ outcome }) => outcome === "cut"), "it is noticed");
  expect(await left(lake)).toEqual([]);
});

test("a sender that falls silent is let go of, and leaves nothing", async () => {
  const lake = await open({ uploads: { idleMs: 200 } });
  const outgoing = slowPut(lake, "/uploads?name=big.csv", { "content-length": "20" });
  outgoing.write(CSV.slice(0, 8));
  await new Promise((resolve) => outgoing.once("close", resolve));
  await until(async () => (await left(lake)).length === 0, "nothing is left");
});

test("a busy server is asked after every chunk, and still takes all of a body", async () => {
  let asked = 0;
  const isBusy = (): boolean => ++asked < 5;
  const lake = await open({ uploads: { isBusy } });
  const body = `a\n${"1234567\n".repeat(100_000)}`;
  const { status, body: upload } = await put(lake, body);
  expect(status).toBe(201);
  expect(upload).toMatchObject({ bytes: body.length, complete: true });
  expect(asked).toBeGreaterThan(5);
});

test("uploads are there after a restart; what has expired is not", async () => {
  const folder = await mkdtemp(join(tmpdir(), "lakehouse-http-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const first = await openHttpLake({ folder });
  const [whole, unused] = [await put(first, CSV), await put(first, CSV)];
  expect([whole.status, unused.status]).toEqual([201, 201]);
  await first[Symbol.asyncDispose]();

  const second = await openHttpLake({ folder });
  const { call } = await second.connect("modern");
  expect(await call("ingest", { name: "whole", upload: whole.body.upload })).toMatchObject({ rows: 2 });
  await second[Symbol.asyncDispose]();

  const clock = { now: () => new Date(Date.now() + 2 * 3600e3) };
  const third = await openHttpLake({ folder, engine: { clock } });
  onTestFinished(() => third[Symbol.asyncDispose]());
  expect((await ask(third, "HEAD", String(unused.headers.location))).status).toBe(404);
  await until(async () => (await left(third)).length === 0, "it is swept");
});

test("many at once are all whole", async () => {
  const lake = await open();
  const texts = Array.from({ length: 12 }, (_, n) => `id\n${"1234567\n".repeat(20_000 + n)}`);
  const sent = await Promise.all(texts.map((text) => put(lake, text)));
  expect(sent.map(({ status }) => status)).toEqual(texts.map(() => 201));
  expect(sent.map(({ headers }) => headers["repr-digest"])).toEqual(texts.map((text) => `sha-256=:${digestOf(text)}:`));
});

test("one token's uploads leave places to others; more at once than there are places are told when to come back", async () => {
  const lake = await open();
  const take = async (count: number, token: string, taken: number) => {
    const begin = () => slowPut(lake, "/uploads?name=big.csv", { "content-length": "20" }, token);
    const running = Array.from({ length: count }, begin);
    for (const each of running) each.write("x");
    await until(async () => (await left(lake)).length === taken, `${taken} places are taken`);
    return running;
  };
  const as = (token: string) => ask(lake, "PUT", "/uploads?name=w.csv", { body: CSV, token });
  const running = await take(12, ANN, 12);
  const own = await as(ANN);
  expect([own.status, own.headers["retry-after"]]).toEqual([429, "5"]);
  expect(own.body.error).toContain("Your token has 12 uploads");
  running.push(...(await take(4, BOB, 16)));
  const refused = await as(BOB);
  expect([refused.status, refused.headers["retry-after"]]).toEqual([503, "5"]);
  for (const each of running) each.destroy();
  await until(async () => (await as(ANN)).status === 201, "there is a place again");
});

test("max_per_caller counts for uploads, but where all are the same caller", { tags: ["slow"] }, async () => {
  for (const [gates, status] of [
    [{}, 429],
    [{ token: undefined }, 201],
  ] as const) {
    const lake = await open({ http: { maxPerCaller: 1 }, gates });
    slowPut(lake, "/uploads?name=big.csv", { "content-length": "20" }).write("x");
    await until(async () => (await left(lake)).length === 1, "the place is taken");
    expect((await put(lake, CSV)).status).toBe(status);
  }
});

test("a sender that trickles is told so, and leaves nothing", async () => {
  const lake = await open({ uploads: { idleMs: 300 } });
  const outgoing = slowPut(lake, "/uploads?name=big.csv", { "content-length": String(CSV.length) });
  const answered = new Promise<[number | undefined, string]>((resolve) =>
    outgoing.once("response", async (response) => {
      let text = "";
      for await (const chunk of response) text += chunk;
      resolve([response.statusCode, text]);
    }),
  );
  let sent = 0;
  const trickle = setInterval(() => outgoing.write(CSV[sent++] ?? ""), 100);
  const [status, text] = await answered;
  clearInterval(trickle);
  expect([status, text]).toEqual([408, expect.stringContaining("nothing was kept")]);
  expect(sent).toBeLessThan(10);
  expect(await left(lake)).toEqual([]);
  expect(lake.log.filter(({ message }) => message === "upload").map(({ outcome }) => outcome)).toEqual(["slow"]);
});

test("an upload that runs when the server is told to stop may end, a new one is not taken", async () => {
  const lake = await openHttpLake();
  const outgoing = slowPut(lake, "/uploads?name=w.csv", { "content-length": String(CSV.length) });
  const answered = new Promise<number | undefined>((resolve) =>
    outgoing.once("response", (r) => resolve(r.statusCode)),
  );
  outgoing.write(CSV.slice(0, 5));
  await until(async () => (await left(lake)).length === 1, "it is under way");
  const drained = lake.server.drain(10_000);
  outgoing.end(CSV.slice(5));
  expect(await answered).toBe(201);
  await drained;
  await lake[Symbol.asyncDispose]();
});

test("one that does not end in time is cut, and leaves nothing", { tags: ["slow"] }, async () => {
  const lake = await openHttpLake();
  const outgoing = slowPut(lake, "/uploads?name=w.csv", { "content-length": String(CSV.length) });
  outgoing.write(CSV.slice(0, 5));
  await until(async () => (await left(lake)).length === 1, "it is under way");
  await lake.server.drain(100);
  await until(async () => (await left(lake)).length === 0, "nothing is left");
  await lake[Symbol.asyncDispose]();
});

test("queries are answered while an upload runs", { tags: ["slow"] }, async () => {
  const lake = await open();
  const { call } = await lake.connect("modern", { token: ANN });
  await call("sql", { sql: "SELECT 1" });
  let running = true;
  const sending = put(lake, Buffer.alloc(64 * 2 ** 20, "1234567\n")).finally(() => {
    running = false;
  });
  let slowest = 0;
  while (running) {
    const started = performance.now();
    await call("sql", { sql: "SELECT 1" });
    slowest = Math.max(slowest, performance.now() - started);
  }
  expect((await sending).status).toBe(201);
  expect(slowest).toBeLessThan(1_000);
});

test("a body may take longer than other requests have, as long as it comes", { tags: ["slow"] }, async () => {
  const lake = await open({ http: { requestTimeoutMs: 300 } });
  const started = performance.now();
  // One that nobody reads is cut.
  const idle = await lake.socket("GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n");
  expect(idle).toMatch(/^HTTP\/1.1 200 /);
  expect(performance.now() - started).toBeGreaterThan(250);
  const outgoing = slowPut(lake, "/uploads?name=w.csv", { "content-length": String(CSV.length) });
  const answered = new Promise((resolve) => outgoing.once("response", ({ statusCode }) => resolve(statusCode)));
  for (const byte of CSV) {
    outgoing.write(byte);
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
  expect(await answered).toBe(201);
});

test("a full disk is told as one, and what goes wrong inside is not told at all", async () => {
  for (const [thrown, status] of [
    [new LakeError("limit", "It is full.", { code: "disk_full", cause: new Error("/secret") }), 507],
    [new LakeError("internal", "/secret"), 500],
    [new Error("/secret"), 500],
  ] as const) {
    const receive = () => Promise.reject(thrown);
    const lake = await open({ uploads: { uploads: { receive } as unknown as Uploads } });
    const { status: answered, body } = await put(lake, CSV);
    expect(answered).toBe(status);
    expect(JSON.stringify(body)).not.toContain("secret");
  }
});
