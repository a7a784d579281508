import * as z from "zod";
import { MAX_DIMENSION } from "../engine/embed/types.ts";
import type { Engine } from "../engine/engine.ts";
import type { CreateResult, SourceRequest } from "../engine/index/types.ts";
import { countOf, grouped } from "../engine/kernel/amounts.ts";
import { LakeError } from "../engine/kernel/errors.ts";
import { MAX_CONDITION_CHARS, MAX_METADATA_COLUMNS, MAX_TEMPLATE } from "../engine/kernel/limits.ts";
import { noteOnModel } from "./embed-note.ts";
import { background, orJob, started, startedText } from "./job-start.ts";
import { fence } from "./render.ts";
import { defineTool } from "./tool.ts";
import { inWords, metric, summaryOf, summaryShape } from "./vector-schema.ts";

const column = z.string().min(1).max(1_000);

export const built = z.object({
  ...summaryShape,
  note: z.string().optional().describe("Why this model is used, and how to get a better one."),
  created: z.boolean(),
  unchanged: z.boolean().describe("There was nothing to do; no new version."),
  embedded: z.int().describe("Rows whose text was embedded now."),
  kept: z.int().describe("Rows that were in the index already."),
  removed: z.int().describe("Items removed, because their rows went."),
  skipped: z.int().describe("Rows without a text, not in the index."),
  left_out: z
    .object({
      count: z.int(),
      items: z.array(z.object({ id: z.string(), reason: z.string() })).describe("The first 20 of them."),
    })
    .optional()
    .describe(
      "Rows not in the index, as the embedding service has no vector for their text. The next call tries again.",
    ),
});

export const vectorIndexCreate = defineTool({
  name: "vector-index-create",
  title: "Create a vector index",
  effect: "write",
  idempotent: true,
  description:
    "Create a vector index: of a dataset (dataset, text, id), or empty for vector-upsert (name, and dimension when it takes vectors only). Running it again with the same arguments after a new version of the dataset embeds only rows whose text changed and removes those that went; after a broken-off build it goes on. An index is a dataset: catalog-list shows it, sql reads it, dataset-drop drops it.",
  input: z.strictObject({
    name: z.string().describe("Name of the index, of the same kind as a dataset name; not taken by a dataset."),
    dataset: z.string().min(1).max(100).optional().describe("Dataset to index; needs text and id."),
    text: z
      .string()
      .min(1)
      .max(MAX_TEMPLATE)
      .optional()
      .describe("What is embedded: a column, or a template over columns: {role} in {city}. {resume_text}"),
    id: column.optional().describe("Column with the ids: no NULL, no value twice."),
    where: z
      .string()
      .min(1)
      .max(MAX_CONDITION_CHARS)
      .optional()
      .describe("SQL condition: which rows are indexed. Unset: all."),
    metadata: z
      .array(column)
      .max(MAX_METADATA_COLUMNS)
      .optional()
      .describe("Columns kept with the items as metadata, to be in every hit. where can use the others too."),
    dimension: z
      .int()
      .min(1)
      .max(MAX_DIMENSION)
      .optional()
      .describe("Length of the vectors. Alone: an index without a model. With a model: has to be the model's."),
    metric: metric.optional().describe("Unset: cosine. ip: inner product. l2: Euclidean."),
    model: z
      .string()
      .min(1)
      .max(200)
      .optional()
      .describe("What makes vectors of texts. Unset: the server's model, unless dimension alone is given."),
    background,
  }),
  output: orJob(built),
  run: async (args, { engine, signal, progress, caller }) => {
    const { name, dimension, model } = args;
    const request = { name, dimension, metric: args.metric, model, source: sourceOf(args) };
    const performed = await engine.perform("vector-index-create", request, {
      caller,
      signal,
      onProgress: progress,
      background: args.background,
    });
    return "result" in performed ? viewOfBuild(performed.result, engine) : started(performed.jobId);
  },
  text: (result, args) =>
    result.job_id === undefined
      ? builtText(result as z.output<typeof built>, args.dataset !== undefined)
      : startedText(result.job_id),
});

export function viewOfBuild(result: CreateResult, engine: Engine): z.output<typeof built> {
  const { created, unchanged, embedded, kept, removed, skipped, leftOut } = result;
  const note = result.lexical ? noteOnModel(engine.embedStatus()) : undefined;
  return {
    ...summaryOf(result),
    ...(note !== undefined && { note }),
    created,
    unchanged,
    embedded,
    kept,
    removed,
    skipped,
    ...(leftOut && { left_out: leftOut }),
  };
}

/** `ofDataset`: built from a dataset, rather than empty. */
export function builtText(result: z.output<typeof built>, ofDataset: boolean): string {
  const { index, version, embedded, kept, removed, skipped } = result;
  const lines = [
    result.unchanged
      ? `${index} is unchanged: version ${version}, ${inWords(result)}.`
      : `${index} is ${result.created ? "created" : "brought up to date"}, version ${version}: ${inWords(result)}.`,
  ];
  if (ofDataset) {
    const without = skipped > 0 ? `, ${countOf(skipped, "row")} without a text skipped` : "";
    lines.push(`${countOf(embedded, "text")} embedded, ${grouped(kept)} kept, ${grouped(removed)} removed${without}.`);
  }
  if (result.left_out !== undefined) lines.push(...leftOutLines(result.left_out));
  if (result.note !== undefined) lines.push(result.note);
  lines.push(result.count === 0 ? FILL : searchWith(index, result.model !== null));
  return lines.join("\n");
}

function leftOutLines({ count, items }: NonNullable<z.output<typeof built>["left_out"]>): string[] {
  const named = items.map(({ id, reason }) => `id ${JSON.stringify(id)}: ${JSON.stringify(reason)}`);
  const more = count > items.length ? [`and ${grouped(count - items.length)} more`] : [];
  return [
    `${countOf(count, "row")} left out, as the embedding service has no vector for their text; the same call tries again:`,
    fence([...named, ...more].join("\n")),
  ];
}

const FILL = "It is empty: fill it with vector-upsert.";

function searchWith(index: string, byText: boolean): string {
  const sql = `SELECT * FROM vector_search('${index}', $1, 10)`;
  return byText
    ? `Search with vector-search {"index":"${index}","text":…}, or in sql: ${sql}`
    : `Search with vector-search {"index":"${index}","vector":…}.`;
}

interface Arguments {
  dataset?: string | undefined;
  text?: string | undefined;
  id?: string | undefined;
  where?: string | undefined;
  metadata?: string[] | undefined;
}

function sourceOf({ dataset, text, id, where, metadata }: Arguments): SourceRequest | undefined {
  if (dataset === undefined) {
    const stray = Object.entries({ text, id, where, metadata }).find(([, value]) => value !== undefined)?.[0];
    if (stray === undefined) return undefined;
    throw new LakeError("invalid", `${stray} is given without dataset.`, {
      hint: "Give dataset, text and id to index a dataset; leave text, id, where and metadata out for an empty index.",
    });
  }
  if (text === undefined || id === undefined) {
    const missing = [...(text === undefined ? ["text"] : []), ...(id === undefined ? ["id"] : [])];
    throw new LakeError("invalid", `dataset needs text and id: ${missing.join(" and ")} missing.`, {
      hint: "text: the column to embed, or a template such as {role} in {city}; id: the column with the ids. catalog-describe lists the columns.",
    });
  }
  return { dataset, text, id, where, metadata };
}
