import { completable, type McpServer } from "@modelcontextprotocol/server";
import { z } from "zod";
import type { Engine } from "./engine/engine.ts";

const asUser = (text: string) => ({ messages: [{ role: "user" as const, content: { type: "text" as const, text } }] });

const exploreDataset = {
  register: (server: McpServer, engine: Engine) =>
    server.registerPrompt(
      "explore-dataset",
      {
        title: "Explore a dataset",
        description: "Get to know one dataset: its columns, its quality, and what it can answer.",
        argsSchema: z.object({
          dataset: completable(z.string().describe("Dataset name"), (prefix) => engine.complete(prefix)),
        }),
      },
      ({ dataset }) =>
        asUser(`Explore the dataset ${JSON.stringify(dataset)} and report what is in it.
1. Call catalog-describe for its columns, ranges and NULLs.
2. Call sql with SUMMARIZE ${JSON.stringify(dataset)} and look at a few rows.
3. Check quality: columns that are mostly NULL, numbers or dates kept as text, values that look wrong, repeated keys.
4. Find the three most telling groupings and show each as a small table.
5. End with five questions this data can answer, each with the SQL for it.`),
    ),
};

const loadFile = {
  register: (server: McpServer) =>
    server.registerPrompt(
      "load-file",
      {
        title: "Load a file",
        description: "Load a file into a dataset and check that nothing was lost on the way.",
        argsSchema: z.object({
          path: z.string().describe("File to load"),
          name: z.string().optional().describe("Name for the dataset; chosen from the file name when absent"),
        }),
      },
      ({ path, name }) =>
        asUser(`Load the file ${JSON.stringify(path)} into the lakehouse${name === undefined ? " under a short, fitting dataset name" : ` as ${JSON.stringify(name)}`}.
1. Call catalog-list first; if the name is taken, ask before replacing anything.
2. Call ingest with the path. If it fails, the error says what to change: explain it before using on_bad_rows or schema_change.
3. Read the notes of the result: columns kept as text, skipped rows, renamed columns. Explain each in a sentence.
4. Check with sql: row count, NULLs per column, the first rows.
5. Report the dataset name, version, rows, and anything that needs a decision.`),
    ),
};

export const prompts = [exploreDataset, loadFile] as const;
