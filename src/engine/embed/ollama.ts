import type { Ollama } from "ollama";
import { LakeError } from "../kernel/errors.ts";
import { OLLAMA_MODEL } from "./plan.ts";
import { malformed, request, type Service, toVector } from "./request.ts";
import type { EmbeddingProvider, Prefixes } from "./types.ts";

export interface OllamaSettings {
  url: string;
  model: string;
  /** Asked for and expected; undefined for the model's own. */
  dimension: number | undefined;
  prefixes: Prefixes;
  /** Whether a text longer than the model reads is cut by Ollama, rather than refused. */
  truncate: boolean;
}

export interface OllamaProvider extends EmbeddingProvider {
  /**
   * Asks once whether Ollama runs and has the model, and returns the length of its vectors when Ollama tells. Throws
   * `unavailable` with what to do.
   */
  probe(signal: AbortSignal): Promise<number | undefined>;
}

/** Embeds through `/api/embed`. Nothing is loaded or sent before the first call. */
export function openOllama(settings: OllamaSettings): OllamaProvider {
  const { url, model, dimension, prefixes, truncate } = settings;
  const service = ollamaService(url, model);
  return {
    provider: "ollama",
    model,
    dimension,
    lexical: false,
    prefixes,
    embed: async (texts, { kind, signal }) => {
      const client = await connect(service, { signal });
      const { embeddings } = await answer(service, () =>
        client.embed({
          model,
          input: texts.map((text) => prefixes[kind] + text),
          truncate,
          ...(dimension !== undefined && { dimensions: dimension }),
        }),
      );
      if (!Array.isArray(embeddings) || embeddings.length !== texts.length) {
        throw malformed(service, `one vector for each of ${texts.length} texts`);
      }
      return embeddings.map(toVector);
    },
    probe: async (signal) => {
      const client = await connect(service, { signal, attempts: 1 });
      const { capabilities, model_info } = await answer(service, () => client.show({ model }));
      // Told since Ollama 0.6.
      if (Array.isArray(capabilities) && !capabilities.includes("embedding")) throw noEmbedding(model);
      return dimension ?? embeddingLength(model_info);
    },
  };
}

/** Ollama's client takes no signal for single calls, and prints what it could not parse: a client a call, our fetch. */
async function connect(service: Service, options: { signal: AbortSignal; attempts?: number }): Promise<Ollama> {
  const { Ollama } = await import("ollama");
  return new Ollama({
    host: service.url,
    fetch: (url, init) => request(service, String(url), init ?? {}, options),
  });
}

async function answer<Answer>(service: Service, call: () => Promise<Answer>): Promise<Partial<Answer>> {
  try {
    return (await call()) ?? {};
  } catch (error) {
    throw error instanceof LakeError ? error : malformed(service, "valid JSON", error);
  }
}

function ollamaService(url: string, model: string): Service {
  return {
    name: "Ollama",
    url,
    absentHint: `Start it with: ollama serve. Get the model with: ollama pull ${model}. Or set embed_provider or ollama_url.`,
    refusal: (status, message) => {
      if (status === 404) {
        return new LakeError("unavailable", `Ollama at ${url} has no model ${model}.`, {
          hint: `Get it with: ollama pull ${model}.`,
        });
      }
      if (status !== 400) return undefined;
      if (/does not support embed/i.test(message)) return noEmbedding(model);
      return new LakeError("invalid", `Ollama refused the texts: ${message}`, {
        hint: /context length/i.test(message)
          ? `${model} reads less at a time: split the long texts.`
          : "Check the texts and the model.",
      });
    },
  };
}

function noEmbedding(model: string): LakeError {
  return new LakeError("unavailable", `Ollama's model ${model} does not make embeddings.`, {
    hint: `Use one that does, for example: ollama pull ${OLLAMA_MODEL}.`,
  });
}

/** `{"nomic-bert.embedding_length": 768, …}`: the prefix is the architecture. */
function embeddingLength(info: unknown): number | undefined {
  const entries = Object.entries((info ?? {}) as Record<string, unknown>);
  const length = entries.find(([name]) => name.endsWith(".embedding_length"))?.[1];
  return typeof length === "number" && Number.isSafeInteger(length) && length > 0 ? length : undefined;
}
