import { randomUUID } from "node:crypto";
import { mkdir, readdir, rm, stat } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { hasCode } from "../errors.ts";
import type { Scope } from "../scope.ts";

/** Tells this process from an earlier one with its number, as in a container that starts again. */
export const PROCESS = randomUUID();
const FOLDER = /^ingest\.(.+)\.(\d+)\.([0-9a-f-]{36})\.[0-9a-f-]{36}$/;

/** Inside the lake, so that a finished file is moved and not copied. */
export function spoolOf(localRoot: string): string {
  return join(localRoot, ".spool");
}

/** A folder for one ingest, removed with the scope whatever happens. */
export async function openSpoolFolder(scope: Scope, spool: string): Promise<string> {
  const folder = join(spool, `ingest.${hostname()}.${process.pid}.${PROCESS}.${randomUUID()}`);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  scope.defer(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }));
  return folder;
}

/** Removes folders of processes on this machine that are gone. */
export async function removeStaleFolders(spool: string): Promise<void> {
  for (const entry of await readdir(spool).catch(() => [])) {
    const [, host, pid = "", owner] = FOLDER.exec(entry) ?? [];
    if (host !== hostname() || owner === undefined) continue;
    if (isGone({ pid: Number(pid), process: owner })) await rm(join(spool, entry), { recursive: true, force: true });
  }
}

/** Whether a process of this machine has ended. */
export function isGone(owner: { pid: number; process: string }): boolean {
  return owner.pid === process.pid ? owner.process !== PROCESS : !isAlive(owner.pid);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return !hasCode(error, "ESRCH");
  }
}

/** Bytes in all files of a folder; files that vanish meanwhile count nothing. */
export async function folderBytes(folder: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true }).catch(() => [])) {
    if (!entry.isFile()) continue;
    bytes += (await stat(join(entry.parentPath, entry.name)).catch(() => undefined))?.size ?? 0;
  }
  return bytes;
}
