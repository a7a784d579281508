import { mkdir, mkdtemp, readdir, readFile, realpath, rm, stat, symlink, utimes, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openScope, type Scope } from "../../src/engine/scope.ts";
import { openFileStore } from "../../src/engine/store/file.ts";
import { explained } from "../../src/engine/store/file-errors.ts";
import { openMemoryStore } from "../../src/engine/store/memory.ts";
import type { Store } from "../../src/engine/store/store.ts";

let scope: Scope;
let folder: string;

beforeEach(async () => {
  scope = openScope();
  folder = await realpath(await mkdtemp(join(tmpdir(), "lakehouse-store-")));
  scope.defer(() => rm(folder, { recursive: true, force: true }));
});
afterEach(() => scope.close());

const stores: [string, () => Promise<Store>][] = [
  ["memory", async () => openMemoryStore(scope)],
  ["file", () => openFileStore(scope, { folder: join(folder, "lake"), label: "./lake" })],
];

describe.each(stores)("every store: %s", (_, open) => {
  let store: Store;
  beforeEach(async () => {
    store = await open();
  });

  test("gives back what was put, whole and in part", async () => {
    expect(await store.put("data/a/b.bin", bytes("hello lake"))).toBe(true);
    expect(text(await store.get("data/a/b.bin"))).toBe("hello lake");
    expect(text(await store.getRange("data/a/b.bin", 6, 2))).toBe("la");
    expect(text(await store.getRange("data/a/b.bin", 6, 100))).toBe("lake");
    expect(text(await store.getRange("data/a/b.bin", 100, 5))).toBe("");
    expect(await store.has("data/a/b.bin")).toBe(true);
  });

  test("has nothing under a key that was never put, nor under a folder's name", async () => {
    await store.put("data/a/b.bin", bytes("x"));
    for (const key of ["data/a/c.bin", "data/a", "data/a/b.bin/c", "other"]) {
      expect(await store.get(key)).toBeUndefined();
      expect(await store.getRange(key, 0, 1)).toBeUndefined();
      expect(await store.has(key)).toBe(false);
      await store.delete(key);
    }
    expect(await store.has("data/a/b.bin")).toBe(true);
  });

  test("keeps empty objects and bytes of every value", async () => {
    const all = Uint8Array.from({ length: 256 }, (_, i) => i);
    await store.put("empty", new Uint8Array());
    await store.put("all", all);
    expect(await store.get("empty")).toHaveLength(0);
    expect(Buffer.from((await store.get("all")) ?? [])).toEqual(Buffer.from(all));
  });

  test("a put replaces; a put with ifAbsent does not, and says so", async () => {
    expect(await store.put("k", bytes("one"))).toBe(true);
    expect(await store.put("k", bytes("two"))).toBe(true);
    expect(await store.put("k", bytes("three"), { ifAbsent: true })).toBe(false);
    expect(text(await store.get("k"))).toBe("two");
  });

  test("of many that create a key at once, exactly one wins", async () => {
    const won = await Promise.all(
      Array.from({ length: 24 }, (_, i) => store.put("catalog/x/1", bytes(`writer ${i}`), { ifAbsent: true })),
    );
    const winners = won.flatMap((wins, i) => (wins ? [i] : []));
    expect(winners).toHaveLength(1);
    expect(text(await store.get("catalog/x/1"))).toBe(`writer ${winners[0]}`);
  });

  test("stores finished files too, create-only as well", async () => {
    const path = join(folder, "upload");
    await writeFile(path, "from a file");
    expect(await store.put("data/file", { path }, { ifAbsent: true })).toBe(true);
    expect(text(await store.get("data/file"))).toBe("from a file");
    await writeFile(join(folder, "second"), "other");
    expect(await store.put("data/file", { path: join(folder, "second") }, { ifAbsent: true })).toBe(false);
    expect(await store.put("data/file", { path: join(folder, "second") })).toBe(true);
    expect(text(await store.get("data/file"))).toBe("other");
  });

  test("does not share its bytes with the caller", async () => {
    const mine = bytes("abc");
    await store.put("k", mine);
    mine.fill(0);
    (await store.get("k"))?.fill(0);
    expect(text(await store.get("k"))).toBe("abc");
  });

  test("lists in key order, by prefix and from a key on", async () => {
    const keys = ["a/b/2", "a/b/10", "a-b", "a.b", "a/b.c", "a/b", "ab/1", "A/1", "a_/x", "b"].filter(
      (key) => key !== "a/b",
    );
    for (const key of keys) await store.put(key, bytes(key));
    const sorted = [...keys].sort((a, b) => (a < b ? -1 : 1));
    expect(await listed(store, "")).toEqual(sorted);
    for (const prefix of ["a", "a/", "a/b", "a/b/", "ab/", "zzz/", "a/b/2"]) {
      expect(await listed(store, prefix)).toEqual(sorted.filter((key) => key.startsWith(prefix)));
    }
    for (const startAfter of [...sorted, "a/b/", "a", "a/b/15", "zzz", ""]) {
      expect(await listed(store, "", startAfter)).toEqual(sorted.filter((key) => key > startAfter));
    }
    expect(await listed(store, "a/", "a/b/10")).toEqual(["a/b/2"]);
  });

  test("lists when an object was put, again when it is put again, not when that lost", async () => {
    const before = Date.now();
    await store.put("m/a", bytes("x"));
    const modified = async (): Promise<number> => {
      for await (const object of store.list("m/")) return object.modified;
      throw new Error("not listed");
    };
    const first = await modified();
    expect(first).toBeGreaterThan(before - 2000);
    expect(first).toBeLessThan(Date.now() + 2000);
    await new Promise((resolve) => setTimeout(resolve, 1100));
    await store.put("m/a", bytes("y"), { ifAbsent: true });
    expect(await modified()).toBe(first);
    await store.put("m/a", bytes("y"));
    expect(await modified()).toBeGreaterThan(first);
  });

  test("lists sizes, and survives deletes while listing", async () => {
    for (let i = 100; i < 200; i++) await store.put(`n/${i}/x`, new Uint8Array(i));
    let seen = 0;
    for await (const { key, size } of store.list("n/")) {
      expect(size).toBe(Number(key.slice(2, 5)));
      seen++;
      if (seen === 1) for (let i = 150; i < 200; i++) await store.delete(`n/${i}/x`);
    }
    expect(seen).toBeGreaterThanOrEqual(50);
    expect(await listed(store, "n/")).toHaveLength(50);
  });

  test("deletes, once and again, and lets the key be created anew", async () => {
    await store.put("d/k", bytes("x"));
    await store.delete("d/k");
    await store.delete("d/k");
    expect(await store.get("d/k")).toBeUndefined();
    expect(await listed(store, "")).toEqual([]);
    expect(await store.put("d/k", bytes("y"), { ifAbsent: true })).toBe(true);
  });

  test("gives DuckDB a local file inside of localRoot, current after a replace", async () => {
    await store.put("data/x/y.parquet", bytes("one"));
    const path = await store.localPath("data/x/y.parquet");
    expect(relative(store.localRoot, path)).not.toMatch(/^\.\.|^\//);
    expect(await readFile(path, "utf8")).toBe("one");
    await store.put("data/x/y.parquet", bytes("two"));
    expect(await readFile(await store.localPath("data/x/y.parquet"), "utf8")).toBe("two");
    const many = await Promise.all(Array.from({ length: 8 }, () => store.localPath("data/x/y.parquet")));
    expect(new Set(many).size).toBe(1);
    await store.delete("data/x/y.parquet");
    await expect(store.localPath("data/x/y.parquet")).rejects.toMatchObject({
      kind: "corrupt",
      message: expect.stringContaining("data/x/y.parquet"),
    });
  });

  const badKeys = [
    "",
    "/",
    "/etc/passwd",
    "..",
    "a/../b",
    "a//b",
    "a/",
    "./a",
    "a/.hidden",
    ".spool/x",
    "a\\b",
    "a b",
    "ä",
    "a\0b",
    "C:/x",
    "-a",
    "x".repeat(1025),
  ];
  test.each(badKeys)("refuses %j as a key", async (key) => {
    const invalid = expect.objectContaining({ name: "LakeError", kind: "invalid" });
    await expect(store.get(key)).rejects.toEqual(invalid);
    await expect(store.getRange(key, 0, 1)).rejects.toEqual(invalid);
    await expect(store.has(key)).rejects.toEqual(invalid);
    await expect(store.put(key, bytes("x"))).rejects.toEqual(invalid);
    await expect(store.delete(key)).rejects.toEqual(invalid);
    await expect(store.localPath(key)).rejects.toEqual(invalid);
    if (key !== "" && !/^[^/.]+\/$/.test(key)) await expect(listed(store, key)).rejects.toEqual(invalid);
  });

  test("answers `closed` after its scope, and closes twice", async () => {
    await store.put("k", bytes("x"));
    await scope.close();
    await store.close();
    const closed = expect.objectContaining({ name: "LakeError", kind: "closed" });
    await expect(store.get("k")).rejects.toEqual(closed);
    await expect(store.put("k", bytes("x"))).rejects.toEqual(closed);
    await expect(store.has("k")).rejects.toEqual(closed);
    await expect(store.localPath("k")).rejects.toEqual(closed);
    await expect(store.delete("k")).rejects.toEqual(closed);
    await expect(listed(store, "")).rejects.toEqual(closed);
  });
});

describe("the file store", () => {
  let lake: string;
  let store: Store;
  beforeEach(async () => {
    lake = join(folder, "lake");
    store = await openFileStore(scope, { folder: lake, label: "./lake" });
  });

  test("leaves nothing but objects, and an empty spool", async () => {
    await store.put("a/b", bytes("x"));
    await store.put("a/b", bytes("y"), { ifAbsent: true });
    await store.put("a/b", bytes("z"));
    expect((await readdir(lake)).sort()).toEqual([".spool", "a"]);
    expect(await readdir(join(lake, ".spool"))).toEqual([]);
    expect(await readdir(join(lake, "a"))).toEqual(["b"]);
  });

  test("two stores on one folder see each other at once", async () => {
    const other = await openFileStore(scope, { folder: lake, label: "other" });
    await store.put("a/b", bytes("x"), { ifAbsent: true });
    expect(text(await other.get("a/b"))).toBe("x");
    expect(await other.put("a/b", bytes("y"), { ifAbsent: true })).toBe(false);
    await other.delete("a/b");
    expect(await store.has("a/b")).toBe(false);
  });

  test("takes over a file without copying it", async () => {
    const path = join(lake, ".spool", "ingest.parquet");
    await writeFile(path, "big");
    const { ino } = await stat(path);
    await store.put("data/big", { path });
    expect((await stat(join(lake, "data/big"))).ino).toBe(ino);
  });

  test("a put that fails leaves neither the object nor a temporary file", async () => {
    await expect(store.put("a/b", { path: join(folder, "not there") })).rejects.toMatchObject({ kind: "unavailable" });
    expect(await readdir(join(lake, ".spool"))).toEqual([]);
    expect(await store.has("a/b")).toBe(false);
  });

  test("ignores what is not its own", async () => {
    await store.put("a/b", bytes("x"));
    for (const name of [".DS_Store", "a/.b.swp", "a/b~", "a/Thumbs copy.db", ".hidden/x"]) {
      await mkdir(dirname(join(lake, name)), { recursive: true });
      await writeFile(join(lake, name), "foreign");
    }
    expect(await listed(store, "")).toEqual(["a/b"]);
  });

  test("removes temporary files of processes that are gone, and of other hosts after a day, nothing else", async () => {
    const host = hostname().replace(/[^A-Za-z0-9]/g, "");
    const id = "00000000-0000-4000-8000-000000000000";
    const spool = join(lake, ".spool");
    const now = new Date("2026-03-01T12:00:00Z");
    const names = {
      gone: `put-${host}-4194999-${id}`,
      running: `put-${host}-${process.pid}-${id}`,
      otherFresh: `put-another-1-${id}`,
      otherOld: `put-another-2-${id}`,
      foreign: "notes.txt",
    };
    for (const name of Object.values(names)) {
      await writeFile(join(spool, name), "x");
      await utimes(join(spool, name), now, new Date(now.getTime() - (name === names.otherOld ? 25 : 23) * 3_600_000));
    }
    await openFileStore(scope, { folder: lake, label: "./lake", clock: { now: () => now } });
    expect(new Set(await readdir(spool))).toEqual(new Set([names.running, names.otherFresh, names.foreign]));
  });

  test("a symlink leads neither reads nor writes out of the lake", async () => {
    const outside = join(folder, "outside");
    await mkdir(outside);
    await writeFile(join(outside, "secret"), "s3cret");
    await store.put("data/x/real", bytes("x"));
    await symlink(outside, join(lake, "data/linked"));
    await symlink(join(outside, "secret"), join(lake, "data/x/secret"));
    const denied = expect.objectContaining({ name: "LakeError", kind: "denied" });

    for (const key of ["data/linked/secret", "data/x/secret"]) {
      await expect(store.get(key)).rejects.toEqual(denied);
      await expect(store.getRange(key, 0, 10)).rejects.toEqual(denied);
      await expect(store.localPath(key)).rejects.toEqual(denied);
    }
    await expect(store.put("data/linked/new", bytes("x"))).rejects.toEqual(denied);
    await expect(store.put("data/linked/deep/new", bytes("x"))).rejects.toEqual(denied);
    await expect(store.delete("data/linked/secret")).rejects.toEqual(denied);
    expect(await store.put("data/x/secret", bytes("mine"), { ifAbsent: true })).toBe(false);
    await store.put("data/x/secret", bytes("mine"));
    expect(await listed(store, "")).toEqual(["data/x/real", "data/x/secret"]);
    expect(await readdir(outside)).toEqual(["secret"]);
    expect(await readFile(join(outside, "secret"), "utf8")).toBe("s3cret");
  });

  test("refuses a spool that is a symlink", async () => {
    await mkdir(join(folder, "second"));
    await symlink(folder, join(folder, "second/.spool"));
    await expect(openFileStore(scope, { folder: join(folder, "second"), label: "second" })).rejects.toMatchObject({
      kind: "denied",
      message: "Could not open the folder second: its .spool is a symlink.",
    });
  });

  test("is created with the folders above it", async () => {
    const deep = join(folder, "not/there/yet");
    for (const way of [deep, `${relative(process.cwd(), deep)}er`, `${deep}/../../elsewhere/`]) {
      const other = await openFileStore(scope, { folder: way, label: "deep" });
      expect(other.localRoot).toBe(resolve(way));
      expect(await other.put("a/b", bytes("x"), { ifAbsent: true })).toBe(true);
    }
  });

  test("may itself be reached through a symlink", async () => {
    await symlink(lake, join(folder, "alias"));
    const other = await openFileStore(scope, { folder: join(folder, "alias"), label: "alias" });
    await other.put("a/b", bytes("x"));
    expect(text(await store.get("a/b"))).toBe("x");
    expect(await other.localPath("a/b")).toBe(join(lake, "a/b"));
  });

  test("says what to do when the folder is a file, and names it as the user did", async () => {
    await writeFile(join(folder, "taken"), "x");
    const failure = openFileStore(scope, { folder: join(folder, "taken"), label: "./taken" });
    await expect(failure).rejects.toMatchObject({
      kind: "denied",
      message: "Could not open the folder ./taken: there is a file where a folder should be.",
      hint: expect.stringContaining("--data"),
    });
  });

  test.each([
    ["ENOSPC", "limit", "the disk is full"],
    ["EDQUOT", "limit", "the disk is full"],
    ["EACCES", "denied", "the file system does not permit it"],
    ["EROFS", "denied", "the file system does not permit it"],
    ["EMFILE", "unavailable", "too many files are open"],
    ["EIO", "unavailable", "the file system answered EIO"],
  ])("says what to do about %s, and not where the lake is", async (code, kind, what) => {
    const failure = Object.assign(new Error(`${code}: failed, open '${lake}/a/b'`), { code, path: `${lake}/a/b` });
    await expect(explained("write", "a/b", () => Promise.reject(failure))).rejects.toMatchObject({
      name: "LakeError",
      kind,
      message: `Could not write a/b: ${what}.`,
      hint: expect.not.stringContaining(lake),
    });
  });
});

test("the memory store removes its local copies when it closes", async () => {
  const store = openMemoryStore(scope);
  await store.put("a/b", bytes("x"));
  await store.localPath("a/b");
  expect(await readdir(store.localRoot)).toEqual(["a"]);
  await scope.close();
  await expect(readdir(store.localRoot)).rejects.toMatchObject({ code: "ENOENT" });
});

async function listed(store: Store, prefix: string, startAfter?: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list(prefix, startAfter === undefined ? {} : { startAfter })) keys.push(key);
  return keys;
}

function bytes(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}

function text(value: Uint8Array | undefined): string | undefined {
  return value && Buffer.from(value).toString("utf8");
}
