import { mkdir, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { hasCode } from "../kernel/errors.ts";

/**
 * Makes a folder, and those above it that are missing. Returns the first that it made. Node's own way does not tell why a
 * read-only disk refuses, and never returns where a system refuses with ENOENT though all above is there, as in /proc.
 */
export async function makeFolders(folder: string, mode?: number): Promise<string | undefined> {
  const error = await make(folder, mode);
  if (error === undefined) return folder;
  if (await isFolder(folder)) return undefined;
  if (!hasCode(error, "ENOENT") || dirname(folder) === folder) throw error;
  const first = await makeFolders(dirname(folder), mode);
  const again = await make(folder, mode);
  if (again === undefined) return first ?? folder;
  // Somebody else may have made it meanwhile.
  if (await isFolder(folder)) return first;
  throw again;
}

/** What kept it from being made. */
async function make(folder: string, mode: number | undefined): Promise<unknown> {
  try {
    await mkdir(folder, mode);
    return undefined;
  } catch (error) {
    return error;
  }
}

async function isFolder(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isDirectory() === true;
}
