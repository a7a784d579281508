import { LakeError } from "../../src/engine/kernel/errors.ts";
import type { Store } from "../../src/engine/store/store.ts";

/** What happens to an operation: `error` fails and goes on, the other two take the store away for good. */
export type Fault = "error" | "stop-before" | "stop-after" | "error-after";

export interface FaultyStore extends Store {
  /** Operations asked for so far. */
  operations(): number;
}

/**
 * `store`, with faults at the given operations (from 1). `…-before` and `error` do nothing and fail; `…-after` do the
 * work, and fail all the same, like a connection that is lost while the answer travels. After a `stop-…` every further
 * operation fails too, like those of a process that is being killed.
 */
export function faultyStore(store: Store, faults: ReadonlyMap<number, Fault>): FaultyStore {
  let count = 0;
  let stopped = false;

  const failure = (): LakeError => new LakeError("unavailable", "The store does not answer.");

  async function at<T>(work: () => Promise<T>): Promise<T> {
    count++;
    if (stopped) throw failure();
    const fault = faults.get(count);
    if (fault === undefined) return work();
    stopped = fault.startsWith("stop");
    if (fault.endsWith("after")) await work();
    throw failure();
  }

  return {
    label: store.label,
    localRoot: store.localRoot,
    operations: () => count,
    get: (key) => at(() => store.get(key)),
    getRange: (key, offset, length) => at(() => store.getRange(key, offset, length)),
    put: (key, body, options) => at(() => store.put(key, body, options)),
    has: (key) => at(() => store.has(key)),
    delete: (key) => at(() => store.delete(key)),
    localPath: (key, scope) => at(() => store.localPath(key, scope)),
    ...(store.remote && { remote: store.remote }),
    async *list(prefix, options) {
      await at(async () => undefined);
      yield* store.list(prefix, options);
    },
    close: () => store.close(),
  };
}
