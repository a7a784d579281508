import { randomUUID } from "node:crypto";
import { mkdir, readdir, realpath, rm, stat } from "node:fs/promises";
import { hostname } from "node:os";
import { join, resolve } from "node:path";
import { LakeError } from "../kernel/errors.ts";
import { isGone, PROCESS } from "../kernel/owner-process.ts";
import type { Clock } from "../settings.ts";
import { explained } from "./file-errors.ts";
import { makeFolders } from "./make-folders.ts";

const DAY_MS = 86_400_000;
const HOST = hostname().replace(/[^A-Za-z0-9]/g, "");
const FOLDER = /^process-([A-Za-z0-9]*)-(\d+)-([0-9a-f-]{36})$/;

/** The folders of a cache below `folder`: creates what is not there, and removes what processes have left that are gone. */
export async function prepareFolders(folder: string, clock: Clock): Promise<{ files: string; root: string }> {
  const top = await explained("open the folder", "of the cache", async () => {
    await makeFolders(resolve(folder), 0o700);
    return realpath(resolve(folder));
  });
  if (/[*?]/.test(top)) {
    throw new LakeError("invalid", "The data folder has a * or ? in its path, which DuckDB takes for a pattern.", {
      hint: "Point --data to a folder without them.",
    });
  }
  return explained("open the folder", "of the cache", async () => {
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

/** Of another machine's process nobody here knows whether it lives: its folder is given a day. */
async function isStale(top: string, name: string, clock: Clock): Promise<boolean> {
  const [, host, pid, owner = ""] = FOLDER.exec(name) ?? [];
  if (host === undefined) return false;
  if (host === HOST) return isGone({ pid: Number(pid), process: owner });
  const found = await stat(join(top, name)).catch(() => undefined);
  return found !== undefined && clock.now().getTime() - found.mtimeMs > DAY_MS;
}
