import type { VectorContext } from "./context.ts";
import type { IndexCache } from "./index-cache.ts";
import { loadManifest } from "./segments.ts";
import { listSnapshots, snapshotTime } from "./snapshots.ts";
import type { IndexStatus } from "./types.ts";
import { summaryOf } from "./write.ts";

/** Size, files, memory and snapshot of an index. Throws `not_found`, `invalid` for a table. */
export async function statusOf(context: VectorContext, indexes: IndexCache, name: string): Promise<IndexStatus> {
  const manifest = await loadManifest(context, name);
  const { index, files } = manifest;
  const loaded = indexes.peek(name);
  const [saved] = await listSnapshots(context, name);
  const savedAt = saved && (await snapshotTime(context, saved));
  // After the death of a worker thread the next search loads the index again.
  const stats = await loaded?.ann.stats().catch(() => undefined);
  return {
    ...summaryOf(manifest),
    index_details: index,
    updated_at: manifest.updatedAt,
    segments: files.length,
    changes: files.length - index.baseFiles,
    bytes: manifest.bytes,
    ...(stats && {
      memory: {
        bytes: stats.bytes,
        graph: stats.graph,
        pending: stats.pending,
        deleted: stats.dead,
        method: context.settings.vector.hnsw ? ("hnsw" as const) : ("exact" as const),
      },
    }),
    snapshot: saved
      ? {
          version: saved.version,
          age_ms: savedAt ? Math.max(0, context.settings.clock.now().getTime() - savedAt.getTime()) : null,
          bytes: saved.bytes,
        }
      : null,
  };
}
