import { LakeError } from "../kernel/errors.ts";
import { buildIndex } from "./build.ts";
import type { VectorContext } from "./context.ts";
import { ensureIndex } from "./create.ts";
import { sourceQuery } from "./template.ts";
import type { Tending } from "./tending.ts";
import type { CreateRequest, CreateResult, IndexManifest, VectorOptions } from "./types.ts";
import { type Lookup, summaryOf } from "./write.ts";

interface CreateParts {
  context: VectorContext;
  tending: Tending;
  lookup: Lookup;
  /** Has a version of the index loaded before somebody searches it. */
  loadAhead: (manifest: IndexManifest) => void;
}

/** Makes an empty index, or one of the texts of a dataset. Throws as `Vectors.create`. */
export async function createIndex(
  { context, tending, lookup, loadAhead }: CreateParts,
  request: CreateRequest,
  options: VectorOptions & { signal: AbortSignal },
): Promise<CreateResult> {
  const { signal } = options;
  if (!request.source) {
    const { manifest, created } = await ensureIndex(context, request, undefined, signal);
    return {
      ...summaryOf(manifest),
      created,
      unchanged: !created,
      embedded: 0,
      kept: manifest.index.count,
      removed: 0,
      skipped: 0,
    };
  }
  const dataset = await context.catalog.load(request.source.dataset);
  if (dataset.kind !== "table") {
    throw new LakeError("invalid", `dataset: ${dataset.name} is a vector index.`, {
      hint: "Give the name of a table.",
    });
  }
  const query = sourceQuery(dataset, request.source);
  if (request.source.where !== undefined)
    await context.query.assertCondition(request.source.where, { signal, caller: options.caller });
  const source = {
    dataset: dataset.name,
    version: dataset.version,
    text: request.source.text,
    id: query.id,
    where: request.source.where ?? null,
    metadata: query.metadata,
    complete: false,
  };
  const built = await tending.building(request.name, () =>
    buildIndex(
      context,
      () => ensureIndex(context, request, source, signal),
      { sql: query.sql, source },
      { ...options, onCommit: loadAhead, lookup },
    ),
  );
  const { manifest, ...counts } = built;
  if (!counts.unchanged) loadAhead(manifest);
  return { ...summaryOf(manifest), ...counts };
}
