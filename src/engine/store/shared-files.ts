import { readdir, stat, unlink, utimes } from "node:fs/promises";
import { join } from "node:path";
import { hasCode, LakeError } from "../kernel/errors.ts";
import { mapAhead } from "../kernel/map-ahead.ts";
import { next, setting } from "../kernel/next-step.ts";
import { openSequence } from "../kernel/sequence.ts";
import type { Clock } from "../settings.ts";
import type { CacheLinks } from "./cache-links.ts";
import { linkNew } from "./link.ts";

/** The files of a cache, which all processes share, each named by its SHA-256; and the disk space that they take. */
export interface SharedFiles {
  /** Links the file to `path`; false when it is not there. */
  linkTo(path: string, sha256: string): Promise<boolean>;
  /** Makes `path` visible to all processes, so it has to be complete, synced and verified. */
  publish(path: string, sha256: string): Promise<void>;
  /** Removes the file, if it still is the one with this inode. */
  remove(sha256: string, inode: number): Promise<void>;
  /**
   * Reserves space for a file until the result is called, and removes the least recently used files that no process has
   * linked, if that takes it. Throws `limit`.
   */
  reserve(key: string, bytes: number): Promise<() => void>;
  /** Space that the files take as of the last look, with what this process has added; undefined before it looked. */
  bytes(): number | undefined;
  /** Resolves when no removal is running. */
  settled(): Promise<void>;
}

const STATS_AHEAD = 32;

export function openSharedFiles(
  folder: string,
  links: CacheLinks,
  { maxBytes, clock }: { maxBytes: number; clock: Clock },
): SharedFiles {
  let total: number | undefined;
  let reserved = 0;
  /** One removal after the other: each sees what the one before has left. */
  const inOrder = openSequence();
  const pathOf = (sha256: string): string => join(folder, sha256);

  async function makeRoom(): Promise<void> {
    const files: Found[] = [];
    const names = await readdir(folder);
    for await (const found of mapAhead(names, STATS_AHEAD, (name) => look(folder, name))) if (found) files.push(found);
    total = files.reduce((sum, { bytes }) => sum + bytes, 0);
    if (total + reserved <= maxBytes) return;
    const uses = links.lastUses();
    const offset = clock.now().getTime() - performance.now();
    const lastUse = ({ name, accessedMs }: Found): number =>
      Math.max(accessedMs, (uses.get(name) ?? Number.NEGATIVE_INFINITY) + offset);
    for (const { name, bytes } of files.toSorted((a, b) => lastUse(a) - lastUse(b))) {
      if (total + reserved <= maxBytes) return;
      // Pins of this process are looked at in the last moment; links of others are counted by the file system.
      if (!(await links.release(name))) continue;
      const stats = await stat(pathOf(name)).catch(() => undefined);
      if (!stats || stats.nlink > 1) continue;
      await unlink(pathOf(name)).catch(() => undefined);
      total -= bytes;
    }
  }

  return {
    linkTo: (path, sha256) => linked(pathOf(sha256), path),
    publish: async (path, sha256) => {
      const now = Math.floor(clock.now().getTime() / 1000);
      await utimes(path, now, now);
      const isNew = await linked(path, pathOf(sha256));
      if (isNew && total !== undefined) total += (await stat(path)).size;
    },
    remove: async (sha256, inode) => {
      const found = await stat(pathOf(sha256)).catch(() => undefined);
      if (found?.ino !== inode) return;
      const isRemoved = await unlink(pathOf(sha256)).then(
        () => true,
        () => false,
      );
      if (isRemoved && total !== undefined) total -= found.size;
    },
    reserve: async (key, bytes) => {
      reserved += bytes;
      const release = (): void => {
        reserved -= bytes;
      };
      try {
        if (total === undefined || total + reserved > maxBytes) await inOrder(makeRoom);
        if ((total ?? 0) + reserved > maxBytes) throw noSpace(key, maxBytes);
      } catch (error) {
        release();
        throw error;
      }
      return release;
    },
    bytes: () => total,
    settled: () => inOrder(() => Promise.resolve()),
  };
}

/** False also when `from` is not there. */
async function linked(from: string, to: string): Promise<boolean> {
  try {
    return await linkNew(from, to, "the cache needs");
  } catch (error) {
    if (hasCode(error, "ENOENT")) return false;
    throw error;
  }
}

interface Found {
  name: string;
  bytes: number;
  accessedMs: number;
}

async function look(folder: string, name: string): Promise<Found | undefined> {
  const stats = await stat(join(folder, name)).catch(() => undefined);
  return stats?.isFile() ? { name, bytes: stats.size, accessedMs: stats.atimeMs } : undefined;
}

export function noSpace(key: string, maxBytes: number): LakeError {
  const name = key.split("/")[1] ?? key;
  const message = `The files of ${name} do not fit into the cache of ${maxBytes} bytes beside those in use.`;
  return new LakeError("limit", message, {
    hint: next`Name fewer datasets in one statement, try again when less is running, or raise ${setting("cache_bytes")}.`,
    facts: { limit: maxBytes, setting: "cache_bytes" },
  });
}
