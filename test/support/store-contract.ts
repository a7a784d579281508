import { mkdtemp, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openScope, type Scope } from "../../src/engine/kernel/scope.ts";
import type { Store } from "../../src/engine/store/store.ts";

/** What every store does. `open` is called anew for every test. */
export function storeContract(name: string, open: (scope: Scope, folder: string) => Promise<Store>): void {
  describe(`every store: ${name}`, () => {
    let scope: Scope;
    let folder: string;
    let store: Store;
    beforeEach(async () => {
      scope = openScope();
      folder = await realpath(await mkdtemp(join(tmpdir(), "lakehouse-store-")));
      scope.defer(() => rm(folder, { recursive: true, force: true }));
      store = await open(scope, folder);
    });
    afterEach(() => scope.close());

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
}

export async function listed(store: Store, prefix: string, startAfter?: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list(prefix, startAfter === undefined ? {} : { startAfter })) keys.push(key);
  return keys;
}

export function bytes(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}

export function text(value: Uint8Array | undefined): string | undefined {
  return value && Buffer.from(value).toString("utf8");
}
