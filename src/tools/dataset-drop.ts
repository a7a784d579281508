import * as z from "zod";
import { defineTool } from "./tool.ts";

export const datasetDrop = defineTool({
  name: "dataset-drop",
  title: "Drop a dataset",
  effect: "destroy",
  description:
    "Drop a dataset: it disappears from the catalog and from SQL. Its versions stay readable and can be brought back; the result says how.",
  input: z.strictObject({ name: z.string().min(1).max(100).describe("Dataset name.") }),
  output: z.object({
    name: z.string(),
    version: z.int().describe("The version that records the drop."),
    recover_from: z.string().describe("Reads as a table in sql."),
    recover_with: z
      .object({ name: z.string(), sql: z.string() })
      .optional()
      .describe("Arguments of ingest that bring it back; a vector index is built again instead."),
  }),
  run: async ({ name }, { engine }) => {
    const dropped = await engine.drop(name);
    const from = `${dropped.name}@${dropped.lastVersion}`;
    return {
      name: dropped.name,
      version: dropped.version,
      recover_from: from,
      ...(dropped.kind === "table" && { recover_with: { name: dropped.name, sql: `SELECT * FROM "${from}"` } }),
    };
  },
  text: ({ name, version, recover_from, recover_with }) =>
    `${name} is dropped (version ${version}). "${recover_from}" stays readable in sql until retention removes it. ${
      recover_with
        ? `To bring it back: ingest ${JSON.stringify(recover_with)}`
        : "To have the index again, build it with vector-index-create, or fill a new one with vector-upsert."
    }`,
});
