import * as z from "zod";
import { summary } from "../engine/catalog/browse.ts";
import { bytesOf, countOf } from "../engine/kernel/amounts.ts";
import { visible } from "../engine/kernel/visible.ts";
import { defineCommand } from "./command.ts";
import { writeTable } from "./show.ts";
import { jsonText } from "./text.ts";

const PAGE = 1_000;

export const list = defineCommand({
  name: "list",
  summary: "List the datasets.",
  needsLake: true,
  usage: ["[WORD…] [options]"],
  args: { least: 0, most: 20 },
  flags: {
    kind: z
      .enum(["table", "vectors"])
      .optional()
      .describe("Only tables, or only vector indexes:")
      .meta({ value: "KIND" }),
    json: z.boolean().default(false).describe("Write a JSON array."),
  },
  notes: "With words, those whose name or column names contain all of them.",
  run: async ({ flags, args }, context) => {
    const engine = await context.engine();
    const found: ReturnType<typeof summary>[] = [];
    let cursor: string | undefined;
    let unreadable: { name: string; version: number; reason: string }[] = [];
    do {
      const page = await engine.list({ search: args.join(" "), kind: flags.kind, cursor, limit: PAGE });
      found.push(...page.datasets.map(summary));
      cursor = page.nextCursor;
      unreadable = page.unreadable;
    } while (cursor !== undefined);
    if (flags.json) await context.out.write(`${jsonText(found)}\n`);
    else if (found.length > 0) {
      const rows = found.map((each) => [
        each.name,
        each.kind,
        each.version,
        each.rows,
        bytesOf(each.bytes),
        each.columns,
        each.updated_at,
      ]);
      await writeTable(COLUMNS, rows, context);
    }
    if (!flags.json) {
      const none =
        args.length > 0 || flags.kind ? "" : ` in ${context.config.data}; load one with lakehouse-mcp ingest FILE`;
      const counted = countOf(found.length, args.length > 0 || flags.kind ? "matching dataset" : "dataset");
      await context.err.write(`${counted}${found.length === 0 ? visible(none) : ""}\n`);
    }
    for (const { name, version, reason } of unreadable) {
      await context.err.write(`${visible(`Cannot be read: ${name} version ${version}: ${reason}`)}\n`);
    }
    return 0;
  },
});

const COLUMNS = [
  { name: "name", type: "VARCHAR" },
  { name: "kind", type: "VARCHAR" },
  { name: "version", type: "INTEGER" },
  { name: "rows", type: "BIGINT" },
  { name: "size", type: "INTEGER" },
  { name: "columns", type: "INTEGER" },
  { name: "updated", type: "VARCHAR" },
];
