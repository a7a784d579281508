import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { announceSweep, putDataFile, putDataFiles } from "../../../src/engine/catalog/data-files.ts";
import { openScope, type Scope } from "../../../src/engine/kernel/scope.ts";
import { openMemoryStore } from "../../../src/engine/store/memory.ts";
import type { Store } from "../../../src/engine/store/store.ts";
import { dataFile } from "../../support/drafts.ts";

let scope: Scope;
let store: Store;
let path: string;
let time = 1_000_000;
const clock = { now: () => new Date(time) };
const { key } = dataFile("t", "one");

beforeEach(async () => {
  time = 1_000_000;
  scope = openScope();
  store = openMemoryStore(scope, clock);
  path = join(store.localRoot, "one");
  await writeFile(path, "one");
});
afterEach(async () => {
  vi.restoreAllMocks();
  await scope.close();
});

const modified = async (): Promise<number | undefined> => {
  for await (const object of store.list(key)) return object.modified;
  return undefined;
};

test("a file that is there already counts as new again", async () => {
  await putDataFile(store, key, path);
  expect(await modified()).toBe(1_000_000);
  time += 5000;
  await putDataFile(store, key, path);
  expect(await modified()).toBe(1_005_000);
});

test("a writer waits for the end of a sweep that names its file, and stores it again", async () => {
  await putDataFile(store, key, path);
  const end = await announceSweep(store, "t", ["other", key]);
  let stored = false;
  const storing = putDataFile(store, key, path).then(() => {
    stored = true;
  });
  await vi.waitFor(async () => expect(await store.has(key)).toBe(true));
  await new Promise((resolve) => setTimeout(resolve, 200));
  expect(stored).toBe(false);
  await store.delete(key);
  await end();
  await storing;
  expect(await store.has(key)).toBe(true);
});

test("a sweep that looked before the file was stored again, and has ended before the writer looks, may have taken it", async () => {
  await putDataFile(store, key, path);
  const end = await announceSweep(store, "t", [key]);
  let took = 0;
  const racing: Store = {
    ...store,
    put: async (at, body, options) => {
      const done = await store.put(at, body, options);
      if (options?.ifAbsent !== true && took++ === 0) {
        await store.delete(key);
        await end();
      }
      return done;
    },
  };
  await putDataFile(racing, key, path);
  expect(took).toBe(1);
  expect(await store.has(key)).toBe(true);
});

test("a writer does not wait for sweeps of other files and of other datasets", async () => {
  await announceSweep(store, "t", [dataFile("t", "two").key]);
  await announceSweep(store, "t_2", [key]);
  await putDataFile(store, key, path);
  expect(await store.has(key)).toBe(true);
});

test("a sweep that ends while the writer looks at it may have taken the file: it is stored again", async () => {
  await announceSweep(store, "t", [key]);
  const racing: Store = {
    ...store,
    get: async (sweep) => {
      await store.delete(key);
      await store.delete(sweep);
      return undefined;
    },
  };
  await putDataFile(racing, key, path);
  expect(
    createHash("sha256")
      .update((await store.get(key)) ?? "")
      .digest("hex"),
  ).toBe(createHash("sha256").update("one").digest("hex"));
});

test("a sweep of a process that is gone is waited for half a minute, then removed", { tags: ["slow"] }, async () => {
  await announceSweep(store, "t", [key]);
  const start = performance.now();
  let calls = 0;
  vi.spyOn(performance, "now").mockImplementation(() => start + calls++ * 1000);
  await putDataFile(store, key, path);
  expect(calls).toBeGreaterThan(30);
  for await (const sweep of store.list("gc/")) throw new Error(`${sweep.key} is left`);
});

test("a writer that was stopped for long before its commit stores its files again", async () => {
  const still = await putDataFiles(store, clock, [{ key, path }]);
  await store.delete(key);
  await still();
  expect(await store.has(key)).toBe(false);
  time += 120_000;
  await still();
  expect(await store.has(key)).toBe(true);
});
