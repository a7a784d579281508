import { assertDatasetName } from "../catalog/identity.ts";
import type { Manifest, VectorIndex, VectorSource } from "../catalog/types.ts";
import { LakeError } from "../kernel/errors.ts";
import type { VectorContext } from "./context.ts";
import { chooseModel } from "./model.ts";
import { indexColumns, isIndex } from "./segments.ts";
import type { CreateRequest, IndexManifest } from "./types.ts";

/**
 * The index of this name, made now when there is none. Throws `conflict` when there is one that is different, saying in
 * what; `invalid` for arguments that do not go together.
 */
export async function ensureIndex(
  context: VectorContext,
  request: CreateRequest,
  source: VectorSource | undefined,
  signal: AbortSignal | undefined,
): Promise<{ manifest: IndexManifest; created: boolean }> {
  const { name } = request;
  assertDatasetName(name);
  const before = await newest(context, name);
  refuseTable(before, name);
  if (isIndex(before)) return { manifest: assertFits(before, request, source), created: false };

  const chosen = await chooseModel(context, request, signal);
  const metric = request.metric ?? "cosine";
  const index: VectorIndex = { ...chosen, metric, count: 0, baseFiles: 0, source: source ?? null };
  let created = false;
  const { manifest } = await context.catalog.commit(
    name,
    (current) => {
      refuseTable(current, name);
      created = !isIndex(current);
      if (isIndex(current)) return undefined;
      return {
        kind: "vectors",
        dropped: false,
        columns: indexColumns(index.dimension, current?.lastColumnId ?? 0),
        files: [],
        index,
        provenance: {
          operation: "create",
          source: source?.dataset ?? "vector-index-create",
          sourceHash: "",
          options: {},
        },
      };
    },
    { signal },
  );
  if (!isIndex(manifest)) throw new LakeError("internal", "The catalog has no index after a commit.");
  return { manifest: created ? manifest : assertFits(manifest, request, source), created };
}

async function newest(context: VectorContext, name: string): Promise<Manifest | undefined> {
  return context.catalog.load(name).catch((error: unknown) => {
    if (error instanceof LakeError && error.kind === "not_found") return undefined;
    throw error;
  });
}

function refuseTable(current: Manifest | undefined, name: string): void {
  if (!current || current.dropped || current.kind === "vectors") return;
  throw new LakeError("conflict", `${name} is a table already.`, {
    hint: `Use another name, for example ${name.slice(0, 57)}_index.`,
  });
}

function assertFits(manifest: IndexManifest, request: CreateRequest, source: VectorSource | undefined): IndexManifest {
  const { dimension, metric, model, source: own, count } = manifest.index;
  const differs: string[] = [];
  const compare = (what: string, has: unknown, wanted: unknown): void => {
    if (wanted !== undefined && has !== wanted) differs.push(`${what} is ${show(has)}, not ${show(wanted)}`);
  };
  compare("dimension", dimension, request.dimension);
  compare("metric", metric, request.metric);
  compare("model", model?.name ?? null, request.model);
  if (source && own) {
    compare("dataset", own.dataset, source.dataset);
    compare("text", own.text, source.text);
    compare("id", own.id, source.id);
    compare("where", own.where, source.where);
    compare("metadata", own.metadata.join(", "), source.metadata.join(", "));
  } else if (source && count > 0) differs.push("it was filled by vector-upsert, not from a dataset");
  if (source && !model) differs.push("it has no model to embed texts with");
  if (differs.length === 0) return manifest;
  throw new LakeError("conflict", `${manifest.name} exists and is different: ${differs.join("; ")}.`, {
    hint: `Use the same arguments, another name, or drop it first: vector-delete ${JSON.stringify({ index: manifest.name, all: true })}.`,
  });
}

function show(value: unknown): string {
  return JSON.stringify(value).slice(0, 200);
}
