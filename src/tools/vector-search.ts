import * as z from "zod";
import type { Hit, SearchResult } from "../engine/index/types.ts";
import { bytesOf, countOf, grouped } from "../engine/kernel/amounts.ts";
import { LakeError } from "../engine/kernel/errors.ts";
import {
  DEFAULT_K,
  MAX_CONDITION_CHARS,
  MAX_EF,
  MAX_ID_BYTES,
  MAX_K,
  MAX_TEXT_CHARS,
} from "../engine/kernel/limits.ts";
import { openTimeSlice } from "../engine/kernel/time-slice.ts";
import { cutAt, fitting } from "./fitting.ts";
import { base64, fence, line, table } from "./render.ts";
import { defineTool } from "./tool.ts";
import { index, metric, numbers } from "./vector-schema.ts";

/** A vector of 768 dimensions is about 9 kB of JSON, a row or a text a few. */
const MAX_K_WITH = { vector: 100, row: 1_000, text: 1_000 };
const MAX_RESULT_CHARS = 8 * 2 ** 20;
const SLICE_MS = 5;
/** Significant digits that identify every float32. */
const DIGITS = 9;

export const vectorSearch = defineTool({
  name: "vector-search",
  title: "Search vectors",
  effect: "read",
  description:
    "Find the nearest items of a vector index: to a text, to a vector, or to an item that is in it (like_id). where filters before k is counted, so k hits come back when as many match. To join, aggregate or page, use vector_search('index', 'text', k) in sql instead. lexical: true means that the model compares words and spelling, not meaning: search with words as the texts have them.",
  input: z.strictObject({
    index,
    text: z
      .string()
      .min(1)
      .max(MAX_TEXT_CHARS)
      .optional()
      .describe("What to look for, in words. Give one of text, vector, like_id."),
    vector: numbers.optional().describe("As long as the index's dimension."),
    like_id: z
      .string()
      .min(1)
      .max(MAX_ID_BYTES)
      .optional()
      .describe("Id of an item: finds items like it, itself left out."),
    k: z
      .int()
      .min(1)
      .max(MAX_K)
      .default(DEFAULT_K)
      .describe("Hits to return at most; 100 with vectors, 1,000 with rows or texts."),
    where: z
      .string()
      .min(1)
      .max(MAX_CONDITION_CHARS)
      .optional()
      .describe(
        "SQL condition over the columns of the dataset the index was built from, and id, text and metadata: state = 'IL' AND metadata->>'shift' = 'night'",
      ),
    ef: z
      .int()
      .min(1)
      .max(MAX_EF)
      .optional()
      .describe(
        "Candidates kept: more finds more, and takes longer. By default as many as suit the size of the index.",
      ),
    include: z
      .array(z.enum(["row", "text", "vector"]))
      .max(3)
      .default([])
      .describe("With each hit: its row of the dataset, its text, its vector."),
  }),
  output: z.object({
    hits: z
      .array(
        z.object({
          id: z.string(),
          distance: z.number().describe("Smaller is nearer; what DuckDB's function for the metric gives."),
          score: z.number().describe("Larger is more alike. cosine: the cosine; ip: the product; l2: 1/(1+distance)."),
          metadata: z.unknown().describe("null: none."),
          text: z.string().nullable().optional(),
          vector: z.array(z.number()).optional(),
          row: z.unknown().optional().describe("By column; null: not in the dataset any more."),
        }),
      )
      .describe("Nearest first."),
    index: z.string(),
    version: z.int(),
    count: z.int().describe("Items of the index."),
    metric,
    model: z.string().nullable().describe("null: the index takes vectors only."),
    method: z.enum(["hnsw", "exact"]).describe("exact: compared with every vector that may be a hit."),
    matched: z.int().optional().describe("Items that where lets through."),
    lexical: z.boolean().optional().describe("The model compares words and spelling, not meaning."),
    truncated: z.boolean().optional().describe("More hits were found than fit into a result."),
    note: z.string().optional().describe("What to know about this result."),
    elapsed_ms: z.number(),
  }),
  run: async ({ index: name, text, vector, like_id, k, where, ef, include }, { engine, signal, caller }) => {
    assertOne({ text, vector, like_id });
    assertSize(k, include);
    const result = await engine.search(
      { index: name, text, vector, likeId: like_id, k, where, ef, include },
      { signal, caller },
    );
    const { version, count, method, matched, lexical, elapsed_ms } = result;
    const all = await readable(result.hits);
    const fit = fitting(all, engine.maxResultBytes, (hit) => line(cellsOf(hit, include, [])), withoutVector);
    const note = [
      result.note,
      fit < all.length
        ? `${cutAt(engine.maxResultBytes)} after ${fit} of ${countOf(all.length, "hit")}: ask for a smaller k, include less, or page with vector_search() in sql.`
        : undefined,
    ].filter((each) => each !== undefined);
    return {
      hits: all.slice(0, fit),
      index: result.index,
      version,
      count,
      metric: result.metric,
      model: result.model,
      method,
      ...(matched !== undefined && { matched }),
      ...(lexical && { lexical: true }),
      ...(fit < all.length && { truncated: true }),
      ...(note.length > 0 && { note: note.join(" ") }),
      elapsed_ms,
    };
  },
  text: (result, { include }, { engine }) => {
    const { hits, index: name, version, count, metric: distance, method, model, lexical, matched, note } = result;
    const lines = hits.length === 0 ? [] : hitTable(hits as Hit[], include, engine.maxResultBytes);
    const of = matched === undefined ? "" : ` of ${grouped(matched)} that match`;
    const by = model === null ? "" : `, ${model}${lexical ? " (lexical)" : ""}`;
    lines.push(
      `${countOf(hits.length, "hit")}${of} in ${name}@${version} (${countOf(count, "item")}), ${distance}, ${method}${by}, ${result.elapsed_ms} ms`,
    );
    if (note !== undefined) lines.push(note);
    return lines.join("\n");
  },
});

