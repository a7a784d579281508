import { throwIfAborted } from "../kernel/abort.ts";
import { grouped } from "../kernel/amounts.ts";
import { LakeError } from "../kernel/errors.ts";
import type { Scope } from "../kernel/scope.ts";
import { type Attributes, type Trace, untraced } from "../kernel/trace.ts";
import type { Clock, EmbedSettings, Log } from "../settings.ts";
import { embedApart, errorOf } from "./apart.ts";
import { type CacheStats, openEmbedCache } from "./cache.ts";
import { openDeadline } from "./deadline.ts";
import type { Found, Problem } from "./fetches.ts";
import { openGate } from "./gate.ts";
import { type Choice, type Models, openModels } from "./models.ts";
import type { Plan } from "./plan.ts";
import { assertTexts } from "./texts.ts";
import type { EmbeddingProvider, EmbedKind, EmbedModel, ProviderName } from "./types.ts";

export interface EmbedOptions {
  /** Default `document`. */
  kind?: EmbedKind | undefined;
  /** Default: the model in use. Another of the same service, or `builtin`. */
  model?: string | undefined;
  signal?: AbortSignal | undefined;
}

export interface Embedded {
  provider: ProviderName;
  model: string;
  dimension: number;
  /** The model compares words and spelling, not meaning. */
  lexical: boolean;
  /** In the order of the texts; the caller's own. */
  vectors: Float32Array[];
}

/** The same for texts of which some may have no vector. */
export interface EmbeddedEach extends Omit<Embedded, "vectors"> {
  vectors: (Float32Array | Problem)[];
}

/** The plan of the settings, until `auto` has chosen; then what is in use. */
export interface EmbedStatus extends Plan {
  /** Why `auto` fell back, and what to do about it. */
  fallback: Choice["fallback"] | undefined;
  /** When `auto` chose. ISO 8601. */
  chosenAt?: string | undefined;
  /** Requests to providers, how many of them failed, and how many wait for others to end. */
  requests: number;
  failures: number;
  waiting: number;
  cache: CacheStats;
}

export interface Embedder {
  /**
   * Vectors of up to 10,000 texts, from memory where they are known. Throws, before anything is sent, `invalid` or
   * `limit` naming the first text that is wrong; later `unavailable` with what to do about the service, or `invalid`
   * when it refuses a text.
   */
  embed(texts: readonly string[], options?: EmbedOptions): Promise<Embedded>;
  /**
   * The same, where a text that the service has no vector for does not keep the others from theirs: it is tried again, and
   * has a reason in its place. Throws when the service fails on any text.
   */
  embedEach(texts: readonly string[], options?: EmbedOptions): Promise<EmbeddedEach>;
  /** The model that `embed` would use, as far as it is known now. Throws `invalid` when there cannot be such a model. */
  model(name?: string): Promise<EmbedModel>;
  status(): EmbedStatus;
  /** Makes the choice of `auto` now and logs what embeddings come from. Never throws. */
  warm(): Promise<void>;
}

/** One request: what services embed well together, what is parsed without blocking, what it takes to send. */
const BATCH_TEXTS = 64;
const BATCH_VALUES = 64 * 768;
const BATCH_CHARS = 2 ** 18;
/** For the size of the first batch of a model that has not told. */
const LIKELY_DIMENSION = 1_536;
const LOOK_AGAIN_MS = 60_000;

