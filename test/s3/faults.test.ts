import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, readdir, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ListMultipartUploadsCommand } from "@aws-sdk/client-s3";
import { afterEach, beforeEach, describe, expect, inject, test } from "vitest";
import { openCatalog } from "../../src/engine/catalog/catalog.ts";
import { manifestKey } from "../../src/engine/catalog/identity.ts";
import type { LakeError } from "../../src/engine/kernel/errors.ts";
import { inWords } from "../../src/engine/kernel/next-step.ts";
import { openScope, type Scope } from "../../src/engine/kernel/scope.ts";
import { type S3Settings, systemClock } from "../../src/engine/settings.ts";
import type { Store } from "../../src/engine/store/store.ts";
import { TOOL_WORDS } from "../../src/tools/words.ts";
import { type FaultProxy, type HttpFault, openFaultProxy } from "../support/fault-proxy.ts";
import { openTestStore, s3Client, s3Settings } from "../support/s3.ts";
import { bytes, listed, text } from "../support/store-contract.ts";

const ceph = inject("s3Endpoint");
const BIG = 20 * 2 ** 20 + 17;

let scope: Scope;
let folder: string;
let proxy: FaultProxy;
let settings: S3Settings;
let store: Store;

beforeEach(async () => {
  scope = openScope();
  folder = await realpath(await mkdtemp(join(tmpdir(), "lakehouse-s3-faults-")));
  scope.defer(() => rm(folder, { recursive: true, force: true }));
  proxy = await openFaultProxy(ceph);
  scope.defer(async () => proxy[Symbol.asyncDispose]());
  settings = { ...(await s3Settings(folder, ceph, { timeoutMs: 3_000 })), endpoint: proxy.endpoint };
  store = await openTestStore(scope, folder, settings);
});
afterEach(() => scope.close());

/** The next `times` requests of a method fail so. */
function failNext(method: string, fault: HttpFault, times = 1, url = /./): void {
  let left = times;
  proxy.fault = (seen) => (seen.method === method && url.test(seen.url) && left-- > 0 ? fault : undefined);
}

const PASSING: [string, HttpFault][] = [
  ["500", { status: 500, code: "InternalError" }],
  ["503", { status: 503, code: "SlowDown" }],
  ["409", { status: 409, code: "ConditionalRequestConflict" }],
  ["a connection that breaks before", "drop-before"],
  ["a connection that breaks after", "drop-after"],
  ["no answer though it was done", "hang-after"],
  ["a slow answer", { delayMs: 400 }],
];

