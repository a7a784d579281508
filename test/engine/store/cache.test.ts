import { createHash, randomUUID } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, realpath, rm, stat, utimes, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openScope, type Scope } from "../../../src/engine/kernel/scope.ts";
import { systemClock } from "../../../src/engine/settings.ts";
import { type Addressed, type FileCache, openFileCache } from "../../../src/engine/store/cache.ts";

const KB = 1024;
let scope: Scope;
let folder: string;
let fetched: string[];

beforeEach(async () => {
  scope = openScope();
  folder = await realpath(await mkdtemp(join(tmpdir(), "lakehouse-cache-")));
  scope.defer(() => rm(folder, { recursive: true, force: true }));
  fetched = [];
});
afterEach(() => scope.close());

/** As another process opens it: with a folder of its own over the same files. */
function open(maxBytes = 100 * KB, of = scope): Promise<FileCache> {
  return openFileCache(of, { folder: join(folder, ".cache"), maxBytes, sha256: hashFile, clock: systemClock });
}

async function hashFile(path: string): Promise<string> {
  return createHash("sha256")
    .update(await readFile(path))
    .digest("hex");
}

function content(name: string): Buffer {
  return Buffer.alloc(10 * KB, name);
}

function file(name: string): Addressed {
  const sha256 = createHash("sha256").update(content(name)).digest("hex");
  return { key: `data/${name}/${sha256}.parquet`, sha256 };
}

function get(cache: FileCache, name: string, holder?: Scope): Promise<string> {
  return cache.open(
    file(name),
    async (path, reserve) => {
      fetched.push(name);
      await reserve(10 * KB);
      await sleep(5);
      await writeFile(path, content(name));
    },
    holder,
  );
}

async function use(cache: FileCache, name: string): Promise<void> {
  const holder = openScope();
  expect((await readFile(await get(cache, name, holder))).equals(content(name))).toBe(true);
  await holder.close();
}

const shared = async (): Promise<string[]> => readdir(join(folder, ".cache", "files"));

test("a file is fetched once, however many ask, and by whichever process", async () => {
  const one = await open();
  const two = await open();
  await Promise.all(Array.from({ length: 20 }, () => use(one, "a")));
  await use(two, "a");
  expect(fetched).toEqual(["a"]);
  expect(await shared()).toHaveLength(1);
});

test("what was used last stays, within the number of bytes", async () => {
  const cache = await open(35 * KB);
  for (const name of ["a", "b", "c"]) {
    await use(cache, name);
    await sleep(5);
  }
  await use(cache, "a");
  await use(cache, "d");
  expect(await shared()).toHaveLength(3);
  fetched = [];
  await use(cache, "a");
  await use(cache, "d");
  expect(fetched).toEqual([]);
  await use(cache, "b");
  expect(fetched).toEqual(["b"]);
});

test("what a statement of this process holds is never taken away", async () => {
  const cache = await open(25 * KB);
  const statement = openScope();
  const paths = [await get(cache, "a", statement), await get(cache, "b", statement)];
  await expect(get(cache, "c", statement)).rejects.toMatchObject({
    kind: "limit",
    message: expect.stringContaining("do not fit into the cache"),
    hint: expect.arrayContaining([{ setting: "cache_bytes" }]),
  });
  for (const path of paths) expect((await stat(path)).size).toBe(10 * KB);
  await statement.close();
  await use(cache, "c");
  expect((await shared()).length).toBeLessThanOrEqual(2);
});

test("what a statement of another process holds stays readable, and is not counted as free", async () => {
  const one = await open(25 * KB);
  const two = await open(25 * KB);
  const statement = openScope();
  const path = await get(one, "a", statement);
  for (const name of ["b", "c", "d", "e"]) await use(two, name);
  expect((await readFile(path)).equals(content("a"))).toBe(true);
  expect(await shared()).toContain(file("a").sha256);
  // Even when its name is taken away by hand, the bytes stay for who holds them.
  await rm(join(folder, ".cache", "files"), { recursive: true });
  expect((await readFile(path)).equals(content("a"))).toBe(true);
  await statement.close();
});

