import { mkdir, realpath, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { hasCode } from "../kernel/errors.ts";
import { next, setting } from "../kernel/next-step.ts";
import { FileRefusal, withFileErrors } from "./file-errors.ts";
import { syncNames } from "./sync.ts";

/**
 * Creates `folder` durably where it is absent, and returns its real path. `label` names it in messages. Throws `denied`,
 * `limit`, `unavailable`; `invalid` for a path that DuckDB would read as a pattern.
 */
export function openFolder(folder: string, label: string, mode?: number): Promise<string> {
  return withFileErrors("open the folder", label, async () => {
    const path = resolve(folder);
    const firstCreated = await makeFolders(path, mode);
    // A lake that was just created must still be found after a power cut.
    if (firstCreated !== undefined) await syncNames(path, firstCreated);
    const real = await realpath(path);
    if (!/[*?]/.test(real)) return real;
    const hint = next`Point ${setting("data")} to a folder without them.`;
    throw new FileRefusal("invalid", "its path contains * or ?, which DuckDB reads as a pattern", hint);
  });
}

/**
 * Creates a folder and the missing ones above it, and returns the first that it created. `mkdir` with `recursive` hides
 * why a read-only disk refuses, and never returns where a system refuses with ENOENT though the parent exists, as in
 * /proc.
 */
export async function makeFolders(folder: string, mode?: number): Promise<string | undefined> {
  const error = await errorOfMaking(folder, mode);
  if (error === undefined) return folder;
  if (await isFolder(folder)) return undefined;
  if (!hasCode(error, "ENOENT") || dirname(folder) === folder) throw error;
  const first = await makeFolders(dirname(folder), mode);
  const again = await errorOfMaking(folder, mode);
  if (again === undefined) return first ?? folder;
  // Another process may have created it meanwhile.
  if (await isFolder(folder)) return first;
  throw again;
}

async function errorOfMaking(folder: string, mode: number | undefined): Promise<unknown> {
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
