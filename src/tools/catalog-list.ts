import * as z from "zod";
import { summary } from "../engine/catalog/browse.ts";
import { bytesOf, countOf } from "../engine/kernel/amounts.ts";
import { DEFAULT_PAGE, MAX_PAGE } from "../engine/kernel/limits.ts";
import { fitting } from "./fitting.ts";
import { fence, line, table } from "./render.ts";
import { defineTool } from "./tool.ts";

export const catalogList = defineTool({
  name: "catalog-list",
  title: "List datasets",
  effect: "read",
  description: "List the datasets, a page at a time: names, sizes, versions. Search matches names and column names.",
  input: z.strictObject({
    search: z.string().max(200).optional().describe("Words that the name or a column name contains."),
    kind: z.enum(["table", "vectors"]).optional().describe("Tables alone, or vector indexes alone."),
    cursor: z.string().max(1000).optional().describe("next_cursor of the last page."),
    limit: z.int().min(1).max(MAX_PAGE).default(DEFAULT_PAGE).describe("Datasets a page."),
  }),
  output: z.object({
    datasets: z.array(
      z.object({
        name: z.string(),
        kind: z.enum(["table", "vectors"]),
        version: z.int(),
        rows: z.int(),
        bytes: z.int(),
        columns: z.int().describe("How many columns."),
        updated_at: z.string(),
      }),
    ),
    next_cursor: z.string().optional(),
    total: z.int().describe("Datasets that match, on all pages."),
    unreadable: z
      .array(z.object({ name: z.string(), version: z.int(), reason: z.string() }))
      .optional()
      .describe("Datasets with a version that cannot be read; tell the user."),
  }),
  run: async (args, { engine }) => {
    const page = await engine.list(args);
    const fit = fitting(
      page.datasets.map(summary),
      engine.maxResultBytes,
      (each) => line(Object.values(each)),
      JSON.stringify,
    );
    // The cursor has to belong to the last dataset that is listed.
    const { datasets, nextCursor, total, unreadable } =
      fit < page.datasets.length ? await engine.list({ ...args, limit: fit }) : page;
    return {
      datasets: datasets.map(summary),
      ...(nextCursor !== undefined && { next_cursor: nextCursor }),
      total,
      ...(unreadable.length > 0 && { unreadable }),
    };
  },
  text: (result, args) => {
    const lines = [countOf(result.total, args.search || args.kind ? "matching dataset" : "dataset")];
    if (result.datasets.length > 0) {
      const rows = result.datasets.map((d) => [
        d.name,
        d.kind,
        d.version,
        d.rows,
        bytesOf(d.bytes),
        d.columns,
        d.updated_at,
      ]);
      lines[0] += ":";
      lines.push(fence(table(["name", "kind", "version", "rows", "size", "columns", "updated"], rows)));
    } else if (result.total === 0) {
      lines[0] +=
        args.search || args.kind ? ". Search for less, or leave search and kind out." : ". Load one with ingest.";
    }
    if (result.next_cursor !== undefined) lines.push(`More: call again with cursor ${result.next_cursor}`);
    for (const { name, version, reason } of result.unreadable ?? []) {
      lines.push(`Cannot be read: ${name} version ${version}: ${reason}`);
    }
    return lines.join("\n");
  },
});
