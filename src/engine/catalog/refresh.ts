import { mapAhead } from "../kernel/map-ahead.ts";
import type { Store } from "../store/store.ts";
import { type Heads, isLive, type Known, type Update } from "./heads.ts";
import { manifestKey } from "./identity.ts";
import type { Latest } from "./latest.ts";
import type { Versions } from "./versions.ts";

export const READS_AHEAD = 64;

interface Parts {
  store: Store;
  versions: Versions;
  heads: Heads;
  latest: Latest;
}

export interface Refresh {
  /** Resolves when `heads` has every commit that was made before the call. */
  run(): Promise<void>;
  running(): Promise<void> | undefined;
}

export function openRefresh(parts: Parts): Refresh {
  let running: Promise<void> | undefined;
  let next: Promise<void> | undefined;

  /** A refresh that is already running may have missed a commit: callers who come meanwhile share the one after it. */
  function run(): Promise<void> {
    if (!running) {
      running = readChanges(parts).finally(() => {
        running = undefined;
      });
      return running;
    }
    next ??= running
      .catch(() => undefined)
      .then(() => {
        next = undefined;
        return run();
      });
    return next;
  }

  return { run, running: () => running };
}

async function readChanges({ store, versions, heads, latest }: Parts): Promise<void> {
  const names = heads.names();
  const listed = await versions.newestOfAll();
  const removed = new Map<string, Known>();
  for (const name of names) {
    const known = heads.get(name);
    if (!known) continue;
    // The list may be older than a commit of this process; only the key itself tells.
    const isListed = (listed.get(name) ?? 0) >= known.version;
    if (!isListed && !(await store.has(manifestKey(name, known.version)))) removed.set(name, known);
  }
  const updates: Update[] = [...removed]
    .filter(([name]) => !listed.has(name))
    .map(([name, known]) => ({ name, known: undefined, insteadOf: known }));
  const changed = [...listed].filter(([name, version]) => {
    const known = heads.get(name);
    return !known || known.problem || known.version < version || removed.has(name);
  });
  const reads = mapAhead(changed, READS_AHEAD, async ([name, version]) => ({
    name,
    known: await latest.read(name, version),
    insteadOf: removed.get(name),
  }));
  for await (const update of reads) updates.push(update);
  // Drops first: a listener that applies one change at a time never has more datasets than there are.
  heads.apply(updates.sort((a, b) => Number(isLive(a.known)) - Number(isLive(b.known))));
}
