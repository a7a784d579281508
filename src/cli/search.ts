import * as z from "zod";
import type { SearchResult } from "../engine/index/types.ts";
import { countOf, grouped } from "../engine/kernel/amounts.ts";
import { DEFAULT_K, MAX_K } from "../engine/kernel/limits.ts";
import { visible } from "../engine/kernel/visible.ts";
import { defineCommand, wholeNumber } from "./command.ts";
import { OUTPUTS, openWriter } from "./formats.ts";
import { writeTable } from "./show.ts";
import type { Json } from "./text.ts";

export const search = defineCommand({
  name: "search",
  summary: "Find the items of a vector index that are nearest to a text.",
  needsLake: true,
  usage: ["INDEX TEXT [options]", "INDEX --like ID [options]"],
  args: { least: 1, most: 2 },
  flags: {
    k: wholeNumber(1, MAX_K).default(DEFAULT_K).describe("Hits to show at most.").meta({ short: "k", value: "N" }),
    where: z
      .string()
      .optional()
      .describe("SQL condition that hits have to meet.")
      .meta({ short: "w", value: "CONDITION" }),
    like: z
      .string()
      .optional()
      .describe("Id of an item, instead of a text: finds items like it.")
      .meta({ value: "ID" }),
    include: z
      .array(z.enum(["text", "row"]))
      .default([])
      .describe("With each hit its text, or its row of the dataset: text, row; can be repeated.")
      .meta({ value: "WHAT" }),
    output: z.enum(OUTPUTS).default("table").describe("How hits are written:").meta({ short: "o", value: "FORMAT" }),
  },
  run: async ({ flags, args: [index = "", text] }, context) => {
    const { k, where, like, include, output } = flags;
    const engine = await context.engine();
    const result = await engine.search({ index, text, likeId: like, k, where, include }, { signal: context.signal });
    const { columns, rows } = tableOf(result, include, output === "table");
    if (output === "table") await writeTable(columns, rows, context);
    else {
      const writer = openWriter(output, columns);
      await context.out.write(writer.head + writer.rows(rows) + writer.tail);
    }
    const of = result.matched === undefined ? "" : ` of ${grouped(result.matched)} that match`;
    const where_ = `${result.index}@${result.version} (${countOf(result.count, "item")})`;
    await context.err.write(
      `${countOf(result.hits.length, "hit")}${of} in ${where_}, ${result.metric}, ${result.method}, ${result.elapsed_ms} ms\n`,
    );
    if (result.note !== undefined) await context.err.write(`${visible(result.note)}\n`);
    return 0;
  },
});

/** One row for each hit. Columns of the dataset follow as `row.<name>`. */
function tableOf({ hits }: SearchResult, include: readonly string[], short: boolean) {
  const fields = include.includes("row") ? Object.keys(hits.find((hit) => hit.row)?.row ?? {}) : [];
  const number = (value: number): number => (short ? Number(value.toPrecision(4)) : value);
  const columns = [
    { name: "id", type: "VARCHAR" },
    { name: "distance", type: "DOUBLE" },
    { name: "score", type: "DOUBLE" },
    { name: "metadata", type: "JSON" },
    ...(include.includes("text") ? [{ name: "text", type: "VARCHAR" }] : []),
    ...fields.map((name) => ({ name: `row.${name}`, type: "VARCHAR" })),
  ];
  const rows: Json[][] = hits.map((hit) => [
    ...[hit.id, number(hit.distance), number(hit.score), hit.metadata],
    ...(include.includes("text") ? [hit.text ?? null] : []),
    ...fields.map((field) => hit.row?.[field] ?? null),
  ]);
  return { columns, rows };
}
