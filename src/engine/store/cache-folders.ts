import { randomUUID } from "node:crypto";
import { mkdir, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { isGone, PROCESS } from "../kernel/spool-folders.ts";
import type { Clock } from "../settings.ts";
import { withFileErrors } from "./file-errors.ts";
import { openFolder } from "./make-folders.ts";
import { HOST } from "./spool.ts";

const DAY_MS = 86_400_000;
const FOLDER = /^process-([A-Za-z0-9]*)-(\d+)-([0-9a-f-]{36})$/;

/**
 * Creates the folders of a cache in `folder`: `files`, which all processes share, and `root`, which is this cache's own.
 * Removes the folders of processes that have ended.
 */
export async function prepareFolders(folder: string, clock: Clock): Promise<{ files: string; root: string }> {
  const top = await openFolder(folder, "of the cache", 0o700);
  return withFileErrors("open the folder", "of the cache", async () => {
    for (const name of await readdir(top)) {
      if (await isStale(top, name, clock)) await rm(join(top, name), { recursive: true, force: true });
    }
    const files = join(top, "files");
    // One process may open several lakes.
    const root = join(top, `process-${HOST}-${process.pid}-${PROCESS}`, randomUUID());
    await mkdir(files, { recursive: true });
    await mkdir(join(root, ".spool"), { recursive: true });
    await mkdir(join(root, "data"), { recursive: true });
    return { files, root };
  });
}

/** Whether another machine's process is alive cannot be known: its folder is kept for a day. */
async function isStale(top: string, name: string, clock: Clock): Promise<boolean> {
  const [, host, pid, owner] = FOLDER.exec(name) ?? [];
  if (host === undefined || owner === undefined) return false;
  if (host === HOST) return isGone({ pid: Number(pid), process: owner });
  const found = await stat(join(top, name)).catch(() => undefined);
  return found !== undefined && clock.now().getTime() - found.mtimeMs > DAY_MS;
}
