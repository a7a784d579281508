import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import { copyFile, link, lstat, mkdir, readdir, realpath, unlink, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { hasCode } from "../kernel/errors.ts";
import { isAlive } from "../kernel/spool-folders.ts";
import type { Clock } from "../settings.ts";
import { FileRefusal } from "./file-errors.ts";
import type { Body } from "./store.ts";
import { syncFile } from "./sync.ts";

export interface Spool {
  /** Writes `body` to a new file on the lake's own file system, durably, and returns its path. */
  write(body: Body): Promise<string>;
  remove(path: string): Promise<void>;
}

/** Keys cannot start with a dot, so files in here are never listed. */
const FOLDER = ".spool";
const DAY_MS = 86_400_000;
/** Of this machine, as in names of files. */
export const HOST = hostname().replace(/[^A-Za-z0-9]/g, "");
const NAME = /^put-([A-Za-z0-9]*)-(\d+)-[0-9a-f-]{36}$/;

/** Opens the folder for unfinished files in `root`, and removes those of processes that have ended. */
export async function openSpool(root: string, clock: Clock): Promise<Spool> {
  const folder = join(root, FOLDER);
  await mkdir(folder, { recursive: true });
  if ((await realpath(folder)) !== folder) {
    throw new FileRefusal("denied", `its ${FOLDER} is a symlink`, "Remove the symlink.");
  }
  for (const name of await readdir(folder)) {
    if (await isStale(folder, name, clock)) await unlink(join(folder, name)).catch(() => undefined);
  }

  return {
    write: async (body) => {
      const path = join(folder, `put-${HOST}-${process.pid}-${randomUUID()}`);
      try {
        if (body instanceof Uint8Array) await writeFile(path, body, { flag: "wx", flush: true });
        else await linkOrCopy(path, body.path);
      } catch (error) {
        await unlink(path).catch(() => undefined);
        throw error;
      }
      return path;
    },
    remove: (path) => unlink(path).catch(() => undefined),
  };
}

async function linkOrCopy(path: string, source: string): Promise<void> {
  try {
    await link(source, path);
  } catch (error) {
    if (!hasCode(error, "EXDEV", "EPERM", "EMLINK", "ENOTSUP", "EOPNOTSUPP")) throw error;
    await copyFile(source, path, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
  }
  await syncFile(path);
}

/**
 * Other machines and containers may share the folder, and whether their processes are alive cannot be known: their files
 * are kept for a day. One that is removed too early fails the put it belongs to, which loses nothing.
 */
async function isStale(folder: string, name: string, clock: Clock): Promise<boolean> {
  const [, host, pid] = NAME.exec(name) ?? [];
  if (host === undefined) return false;
  if (host === HOST && !isAlive(Number(pid))) return true;
  try {
    return clock.now().getTime() - (await lstat(join(folder, name))).mtimeMs > DAY_MS;
  } catch {
    return false;
  }
}
