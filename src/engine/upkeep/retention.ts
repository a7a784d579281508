import type { Retention } from "../settings.ts";
/** A manifest that is there: `modified` in ms, by the store's clock. */
export interface StoredVersion {
  version: number;
  modified: number;
}

export const DEFAULT_RETENTION: Retention = { versions: 10, ageMs: 7 * 86_400_000, graceMs: 86_400_000 };

/**
 * The versions, ascending as given, that retention lets go of: always the oldest, never the newest, so that versions stay
 * without gaps and a dropped or new dataset goes on counting. Pure.
 */
export function expiredVersions(
  versions: readonly StoredVersion[],
  { dropped, now }: { dropped: boolean; now: number },
  retention: Retention,
): StoredVersion[] {
  const kept = dropped ? 1 : Math.max(1, retention.versions);
  const age = Math.max(retention.ageMs, retention.graceMs);
  let expired = 0;
  for (; expired < versions.length - kept; expired++) {
    const supersededAt = versions[expired + 1]?.modified ?? now;
    // A clock that was set back makes things look young, and then they stay.
    if (now - supersededAt < age) break;
  }
  return versions.slice(0, expired);
}
