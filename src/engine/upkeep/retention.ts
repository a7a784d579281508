/** A manifest that is there: `modified` in ms, by the store's clock. */
export interface StoredVersion {
  version: number;
  modified: number;
}

/** What is kept. */
export interface Retention {
  /** Newest versions of every dataset that is not dropped, however old they are. */
  versions: number;
  /** Versions that were the newest so many ms ago, however many they are; of dropped datasets too. */
  ageMs: number;
  /** Nothing is deleted before it has been of no use for so long; longer than any ingest and any statement takes. */
  graceMs: number;
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
