import type { EmbedSettings } from "../settings.ts";
import type { ProviderName } from "./types.ts";

export const OLLAMA_MODEL = "nomic-embed-text";
export const OPENAI_MODEL = "text-embedding-3-small";
export const BUILTIN_DIMENSION = 512;

/** What the settings ask for, known before anything is loaded or asked. */
export interface Plan {
  /** Undefined for `auto`. */
  provider: ProviderName | undefined;
  model: string;
  dimension: number | undefined;
  lexical: boolean;
}

export function planOf({ provider, model, dimension }: EmbedSettings): Plan {
  if (provider === "builtin") {
    const length = dimension ?? BUILTIN_DIMENSION;
    return { provider, model: builtinName(length), dimension: length, lexical: true };
  }
  return {
    provider: provider === "auto" ? undefined : provider,
    model: model ?? (provider === "openai" ? OPENAI_MODEL : OLLAMA_MODEL),
    dimension,
    lexical: false,
  };
}

export function builtinName(dimension: number): string {
  return `builtin-${dimension}`;
}
