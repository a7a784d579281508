import { readdir, stat, utimes } from "node:fs/promises";
import { join } from "node:path";

/** Makes everything in a lake's folder older, as if `ms` had gone by since it was written. */
export async function makeOlder(folder: string, ms: number): Promise<void> {
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const { mtimeMs } = await stat(path);
    await utimes(path, new Date(mtimeMs - ms), new Date(mtimeMs - ms));
  }
}
