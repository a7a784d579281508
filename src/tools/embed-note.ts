import type { EmbedStatus } from "../engine/embed/embedder.ts";
import { sentences } from "./error-text.ts";

/** Why the model is lexical, since when, and how to get a better one. Undefined where that was configured. */
export function noteOnModel({ fallback, chosenAt, lexical, model }: EmbedStatus): string | undefined {
  if (fallback) return `Chosen at ${chosenAt}: ${sentences({ message: fallback.reason, hint: fallback.next })}`;
  // The lexical model is then that of an index, or one that the call named.
  return lexical ? undefined : `This server embeds with ${model} now; an index keeps its model.`;
}
