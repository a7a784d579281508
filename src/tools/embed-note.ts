import type { EmbedStatus } from "../engine/embed/embedder.ts";
import { sentences } from "./error-text.ts";

/** Why texts are compared by words and spelling, since when, and what to do about it; undefined where nothing is. */
export function noteOnModel({ fallback, chosenAt, lexical, model }: EmbedStatus): string | undefined {
  if (fallback) return `Chosen at ${chosenAt}: ${sentences({ message: fallback.reason, hint: fallback.next })}`;
  // What came out lexical is of an index, or a call, that names its model.
  return lexical ? undefined : `This server embeds with ${model} now; an index keeps its model.`;
}
