import * as z from "zod";
import { countOf, grouped } from "../engine/kernel/amounts.ts";
import { MAX_ITEMS } from "../engine/kernel/limits.ts";
import { defineTool } from "./tool.ts";
import { index, inWords, jsonObject, numbers, summaryOf, summaryShape } from "./vector-schema.ts";

export const vectorUpsert = defineTool({
  name: "vector-upsert",
  title: "Insert or update vectors",
  effect: "write",
  idempotent: true,
  description:
    "Insert items into a vector index, or replace those with the same id: each with a vector, or a text that the index's model embeds, or both. All or nothing: one bad item refuses the batch and is named. One call is one atomic, durable version, so send many items a call.",
  input: z.strictObject({
    index,
    items: z
      .array(
        z.strictObject({
          id: z.string().describe("1 to 1,024 bytes, no other item of this call has it."),
          vector: numbers.optional().describe("As long as the index's dimension; not all zero under cosine."),
          text: z.string().optional().describe("Embedded when there is no vector; kept either way."),
          metadata: jsonObject
            .optional()
            .describe(
              'JSON object, as its text or as it is: {"role": "driver"}; up to 64 KiB. Unset: what is there stays; {}: none.',
            ),
        }),
      )
      .min(1)
      .max(MAX_ITEMS)
      .describe("1 to 10,000."),
  }),
  output: z.object({
    ...summaryShape,
    inserted: z.int().describe("Items that were not there."),
    updated: z.int().describe("Items that were there."),
  }),
  run: async (args, { engine, signal, progress }) => {
    const result = await engine.upsert(args.index, args.items, { signal, onProgress: progress });
    return { ...summaryOf(result), inserted: result.inserted, updated: result.updated };
  },
  text: (result) =>
    `${countOf(result.inserted, "item")} inserted, ${grouped(result.updated)} updated. ${result.index} is at version ${result.version}: ${inWords(result)}.`,
});
