import type { VectorIndex } from "../catalog/types.ts";
import type { EmbedKind } from "../embed/types.ts";
import { LakeError } from "../kernel/errors.ts";
import type { VectorContext } from "./context.ts";
import type { CreateRequest, IndexManifest, VectorOptions } from "./types.ts";

const MIN_DIMENSION = 1;
export const MAX_INDEX_DIMENSION = 8_192;
/** Texts of one request to the embedder: each has a deadline of its own, and tells how far it is. */
const BATCH = 256;

/** Dimension and model for a new index. Throws `invalid` when they do not go together. */
export async function chooseModel(
  context: VectorContext,
  { dimension, model, source }: CreateRequest,
  signal?: AbortSignal,
): Promise<Pick<VectorIndex, "dimension" | "model">> {
  if (
    dimension !== undefined &&
    !(Number.isInteger(dimension) && dimension >= MIN_DIMENSION && dimension <= MAX_INDEX_DIMENSION)
  ) {
    throw new LakeError(
      "invalid",
      `dimension is ${dimension}; it is a whole number from ${MIN_DIMENSION} to ${MAX_INDEX_DIMENSION}.`,
      {
        hint: "Give the length of your vectors, or leave it out to use a model's.",
      },
    );
  }
  if (dimension !== undefined && model === undefined && source === undefined) return { dimension, model: null };
  const embedder = await context.embedder();
  const found = await embedder.model(model);
  let length = found.dimension;
  if (length === undefined) {
    // A remote model tells by its first vector.
    length = (await embedder.embed(["dimension"], { kind: "document", model, signal })).dimension;
  }
  if (dimension !== undefined && dimension !== length) {
    throw new LakeError("invalid", `dimension is ${dimension}, and vectors of ${found.model} have ${length}.`, {
      hint: "Leave dimension out, or leave model out for an index that takes vectors only.",
    });
  }
  const { provider, lexical, prefixes } = found;
  return { dimension: length, model: { provider, name: found.model, lexical, prefixes: { ...prefixes } } };
}

/** Why there is no vector for a text. */
export interface NoVector {
  reason: string;
}

/**
 * The same, where texts that the service fails on do not keep the others from their vectors. Throws when it fails on any
 * text.
 */
export async function embedEachFor(
  context: VectorContext,
  manifest: IndexManifest,
  texts: readonly string[],
  where: (position: number) => string,
  options: VectorOptions = {},
): Promise<(Float32Array | NoVector)[]> {
  const model = modelOf(manifest);
  const embedder = await context.embedder();
  await assertSameModel(context, manifest.name, manifest.index);
  const vectors: (Float32Array | NoVector)[] = [];
  for (let from = 0; from < texts.length; from += BATCH) {
    options.onProgress?.(from / texts.length, "embedding");
    const embedded = await embedder
      .embedEach(texts.slice(from, from + BATCH), { kind: "document", model: model.name, signal: options.signal })
      .catch((error: unknown) => {
        throw renamed(error, (position) => where(from + position));
      });
    assertDimension(manifest, embedded);
    vectors.push(...embedded.vectors.map((each) => (each instanceof Float32Array ? each : { reason: each.problem })));
  }
  return vectors;
}

/**
 * Vectors of texts, by the model of the index. Throws `invalid` when this server would make other vectors than the ones
 * in the index, naming both models; `where` names a text by its position.
 */
export async function embedFor(
  context: VectorContext,
  manifest: IndexManifest,
  texts: readonly string[],
  kind: EmbedKind,
  where: (position: number) => string,
  options: VectorOptions = {},
): Promise<Float32Array[]> {
  const model = modelOf(manifest);
  const embedder = await context.embedder();
  await assertSameModel(context, manifest.name, manifest.index);
  const vectors: Float32Array[] = [];
  for (let from = 0; from < texts.length; from += BATCH) {
    options.onProgress?.(from / texts.length, "embedding");
    const embedded = await embedder
      .embed(texts.slice(from, from + BATCH), { kind, model: model.name, signal: options.signal })
      .catch((error: unknown) => {
        throw renamed(error, (position) => where(from + position));
      });
    assertDimension(manifest, embedded);
    vectors.push(...embedded.vectors);
  }
  return vectors;
}

function modelOf({ name, index }: IndexManifest): NonNullable<VectorIndex["model"]> {
  if (index.model) return index.model;
  throw new LakeError("invalid", `${name} has no model: it takes vectors only.`, {
    hint: `Give a vector of ${index.dimension} numbers.`,
  });
}

function assertDimension({ name, index }: IndexManifest, made: { model: string; dimension: number }): void {
  if (made.dimension === index.dimension) return;
  throw mismatch(name, index, `${made.model} with ${made.dimension} dimensions`);
}

async function assertSameModel(context: VectorContext, name: string, index: VectorIndex): Promise<void> {
  const model = index.model;
  if (!model) return;
  const embedder = await context.embedder();
  const found = await embedder.model(model.name).catch(() => undefined);
  if (!found) {
    const own = await embedder.model();
    throw mismatch(name, index, `${own.model} (${own.provider})`);
  }
  const same =
    found.provider === model.provider &&
    (found.dimension === undefined || found.dimension === index.dimension) &&
    found.prefixes.query === model.prefixes.query &&
    found.prefixes.document === model.prefixes.document;
  if (same) return;
  const differs =
    found.provider !== model.provider
      ? `${found.model} (${found.provider})`
      : found.dimension !== undefined && found.dimension !== index.dimension
        ? `${found.model} with ${found.dimension} dimensions`
        : `${found.model} with other prefixes`;
  throw mismatch(name, index, differs);
}

function mismatch(name: string, { model, dimension }: VectorIndex, other: string): LakeError {
  return new LakeError(
    "invalid",
    `${name} was made with ${model?.name} (${model?.provider}, ${dimension} dimensions), and this server would use ${other}: their vectors cannot be compared.`,
    {
      hint: "Search with a vector, or have the server's embed_provider and embed_* settings set to the index's model, or build another index.",
    },
  );
}

/** The embedder counts texts; the caller knows them by another name. */
function renamed(error: unknown, where: (position: number) => string): unknown {
  if (!(error instanceof LakeError)) return error;
  const message = error.message.replace(/\btexts\[(\d+)\]/g, (_, position: string) => where(Number(position)));
  return new LakeError(error.kind, message, { code: error.code, hint: error.hint, cause: error.cause });
}
