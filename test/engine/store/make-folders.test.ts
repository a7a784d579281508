import { mkdtemp, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { makeFolders } from "../../../src/engine/store/make-folders.ts";

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "folders-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test("makes what is missing, and tells the first of it", async () => {
  const deep = join(folder, "a", "b", "c");
  expect(await makeFolders(deep, 0o700)).toBe(join(folder, "a"));
  for (const made of ["a", "a/b", "a/b/c"]) expect((await stat(join(folder, made))).mode & 0o777).toBe(0o700);
  expect(await makeFolders(deep)).toBeUndefined();
  expect(await makeFolders(join(deep, "d"))).toBe(join(deep, "d"));
  expect(await makeFolders("/")).toBeUndefined();
});

test("several at once make it once", async () => {
  const deep = join(folder, "a", "b", "c", "d");
  await Promise.all(Array.from({ length: 20 }, () => makeFolders(deep)));
  expect((await stat(deep)).isDirectory()).toBe(true);
});

test("goes by way of symlinks, and fails where there is no folder to make it in", async () => {
  await makeFolders(join(folder, "real"));
  await symlink(join(folder, "real"), join(folder, "link"));
  await makeFolders(join(folder, "link", "inner"));
  expect((await stat(join(folder, "real", "inner"))).isDirectory()).toBe(true);
  await symlink(join(folder, "nowhere"), join(folder, "dangling"));
  await writeFile(join(folder, "file"), "");
  for (const way of ["dangling", "dangling/x", "file"]) {
    await expect(makeFolders(join(folder, way)), way).rejects.toMatchObject({ code: "EEXIST" });
  }
  await expect(makeFolders(join(folder, "file", "x"))).rejects.toMatchObject({ code: "ENOTDIR" });
});

test.runIf(process.platform === "linux")("says why where nothing can be made", async () => {
  await expect(makeFolders("/proc/none/of/it")).rejects.toMatchObject({ code: "ENOENT", path: "/proc/none" });
});
