import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { Clock } from "../settings.ts";
import type { Store } from "../store/store.ts";

/*
 * Writers and gc compete for data files, which are named by their content: a writer may find its file in the store
 * already, while gc finds that no manifest refers to it. Each announces its action before it checks:
 *
 *   writer: puts the file again, which makes it new · waits for sweeps that name it · checks that it exists · commits
 *   gc:     announces a sweep that names the file · checks that it is old and unused · deletes it · ends the sweep
 *
 * If gc checks after the put, the file is new. If it checked before, the writer either sees the sweep, waits for its end
 * and begins again; or the sweep has ended, and the writer's check finds the file deleted.
 */

/** A sweep of this age belongs to a process that has ended. */
const DEAD_SWEEP_MS = 30_000;
/** A sweep deletes for this long at most, and leaves the rest to another one. */
export const SWEEP_MS = 10_000;
const POLL_MS = 50;
/** Files stored longer ago than this are stored again before a commit: the process may have been suspended for days. */
const STORED_MS = 60_000;

/**
 * Stores finished files under the keys of their content, durably. Call the result right before the commit that refers to
 * them: it stores files again that were stored too long ago.
 */
export async function putDataFiles(
  store: Store,
  clock: Clock,
  files: readonly { key: string; path: string }[],
): Promise<() => Promise<void>> {
  let storedAt = 0;
  async function putAll(): Promise<void> {
    storedAt = clock.now().getTime();
    for (const { key, path } of files) await putDataFile(store, key, path);
  }
  await putAll();
  return async () => {
    if (Math.abs(clock.now().getTime() - storedAt) > STORED_MS) await putAll();
  };
}

/** The same for one file that is committed immediately. */
export async function putDataFile(store: Store, key: string, path: string): Promise<void> {
  do {
    // An existing one may be old and unused, and its name not durable yet: so it is stored again.
    if (!(await store.put(key, { path }, { ifAbsent: true }))) await store.put(key, { path });
  } while ((await waitedForSweep(store, key)) || !(await store.has(key)));
}

/** Announces that files of `name` will be deleted. Call the result only when no deletion is still under way. */
export async function announceSweep(store: Store, name: string, keys: readonly string[]): Promise<() => Promise<void>> {
  const sweep = `${sweepPrefix(name)}${randomUUID()}.json`;
  await store.put(sweep, Buffer.from(JSON.stringify({ keys })));
  return () => store.delete(sweep);
}

export const SWEEPS = "gc/sweep.";

function sweepPrefix(name: string): string {
  return `${SWEEPS}${name}.`;
}

async function waitedForSweep(store: Store, key: string): Promise<boolean> {
  const [, name = ""] = key.split("/");
  const seen = new Map<string, number>();
  for (let waited = false; ; waited = true) {
    const sweeps = await sweepsOf(store, name, key);
    if (sweeps.length === 0) return waited;
    for (const sweep of sweeps) {
      const since = seen.get(sweep) ?? performance.now();
      seen.set(sweep, since);
      if (performance.now() - since > DEAD_SWEEP_MS) await store.delete(sweep);
    }
    await sleep(POLL_MS);
  }
}

async function sweepsOf(store: Store, name: string, key: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { key: sweep } of store.list(sweepPrefix(name))) {
    const body = await store.get(sweep);
    // One that ended in between may have named it.
    if (!body || Buffer.from(body).includes(JSON.stringify(key))) found.push(sweep);
  }
  return found;
}
