import type { Resource } from "./resource.ts";

export const embedStats: Resource = {
  uri: "lakehouse://embed/stats",
  name: "embed-stats",
  title: "Embedding statistics",
  description: "Which embedding model is in use and why, and how often its cache answered.",
  ofCatalog: false,
  read: async (engine) => {
    const { provider, model, dimension, lexical, fallback, chosenAt, requests, failures, cache } = engine.embedStatus();
    const asked = cache.hits + cache.misses;
    return {
      provider: provider ?? "not chosen yet",
      model,
      dimension: dimension ?? null,
      lexical,
      ...(chosenAt !== undefined && { chosen_at: chosenAt }),
      ...(fallback && { fallback }),
      requests,
      failures,
      cache: {
        entries: cache.entries,
        bytes: cache.bytes,
        max_bytes: cache.maxBytes,
        hits: cache.hits,
        misses: cache.misses,
        hit_rate: asked === 0 ? null : cache.hits / asked,
      },
    };
  },
};
