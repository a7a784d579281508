import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { Clock } from "../settings.ts";
import type { Store } from "../store/store.ts";

/*
 * Writers and gc meet at data files, since those are named by their content: a writer may find its file there already,
 * and gc may find the same file referred to by nothing. Each says first what it does, and looks then:
 *
 *   writer: puts the file again, so that it counts as new · looks for sweeps that name it · looks whether it is there · commits
 *   gc:     announces a sweep that names the file · looks whether it is old and unused · deletes it · ends the sweep
 *
 * A sweep that looks after the put sees a file that is new. One that looked before is seen by the writer, which waits for
 * its end and begins again, or has ended before the writer looks, and then has deleted what it deletes.
 */

/** A sweep that has made no end for so long never will. */
const DEAD_SWEEP_MS = 30_000;
/** So long a sweep may delete; the rest of what it named is for another one. */
export const SWEEP_MS = 10_000;
const POLL_MS = 50;
/** Longer ago than this, a writer makes sure of its files again: it may have been stopped for days. */
const STORED_MS = 60_000;

/**
 * Stores finished files under the keys of their content, durably. Await the result right before a commit names them:
 * files that were stored long ago are stored again.
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

/** The same for one that is committed at once. */
export async function putDataFile(store: Store, key: string, path: string): Promise<void> {
  do {
    // When it is there already its name may not be on disk yet, and it may be old and unused: it is written anew.
    if (!(await store.put(key, { path }, { ifAbsent: true }))) await store.put(key, { path });
  } while ((await waitedForSweep(store, key)) || !(await store.has(key)));
}

/** Announces that files of `name` are to be deleted; the result ends it. Call it for what has certainly ended only. */
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
    // One that has just ended may have named it.
    if (!body || Buffer.from(body).includes(JSON.stringify(key))) found.push(sweep);
  }
  return found;
}
