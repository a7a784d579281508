import { type Embedder, openEmbedder } from "../../src/engine/embed/embedder.ts";
import { LakeError } from "../../src/engine/kernel/errors.ts";
import { openScope } from "../../src/engine/kernel/scope.ts";
import type { EmbedSettings, VectorSettings } from "../../src/engine/settings.ts";

/** Asks nobody, and would reach nobody. */
export const EMBED: EmbedSettings = {
  provider: "builtin",
  ollamaUrl: "http://127.0.0.1:9",
  openaiUrl: "http://127.0.0.1:9/v1",
  truncate: true,
  timeoutMs: 10_000,
  concurrency: 4,
  cacheBytes: 30_720_000,
};

export const VECTOR: VectorSettings = { memoryBytes: 2 ** 28, threads: 2, ef: 64, hnsw: true, quietMs: 200 };

export interface OpenedEmbedder extends Embedder, AsyncDisposable {
  logged: { level: string; message: string; fields: Record<string, unknown> | undefined }[];
}

export function openTestEmbedder(settings: Partial<EmbedSettings>): OpenedEmbedder {
  const scope = openScope();
  const logged: OpenedEmbedder["logged"] = [];
  const embedder = openEmbedder(
    scope,
    { ...EMBED, provider: "ollama", ...settings },
    (level, message, fields) => void logged.push({ level, message, fields }),
  );
  return { ...embedder, logged, [Symbol.asyncDispose]: () => scope.close() };
}

/** The error that `work` must end with. */
export async function refusal(work: Promise<unknown>): Promise<LakeError> {
  const result = await work.then(
    (value) => ({ value }),
    (error: unknown) => error,
  );
  if (result instanceof LakeError) return result;
  throw result instanceof Error ? result : new Error(`was not refused: ${JSON.stringify(result).slice(0, 300)}`);
}
