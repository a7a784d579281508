import type { VectorContext } from "./context.ts";
import type { IndexCache } from "./index-cache.ts";
import { loadIndex } from "./segments.ts";
import { listSnapshots, snapshotTime } from "./snapshots.ts";
import type { IndexStatus } from "./types.ts";
import { summaryOf } from "./write.ts";

/** Size, files, memory and snapshot of an index. Throws `not_found`, `invalid` for a table. */
export async function statusOf(context: VectorContext, indexes: IndexCache, name: string): Promise<IndexStatus> {
  const manifest = await loadIndex(context, name);
  const { index, files } = manifest;
  const loaded = indexes.peek(name);
  const [saved] = await listSnapshots(context, name);
  const at = saved ? await snapshotTime(context, saved) : null;
  // Where a worker has died, the next search reads the index anew.
  const stats = await loaded?.shards.stats().catch(() => undefined);
  return {
    ...summaryOf(manifest),
    index_details: index,
    updated_at: manifest.updatedAt,
    segments: files.length,
    changes: files.length - index.baseFiles,
    bytes: manifest.bytes,
    ...(loaded &&
      stats && {
        memory: {
          bytes: stats.bytes + loaded.items.bytes,
          graph: stats.graph,
          pending: stats.pending,
          deleted: loaded.items.slots - loaded.items.count,
          method: context.settings.vector.hnsw ? ("hnsw" as const) : ("exact" as const),
        },
      }),
    snapshot: saved
      ? {
          version: saved.version,
          age_ms: at === null ? null : Math.max(0, context.settings.clock.now().getTime() - at),
          bytes: saved.bytes,
        }
      : null,
  };
}
