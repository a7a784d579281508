import { LakeError } from "../kernel/errors.ts";
import type { Calls } from "./calls.ts";
import { compact } from "./compact.ts";
import type { VectorContext } from "./context.ts";
import type { IndexCache } from "./index-cache.ts";
import { isIndex } from "./segments.ts";

/** Looks after indexes that changed, when nobody changes them for a while. */
export interface Tending {
  /** Compacts the segments of an index, grows its graph anew where that is due, and saves it, once it is quiet. */
  later(name: string): void;
  /** Runs a build of the index, during which no snapshot is saved: only that of the last version is of use. */
  building<Result>(name: string, build: () => Promise<Result>): Promise<Result>;
  stop(): void;
}

/** When the graph has so many dead places, and at least so many, it is grown anew. */
const MAX_DEAD = 0.3;
const MIN_DEAD = 1_000;
/** So many times the quiet that is waited for, changes or not. */
const MAX_QUIETS = 10;

export function openTending(
  context: VectorContext,
  { indexes, calls, closing }: { indexes: IndexCache; calls: Calls; closing: AbortSignal },
): Tending {
  const { settings, catalog } = context;
  const waitingFor = new Map<string, { timer: NodeJS.Timeout; since: number }>();
  const beingTended = new Set<string>();
  const beingBuilt = new Set<string>();

  function later(name: string): void {
    const waiting = waitingFor.get(name);
    clearTimeout(waiting?.timer);
    if (closing.aborted) return;
    const { quietMs } = settings.vector;
    const now = performance.now();
    const since = waiting?.since ?? now;
    // An index that is never left alone is tended all the same.
    const wait = Math.min(quietMs, Math.max(0, since + MAX_QUIETS * quietMs - now));
    const timer = setTimeout(() => {
      waitingFor.delete(name);
      if (beingTended.has(name)) {
        later(name);
        return;
      }
      beingTended.add(name);
      const work = tend(name).finally(() => beingTended.delete(name));
      calls.track(work).catch((error: unknown) => {
        // It changed while it was saved: another time.
        if (error instanceof LakeError && error.kind === "conflict") later(name);
        else if (!closing.aborted)
          settings.log("warn", "a vector index could not be tended", { index: name, error: String(error) });
      });
    }, wait);
    timer.unref();
    waitingFor.set(name, { timer, since });
  }

  async function tend(name: string): Promise<void> {
    await compact(context, name, closing);
    if (!indexes.peek(name)) return;
    const manifest = await catalog.load(name).catch(() => undefined);
    if (!isIndex(manifest) || !indexes.hasRoom(manifest)) return;
    // What is saved is the newest version, or the next start has to go on from it.
    await indexes.use(manifest, closing, async () => undefined);
    const loaded = indexes.peek(name);
    if (!loaded) return;
    const { dead, count } = loaded.ann;
    if (dead > MIN_DEAD && dead > (count + dead) * MAX_DEAD) await indexes.reload(name);
    // Of a build the last version alone is worth saving.
    if (!beingBuilt.has(name)) await indexes.save(name);
  }

  return {
    later,
    building: async (name, build) => {
      beingBuilt.add(name);
      try {
        return await build();
      } finally {
        beingBuilt.delete(name);
        later(name);
      }
    },
    stop: () => {
      for (const { timer } of waitingFor.values()) clearTimeout(timer);
    },
  };
}
