import * as z from "zod";
import { MAX_DIMENSION } from "../engine/embed/types.ts";
import type { IndexSummary } from "../engine/index/types.ts";
import { countOf } from "../engine/kernel/amounts.ts";

export const index = z.string().min(1).max(100).describe("Name of the vector index.");
export const metric = z.enum(["cosine", "ip", "l2"]);
export const provider = z.enum(["ollama", "openai", "builtin"]);

/** Checked by `readArguments`: zod takes a third of a second for 10,000 vectors. */
export const numbers = z
  .unknown()
  .meta({ type: "array", items: { type: "number" }, maxItems: MAX_DIMENSION }) as unknown as z.ZodType<number[]>;

/**
 * A JSON object, unchanged: a record of zod silently drops keys such as `__proto__`. Declared as text, because some
 * providers support no object without declared properties.
 */
export const jsonObject = z.unknown().meta({ type: "string", json: "object" }) as unknown as z.ZodType<
  Record<string, unknown>
>;

/** Fields of every result about an index. */
export const summaryShape = {
  index: z.string(),
  version: z.int(),
  count: z.int().describe("Items of the index now."),
  dimension: z.int(),
  metric,
  model: z.string().nullable().describe("What makes vectors of texts; null: the index takes vectors only."),
  provider: provider.nullable(),
  lexical: z.boolean().optional().describe("The model compares words and spelling, not meaning."),
};

export type Summary = z.infer<z.ZodObject<typeof summaryShape>>;

/** The fields of `summaryShape`. */
export function summaryOf({ lexical, ...result }: IndexSummary): Summary {
  const { index, version, count, dimension, metric, model, provider } = result;
  return { index, version, count, dimension, metric, model, provider, ...(lexical && { lexical: true }) };
}

/** `12 items of 768 dimensions, cosine, by nomic-embed-text (ollama)` */
export function inWords(summary: Summary): string {
  const { count, dimension, metric, model, provider, lexical } = summary;
  const by =
    model === null
      ? "vectors only, no model"
      : `by ${model} (${provider}${lexical ? ", lexical: compares words and spelling, not meaning" : ""})`;
  return `${countOf(count, "item")} of ${countOf(dimension, "dimension")}, ${metric}, ${by}`;
}