describe.each(PASSING)("%s", (_, fault) => {
  test("does not keep a create-only put from telling the truth", async () => {
    failNext("PUT", fault);
    expect(await store.put("catalog/a/1", bytes("mine"), { ifAbsent: true })).toBe(true);
    failNext("PUT", fault);
    expect(await store.put("catalog/a/1", bytes("other"), { ifAbsent: true })).toBe(false);
    expect(text(await store.get("catalog/a/1"))).toBe("mine");
  });

  test("does not keep a read from its bytes", async () => {
    await store.put("a", bytes("hello"));
    for (const [method, work] of [
      ["GET", () => store.get("a").then(text)],
      ["GET", () => store.getRange("a", 1, 3).then(text)],
      ["HEAD", () => store.has("a")],
      ["GET", () => listed(store, "")],
    ] as const) {
      const expected = await work();
      failNext(method, fault);
      expect(await work()).toEqual(expected);
    }
  });

  test("does not keep a data file from its place, nor another from taking it", async () => {
    const path = join(folder, "small");
    await writeFile(path, "some bytes");
    const key = `data/t/${"0".repeat(64)}/${createHash("sha256").update("some bytes").digest("hex")}.parquet`;
    failNext("PUT", fault, 1, /data\//);
    // Whether it was there before cannot always be told apart from an earlier try of one's own, and the bytes are the same.
    await store.put(key, { path }, { ifAbsent: true });
    expect(
      await readFile(await (await openTestStore(scope, join(folder, "reader"), settings)).localPath(key), "utf8"),
    ).toBe("some bytes");
    failNext("PUT", fault, 1, /data\//);
    await store.put(key, { path });
    expect(text(await store.get(key))).toBe("some bytes");
  });

  test("does not keep a delete from deleting, and nothing else", async () => {
    await store.put("a/1", bytes("one"));
    await store.put("a/2", bytes("two"));
    failNext("DELETE", fault);
    await store.delete("a/1");
    expect(await listed(store, "")).toEqual(["a/2"]);
    failNext("DELETE", fault);
    await store.delete("a/1");
    expect(text(await store.get("a/2"))).toBe("two");
  });

  test("does not commit twice, nor lose the commit", async () => {
    const catalog = await openCatalog(scope, store, catalogSettings);
    for (let version = 1; version <= 3; version++) {
      failNext("PUT", fault);
      const { manifest } = await catalog.commit("t", () => draft(`${version}`));
      expect(manifest?.version).toBe(version);
    }
    expect(await listed(store, "catalog/")).toEqual([1, 2, 3].map((version) => manifestKey("t", version)));
  });
});

const catalogSettings = { refreshMs: 0, clock: systemClock, log: () => {}, engineVersion: "test" };

function draft(hash: string) {
  return {
    kind: "table" as const,
    dropped: false,
    columns: [{ id: 1, name: "a", type: "VARCHAR" }],
    files: [],
    provenance: { operation: "append" as const, source: "x", sourceHash: hash, options: {} },
  };
}

test("a 412 that no writer caused is a lost race, and the commit is tried again on the newest version", async () => {
  failNext("PUT", { status: 412, code: "PreconditionFailed" });
  expect(await store.put("catalog/a/1", bytes("mine"), { ifAbsent: true })).toBe(false);
});

test("a write that was done but never answered, again and again, is found to be ours", async () => {
  failNext("PUT", "hang-after", 2);
  expect(await store.put("catalog/a/1", bytes("mine"), { ifAbsent: true })).toBe(true);
  expect(proxy.seen.filter(({ method, url }) => method === "PUT" && url.includes("catalog/a/1"))).toHaveLength(3);
}, 30_000);

test("when the outcome stays unknown it is said, not guessed", async () => {
  proxy.fault = ({ method }) => (method === "PUT" ? "drop-after" : undefined);
  const failure = { kind: "unavailable", message: expect.stringContaining("the connection broke") };
  await expect(store.put("catalog/a/1", bytes("mine"), { ifAbsent: true })).rejects.toMatchObject(failure);
  expect(text(await store.get("catalog/a/1"))).toBe("mine");

  const catalog = await openCatalog(scope, store, catalogSettings);
  await expect(catalog.commit("t", () => draft("1"))).rejects.toMatchObject({
    kind: "unavailable",
    message: "The store failed while t@1 was committed; it may or may not be.",
  });
  proxy.fault = () => undefined;
  await expect(catalog.commit("t", (current) => (current ? undefined : draft("1")))).resolves.toMatchObject({
    committed: false,
  });
});

test("a deadline in the middle of an attempt does not hide why the ones before it failed", async () => {
  const late = performance.now() + 2_100;
  proxy.fault = () => (performance.now() < late ? "drop-before" : { delayMs: 3_000 });
  await expect(store.get("a")).rejects.toThrow("the connection broke");
});

test.each([
  ["down", "drop-before"],
  ["silent", "hang-after"],
  ["answering 500", { status: 500, code: "InternalError" }],
  ["answering 503", { status: 503, code: "SlowDown" }],
] as [string, HttpFault][])(
  "a server that is %s fails every kind of work within its time, and all of it works afterwards",
  async (_, fault) => {
    await store.put("a/1", bytes("one"));
    const path = join(folder, "new");
    await writeFile(path, "new bytes");
    const key = `data/t/${"0".repeat(64)}/${createHash("sha256").update("new bytes").digest("hex")}.parquet`;
    const work: (() => Promise<unknown>)[] = [
      () => store.get("a/1"),
      () => store.has("a/1"),
      () => listed(store, ""),
      () => store.put("a/2", bytes("two"), { ifAbsent: true }),
      () => store.put(key, { path }, { ifAbsent: true }),
      () => store.delete("a/3"),
    ];
    proxy.fault = () => fault;
    const started = performance.now();
    const outcomes = await Promise.allSettled(work.map((each) => each()));
    expect(performance.now() - started).toBeLessThan(4 * settings.timeoutMs);
    for (const outcome of outcomes) {
      expect(outcome).toMatchObject({ status: "rejected", reason: { name: "LakeError", kind: "unavailable" } });
    }
    proxy.fault = () => undefined;
    for (const each of work) await each();
    expect(text(await store.get("a/2"))).toBe("two");
    expect(await listed(store, "")).toEqual(["a/1", "a/2", key]);
  },
);

describe("large files", () => {
  let path: string;
  let key: string;
  let content: Buffer;
  beforeEach(async () => {
    content = randomBytes(BIG);
    path = join(folder, "big");
    await writeFile(path, content);
    key = `data/t/${"0".repeat(64)}/${createHash("sha256").update(content).digest("hex")}.parquet`;
  });

  const other = async (): Promise<Store> => openTestStore(scope, join(folder, "elsewhere"), settings);
  const uploads = async (): Promise<number> => {
    const client = s3Client(ceph);
    const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: settings.bucket }));
    client.destroy();
    return Uploads.length;
  };

  test("go up and come down in parts, whatever happens to some of them", async () => {
    const faults: HttpFault[] = [{ status: 500 }, "drop-before", "drop-after", { status: 503, code: "SlowDown" }];
    const failed = new Set<string>();
    proxy.fault = ({ method, url }) => {
      const part = `${method} ${url.replace(/uploadId=[^&]*/, "")}`;
      if (!/data\/t\/.*uploadId=/.test(url) || failed.has(part) || faults.length === 0) return undefined;
      failed.add(part);
      return faults.shift();
    };
    expect(await store.put(key, { path }, { ifAbsent: true })).toBe(true);
    expect(faults).toEqual([]);
    // On a slow machine the answer to a begin may come too late, which leaves an upload without parts.
    const begun = proxy.seen.filter(({ method, url }) => method === "POST" && url.includes("?uploads")).length;
    expect(await uploads()).toBeLessThan(begun);

    const reader = await other();
    let cuts = 2;
    proxy.fault = ({ method, headers }) =>
      method === "GET" && headers.range !== undefined && cuts-- > 0 ? "cut-body" : undefined;
    const read = await readFile(await reader.localPath(key));
    expect(read.equals(content)).toBe(true);
    expect(cuts).toBeLessThanOrEqual(0);
    const ranges = proxy.seen.filter(({ method, headers }) => method === "GET" && headers.range !== undefined);
    expect(ranges.length).toBeGreaterThanOrEqual(5);
  });

  test("leave no part behind when the upload is given up", async () => {
    proxy.fault = ({ url }) => (url.includes("partNumber=2") ? { status: 403, code: "AccessDenied" } : undefined);
    await expect(store.put(key, { path }, { ifAbsent: true })).rejects.toMatchObject({ kind: "denied" });
    expect(await uploads()).toBe(0);
    expect(await store.has(key)).toBe(false);
    proxy.fault = () => undefined;
    expect(await store.put(key, { path }, { ifAbsent: true })).toBe(true);
  });

  test("are not sent again while they are there, and are fetched once however many ask", async () => {
    await store.put(key, { path }, { ifAbsent: true });
    proxy.seen.length = 0;
    expect(await store.put(key, { path }, { ifAbsent: true })).toBe(false);
    expect(proxy.seen.map(({ method }) => method)).toEqual(["HEAD"]);

    // This process has what it wrote: nothing is fetched.
    proxy.seen.length = 0;
    expect((await readFile(await store.localPath(key))).equals(content)).toBe(true);
    expect(proxy.seen).toEqual([]);

    const reader = await other();
    proxy.seen.length = 0;
    const paths = await Promise.all(Array.from({ length: 10 }, () => reader.localPath(key)));
    expect(new Set(paths).size).toBe(1);
    expect(proxy.seen.map(({ method }) => method)).toEqual(["GET", "GET", "GET"]);
  });

  test("changed on their way are refused, and not kept", async () => {
    await store.put(key, { path }, { ifAbsent: true });
    const reader = await other();
    failNext("GET", "change-body");
    await expect(reader.localPath(key)).rejects.toMatchObject({
      kind: "corrupt",
      message: expect.stringContaining("its bytes are not those that it was stored with"),
    });
    expect(await readdir(join(reader.localRoot, ".spool"))).toEqual([]);
    expect((await readFile(await reader.localPath(key))).equals(content)).toBe(true);
  });
});

