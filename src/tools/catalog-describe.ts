import * as z from "zod";
import { details } from "../engine/catalog/browse.ts";
import { OPERATIONS } from "../engine/catalog/types.ts";
import { bytesOf, countOf, grouped } from "../engine/kernel/amounts.ts";
import { fitting } from "./fitting.ts";
import { fence, line, table } from "./render.ts";
import { defineTool } from "./tool.ts";

/** A query may be long; `lakehouse_versions` has all of it. */
const MAX_SOURCE_CHARS = 1_000;

function shortened(source: string): string {
  if (source.length <= MAX_SOURCE_CHARS) return source;
  return `${source.slice(0, MAX_SOURCE_CHARS)}… (${grouped(source.length)} characters)`;
}

export const catalogDescribe = defineTool({
  name: "catalog-describe",
  title: "Describe a dataset",
  effect: "read",
  description:
    'Describe one dataset: columns with types, least and greatest value and NULLs, size, where the data came from, and its versions. "name@3" describes version 3.',
  input: z.strictObject({ name: z.string().min(1).max(100).describe('Dataset name, or "name@version".') }),
  output: z.object({
    dataset_id: z.string(),
    name: z.string(),
    kind: z.enum(["table", "vectors"]),
    version: z.int(),
    rows: z.int(),
    bytes: z.int(),
    files: z.int(),
    schema_fingerprint: z.string(),
    created_at: z.string(),
    updated_at: z.string(),
    columns: z.array(
      z.object({
        name: z.string(),
        type: z.string(),
        min: z.string().nullable(),
        max: z.string().nullable(),
        nulls: z.int(),
      }),
    ),
    columns_total: z.int().optional().describe("When there are more columns than these."),
    source: z.string().describe("What this version was made from."),
    operation: z.enum(OPERATIONS),
    versions: z.array(
      z.object({ version: z.int(), operation: z.string(), rows: z.int(), source: z.string(), created_at: z.string() }),
    ),
    versions_total: z.int(),
  }),
  run: async ({ name }, { engine }) => {
    const { columns, source, versions, ...rest } = details(await engine.describe(name));
    const fit = fitting(columns, engine.maxResultBytes, (column) => line(Object.values(column)), JSON.stringify);
    return {
      ...rest,
      columns: columns.slice(0, fit),
      ...(fit < columns.length && { columns_total: columns.length }),
      source: shortened(source),
      versions: versions.map((version) => ({ ...version, source: shortened(version.source) })),
    };
  },
  text: (result) => {
    const columns = result.columns.map((c) => [c.name, c.type, c.min, c.max, c.nulls]);
    const versions = result.versions.map((v) => [v.version, v.operation, v.rows, v.created_at, v.source]);
    const more = (result.columns_total ?? 0) - columns.length;
    const older = result.versions_total - result.versions.length;
    return [
      `${result.name}@${result.version} (${result.kind}): ${countOf(result.rows, "row")}, ${bytesOf(result.bytes)} in ${countOf(result.files, "file")}, updated ${result.updated_at}`,
      `dataset_id ${result.dataset_id}, schema ${result.schema_fingerprint}`,
      fence(
        [
          table(["column", "type", "min", "max", "nulls"], columns),
          ...(more > 0
            ? [`and ${more} more: SELECT * FROM (DESCRIBE "${result.name}@${result.version}") OFFSET ${columns.length}`]
            : []),
          "",
          table(["version", "operation", "rows", "created", "source"], versions),
          ...(older > 0 ? [`and ${older} older: SELECT * FROM lakehouse_versions WHERE name = '${result.name}'`] : []),
        ].join("\n"),
      ),
    ].join("\n");
  },
});
