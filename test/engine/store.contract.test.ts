import { mkdir, mkdtemp, readdir, readFile, realpath, rm, stat, symlink, utimes, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { LakeError } from "../../src/engine/kernel/errors.ts";
import { inWords } from "../../src/engine/kernel/next-step.ts";
import { openScope, type Scope } from "../../src/engine/kernel/scope.ts";
import { openFileStore } from "../../src/engine/store/file.ts";
import { withFileErrors } from "../../src/engine/store/file-errors.ts";
import { openMemoryStore } from "../../src/engine/store/memory.ts";
import type { Store } from "../../src/engine/store/store.ts";
import { TOOL_WORDS } from "../../src/tools/words.ts";
import { bytes, listed, storeContract, text } from "../support/store-contract.ts";

let scope: Scope;
let folder: string;

beforeEach(async () => {
  scope = openScope();
  folder = await realpath(await mkdtemp(join(tmpdir(), "lakehouse-store-")));
  scope.defer(() => rm(folder, { recursive: true, force: true }));
});
afterEach(() => scope.close());

storeContract("memory", async (scope) => openMemoryStore(scope));
storeContract("file", (scope, folder) => openFileStore(scope, { folder: join(folder, "lake"), label: "./lake" }));

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
      hint: expect.arrayContaining([{ setting: "data" }]),
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
    const error = await withFileErrors("write", "a/b", () => Promise.reject(failure)).catch(
      (thrown: LakeError) => thrown,
    );
    expect(error).toMatchObject({ name: "LakeError", kind, message: `Could not write a/b: ${what}.` });
    expect(inWords((error as LakeError).hint ?? "", TOOL_WORDS)).not.toContain(lake);
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
