import * as z from "zod";
import { bytesOf, countOf } from "../engine/kernel/amounts.ts";
import { MAX_TEXTS_OF_CALL } from "../engine/kernel/limits.ts";
import { openTimeSlice } from "../engine/kernel/time-slice.ts";
import { noteOnModel } from "./embed-note.ts";
import { base64 } from "./render.ts";
import { defineTool } from "./tool.ts";

const SLICE_MS = 5;
/** Significant digits that identify every float32. */
const DIGITS = 9;

export const embed = defineTool({
  name: "embed",
  title: "Embed texts",
  effect: "read",
  description:
    "Turn texts into embedding vectors, for use outside the lakehouse or to compare a few texts. Use kind query for a question and document for what is searched. The result names the model; vectors of different models cannot be compared. lexical: true means that the model compares words and spelling, not meaning.",
  input: z.strictObject({
    texts: z
      .array(z.string())
      .min(1)
      .max(MAX_TEXTS_OF_CALL)
      .describe("Up to 64 texts, none empty, 32,768 characters each."),
    kind: z.enum(["query", "document"]).default("document"),
    model: z
      .string()
      .min(1)
      .max(200)
      .optional()
      .describe("Unset: the server's model. Another model of the same service, or builtin."),
  }),
  output: z.object({
    model: z.string(),
    provider: z.enum(["ollama", "openai", "builtin"]),
    dimension: z.int(),
    lexical: z.boolean().optional().describe("The model compares words and spelling, not meaning."),
    note: z.string().optional().describe("Why this model is used, and how to get a better one."),
    vectors: z.array(z.array(z.number())).describe("One a text, in their order."),
  }),
  run: async ({ texts, kind, model }, { engine, signal }) => {
    const embedded = await engine.embed(texts, { kind, model, signal });
    const inSlices = openTimeSlice(SLICE_MS);
    const vectors: number[][] = [];
    for (const vector of embedded.vectors) {
      vectors.push(await inSlices(() => Array.from(vector, (value) => Number(value.toPrecision(DIGITS)))));
    }
    const note = embedded.lexical && model === undefined ? noteOnModel(engine.embedStatus()) : undefined;
    return {
      model: embedded.model,
      provider: embedded.provider,
      dimension: embedded.dimension,
      ...(embedded.lexical && { lexical: true }),
      ...(note !== undefined && { note }),
      vectors,
    };
  },
  text: (result, _args, { engine }) => {
    const by = `${result.model} (${result.provider}${result.lexical ? ", lexical: compares words and spelling, not meaning" : ""})`;
    const what = `${countOf(result.vectors.length, "vector")} of ${result.dimension} dimensions by ${by}`;
    const vectors = result.vectors.map((vector, index) => `${index}: ${base64(vector)}`).join("\n");
    const lines =
      vectors.length <= engine.maxResultBytes
        ? [`${what}, each as base64 of little-endian float32:`, vectors]
        : [
            `${what}, in the structured content: as text they are larger than ${bytesOf(engine.maxResultBytes)}. For the text, embed fewer at a time.`,
          ];
    if (result.note !== undefined) lines.push(result.note);
    return lines.join("\n");
  },
});
