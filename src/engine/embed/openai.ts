import { LakeError } from "../kernel/errors.ts";
import { next, setting } from "../kernel/next-step.ts";
import { malformed, request, type Service, toVector } from "./request.ts";
import type { EmbeddingProvider, Prefixes } from "./types.ts";

export interface OpenAISettings {
  /** Up to and with the version: `https://api.openai.com/v1`. */
  url: string;
  key: string | undefined;
  model: string;
  /** Asked for and expected; undefined for the model's own. */
  dimension: number | undefined;
  prefixes: Prefixes;
}

/** Embeds through `/embeddings` of any service that speaks OpenAI's protocol. */
export function openOpenAI(settings: OpenAISettings): EmbeddingProvider {
  const { url, key, model, dimension, prefixes } = settings;
  const service = openAIService(settings);
  return {
    provider: "openai",
    model,
    dimension,
    lexical: false,
    prefixes,
    embed: async (texts, { kind, signal }) => {
      const body = JSON.stringify({
        model,
        input: texts.map((text) => prefixes[kind] + text),
        encoding_format: "float",
        ...(dimension !== undefined && { dimensions: dimension }),
      });
      const headers = {
        "content-type": "application/json",
        ...(key !== undefined && { authorization: `Bearer ${key}` }),
      };
      const response = await request(
        service,
        `${url.replace(/\/+$/, "")}/embeddings`,
        { method: "POST", headers, body },
        { signal },
      );
      return inOrder(service, await parsed(service, response), texts.length);
    },
  };
}

async function parsed(service: Service, response: Response): Promise<unknown> {
  try {
    return ((await response.json()) as { data?: unknown } | null)?.data;
  } catch (error) {
    throw malformed(service, "valid JSON", error);
  }
}

/** The protocol promises an index with every vector, not an order. */
function inOrder(service: Service, data: unknown, count: number): Float32Array[] {
  const complete = (): LakeError => malformed(service, `one vector for each of ${count} texts`);
  if (!Array.isArray(data) || data.length !== count) throw complete();
  const vectors = new Array<Float32Array>(count);
  for (const [position, item] of (data as ({ index?: unknown; embedding?: unknown } | null)[]).entries()) {
    const index = item?.index ?? position;
    if (typeof index !== "number" || !Number.isInteger(index) || index < 0 || index >= count || vectors[index]) {
      throw complete();
    }
    vectors[index] = toVector(item?.embedding);
  }
  return vectors;
}

function openAIService({ url, key, model }: OpenAISettings): Service {
  return {
    name: "The embedding service",
    url,
    absentHint: "Check openai_url, and that the service runs.",
    secret: key,
    refusal: (status, message) => {
      if (status === 401 || status === 403) {
        // Its own words may repeat a part of the key.
        return new LakeError("unavailable", `The embedding service at ${url} refused the API key (status ${status}).`, {
          hint: next`${key === undefined ? "Set" : "Check"} ${setting("openai_api_key")}.`,
        });
      }
      if (status === 404) {
        return new LakeError(
          "unavailable",
          `The embedding service at ${url} has no model ${model}, or no /embeddings.`,
          {
            hint: "Check embed_model, and that openai_url ends with the version, as in https://api.openai.com/v1.",
          },
        );
      }
      if (status !== 400 && status !== 413 && status !== 422) return undefined;
      return new LakeError("invalid", `The embedding service refused the texts: ${message || `status ${status}`}`, {
        hint: "Split the long texts, and check embed_model and embed_dimension.",
      });
    },
  };
}