test("without a scope a file is kept for a while", async () => {
  const cache = await open(15 * KB);
  const path = await get(cache, "a");
  await expect(get(cache, "b")).rejects.toMatchObject({ kind: "limit" });
  expect((await readFile(path)).equals(content("a"))).toBe(true);
});

test("many statements over more files than fit all read what they asked for", async () => {
  const caches = [await open(55 * KB), await open(55 * KB)];
  const names = ["a", "b", "c", "d", "e", "f", "g", "h"];
  let refused = 0;
  await Promise.all(
    Array.from({ length: 120 }, async (_, i) => {
      const cache = caches[i % 2] as FileCache;
      const name = names[(i * 7) % names.length] as string;
      await sleep(i % 40);
      await use(cache, name).catch((error: unknown) => {
        expect(error).toMatchObject({ kind: "limit" });
        refused++;
      });
    }),
  );
  expect(refused).toBeLessThan(60);
  let bytes = 0;
  for (const name of await shared()) bytes += (await stat(join(folder, ".cache", "files", name))).size;
  expect(bytes).toBeLessThanOrEqual(110 * KB);
});

test("bytes that are not what their name says are refused and not kept, and the next try may succeed", async () => {
  const cache = await open();
  await expect(
    cache.open(file("a"), async (path, reserve) => {
      await reserve(10 * KB);
      await writeFile(path, content("b"));
    }),
  ).rejects.toMatchObject({ kind: "corrupt" });
  expect(await shared()).toEqual([]);
  expect(await readdir(join(cache.root, ".spool"))).toEqual([]);
  await use(cache, "a");
});

test("a disk that is full breaks nothing", async () => {
  const cache = await open();
  await expect(
    cache.open(file("a"), async (path) => {
      await writeFile(path, "torn");
      throw Object.assign(new Error("ENOSPC: no space left, write"), { code: "ENOSPC" });
    }),
  ).rejects.toMatchObject({ kind: "limit", message: expect.stringContaining("the disk is full") });
  expect(await shared()).toEqual([]);
  expect(await readdir(join(cache.root, ".spool"))).toEqual([]);
  await use(cache, "a");
});

test("a file that somebody removed is fetched again, within seconds", { tags: ["slow"] }, async () => {
  const cache = await open();
  await use(cache, "a");
  await rm(join(cache.root, ...file("a").key.split("/")));
  await rm(join(folder, ".cache", "files"), { recursive: true });
  await mkdir(join(folder, ".cache", "files"));
  await sleep(5_100);
  await use(cache, "a");
  expect(fetched).toEqual(["a", "a"]);
});

test("pin takes all or nothing, at once", async () => {
  const cache = await open(25 * KB);
  await use(cache, "a");
  const statement = openScope();
  expect(cache.pin([file("a").key, file("b").key], statement)).toBe(false);
  expect(cache.pin([file("a").key], statement)).toBe(true);
  await use(cache, "b");
  await use(cache, "c");
  fetched = [];
  await use(cache, "a");
  expect(fetched).toEqual([]);
  await statement.close();
});

test("what this process has written itself is taken over without a copy", async () => {
  const cache = await open();
  const path = join(folder, "written");
  await writeFile(path, content("a"));
  await cache.adopt(file("a"), path);
  await use(cache, "a");
  expect(fetched).toEqual([]);
  expect((await stat(path)).nlink).toBeGreaterThan(1);
});

