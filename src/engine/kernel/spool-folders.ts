import { randomUUID } from "node:crypto";
import { mkdir, readdir, rm, stat } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { hasCode } from "./errors.ts";
import type { Scope } from "./scope.ts";

/** Tells this process from an earlier one with its number, as in a container that starts again. */
export const PROCESS = randomUUID();
const FOLDER = /^ingest\.(.+)\.(\d+)\.([0-9a-f-]{36})\.[0-9a-f-]{36}$/;

/** Inside the lake, so that a finished file is moved and not copied. */
export function spoolOf(localRoot: string): string {
  return join(localRoot, ".spool");
}

/** A folder for work in progress, removed with the scope whatever happens. `id` is a UUID. */
export async function openSpoolFolder(scope: Scope, spool: string, id: string = randomUUID()): Promise<string> {
  const folder = join(spool, `ingest.${hostname()}.${process.pid}.${PROCESS}.${id}`);
  await mkdir(spool, { recursive: true });
  // Not `recursive`: on a read-only disk that fails with ENOENT, which says nothing.
  await mkdir(folder, { mode: 0o700 });
  // What stays is swept when this process is gone; it must not fail work that is committed.
  scope.defer(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }).catch(() => undefined));
  return folder;
}

/** Removes folders of processes on this machine that are gone, as far as the disk lets it. */
export async function removeStaleFolders(spool: string): Promise<void> {
  for (const entry of await readdir(spool).catch(() => [])) {
    if (isOfDead(entry)) await rm(join(spool, entry), { recursive: true, force: true }).catch(() => undefined);
  }
}

/** Whether a process of this machine has ended. */
export function isGone(owner: { pid: number; process: string }): boolean {
  return owner.pid === process.pid ? owner.process !== PROCESS : !isAlive(owner.pid);
}

export interface StaleFolder {
  bytes: number;
  remove(): Promise<void>;
}

/** Those, and what other machines, which cannot be asked, have not touched since `before` (ms). */
export async function staleFolders(spool: string, before: number): Promise<StaleFolder[]> {
  const found: StaleFolder[] = [];
  for (const entry of await readdir(spool).catch(() => [])) {
    const path = join(spool, entry);
    const [, host] = FOLDER.exec(entry) ?? [];
    const isForeign = host !== undefined && host !== hostname();
    if (!isOfDead(entry) && !(isForeign && (await touchedAt(path)) < before)) continue;
    found.push({ bytes: await folderBytes(path), remove: () => rm(path, { recursive: true, force: true }) });
  }
  return found;
}

function isOfDead(entry: string): boolean {
  const [, host, pid = "", owner] = FOLDER.exec(entry) ?? [];
  return host === hostname() && owner !== undefined && isGone({ pid: Number(pid), process: owner });
}

async function touchedAt(folder: string): Promise<number> {
  const inside = await readdir(folder, { recursive: true }).catch(() => []);
  let latest = 0;
  for (const entry of [".", ...inside]) {
    const stats = await stat(join(folder, entry)).catch(() => undefined);
    // What has just vanished was touched by somebody.
    latest = Math.max(latest, stats?.mtimeMs ?? Number.POSITIVE_INFINITY);
  }
  return latest;
}

/** Whether this machine runs such a process. */
export function isAlive(pid: number): boolean {
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
