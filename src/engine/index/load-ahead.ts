import type { Calls } from "./calls.ts";
import type { VectorContext } from "./context.ts";
import type { IndexCache } from "./index-cache.ts";
import { isIndex } from "./segments.ts";
import type { IndexManifest } from "./types.ts";

/**
 * Takes a growing index into memory while it is built, when there is memory for it: whoever builds one searches it next, and would
 * wait until all of it is read.
 */
export function openLoadAhead(
  { catalog }: VectorContext,
  { indexes, calls, closing }: { indexes: IndexCache; calls: Calls; closing: AbortSignal },
): (manifest: IndexManifest) => void {
  let newest: IndexManifest | undefined;
  let isBusy = false;
  const load = async (): Promise<void> => {
    for (let next = newest; next && indexes.hasRoom(next); next = newest) {
      newest = undefined;
      const isIn = await indexes.use(next, closing, async () => true);
      const current = await catalog.load(next.name).catch(() => undefined);
      // It was dropped while it was read.
      if (!isIndex(current) || current.createdAt !== next.createdAt) return indexes.remove(next.name);
      if (!isIn) return;
    }
  };
  return (manifest) => {
    newest = manifest;
    if (isBusy) return;
    isBusy = true;
    calls
      .track(load())
      // The next search finds out why, and tells.
      .catch(() => undefined)
      .finally(() => {
        isBusy = false;
      });
  };
}
