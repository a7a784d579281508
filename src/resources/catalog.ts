import { summary } from "../engine/catalog/browse.ts";
import type { Resource } from "./resource.ts";

export const catalog: Resource = {
  uri: "lakehouse://catalog",
  name: "catalog",
  title: "Catalog",
  description: "All datasets with their versions and sizes (the first 1,000; catalog-list pages through the rest).",
  ofCatalog: true,
  read: async (engine) => {
    const { datasets, total, unreadable } = await engine.list({ limit: 1000 });
    return {
      total,
      datasets: datasets.map((head) => ({
        ...summary(head),
        uri: `lakehouse://${head.kind === "vectors" ? "vectors" : "datasets"}/${head.name}`,
      })),
      unreadable,
    };
  },
};
