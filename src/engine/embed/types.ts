export type ProviderName = "ollama" | "openai" | "builtin";

/** What a text is: asymmetric models embed a question and what answers it differently. */
export type EmbedKind = "query" | "document";

export const MIN_DIMENSION = 16;
export const MAX_DIMENSION = 8_192;
/** What a model may be called: it goes into a command that a person is told to run. */
export const MODEL_NAME = /^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}$/;

/** What is put before a text of either kind. */
export type Prefixes = Readonly<Record<EmbedKind, string>>;

/** A model, and how texts reach it: two vectors can be compared only when all of this is the same. */
export interface EmbedModel {
  readonly provider: ProviderName;
  readonly model: string;
  /** Length of its vectors; undefined until the service has told. */
  readonly dimension: number | undefined;
  /** It compares words and spelling, not meaning. */
  readonly lexical: boolean;
  readonly prefixes: Prefixes;
}

export interface EmbeddingProvider extends EmbedModel {
  /**
   * One vector a text, in their order: one request, so the caller keeps the batch small. What the vectors hold is not
   * checked here. Throws `LakeError` when there is no answer, or not one vector a text.
   */
  embed(texts: readonly string[], options: { kind: EmbedKind; signal: AbortSignal }): Promise<Float32Array[]>;
}