/** Embeddings from the provider that the settings name; `auto` chooses at the first call, or when it is warmed up. */
export function openEmbedder(
  scope: Scope,
  settings: EmbedSettings,
  log: Log,
  trace: Trace = untraced,
  clock?: Clock,
): Embedder {
  const closing = new AbortController();
  const cache = openEmbedCache(settings.cacheBytes);
  const gate = openGate(settings.concurrency);
  const models = openModels(settings, log, closing.signal, clock);
  const again = setInterval(() => void models.lookAgain(), settings.lookAgainMs ?? LOOK_AGAIN_MS);
  again.unref();
  let requests = 0;
  let failures = 0;
  scope.defer(() => {
    const closed = new LakeError("closed", "The lakehouse is closed.", { hint: "Start it again." });
    clearInterval(again);
    closing.abort(closed);
    cache.close(closed);
  });

  async function askOnce(
    provider: EmbeddingProvider,
    texts: readonly string[],
    kind: EmbedKind,
    signal: AbortSignal,
  ): Promise<Found[]> {
    requests++;
    const work = () => provider.embed(texts, { kind, signal });
    try {
      const vectors = await trace(`embeddings ${provider.model}`, requestOf(provider, texts, models), work, {
        kind: provider.provider === "builtin" ? undefined : "client",
      });
      return vectors.map((vector) => judge(models, provider, vector));
    } catch (error) {
      if (!signal.aborted) failures++;
      throw error;
    }
  }

  /** What is known of the texts, or fetched now. */
  async function find(
    texts: readonly string[],
    { kind = "document", model, signal }: EmbedOptions,
    patient: boolean,
    note: (attributes: Attributes) => void,
  ): Promise<{ provider: EmbeddingProvider; answers: Found[] }> {
    throwIfAborted(closing.signal);
    throwIfAborted(signal);
    assertTexts(texts);
    const provider = await models.resolve(model);
    const lookup = await cache.look(texts, `${provider.model}:${kind}`);
    note({ "lakehouse.embed.texts": texts.length, "lakehouse.embed.missing": lookup.missing.size });
    if (lookup.missing.size > 0) {
      const deadline = openDeadline(settings.timeoutMs, signal, tooLate(settings));
      const filled = cache.fill(lookup, {
        limits: () => batchLimits(models.dimensionOf(provider)),
        width: settings.concurrency,
        fetch: (batch, stop) =>
          gate.run(stop, () => {
            const ask = (some: readonly string[]) => askOnce(provider, some, kind, stop);
            return embedApart(batch, { ask, signal: stop, patient });
          }),
        signal: deadline.signal,
      });
      await filled.finally(deadline.end);
    }
    return { provider, answers: lookup.answers };
  }

  return {
    embed: (texts, options = {}) =>
      trace("embed", {}, async (span) => {
        const { provider, answers } = await find(texts, options, false, span.note);
        const vectors = answers.map((each, index) => vectorOf(each, index, texts));
        return { ...describe(provider, vectors[0]?.length ?? 0), vectors };
      }),
    embedEach: (texts, options = {}) =>
      trace("embed", {}, async (span) => {
        const { provider, answers } = await find(texts, options, true, span.note);
        const sound = answers.find((each) => each instanceof Float32Array);
        const dimension = sound?.length ?? models.dimensionOf(provider) ?? 0;
        return { ...describe(provider, dimension), vectors: answers };
      }),
    model: async (name) => {
      const found = await models.resolve(name);
      const { provider, model, lexical, prefixes } = found;
      return { provider, model, dimension: models.dimensionOf(found), lexical, prefixes };
    },
    status: () => ({
      ...statusOf(models),
      requests,
      failures,
      waiting: gate.waiting(),
      cache: cache.stats(),
    }),
    warm: async () => {
      await models.choose();
    },
  };
}

function statusOf(
  models: Models,
): Pick<EmbedStatus, "provider" | "model" | "dimension" | "lexical" | "fallback" | "chosenAt"> {
  const choice = models.chosen();
  const provider = choice?.provider ?? models.preferred;
  return {
    provider: choice?.provider.provider,
    model: provider.model,
    dimension: models.dimensionOf(provider),
    lexical: provider.lexical,
    fallback: choice?.fallback,
    chosenAt: choice?.at,
  };
}

/** The most texts and characters of one request. */
function batchLimits(dimension = LIKELY_DIMENSION): { texts: number; chars: number } {
  const fitting = Math.floor(BATCH_VALUES / dimension);
  return { texts: Math.max(1, Math.min(BATCH_TEXTS, fitting)), chars: BATCH_CHARS };
}

/** As the semantic conventions for generative AI name it. */
function requestOf(provider: EmbeddingProvider, texts: readonly string[], models: Models): Attributes {
  return {
    "gen_ai.operation.name": "embeddings",
    "gen_ai.provider.name": provider.provider,
    "gen_ai.request.model": provider.model,
    "gen_ai.embeddings.dimension.count": models.dimensionOf(provider),
    "lakehouse.embed.texts": texts.length,
  };
}

function describe({ provider, model, lexical }: EmbeddingProvider, dimension: number): Omit<Embedded, "vectors"> {
  return { provider, model, dimension, lexical };
}

/** The first sound vector tells how long all others of the model are, unless that is known. */
function judge(models: Models, provider: EmbeddingProvider, vector: Float32Array): Found {
  const answered = (
    what: string,
    hint = "Call again; if it stays, leave this text out, or use another model.",
  ): Found => ({
    problem: `${provider.model} answered with ${what}.`,
    kind: "unavailable",
    hint,
  });
  if (vector.length === 0) return answered("no vector");
  let square = 0;
  for (const value of vector) square += value * value;
  if (!Number.isFinite(square)) return answered("a vector with a value that is no finite number");
  if (square === 0) return answered("a vector of zeros");
  models.learn(provider, vector.length);
  const dimension = models.dimensionOf(provider);
  if (vector.length === dimension) return vector;
  return answered(
    `a vector of ${vector.length} dimensions where ${dimension} are expected`,
    "If the model was changed, start this server again; if embed_dimension is set, the model may not offer it.",
  );
}

function vectorOf(found: Found, index: number, texts: readonly string[]): Float32Array {
  if (found instanceof Float32Array) return found;
  const size = grouped(texts[index]?.length ?? 0);
  throw errorOf(found, `For texts[${index}], of ${size} characters: `);
}

function tooLate({ timeoutMs }: EmbedSettings): LakeError {
  return new LakeError("unavailable", `Embedding took longer than ${timeoutMs} ms.`, {
    hint: "What is done is remembered: call again, or with fewer texts, or raise embed_timeout.",
  });
}