test("what a process that is gone has left is swept, and its torn files are never used", async () => {
  const cache = join(folder, ".cache");
  const host = hostname().replace(/[^A-Za-z0-9]/g, "");
  const names = {
    gone: `process-${host}-4194999-${randomUUID()}`,
    earlier: `process-${host}-${process.pid}-${randomUUID()}`,
    running: `process-${host}-${process.ppid}-${randomUUID()}`,
    otherFresh: `process-another-1-${randomUUID()}`,
    otherOld: `process-another-2-${randomUUID()}`,
  };
  for (const name of Object.values(names)) {
    await mkdir(join(cache, name, "x/.spool"), { recursive: true });
    await writeFile(join(cache, name, "x/.spool/fetch-1"), "torn");
  }
  const old = new Date(Date.now() - 25 * 3_600_000);
  await utimes(join(cache, names.otherOld), old, old);
  await open();
  const left = await readdir(cache);
  expect(left).toEqual(expect.arrayContaining([names.running, names.otherFresh]));
  for (const name of [names.gone, names.earlier, names.otherOld]) expect(left).not.toContain(name);
});

test("closing removes the process's own folder, and leaves the files for the next", async () => {
  const own = openScope();
  const cache = await open(100 * KB, own);
  await use(cache, "a");
  await own.close();
  await expect(stat(cache.root)).rejects.toMatchObject({ code: "ENOENT" });
  await use(await open(), "a");
  expect(fetched).toEqual(["a"]);
});

test("a copy that changed after it was verified is taken out for all, and others are left", async () => {
  const one = await open();
  const two = await open();
  const holder = openScope();
  const path = await get(one, "a", holder);
  await use(one, "b");
  await use(two, "a");
  expect(one.stats()).toMatchObject({ hits: 0, misses: 2, maxBytes: 100 * KB });
  expect(two.stats()).toMatchObject({ hits: 1, misses: 0 });
  const since = performance.now();
  const held = (...names: string[]) => new Map(names.map((name) => [file(name).key, since]));
  const now = (name: string) => new Map([[file(name).key, performance.now()]]);
  expect(await one.recheck(held("b"))).toEqual([]);

  const bytes = await readFile(path);
  bytes.writeUInt8(bytes.readUInt8(5) ^ 1, 5);
  await writeFile(path, bytes);
  // Two statements that failed on it at the same time.
  const both = await Promise.all([1, 2].map(() => one.recheck(held("a", "b"))));
  expect(both).toEqual([[file("a").key], [file("a").key]]);
  await use(one, "a");
  expect(fetched).toEqual(["a", "b", "a"]);
  // A third that began before: what it failed on has gone, and what is there stays.
  expect(await one.recheck(held("a"))).toEqual([file("a").key]);
  expect(await one.recheck(now("a"))).toEqual([]);
  // The other process has the same damaged file, and what came in its place is not taken from the first.
  expect(await two.recheck(now("a"))).toEqual([file("a").key]);
  await use(two, "a");
  await use(one, "a");
  expect(fetched).toEqual(["a", "b", "a"]);
  await holder.close();
});

test("a copy that cannot be read, because the process is ending, is not taken for damaged", async () => {
  const one = await open();
  await use(one, "a");
  const ending = openScope();
  const failing = await openFileCache(ending, {
    folder: join(folder, ".cache"),
    maxBytes: 100 * KB,
    sha256: () => Promise.reject(new Error("stopped")),
    clock: systemClock,
  });
  await use(failing, "a");
  expect(await failing.recheck(new Map([[file("a").key, performance.now()]]))).toEqual([]);
  expect(fetched).toEqual(["a"]);
  await ending.close();
});

test("bytes stay counted when damaged copies are taken out, so that the limit goes on to hold", async () => {
  const cache = await open(35 * KB);
  for (const name of ["a", "b", "c"]) await use(cache, name);
  expect(cache.stats().bytes).toBe(30 * KB);
  const path = await get(cache, "b");
  await writeFile(path, Buffer.alloc(10 * KB, "x"));
  expect(await cache.recheck(new Map([[file("b").key, performance.now()]]))).toEqual([file("b").key]);
  expect(cache.stats().bytes).toBe(20 * KB);
  for (const name of ["d", "e", "f"]) await use(cache, name);
  expect(cache.stats().bytes).toBeLessThanOrEqual(35 * KB);
});
