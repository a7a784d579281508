import type { DatasetResource } from "./resource.ts";

export const vectorIndex: DatasetResource = {
  template: "lakehouse://vectors/{name}",
  kind: "vectors",
  lists: "vectors",
  name: "vector-index",
  title: "Vector index",
  description: "Size, model and origin of one vector index, and the state of its files, its graph and its memory.",
  read: async (engine, name) => {
    const status = await engine.indexStatus(name);
    const { index_details: details, memory, snapshot } = status;
    return {
      index: status.index,
      version: status.version,
      count: status.count,
      dimension: status.dimension,
      metric: status.metric,
      model: status.model,
      provider: status.provider,
      lexical: status.lexical,
      prefixes: details.model?.prefixes ?? null,
      updated_at: status.updated_at,
      segments: status.segments,
      changes: status.changes,
      bytes: status.bytes,
      memory: memory ?? null,
      snapshot,
      source: details.source,
    };
  },
};
