import { setTimeout as sleep } from "node:timers/promises";
import { LakeError } from "../kernel/errors.ts";
import { type NextStep, next } from "../kernel/next-step.ts";
import { type Clock, type EmbedSettings, type Log, systemClock } from "../settings.ts";
import { openBuiltin } from "./builtin.ts";
import { openDeadline } from "./deadline.ts";
import { type OllamaProvider, openOllama } from "./ollama.ts";
import { openOpenAI } from "./openai.ts";
import { BUILTIN_DIMENSION, builtinName, OLLAMA_MODEL, planOf } from "./plan.ts";
import { prefixesOf } from "./prefixes.ts";
import { type EmbeddingProvider, MAX_DIMENSION, MIN_DIMENSION, MODEL_NAME } from "./types.ts";

export interface Choice {
  provider: EmbeddingProvider;
  /** When it was made. ISO 8601; undefined for what the settings name. */
  at?: string;
  /** Why `auto` did not take Ollama. */
  fallback?: Missing;
}

interface Missing {
  reason: string;
  /** What to do about it. */
  next: NextStep;
}

export interface Models {
  /** The model of the settings, whether it is there or not. */
  readonly preferred: EmbeddingProvider;
  /** Undefined while `auto` has not chosen. */
  chosen(): Choice | undefined;
  /** Makes the choice once, looks whether Ollama is ready, and logs both. Never throws. */
  choose(): Promise<Choice>;
  /** Looks for Ollama again where `auto` did not find it, and takes it when it is there. Never throws. */
  lookAgain(): Promise<void>;
  /** The provider for the model a caller names, or for none. Throws `invalid` when there cannot be such a model. */
  resolve(name: string | undefined): Promise<EmbeddingProvider>;
  /** Length of a model's vectors: set, told by Ollama, or learned from its first vector. */
  dimensionOf(provider: EmbeddingProvider): number | undefined;
  learn(provider: EmbeddingProvider, dimension: number): void;
}

const PROBE_MS = 1_500;
/** Between two looks that calls cause. */
const PAUSE_MS = 10_000;
/** As long as a call waits for such a look: where nothing listens, or Ollama is ready, it takes a few milliseconds. */
const PATIENCE_MS = 250;
const NEXT = "The server looks again every minute, and then embeds with it.";

/**
 * The model that the settings name; with `auto` Ollama's, if it answers, else the builtin until it does. Ollama that goes
 * is not given up: vectors of two models cannot be compared. For the same reason an index keeps the model it was made
 * with, whatever is chosen later: it is asked for by its name.
 */
export function openModels(settings: EmbedSettings, log: Log, closed: AbortSignal, clock: Clock = systemClock): Models {
  const probeMs = settings.probeMs ?? PROBE_MS;
  const preferred = openPreferred(settings);
  const dimensions = new Map<string, number>();
  let choosing: Promise<Choice> | undefined;
  let looking: Promise<void> | undefined;
  let lookedAt = 0;
  let chosen: Choice | undefined = settings.provider === "auto" ? undefined : { provider: preferred };

  async function chooseNow(): Promise<Choice> {
    const missing = "probe" in preferred ? await probe(preferred as OllamaProvider) : undefined;
    lookedAt = performance.now();
    const isAuto = settings.provider === "auto";
    chosen = { provider: preferred, ...(isAuto && { at: clock.now().toISOString() }) };
    if (missing && isAuto) {
      chosen = { ...chosen, provider: openBuiltin(builtinDimension(settings)), fallback: missing };
    }
    if (!closed.aborted) log(missing ? "warn" : "info", "embeddings", { ...fieldsOf(chosen.provider), ...missing });
    return chosen;
  }

  const fieldsOf = (of: EmbeddingProvider): Record<string, unknown> => {
    const { provider, model, lexical } = of;
    return { provider, model, dimension: dimensionOf(of), lexical };
  };

  async function look(before: Choice): Promise<void> {
    const missing = await probe(preferred as OllamaProvider);
    lookedAt = performance.now();
    if (closed.aborted) return;
    if (missing) {
      chosen = { ...before, fallback: missing };
      return;
    }
    chosen = { provider: preferred, at: clock.now().toISOString() };
    const reason = "Ollama answers now.";
    log("info", "embeddings", { ...fieldsOf(preferred), before: before.provider.model, reason });
  }

  async function lookAgain(): Promise<void> {
    if (!chosen?.fallback || closed.aborted) return;
    looking ??= look(chosen).finally(() => {
      looking = undefined;
    });
    await looking;
  }

  /** The model in use, looked for again where that was not done a moment ago. */
  async function current(): Promise<EmbeddingProvider> {
    const choice = chosen ?? (await choose());
    if (!choice.fallback || looking || performance.now() - lookedAt < (settings.lookPauseMs ?? PAUSE_MS)) {
      return choice.provider;
    }
    await Promise.race([lookAgain(), sleep(PATIENCE_MS, undefined, { ref: false })]);
    return (chosen ?? choice).provider;
  }

  async function probe(ollama: OllamaProvider): Promise<Missing | undefined> {
    const late = new LakeError("unavailable", `Ollama at ${settings.ollamaUrl} did not answer in ${probeMs} ms.`, {
      hint: "Look whether it is busy or stuck, and start it again with: ollama serve.",
    });
    const deadline = openDeadline(probeMs, closed, late);
    try {
      const dimension = await ollama.probe(deadline.signal);
      if (dimension !== undefined) dimensions.set(ollama.model, dimension);
      return undefined;
    } catch (error) {
      const { message, hint = "" } = error instanceof LakeError ? error : late;
      return { reason: message, next: settings.provider === "auto" ? next`${hint} ${NEXT}` : hint };
    } finally {
      deadline.end();
    }
  }

  const dimensionOf = (provider: EmbeddingProvider): number | undefined =>
    provider.dimension ?? dimensions.get(provider.model);

  const choose = (): Promise<Choice> => (choosing ??= chooseNow());

  return {
    preferred,
    chosen: () => chosen,
    choose,
    lookAgain,
    resolve: async (name) => {
      if (name === undefined) return current();
      return named(name, settings, preferred);
    },
    dimensionOf,
    learn: (provider, dimension) => {
      if (dimensionOf(provider) === undefined) dimensions.set(provider.model, dimension);
    },
  };
}