function assertOne(given: Record<string, unknown>): void {
  if (Object.values(given).filter((value) => value !== undefined).length === 1) return;
  throw new LakeError("invalid", "Give exactly one of text, vector and like_id.", {
    hint: "text is embedded by the index's model, vector is compared as it is, like_id finds items like that one.",
  });
}

function assertSize(k: number, include: readonly (keyof typeof MAX_K_WITH)[]): void {
  const tooMuch = include.find((each) => k > MAX_K_WITH[each]);
  if (tooMuch === undefined) return;
  const most = grouped(MAX_K_WITH[tooMuch]);
  throw new LakeError("limit", `k is ${grouped(k)}, and at most ${most} with ${tooMuch} in include.`, {
    hint: `Ask for k ${most} or less, or leave ${tooMuch} out; in sql, vector_search() joins and aggregates any number of hits.`,
  });
}

/** The hits with rounded vectors. Throws `limit` when they are too large for a message. */
async function readable(hits: SearchResult["hits"]): Promise<Hit[]> {
  const inSlices = openTimeSlice(SLICE_MS);
  const ready: Hit[] = [];
  let chars = 0;
  for (const hit of hits) {
    const next = await inSlices(() => {
      const { vector } = hit;
      const short = vector === undefined ? hit : { ...hit, vector: vector.map((v) => Number(v.toPrecision(DIGITS))) };
      chars += JSON.stringify(short).length;
      return short;
    });
    if (chars > MAX_RESULT_CHARS) {
      throw new LakeError(
        "limit",
        `${countOf(ready.length + 1, "hit")} of ${grouped(hits.length)} are more than ${bytesOf(MAX_RESULT_CHARS)} already.`,
        { hint: "Ask for a smaller k, leave include out, or select what is needed with vector_search() in sql." },
      );
    }
    ready.push(next);
  }
  return ready;
}

const withoutVector = ({ vector: _, ...hit }: Hit): string => JSON.stringify(hit);

/** One line for each hit. Columns of the dataset follow as `row.<name>`. Vectors that do not fit are left out: they cannot be cut. */
function hitTable(hits: readonly Hit[], include: readonly string[], maxBytes: number): string[] {
  const columns = include.includes("row") ? Object.keys(hits.find((hit) => hit.row)?.row ?? {}) : [];
  const chars = hits.reduce((sum, { vector = [] }) => sum + 6 * vector.length, 0);
  const withVector = include.includes("vector") && chars <= maxBytes;
  const header = [
    ...["id", "distance", "score", "metadata"],
    ...(include.includes("text") ? ["text"] : []),
    ...columns.map((column) => `row.${column}`),
    ...(withVector ? ["vector (base64 of little-endian float32)"] : []),
  ];
  const rows = hits.map((hit) => [
    ...cellsOf(hit, include, columns),
    ...(withVector ? [base64(hit.vector ?? [])] : []),
  ]);
  const shown = fence(table(header, rows));
  if (!include.includes("vector") || withVector) return [shown];
  return [shown, `The vectors are in the structured content: as text they are larger than ${bytesOf(maxBytes)}.`];
}

function cellsOf(hit: Hit, include: readonly string[], columns: readonly string[]): unknown[] {
  const { id, distance, score, metadata, text, row } = hit;
  const named = columns.length > 0 ? columns : include.includes("row") ? Object.keys(row ?? {}) : [];
  return [
    ...[id, short(distance), short(score), metadata],
    ...(include.includes("text") ? [text] : []),
    ...named.map((column) => row?.[column]),
  ];
}

function short(value: number): number {
  return Math.abs(value) < 1e-6 ? 0 : Number(value.toPrecision(4));
}
