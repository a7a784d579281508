import { lstatSync } from "node:fs";
import { lstat, readdir, realpath } from "node:fs/promises";
import { join, resolve } from "node:path";
import { mapAhead } from "../kernel/map-ahead.ts";
import { unlessMissing, withFileErrors } from "./file-errors.ts";
import { byCodeUnit, isKeySegment } from "./key.ts";
import type { StoredObject } from "./store.ts";

const FILES_AHEAD = 32;
const FOLDERS_AHEAD = 16;
/** A synchronous `lstat` is faster than one by way of a thread, but blocks: only for small folders, which are many. */
const FEW_FILES = 8;

interface Range {
  root: string;
  prefix: string;
  startAfter: string;
}

/** The objects in a lake's folder, in key order. Foreign files and symlinks are left out. */
export async function* listFiles(range: Range): AsyncGenerator<StoredObject> {
  const { root, prefix } = range;
  // All keys with this prefix are in one folder; the folders above it may have thousands of others.
  const folder = prefix.slice(0, prefix.lastIndexOf("/") + 1);
  const isThere = await withFileErrors("list", prefix, () => isReal(join(root, folder)));
  if (isThere) yield* walk(range, await entriesOf(range, folder));
}

async function* walk(range: Range, entries: StoredObject[]): AsyncGenerator<StoredObject> {
  const opened = mapAhead(entries, FOLDERS_AHEAD, async (entry) => ({
    entry,
    inside: entry.key.endsWith("/") ? await entriesOf(range, entry.key) : undefined,
  }));
  for await (const { entry, inside } of opened) {
    if (inside) yield* walk(range, inside);
    else yield entry;
  }
}

/** The key of a folder ends with a slash, which also puts it where its contents belong in key order. */
function entriesOf(range: Range, folder: string): Promise<StoredObject[]> {
  return withFileErrors("list", range.prefix, async () => {
    const keys: string[] = [];
    for (const entry of (await unlessMissing(readdir(join(range.root, folder), { withFileTypes: true }))) ?? []) {
      const key = `${folder}${entry.name}${entry.isDirectory() ? "/" : ""}`;
      if (isKeySegment(entry.name) && (entry.isDirectory() || entry.isFile()) && mayContain(key, range)) keys.push(key);
    }
    keys.sort(byCodeUnit);
    const entries: StoredObject[] = [];
    const measured = mapAhead(keys, FILES_AHEAD, (key) => measure(range.root, key, keys.length <= FEW_FILES));
    for await (const entry of measured) if (entry) entries.push(entry);
    return entries;
  });
}

/** Whether the object is in the range, or, for a folder, whether an object in it may be. */
function mayContain(key: string, { prefix, startAfter }: Range): boolean {
  if (key.startsWith(prefix) && key > startAfter) return true;
  const isOnTheWay = key.startsWith(prefix) || prefix.startsWith(key);
  return key.endsWith("/") && isOnTheWay && (key > startAfter || startAfter.startsWith(key));
}

async function measure(root: string, key: string, areFew: boolean): Promise<StoredObject | undefined> {
  if (key.endsWith("/")) return { key, size: 0, modified: 0 };
  const path = join(root, key);
  const found = areFew ? lstatSync(path, { throwIfNoEntry: false }) : await unlessMissing(lstat(path));
  return found && { key, size: found.size, modified: found.mtimeMs };
}

/** Whether the folder exists, and no part of its path is a symlink. */
async function isReal(folder: string): Promise<boolean> {
  return (await unlessMissing(realpath(folder))) === resolve(folder);
}