/** The provider of a model that an index or a call names. Throws `invalid`. */
function named(name: string, settings: EmbedSettings, preferred: EmbeddingProvider): EmbeddingProvider {
  if (!MODEL_NAME.test(name)) {
    throw new LakeError("invalid", `${JSON.stringify(name.slice(0, 100))} is not the name of a model.`, {
      hint: `Leave model out, or name one, for example ${OLLAMA_MODEL}.`,
    });
  }
  const builtin = /^builtin(?:-(\d{1,9}))?$/.exec(name);
  if (builtin) return openBuiltin(builtinDimension(settings, builtin[1]));
  if (untagged(name) === untagged(preferred.model)) return preferred;
  if (settings.provider === "builtin") {
    throw new LakeError("invalid", `There is no model ${name} here: embed_provider is builtin.`, {
      hint: "Leave model out, or have embed_provider set to auto or ollama.",
    });
  }
  return openRemote(settings, name);
}

function openPreferred(settings: EmbedSettings): EmbeddingProvider {
  const { dimension, queryPrefix: query, documentPrefix: document } = settings;
  return settings.provider === "builtin"
    ? openBuiltin(builtinDimension(settings))
    : openRemote(settings, planOf(settings).model, { dimension, query, document });
}

/** `own` are the settings for the model they name; another model has a dimension and prefixes of its own. */
function openRemote(
  settings: EmbedSettings,
  name: string,
  own: { dimension?: number | undefined; query?: string | undefined; document?: string | undefined } = {},
): EmbeddingProvider {
  const shared = { dimension: own.dimension, prefixes: prefixesOf(name, own) };
  return settings.provider === "openai"
    ? openOpenAI({ ...shared, model: name, url: settings.openaiUrl, key: settings.openaiApiKey })
    : openOllama({ ...shared, model: untagged(name), url: settings.ollamaUrl, truncate: settings.truncate });
}

function builtinDimension(settings: EmbedSettings, written?: string): number {
  const dimension = written === undefined ? (settings.dimension ?? BUILTIN_DIMENSION) : Number(written);
  if (dimension >= MIN_DIMENSION && dimension <= MAX_DIMENSION) return dimension;
  throw new LakeError("invalid", `The builtin embedder has no ${dimension} dimensions.`, {
    hint: `From ${MIN_DIMENSION} to ${MAX_DIMENSION}, for example ${builtinName(BUILTIN_DIMENSION)}.`,
  });
}

/** Ollama's own default tag, which some write and some do not. */
function untagged(model: string): string {
  return model.replace(/:latest$/, "");
}