const TOLD: [HttpFault, string, RegExp][] = [
  [{ status: 403, code: "InvalidAccessKeyId" }, "denied", /does not know these credentials/],
  [{ status: 403, code: "SignatureDoesNotMatch" }, "denied", /the secret key is wrong/],
  [{ status: 400, code: "ExpiredToken" }, "denied", /have expired/],
  [{ status: 403, code: "AccessDenied" }, "denied", /may not do that/],
  [{ status: 404, code: "NoSuchBucket" }, "unavailable", /there is no such bucket/],
  [{ status: 403, code: "RequestTimeTooSkewed" }, "unavailable", /the clock of this machine/],
  [
    { status: 301, code: "PermanentRedirect", headers: { "x-amz-bucket-region": "eu-west-3" } },
    "denied",
    /another region, eu-west-3/,
  ],
  [{ status: 503, code: "SlowDown" }, "unavailable", /takes no more requests/],
  [{ status: 500, code: "InternalError" }, "unavailable", /answered InternalError, HTTP 500/],
  [{ status: 418, code: "Teapot" }, "unavailable", /answered Teapot, HTTP 418/],
  [{ status: 507, code: "XMinioStorageFull" }, "limit", /bucket is full/],
  ["drop-before", "unavailable", /the connection broke/],
  ["hang-after", "unavailable", /did not answer in time/],
];

test.each(TOLD)("%j is told as %s, and how to go on, without what the server said", async (fault, kind, message) => {
  proxy.fault = () => fault;
  const error = await store.get("a/b").then(
    () => undefined,
    (reason: LakeError) => reason,
  );
  expect(error).toMatchObject({ name: "LakeError", kind, message: expect.stringMatching(message) });
  const hint = inWords(error?.hint ?? "", TOOL_WORDS);
  expect(hint).toBeTruthy();
  expect(error?.message).toContain(settings.bucket);
  const said = `${error?.message} ${hint} ${error?.stack} ${String(error?.cause)}`;
  expect(said).not.toMatch(/SECRETMESSAGE|AWS4-HMAC|\bSK\b/);
});
