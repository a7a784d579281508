import * as z from "zod";
import { columnStats, itemCount } from "../engine/catalog/browse.ts";
import { bytesOf, countOf } from "../engine/kernel/amounts.ts";
import { defineCommand } from "./command.ts";
import { writeTable } from "./show.ts";
import { jsonText, visible } from "./text.ts";

export const describe = defineCommand({
  name: "describe",
  summary: "Show the columns of a dataset, where it comes from, and its versions.",
  needsLake: true,
  usage: ["NAME [options]", "NAME@VERSION [options]"],
  args: { least: 1, most: 1 },
  flags: { json: z.boolean().default(false).describe("Write a JSON object.") },
  run: async ({ flags, args: [reference = ""] }, context) => {
    const { manifest, versions, versionsTotal } = await (await context.engine()).describe(reference);
    const stats = columnStats(manifest);
    const columns = manifest.columns.map(({ name, type }) => {
      const { min = null, max = null, nulls = 0 } = stats[name] ?? {};
      return { name, type, min, max, nulls };
    });
    const history = versions.map(({ version, provenance, rows, createdAt }) => ({
      version,
      operation: provenance.operation,
      rows,
      source: provenance.source,
      created_at: createdAt,
    }));
    const { name, kind, version, bytes, files, provenance, createdAt, updatedAt } = manifest;
    if (flags.json) {
      const described = { name, kind, version, rows: itemCount(manifest), bytes, files: files.length };
      const made = {
        source: provenance.source,
        operation: provenance.operation,
        created_at: createdAt,
        updated_at: updatedAt,
      };
      await context.out.write(
        `${jsonText({ ...described, ...made, columns, versions: history, versions_total: versionsTotal })}\n`,
      );
      return 0;
    }
    const what = kind === "vectors" ? "vector index" : "table";
    const size = `${countOf(itemCount(manifest), kind === "vectors" ? "item" : "row")}, ${bytesOf(bytes)} in ${countOf(files.length, "file")}`;
    await context.out.write(
      `${visible(`${name}, ${what}, version ${version} of ${updatedAt}: ${size}`)}\n${visible(`${provenance.operation} from ${oneLine(provenance.source)}`)}\n\n`,
    );
    await writeTable(
      COLUMNS,
      columns.map((each) => [each.name, each.type, each.min, each.max, each.nulls]),
      context,
    );
    await context.out.write("\n");
    await writeTable(
      VERSIONS,
      history.map((each) => [each.version, each.operation, each.rows, oneLine(each.source), each.created_at]),
      context,
    );
    if (versionsTotal > history.length) {
      await context.out.write(`and ${countOf(versionsTotal - history.length, "older version")}\n`);
    }
    return 0;
  },
});

function oneLine(source: string): string {
  const line = source.replace(/\s+/g, " ").trim();
  return line.length > 200 ? `${line.slice(0, 199)}…` : line;
}

const COLUMNS = [
  { name: "column", type: "VARCHAR" },
  { name: "type", type: "VARCHAR" },
  { name: "least", type: "VARCHAR" },
  { name: "greatest", type: "VARCHAR" },
  { name: "nulls", type: "BIGINT" },
];

const VERSIONS = [
  { name: "version", type: "INTEGER" },
  { name: "operation", type: "VARCHAR" },
  { name: "rows", type: "BIGINT" },
  { name: "source", type: "VARCHAR" },
  { name: "created", type: "VARCHAR" },
];
