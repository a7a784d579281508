import { stat, unlink, utimes } from "node:fs/promises";
import type { Scope } from "../kernel/scope.ts";
import type { Clock } from "../settings.ts";

/** A hard link of this process to a cached file. Times are of `performance.now()`. */
export interface CacheLink {
  path: string;
  sha256: string;
  bytes: number;
  /** Open scopes that read it. */
  pins: number;
  /** Until then it counts as pinned, for a reader without a scope. */
  pinnedUntil: number;
  usedAt: number;
  /** When its size was last compared. */
  checkedAt: number;
  /** When its time of last access was last written. */
  touchedAt: number;
  linkedAt: number;
  /** When its bytes were last read again and found to have their hash. */
  verifiedAt: number;
}

/** The hard links of this process, by key. */
export interface CacheLinks {
  /** Undefined also for one that is not there any more, or has another size. */
  checked(key: string): Promise<CacheLink | undefined>;
  /** Those of all keys, or undefined unless each has a link that was checked a moment ago. */
  checkedNow(keys: readonly string[]): CacheLink[] | undefined;
  get(key: string): CacheLink | undefined;
  add(key: string, path: string, sha256: string): Promise<CacheLink>;
  /** Keeps the link until `scope` is closed; without one, for a minute. */
  pin(link: CacheLink, scope: Scope | undefined): void;
  /** Removes those to one file, unless one is pinned; then the answer is false. */
  release(sha256: string): Promise<boolean>;
  /** Removes those that have not been used for a minute. */
  releaseIdle(): Promise<void>;
  remove(key: string): Promise<void>;
  /** The last use by hash of content. */
  lastUses(): Map<string, number>;
}

/** An unused link is removed after this long, so that other processes may remove the file. */
export const IDLE_MS = 60_000;
const TOUCH_MS = 60_000;
/** A file that somebody removed by hand is noticed within this time. */
const CHECK_MS = 5_000;

export function openCacheLinks(clock: Clock): CacheLinks {
  const links = new Map<string, CacheLink>();

  const isChecked = ({ checkedAt }: CacheLink): boolean => performance.now() - checkedAt <= CHECK_MS;

  /** Other processes see the time of last access. That of the last change stays: DuckDB's cache goes by it. */
  async function touch({ path }: CacheLink): Promise<void> {
    const { mtimeMs } = await stat(path);
    await utimes(path, clock.now().getTime() / 1000, Math.floor(mtimeMs / 1000));
  }

  async function remove(key: string): Promise<void> {
    const link = links.get(key);
    if (!link) return;
    links.delete(key);
    await unlink(link.path).catch(() => undefined);
  }

  return {
    remove,
    get: (key) => links.get(key),
    checked: async (key) => {
      const link = links.get(key);
      if (!link || isChecked(link)) return link;
      const found = await stat(link.path).catch(() => undefined);
      link.checkedAt = performance.now();
      if (found?.size === link.bytes) return link;
      await remove(key);
      return undefined;
    },
    checkedNow: (keys) => {
      const found: CacheLink[] = [];
      for (const key of keys) {
        const link = links.get(key);
        if (!link || !isChecked(link)) return undefined;
        found.push(link);
      }
      return found;
    },
    add: async (key, path, sha256) => {
      const { size } = await stat(path);
      const now = performance.now();
      const times = { usedAt: now, checkedAt: now, linkedAt: now, touchedAt: 0, verifiedAt: Number.NEGATIVE_INFINITY };
      const link = { path, sha256, bytes: size, pins: 0, pinnedUntil: 0, ...times };
      links.set(key, link);
      return link;
    },
    pin: (link, scope) => {
      const now = performance.now();
      link.usedAt = now;
      if (now - link.touchedAt > TOUCH_MS) {
        link.touchedAt = now;
        void touch(link).catch(() => undefined);
      }
      if (!scope) {
        link.pinnedUntil = now + IDLE_MS;
        return;
      }
      link.pins++;
      scope.defer(() => {
        link.pins--;
        link.usedAt = performance.now();
      });
    },
    release: async (sha256) => {
      const own = [...links].filter(([, link]) => link.sha256 === sha256);
      if (own.some(([, link]) => isPinned(link))) return false;
      for (const [key] of own) await remove(key);
      return true;
    },
    releaseIdle: async () => {
      const isIdle = (link: CacheLink): boolean => !isPinned(link) && performance.now() - link.usedAt >= IDLE_MS;
      // One may be pinned while others are removed.
      for (const [key, link] of [...links]) if (isIdle(link)) await remove(key);
    },
    lastUses: () => {
      const uses = new Map<string, number>();
      for (const { sha256, usedAt } of links.values()) uses.set(sha256, Math.max(usedAt, uses.get(sha256) ?? usedAt));
      return uses;
    },
  };
}

function isPinned({ pins, pinnedUntil }: CacheLink): boolean {
  return pins > 0 || performance.now() < pinnedUntil;
}
