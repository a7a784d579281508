import { createHash } from "node:crypto";
import { type FileHandle, mkdir, mkdtemp, readdir, rm, utimes, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { LakeError } from "../../../src/engine/kernel/errors.ts";
import { openScope, type Scope } from "../../../src/engine/kernel/scope.ts";
import type { Incoming } from "../../../src/engine/uploads/upload-receive.ts";
import { writeBody } from "../../../src/engine/uploads/upload-write.ts";
import { openUploads, type UploadSettings, type Uploads } from "../../../src/engine/uploads/uploads.ts";
import { openIngesting } from "../../support/ingesting.ts";

const CSV = "id,name\n1,Ann\n2,Bob\n";
const HOUR_MS = 3600e3;
const UNKNOWN = "00000000-0000-4000-8000-000000000000";

interface Opened {
  uploads: Uploads;
  folder: string;
  scope: Scope;
  /** Moves the clock. */
  later(ms: number): void;
  /** Another one on the same folder. */
  another(settings?: Partial<UploadSettings>): Promise<{ uploads: Uploads; scope: Scope }>;
  left(): Promise<string[]>;
}

async function open(overrides: Partial<UploadSettings> = {}): Promise<Opened> {
  const root = await mkdtemp(join(tmpdir(), "lakehouse-uploads-"));
  const folder = join(root, "uploads");
  let ahead = 0;
  const settings: UploadSettings = {
    maxBytes: 1_000,
    quotaBytes: 10_000,
    expiryMs: HOUR_MS,
    clock: { now: () => new Date(Date.now() + ahead) },
    log: () => {},
    ...overrides,
  };
  const scopes: Scope[] = [];
  const another = async (more: Partial<UploadSettings> = {}) => {
    const scope = openScope();
    scopes.push(scope);
    return { scope, uploads: openUploads(scope, folder, { ...settings, ...more }) };
  };
  onTestFinished(async () => {
    for (const scope of scopes) await scope.close();
    await rm(root, { recursive: true, force: true });
  });
  return {
    ...(await another()),
    folder,
    another,
    later: (ms) => {
      ahead += ms;
    },
    left: () => readdir(folder).catch(() => []),
  };
}

async function* bodyOf(...chunks: (string | Uint8Array | Error)[]) {
  for (const chunk of chunks) {
    if (chunk instanceof Error) throw chunk;
    yield Buffer.from(chunk as string);
  }
}

/** A body that is written to from outside. */
function openBody() {
  let feed: (chunk: string | undefined) => void = () => {};
  const next = (): Promise<string | undefined> =>
    new Promise((resolve) => {
      feed = resolve;
    });
  let waiting = next();
  let begin: () => void = () => {};
  const begun = new Promise<void>((resolve) => {
    begin = resolve;
  });
  return {
    send: (chunk: string | undefined) => feed(chunk),
    /** Somebody reads it. */
    begun,
    body: (async function* () {
      begin();
      for (let chunk = await waiting; chunk !== undefined; chunk = await waiting) {
        waiting = next();
        yield Buffer.from(chunk);
      }
    })(),
  };
}

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
const whole = (text: string, more: Partial<Incoming> = {}): Incoming => ({
  name: "workers.csv",
  length: Buffer.byteLength(text),
  ...more,
});
const send = (uploads: Uploads, text: string, more: Partial<Incoming> = {}, caller = "ann") =>
  uploads.receive(caller, whole(text, more), bodyOf(text));

async function refused(work: Promise<unknown>): Promise<LakeError> {
  const error = await work.then(
    () => new Error("It should have failed"),
    (thrown: unknown) => thrown,
  );
  if (error instanceof LakeError) return error;
  throw error;
}

test("a whole file is kept with its digest, and told to whom it belongs", async () => {
  const { uploads } = await open();
  const sent = await send(uploads, CSV);
  expect(sent).toEqual({
    upload: expect.stringMatching(/^[0-9a-f-]{36}$/),
    name: "workers.csv",
    bytes: CSV.length,
    total: CSV.length,
    complete: true,
    sha256: sha256(CSV),
    expires: expect.stringMatching(/^\d{4}-.*Z$/),
  });
  expect(Date.parse(sent.expires) - Date.now()).toBeGreaterThan(HOUR_MS - 60_000);
  expect(await uploads.find("ann", sent.upload)).toEqual(sent);
  expect(await uploads.list("ann")).toEqual([sent]);
  expect(await uploads.list("bob")).toEqual([]);
  for (const [caller, id] of [
    ["bob", sent.upload],
    ["ann", UNKNOWN],
    ["ann", "../uploads"],
    ["ann", ""],
    ["ann", "\0"],
    ["ann", "x".repeat(5_000)],
  ] as const) {
    expect(await refused(uploads.find(caller, id))).toMatchObject({ kind: "not_found" });
    expect(await refused(uploads.remove(caller, id))).toMatchObject({ kind: "not_found" });
    expect(await refused(uploads.take(openScope(), caller, id))).toMatchObject({ kind: "not_found" });
  }
});

test("a body of unknown length is what it turns out to be", async () => {
  const { uploads } = await open();
  const unknown = { length: undefined };
  expect(await uploads.receive("ann", unknown, bodyOf("ab", "", "c"))).toMatchObject({
    name: "upload",
    bytes: 3,
    total: 3,
    complete: true,
    sha256: sha256("abc"),
  });
});

test("a body that is cut leaves nothing", async () => {
  const { uploads, left } = await open();
  const cut = new Error("socket hang up");
  await expect(uploads.receive("ann", whole(CSV), bodyOf(CSV.slice(0, 8), cut))).rejects.toBe(cut);
  expect(await uploads.list("ann")).toEqual([]);
  expect(await left()).toEqual([]);
});

test("a file that is shorter or longer than said leaves nothing", async () => {
  const { uploads, left } = await open();
  for (const text of [CSV.slice(1), `${CSV}x`]) {
    expect(await refused(uploads.receive("ann", whole(CSV), bodyOf(text)))).toMatchObject({
      kind: "invalid",
      message: expect.stringContaining(`said to have ${CSV.length} bytes`),
    });
  }
  expect(await left()).toEqual([]);
});

test("a body that was cut before its first byte leaves nothing", async () => {
  const { uploads, left } = await open();
  await expect(uploads.receive("ann", whole(CSV), bodyOf(new Error("gone")))).rejects.toThrow("gone");
  expect(await left()).toEqual([]);
});

test("a wrong digest leaves nothing, also beside a right one", async () => {
  const { uploads, left } = await open();
  for (const digests of [[sha256("else")], [sha256(CSV), sha256("else")]]) {
    const error = await refused(send(uploads, CSV, { sha256: digests }));
    expect(error).toMatchObject({ kind: "corrupt", message: expect.stringContaining(sha256(CSV)) });
  }
  expect(await left()).toEqual([]);
  expect(await send(uploads, CSV, { sha256: [sha256(CSV), sha256(CSV)] })).toMatchObject({ complete: true });
});

test("more than the cap is refused: unread when it is told, else as soon as it is too much", async () => {
  const { uploads, left } = await open();
  const unread = (): AsyncIterable<Uint8Array> => bodyOf(new Error("The body was asked for."));
  expect(await refused(uploads.receive("ann", { length: 1_001 }, unread()))).toMatchObject({
    kind: "limit",
    facts: { limit: 1_000, setting: "max_ingest_bytes" },
  });
  let asked = 0;
  const endless = (async function* () {
    for (;;) {
      asked++;
      yield Buffer.alloc(100);
    }
  })();
  const unknown = { length: undefined };
  expect(await refused(uploads.receive("ann", unknown, endless))).toMatchObject({ kind: "limit" });
  expect(asked).toBe(11);
  expect(await left()).toEqual([]);
  expect(await send(uploads, "x".repeat(1_000))).toMatchObject({ bytes: 1_000 });
});

test("nothing at all is refused", async () => {
  const { uploads, left } = await open();
  expect(await refused(send(uploads, ""))).toMatchObject({ kind: "invalid" });
  expect(await refused(uploads.receive("ann", { length: undefined }, bodyOf()))).toMatchObject({
    kind: "invalid",
  });
  expect(await left()).toEqual([]);
});

test("all uploads together stay within the quota, those included that are on their way", async () => {
  const { uploads } = await open({ quotaBytes: 2_500 });
  const text = "x".repeat(1_000);
  const outcomes = await Promise.allSettled(Array.from({ length: 5 }, () => send(uploads, text)));
  expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(2);
  expect(await refused(send(uploads, "x".repeat(501), {}, "bob"))).toMatchObject({
    kind: "unavailable",
    facts: { limit: 2_500, setting: "upload_quota" },
  });
  // One of unknown length gets what room there is.
  const unknown = { length: undefined };
  expect(await refused(uploads.receive("bob", unknown, bodyOf("x".repeat(400), "x".repeat(200))))).toMatchObject({
    kind: "unavailable",
  });
  expect(await send(uploads, "x".repeat(500), {}, "bob")).toMatchObject({ complete: true });
  const [first] = await uploads.list("ann");
  await uploads.remove("ann", first?.upload ?? "");
  expect(await send(uploads, text, {}, "bob")).toMatchObject({ complete: true });
});

test.each([
  ["wörk erß 工人 👷.csv", "wörk erß 工人 👷.csv"],
  ["../../etc/passwd", "passwd"],
  ["C:\\data\\workers.csv", "workers.csv"],
  ["/", undefined],
  ["..", undefined],
  [" . ", undefined],
  ["", undefined],
  ["a\nb.csv", undefined],
  ["a\0.csv", undefined],
  ["gpj\u202evsc.csv", undefined],
  ["\ud800.csv", undefined],
  ["é".repeat(128), undefined],
  ["é".repeat(127), "é".repeat(127)],
])("the name %j is kept as %j", async (name, kept) => {
  const { uploads, left } = await open();
  if (kept !== undefined) return expect(await send(uploads, CSV, { name })).toMatchObject({ name: kept });
  expect(await refused(send(uploads, CSV, { name }))).toMatchObject({ kind: "invalid" });
  expect(await left()).toEqual([]);
});

test("an upload is used by one at a time, in every process", async () => {
  const { uploads, another } = await open();
  const { uploads: other } = await another();
  const { upload: id } = await send(uploads, CSV);
  const scopes = Array.from({ length: 8 }, openScope);
  const taken = await Promise.allSettled(
    scopes.map((scope, at) => (at % 2 === 0 ? uploads : other).take(scope, "ann", id)),
  );
  expect(taken.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  for (const outcome of taken) {
    if (outcome.status === "rejected") expect(outcome.reason).toMatchObject({ kind: "conflict" });
  }
  expect(await refused(uploads.remove("ann", id))).toMatchObject({ kind: "conflict" });
  for (const scope of scopes) await scope.close();
  const scope = openScope();
  const { consume } = await other.take(scope, "ann", id);
  await consume();
  await scope.close();
  expect(await refused(uploads.take(openScope(), "ann", id))).toMatchObject({ kind: "not_found" });
});

test("what is being sent is listed, and nobody uses or removes it before it is there", async () => {
  const { uploads, another } = await open();
  const { uploads: other } = await another();
  const { send: feed, body } = openBody();
  const slow = uploads.receive("ann", whole("abcde"), body);
  feed("abc");
  await expect.poll(async () => (await uploads.list("ann"))[0]?.bytes).toBe(3);
  const [{ upload: id, ...begun } = { upload: "" }] = await uploads.list("ann");
  expect(begun).toMatchObject({ total: 5, complete: false, sha256: null });
  expect(await refused(uploads.remove("ann", id))).toMatchObject({ kind: "conflict" });
  expect(await refused(other.take(openScope(), "ann", id))).toMatchObject({ kind: "conflict" });
  // No sweep takes it for what a process that is gone has left.
  for (const each of [uploads, other]) await each.sweep();
  feed("de");
  await expect.poll(async () => (await uploads.find("ann", id)).bytes).toBe(5);
  feed(undefined);
  expect(await slow).toMatchObject({ upload: id, sha256: sha256("abcde") });
});

test("what has expired is gone at once for callers, and from disk at the next sweep", async () => {
  const { uploads, later, left, another } = await open();
  const done = await send(uploads, CSV);
  const unused = await send(uploads, "id\n3\n");
  later(HOUR_MS / 2);
  await uploads.sweep();
  expect(await left()).toHaveLength(2);
  const scope = openScope();
  await uploads.take(scope, "ann", done.upload);
  later(HOUR_MS / 2 + 1_000);
  expect(await uploads.list("ann")).toEqual([]);
  for (const { upload } of [done, unused]) {
    expect(await refused(uploads.find("ann", upload))).toMatchObject({ kind: "not_found" });
  }
  // One that is used just now stays until it is not.
  await uploads.sweep();
  expect(await left()).toEqual([done.upload]);
  await scope.close();
  const { uploads: restarted } = await another({ sweepMs: 20 });
  await expect.poll(left).toEqual([]);
  expect(await restarted.list("ann")).toEqual([]);
});

test("the sweep comes by itself", async () => {
  const { uploads, later, left } = await open({ sweepMs: 20 });
  await send(uploads, CSV);
  expect(await left()).toHaveLength(1);
  later(2 * HOUR_MS);
  await expect.poll(left).toEqual([]);
});

test("what a process that is gone has held is free, and what it has left is swept", async () => {
  const { uploads, folder, left, later } = await open({ expiryMs: 100 * HOUR_MS });
  const { upload: id } = await send(uploads, CSV);
  const hold = (process: object) => writeFile(join(folder, id, "hold-1"), JSON.stringify(process));
  await hold({ host: hostname(), pid: process.pid, process: "an earlier one with this number" });
  const scope = openScope();
  await uploads.take(scope, "ann", id);
  expect(await refused(uploads.take(openScope(), "ann", id))).toMatchObject({ kind: "conflict" });
  await scope.close();
  await hold({ host: "another-machine", pid: 1, process: "x" });
  expect(await refused(uploads.take(openScope(), "ann", id))).toMatchObject({ kind: "conflict" });
  later(25 * HOUR_MS);
  await uploads.take(openScope(), "ann", id);

  // Half of a file, of a process that is gone.
  const { upload: halfId } = await send(uploads, CSV);
  const record = { format: 1, id: halfId, name: "half.csv", caller: "ann", total: 100, sha256: null };
  await writeFile(join(folder, halfId, "record.json"), JSON.stringify(record));
  await writeFile(
    join(folder, halfId, "hold-1"),
    JSON.stringify({ host: hostname(), pid: process.pid, process: "an earlier one" }),
  );
  expect(await refused(uploads.take(openScope(), "ann", halfId))).toMatchObject({ kind: "not_found" });

  const debris = "11111111-1111-4111-8111-111111111111";
  await mkdir(join(folder, debris));
  await writeFile(join(folder, debris, "data"), "left");
  await uploads.sweep();
  expect(await left()).toEqual([id]);
  await mkdir(join(folder, debris));
  // Begun a moment ago, by a process that has not got round to hold it.
  const now = new Date(Date.now() + 25 * HOUR_MS);
  await utimes(join(folder, debris), now, now);
  await uploads.sweep();
  expect(await left()).toContain(debris);
});

test("a record that is damaged is told, and does not hide the others", async () => {
  const { uploads, folder } = await open();
  const [bad, good] = [await send(uploads, CSV), await send(uploads, CSV)];
  await writeFile(join(folder, bad.upload, "record.json"), "{");
  expect(await refused(uploads.find("ann", bad.upload))).toMatchObject({ kind: "corrupt" });
  expect(await uploads.list("ann")).toEqual([good]);
});

test("closing ends what is being written, and leaves nothing of it", async () => {
  const { uploads, scope, left } = await open();
  const { send: feed, body } = openBody();
  const writing = refused(uploads.receive("ann", whole(CSV), body));
  feed(CSV.slice(0, 4));
  await expect.poll(async () => (await uploads.list("ann"))[0]?.bytes).toBe(4);
  const closed = scope.close();
  feed(CSV.slice(4));
  expect(await writing).toMatchObject({ kind: "closed" });
  await closed;
  expect(await refused(send(uploads, CSV))).toMatchObject({ kind: "closed" });
  expect(await left()).toEqual([]);
});

test("ingest uses an upload up when it has committed or found nothing to do, and keeps it when it fails", async () => {
  await using lake = await openIngesting();
  const { uploads } = lake;
  const options = { caller: "ann" };
  const bad = await send(uploads, "a,b\n1,2\n3\n");
  const source = { upload: bad.upload };
  const error = await lake.refused({ source }, options);
  expect(error.message).toContain("workers.csv");
  expect(`${error.message} ${error.hint}`).not.toMatch(/spool|data:/);
  expect(await lake.refused({ source }, { caller: "bob" })).toMatchObject({ kind: "not_found" });
  expect(await lake.refused({ source })).toMatchObject({ kind: "not_found" });
  expect(await lake.ingest({ source, onBadRows: "skip" }, options)).toMatchObject({ rows: 1, version: 1 });
  expect((await lake.catalog.load("t")).provenance.source).toBe("workers.csv");
  expect(await lake.refused({ source, onBadRows: "skip" }, options)).toMatchObject({ kind: "not_found" });

  const same = await send(uploads, "a,b\n1,2\n3\n");
  expect(await lake.ingest({ source: { upload: same.upload }, onBadRows: "skip" }, options)).toMatchObject({
    unchanged: true,
  });
  expect(await uploads.list("ann")).toEqual([]);
  expect((await lake.files()).filter((file) => file.includes("uploads"))).toEqual([]);
});

test("one upload into two datasets at once: one gets it", async () => {
  await using lake = await openIngesting();
  const { upload } = await send(lake.uploads, CSV);
  const outcomes = await Promise.allSettled(
    ["one", "two", "three"].map((name) => lake.ingest({ name, source: { upload } }, { caller: "ann" })),
  );
  expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  expect(lake.catalog.list()).toHaveLength(1);
});

test("an ingest that is cancelled leaves its upload", async () => {
  await using lake = await openIngesting();
  const text = `id\n${Array.from({ length: 100_000 }, (_, n) => n).join("\n")}\n`;
  const { upload } = await send(lake.uploads, text);
  const abort = new AbortController();
  await lake.refused({ source: { upload } }, { caller: "ann", signal: abort.signal, onProgress: () => abort.abort() });
  await expect
    .poll(() => lake.ingest({ source: { upload } }, { caller: "ann" }).catch(() => undefined))
    .toMatchObject({
      rows: 100_000,
    });
});

test("a disk that is full in the middle is told without its path", async () => {
  const full = Object.assign(new Error("ENOSPC: no space left on device, write '/secret'"), { code: "ENOSPC" });
  let written = 0;
  const handle = {
    write: async (_: Uint8Array, __: number, length: number) => {
      if (written >= 10) throw full;
      written += length;
      return { bytesWritten: length };
    },
  } as unknown as FileHandle;
  const options = { length: undefined, admit: () => {}, signal: new AbortController().signal };
  const error = await refused(writeBody(handle, bodyOf("12345", "67890", "12345", "67890"), options));
  expect(error).toMatchObject({ kind: "limit", cause: full });
  expect(`${error.message} ${error.hint}`).not.toContain("secret");
});
