import * as z from "zod";
import { details } from "../engine/catalog/browse.ts";
import { bytesOf, countOf } from "../engine/kernel/amounts.ts";
import { visible } from "../engine/kernel/visible.ts";
import { type CommandContext, defineCommand } from "./command.ts";
import { writeTable } from "./show.ts";
import { jsonText } from "./text.ts";

export const describe = defineCommand({
  name: "describe",
  summary: "Show the columns of a dataset, where it comes from, and its versions.",
  needsLake: true,
  usage: ["NAME [options]", "NAME@VERSION [options]"],
  args: { least: 1, most: 1 },
  flags: { json: z.boolean().default(false).describe("Write a JSON object.") },
  run: async ({ flags, args: [reference = ""] }, context) => {
    const described = details(await (await context.engine()).describe(reference));
    if (flags.json) await context.out.write(`${jsonText(described)}\n`);
    else await writeText(described, context);
    return 0;
  },
});

async function writeText(described: ReturnType<typeof details>, context: CommandContext): Promise<void> {
  const { name, kind, version, rows, bytes, files, columns, versions } = described;
  const [what, each] = kind === "vectors" ? ["vector index", "item"] : ["table", "row"];
  const size = `${countOf(rows, each)}, ${bytesOf(bytes)} in ${countOf(files, "file")}`;
  const title = `${name}, ${what}, version ${version} of ${described.updated_at}: ${size}`;
  const origin = `${described.operation} from ${oneLine(described.source)}`;
  await context.out.write(`${visible(title)}\n${visible(origin)}\n\n`);
  await writeTable(
    COLUMNS,
    columns.map((column) => [column.name, column.type, column.min, column.max, column.nulls]),
    context,
  );
  await context.out.write("\n");
  await writeTable(
    VERSIONS,
    versions.map((one) => [one.version, one.operation, one.rows, oneLine(one.source), one.created_at]),
    context,
  );
  const older = described.versions_total - versions.length;
  if (older > 0) await context.out.write(`and ${countOf(older, "older version")}\n`);
}

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
