import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import { copyFile, link, lstat, mkdir, open, readdir, realpath, unlink } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { hasCode, LakeError } from "../kernel/errors.ts";
import { isRunning } from "../kernel/owner-process.ts";
import type { Clock } from "../settings.ts";
import type { Body } from "./store.ts";

export interface Spool {
  /** A new, finished and synced file with the bytes of `body`, on the lake's own file system. */
  write(body: Body): Promise<string>;
  remove(path: string): Promise<void>;
}

/** Keys cannot start with a dot, so nothing in here is ever listed. */
const FOLDER = ".spool";
const DAY_MS = 86_400_000;
const HOST = hostname().replace(/[^A-Za-z0-9]/g, "");
const NAME = /^put-([A-Za-z0-9]*)-(\d+)-[0-9a-f-]{36}$/;

/** Opens the folder for unfinished files in `root`, and removes those of processes that are gone. */
export async function openSpool(root: string, clock: Clock): Promise<Spool> {
  const folder = join(root, FOLDER);
  await mkdir(folder, { recursive: true });
  if ((await realpath(folder)) !== folder) {
    throw new LakeError("denied", `its ${FOLDER} is a symlink`, { hint: "Remove the symlink." });
  }
  for (const name of await readdir(folder)) {
    if (await isStale(folder, name, clock)) await unlink(join(folder, name)).catch(() => undefined);
  }

  return {
    write: async (body) => {
      const path = join(folder, `put-${HOST}-${process.pid}-${randomUUID()}`);
      try {
        if (body instanceof Uint8Array) await writeBytes(path, body);
        else await adopt(path, body.path);
      } catch (error) {
        await unlink(path).catch(() => undefined);
        throw error;
      }
      return path;
    },
    remove: (path) => unlink(path).catch(() => undefined),
  };
}

async function writeBytes(path: string, bytes: Uint8Array): Promise<void> {
  const handle = await open(path, "wx");
  try {
    await handle.writeFile(bytes);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Without copying where the file system allows it. */
async function adopt(path: string, source: string): Promise<void> {
  try {
    await link(source, path);
  } catch (error) {
    if (!hasCode(error, "EXDEV", "EPERM", "EMLINK", "ENOTSUP", "EOPNOTSUPP")) throw error;
    await copyFile(source, path, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
  }
  // Syncing needs write access on Windows, and only there.
  const handle = await open(path, process.platform === "win32" ? "r+" : "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Other machines and containers may share the folder, so only a process of this host is asked whether it lives; a file of
 * another is given a day. One removed too early fails the put it belongs to, which loses nothing.
 */
async function isStale(folder: string, name: string, clock: Clock): Promise<boolean> {
  const [, host, pid] = NAME.exec(name) ?? [];
  if (host === undefined) return false;
  if (host === HOST && !isRunning(Number(pid))) return true;
  try {
    return clock.now().getTime() - (await lstat(join(folder, name))).mtimeMs > DAY_MS;
  } catch {
    return false;
  }
}
