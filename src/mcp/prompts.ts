import { completable, type McpServer, ProtocolErrorCode, type ServerContext } from "@modelcontextprotocol/server";
import * as z from "zod";
import type { Engine } from "../engine/engine.ts";
import { protocolError } from "./known-error.ts";
import { serveCall, type Watch } from "./serve-call.ts";

/** Prompts are our own texts with the arguments filled in. Getting one is logged, counted and traced like every call. */
function respond(name: string, args: unknown, context: ServerContext, watch: Watch, text: string) {
  return serveCall({ kind: "prompt", name }, context, watch, {
    args,
    run: async () => ({ messages: [{ role: "user" as const, content: { type: "text" as const, text } }] }),
    refuse: (error) => {
      throw protocolError(ProtocolErrorCode.InternalError, error);
    },
  });
}

const exploreDataset = {
  name: "explore-dataset",
  register: (server: McpServer, engine: Engine, watch: Watch) =>
    server.registerPrompt(
      "explore-dataset",
      {
        title: "Explore a dataset",
        description: "Get to know one dataset: its columns, its quality, and what it can answer.",
        argsSchema: z.object({
          dataset: completable(z.string().describe("Dataset name"), (prefix) => engine.complete(prefix)),
        }),
      },
      (args, context) => {
        const { dataset } = args;
        return respond(
          "explore-dataset",
          args,
          context,
          watch,
          `Explore the dataset ${JSON.stringify(dataset)} and report what is in it.
1. Call catalog-describe for its columns, ranges and NULLs.
2. Call sql with SUMMARIZE ${JSON.stringify(dataset)} and look at a few rows.
3. Check quality: columns that are mostly NULL, numbers or dates kept as text, values that look wrong, repeated keys.
4. Find the three most telling groupings and show each as a small table.
5. End with five questions this data can answer, each with the SQL for it.`,
        );
      },
    ),
};

const loadFile = {
  name: "load-file",
  register: (server: McpServer, _: Engine, watch: Watch) =>
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
      (args, context) => {
        const { path, name } = args;
        return respond(
          "load-file",
          args,
          context,
          watch,
          `Load the file ${JSON.stringify(path)} into the lakehouse${name === undefined ? " under a short, fitting dataset name" : ` as ${JSON.stringify(name)}`}.
1. Call catalog-list first; if the name is taken, ask before replacing anything.
2. Call ingest with the path. If it fails, the error says what to change: explain it before using on_bad_rows or schema_change.
3. Read the notes of the result: columns kept as text, skipped rows, renamed columns. Explain each in a sentence.
4. Check with sql: row count, NULLs per column, the first rows.
5. Report the dataset name, version, rows, and anything that needs a decision.`,
        );
      },
    ),
};

const buildSearch = {
  name: "build-search",
  register: (server: McpServer, engine: Engine, watch: Watch) =>
    server.registerPrompt(
      "build-search",
      {
        title: "Build a search",
        description: "Make a dataset searchable by meaning, try it, and join what it finds in SQL.",
        argsSchema: z.object({
          dataset: completable(z.string().describe("Dataset name"), async (prefix) => {
            const { datasets } = await engine.list({ kind: "table", limit: Number.POSITIVE_INFINITY });
            return datasets.map((head) => head.name).filter((name) => name.startsWith(prefix));
          }),
          text: z.string().optional().describe("Column with the text; chosen from the columns when absent"),
        }),
      },
      (args, context) => {
        const { dataset, text } = args;
        const table = JSON.stringify(dataset);
        const index = `${dataset}_index`;
        return respond(
          "build-search",
          args,
          context,
          watch,
          `Make the dataset ${table} searchable by meaning and show that it works.
1. Call catalog-describe for its columns, and sql for a few rows.
2. Choose the id: a column without NULLs and without a value twice. Check it with sql: count(*), count(id column), count(DISTINCT id column).
3. ${text === undefined ? "Choose the text: the column that says in words what people will ask for" : `The text is in the column ${JSON.stringify(text)}: take it`}, or a template that puts it together with others, such as {role} in {city}. {resume_text}
4. Call vector-index-create with name ${JSON.stringify(index)}, dataset ${table}, text, id, and as metadata the few short columns that every hit should show. It can take minutes and reports progress; if it breaks off, call it again with the same arguments and it goes on.
5. Try three searches as people would ask them: vector-search with k 5 and include ["text"]. Say for each which hits fit and which do not.
6. Repeat one with where: a condition over columns of the dataset.
7. Search and join in one statement: sql ${JSON.stringify(`SELECT s.distance, d.* FROM vector_search('${index}', $1, 20) s JOIN ${table} d ON d.<id column>::VARCHAR = s.id ORDER BY s.distance LIMIT 10`)} with params ["what to look for"]; add a WHERE or GROUP BY that answers something about the data.
8. If results say lexical, the model compares words and spelling, not meaning: search with words as the texts have them, and tell the user. For meaning, the user runs: ollama serve, ollama pull nomic-embed-text, and starts this server again; then drop the index (vector-delete with all: true) and create it again, because an index keeps its model.
9. Report the index, its size and model, what it finds well and what not, and that vector-index-create with the same arguments brings it up to date after the dataset changes.`,
        );
      },
    ),
};

export const prompts = [exploreDataset, loadFile, buildSearch] as const;
