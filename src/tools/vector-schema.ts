import { z } from "zod";
import type { IndexSummary } from "../engine/vector/types.ts";
import { countOf } from "./render.ts";

export const index = z.string().min(1).max(100).describe("Name of the vector index.");
export const metric = z.enum(["cosine", "ip", "l2"]);
export const provider = z.enum(["ollama", "openai", "builtin"]);

/**
 * An array of numbers, as the advertised schema says. Checked in one go: 10,000 vectors as arrays of zod's own numbers
 * take a third of a second, this way a twentieth of that.
 */
export const numbers = z
  .unknown()
  .superRefine((value, context) => {
    if (!Array.isArray(value)) {
      context.addIssue({ code: "custom", message: "expected an array of numbers" });
      return;
    }
    const wrong = value.findIndex((each) => typeof each !== "number");
    if (wrong >= 0) context.addIssue({ code: "custom", path: [wrong], message: "expected a number" });
  })
  .meta({ type: "array", items: { type: "number" } }) as unknown as z.ZodType<number[]>;

/** A JSON object, handed on as it came: a record of zod's leaves out a key such as `__proto__` and says nothing. */
export const jsonObject = z
  .unknown()
  .refine((value) => typeof value === "object" && value !== null && !Array.isArray(value), "expected an object")
  .meta({ type: "object", additionalProperties: true }) as unknown as z.ZodType<Record<string, unknown>>;

/** What every answer about an index says; spread into the output of its tool. */
export const summaryShape = {
  index: z.string(),
  version: z.int(),
  count: z.int().describe("Items of the index now."),
  dimension: z.int(),
  metric,
  model: z.string().nullable().describe("What makes vectors of texts; null: the index takes vectors only."),
  provider: provider.nullable(),
  lexical: z.literal(true).optional().describe("The model compares words and spelling, not meaning."),
};

export type Summary = z.infer<z.ZodObject<typeof summaryShape>>;

/** The part of an answer that `summaryShape` describes. */
export function summaryOf({ lexical, ...result }: IndexSummary): Summary {
  const { index, version, count, dimension, metric, model, provider } = result;
  return { index, version, count, dimension, metric, model, provider, ...(lexical && { lexical: true as const }) };
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
