import * as z from "zod";
import { countOf, grouped } from "../engine/kernel/amounts.ts";
import { DEFAULT_ROWS, MAX_ROWS, MAX_SQL_CHARS, MAX_STATEMENT_MS } from "../engine/kernel/limits.ts";
import type { QueryOptions, QueryResult } from "../engine/query/types.ts";
import { fitting } from "./fitting.ts";
import { fence, line, table } from "./render.ts";
import { defineTool } from "./tool.ts";

const SCALAR = { anyOf: [{ type: "string" }, { type: "number" }, { type: "boolean" }, { type: "null" }] } as const;

/** Declared as a list, which every provider supports; objects are accepted, too. */
const params = z.unknown().meta({ type: "array", items: SCALAR, json: "params" }) as unknown as z.ZodType<
  NonNullable<QueryOptions["params"]>
>;

export const sql = defineTool({
  name: "sql",
  title: "Run SQL",
  effect: "read",
  description: `Run one read-only SQL statement (DuckDB dialect) over the datasets: SELECT, FROM-first, WITH, PIVOT, DESCRIBE, SUMMARIZE, SHOW TABLES, EXPLAIN. Datasets are tables by name; "name@3" reads version 3. lakehouse_datasets, lakehouse_versions and lakehouse_files describe the catalog. A vector index is a table too (id, text, metadata, vector), and FROM vector_search('index', $1, 20, filter := 'condition') finds in it by text: id, distance, score, metadata. Pass values through params instead of writing them into the text.`,
  input: z.strictObject({
    sql: z
      .string()
      .min(1)
      .max(MAX_SQL_CHARS)
      .describe("One statement, for example SELECT state, count(*) FROM workers GROUP BY state"),
    params: params
      .optional()
      .describe(
        'Values for $1, $2, …: ["IL", 5]. Also taken: {"name": value} for $name. A large id as a text in quotes.',
      ),
    max_rows: z.int().min(1).max(MAX_ROWS).default(DEFAULT_ROWS).describe("Rows to return at most."),
    timeout_ms: z.int().min(1).max(MAX_STATEMENT_MS).optional().describe("Stop the statement after this long."),
  }),
  output: z.object({
    columns: z.array(z.object({ name: z.string(), type: z.string() })),
    rows: z.array(z.array(z.unknown())),
    row_count: z.int().describe("Rows in this result."),
    truncated: z.boolean().describe("There are more rows than these."),
    truncated_by: z.enum(["max_rows", "max_bytes"]).optional(),
    total_rows: z.int().optional().describe("Rows without the limit, when known."),
    datasets: z.array(z.string()).describe("The versions this result was read from."),
    note: z.string().optional().describe("What to know of the vector searches in it."),
    elapsed_ms: z.number(),
  }),
  run: async ({ sql: statement, params, max_rows, timeout_ms }, { engine, signal, caller }) => {
    const result = await engine.query(statement, {
      maxRows: max_rows,
      signal,
      caller,
      ...(params !== undefined && { params }),
      ...(timeout_ms !== undefined && { timeoutMs: timeout_ms }),
    });
    const fit = fitting(result.rows, engine.maxResultBytes, line);
    return fit === result.rows.length ? result : cut(result, fit);
  },
  text: (result) => {
    const header = result.columns.map((column) => column.name);
    const of = result.total_rows === undefined ? "" : ` of ${grouped(result.total_rows)}`;
    const from = result.datasets.length > 0 ? ` from ${result.datasets.join(", ")}` : "";
    const summary = `${countOf(result.row_count, "row")}${result.truncated ? of : ""}${from}, ${result.elapsed_ms} ms`;
    const more = result.truncated ? `\n${CUT[result.truncated_by ?? "max_rows"]} ${rest(result.row_count)}` : "";
    const note = result.note === undefined ? "" : `\n${result.note}`;
    return `${fence(table(header, result.rows))}\n${summary}${more}${note}`;
  },
});

/** The first `fit` rows of a result whose text is too long. */
function cut(result: QueryResult, fit: number): QueryResult {
  const total = result.total_rows ?? (result.truncated ? undefined : result.row_count);
  return {
    ...result,
    rows: result.rows.slice(0, fit),
    row_count: fit,
    truncated: true,
    truncated_by: "max_bytes",
    ...(total !== undefined && { total_rows: total }),
  };
}

const CUT = {
  max_rows: "Cut at max_rows.",
  max_bytes: "Cut by size (max_result_bytes): select fewer or shorter columns.",
};

function rest(rows: number): string {
  return `For the rest: page with ORDER BY … LIMIT … OFFSET ${rows}, aggregate, or keep the whole result as a dataset with ingest {name, sql}.`;
}
