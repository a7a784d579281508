import { mkdtemp, realpath, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, inject, test } from "vitest";
import type { LakeError } from "../../src/engine/kernel/errors.ts";
import { inWords } from "../../src/engine/kernel/next-step.ts";
import { openScope, type Scope } from "../../src/engine/kernel/scope.ts";
import { TOOL_WORDS } from "../../src/tools/words.ts";
import { openTestStore, s3Settings } from "../support/s3.ts";
import { bytes, listed, text } from "../support/store-contract.ts";

const ceph = inject("s3Endpoint");
let scope: Scope;
let folder: string;
beforeEach(async () => {
  scope = openScope();
  folder = await realpath(await mkdtemp(join(tmpdir(), "lakehouse-s3-open-")));
  scope.defer(() => rm(folder, { recursive: true, force: true }));
});
afterEach(() => scope.close());

test("opening leaves nothing in the bucket", async () => {
  const store = await openTestStore(scope, folder, await s3Settings(folder, ceph, { prefix: "" }));
  expect(await listed(store, "")).toEqual([]);
  expect(store.label).toMatch(/^s3:\/\/lake-[0-9a-f-]+$/);
});

test("two lakes in one bucket do not see each other", async () => {
  const settings = await s3Settings(folder, ceph, { prefix: "one" });
  const one = await openTestStore(scope, folder, settings);
  const two = await openTestStore(scope, folder, { ...settings, prefix: "one2" });
  await one.put("a", bytes("1"));
  await two.put("b", bytes("2"));
  expect(await listed(one, "")).toEqual(["a"]);
  expect(await listed(two, "")).toEqual(["b"]);
});

test("pages of a thousand keys are one list", async () => {
  const store = await openTestStore(scope, folder, await s3Settings(folder, ceph));
  const keys = Array.from({ length: 1_100 }, (_, i) => `n/${String(i).padStart(5, "0")}`);
  for (let i = 0; i < keys.length; i += 64) {
    await Promise.all(keys.slice(i, i + 64).map((key) => store.put(key, bytes("x"))));
  }
  expect(await listed(store, "n/")).toEqual(keys);
  expect(await listed(store, "n/", keys[49])).toEqual(keys.slice(50));
});

test.each([
  ["a bucket that is not there", { bucket: "lake-nowhere" }, "unavailable", /there is no such bucket/],
  ["a port where nobody listens", { endpoint: "http://127.0.0.1:9" }, "unavailable", /the connection was refused/],
  ["https where http is spoken", { endpoint: ceph.replace("http:", "https:") }, "unavailable", /TLS/],
  ["a host that has no address", { endpoint: "http://nowhere.invalid" }, "unavailable", /not known|broke/],
  ["a profile that the file does not have", { profile: "other" }, "denied", /no credentials were found/],
])("%s is told when the lake is opened", async (_, overrides, kind, message) => {
  const settings = await s3Settings(folder, ceph, { timeoutMs: 1_500 });
  const error = await openTestStore(scope, folder, { ...settings, ...overrides }).catch((reason: LakeError) => reason);
  expect(error).toMatchObject({ name: "LakeError", kind, message: expect.stringMatching(message) });
  expect(inWords((error as LakeError).hint ?? "", TOOL_WORDS)).toMatch(/./);
});

test.each([
  [{ accessKeyId: "NOBODY", secretAccessKey: "SK" }, /does not know these credentials/],
  [{ accessKeyId: "AK", secretAccessKey: "s3cret-wrong" }, /the secret key is wrong/],
])("wrong credentials are told, not shown", async (keys, message) => {
  const settings = await s3Settings(folder, ceph);
  const credentialsFile = join(folder, "wrong");
  await writeFile(
    credentialsFile,
    `[default]\naws_access_key_id=${keys.accessKeyId}\naws_secret_access_key=${keys.secretAccessKey}\n`,
  );
  const error = await openTestStore(scope, folder, { ...settings, credentialsFile }).catch((reason: Error) => reason);
  expect(error).toMatchObject({ kind: "denied", message: expect.stringMatching(message) });
  expect(JSON.stringify(error) + (error as Error).stack).not.toMatch(/NOBODY|s3cret-wrong/);
});

describe("a server that ignores If-None-Match", () => {
  const keys = { accessKeyId: "S3RVER", secretAccessKey: "S3RVER" };
  const rver = createRequire(import.meta.url)("s3rver");

  async function startRver(): Promise<string> {
    const server = new rver({ port: 0, address: "127.0.0.1", silent: true, directory: join(folder, "s3rver") });
    const { port } = await server.run();
    scope.defer(() => server.close());
    return `http://127.0.0.1:${port}`;
  }

  test("is refused, with what to do", async () => {
    const settings = await s3Settings(folder, await startRver(), {}, keys);
    await expect(openTestStore(scope, folder, settings)).rejects.toMatchObject({
      kind: "denied",
      message: expect.stringContaining("does not keep two writers apart"),
      hint: expect.arrayContaining([{ setting: "s3_single_writer" }]),
    });
  });

  test("is taken for one writer, within which a key is still created once", async () => {
    const settings = await s3Settings(folder, await startRver(), { singleWriter: true }, keys);
    const store = await openTestStore(scope, folder, settings);
    const won = await Promise.all(
      Array.from({ length: 8 }, (_, i) => store.put("catalog/x/1", bytes(`${i}`), { ifAbsent: true })),
    );
    expect(won).toEqual([true, false, false, false, false, false, false, false]);
    expect(text(await store.get("catalog/x/1"))).toBe("0");
  });
});
