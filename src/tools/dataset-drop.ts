import { z } from "zod";
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
    recover_with: z.object({ name: z.string(), sql: z.string() }).describe("Arguments of ingest that bring it back."),
  }),
  run: async ({ name }, { engine }) => {
    const dropped = await engine.drop(name);
    const from = `${dropped.name}@${dropped.lastVersion}`;
    return {
      name: dropped.name,
      version: dropped.version,
      recover_from: from,
      recover_with: { name: dropped.name, sql: `SELECT * FROM "${from}"` },
    };
  },
  text: (result) =>
    `${result.name} is dropped (version ${result.version}). "${result.recover_from}" stays readable in sql until retention removes it. To bring it back: ingest ${JSON.stringify(result.recover_with)}`,
});
