import { z } from "zod";
import { LakeError } from "../engine/errors.ts";
import type { IngestRequest } from "../engine/ingest/types.ts";
import { background, orJob, started, startedText } from "./job-start.ts";
import { bytesOf, countOf, fence, table } from "./render.ts";
import { defineTool } from "./tool.ts";

const column = z.object({ name: z.string(), type: z.string() });

export const ingested = z.object({
  dataset_id: z.string(),
  name: z.string(),
  version: z.int(),
  rows: z.int().describe("Rows of the dataset now."),
  bytes: z.int().describe("Parquet bytes of the dataset now."),
  schema_fingerprint: z.string(),
  unchanged: z.boolean().describe("The dataset already held exactly this; no new version."),
  columns: z.array(column),
  rows_written: z.int().describe("Rows this call added or replaced the dataset with."),
  notes: z.object({
    kept_as_text: z.array(
      z.object({
        column: z.string(),
        inferred: z.string(),
        line: z.int().nullable(),
        value: z.string(),
        reason: z.string(),
      }),
    ),
    skipped_rows: z
      .object({ count: z.int(), lines: z.array(z.object({ line: z.int(), reason: z.string() })) })
      .nullable(),
    renamed_columns: z.array(z.object({ from: z.string(), to: z.string() })),
    encoding: z.string().nullable(),
    converted: z.array(z.object({ column: z.string(), from: z.string(), to: z.string(), reason: z.string() })),
    dialect: z.object({ delimiter: z.string(), quote: z.string(), header: z.boolean() }).nullable(),
  }),
});

export const ingest = defineTool({
  name: "ingest",
  title: "Load data",
  effect: "write",
  idempotent: true,
  description:
    "Load a file, inline text, an upload or the result of a query into a dataset (CSV, TSV, JSON, NDJSON, also .gz and .zst; Parquet, Arrow IPC). Types are inferred; a column whose values do not all fit stays text, and the result says so. Every call is one atomic, durable version; the same data again changes nothing. A different schema is refused unless schema_change is allow. Over HTTP, send big files of your own first: curl -T FILE 'SERVER/uploads?name=FILE' -H 'Authorization: Bearer TOKEN' prints the upload.",
  input: z.strictObject({
    name: z.string().describe("Dataset name: lower-case letters, digits and _, starting with a letter."),
    path: z
      .string()
      .min(1)
      .max(4096)
      .optional()
      .describe("File to read; relative to the allowed folder. Give one of path, text, sql, upload."),
    text: z
      .string()
      .max(16_777_216)
      .optional()
      .describe("The data itself, for example CSV with a header line; more than 16 MiB goes through path or upload."),
    sql: z.string().min(1).max(262_144).optional().describe("A SELECT whose result becomes the dataset."),
    upload: z.string().max(100).optional().describe("What PUT /uploads returned; used once it was loaded."),
    format: z
      .enum(["csv", "tsv", "json", "ndjson", "parquet", "arrow"])
      .optional()
      .describe("Unset: told from name and content."),
    mode: z.enum(["replace", "append", "create"]).default("replace").describe("create fails when the dataset exists."),
    schema_change: z
      .enum(["refuse", "allow"])
      .default("refuse")
      .describe("allow: replace the schema (replace), or add new nullable columns (append)."),
    on_bad_rows: z.enum(["fail", "skip"]).default("fail").describe("skip: leave unreadable rows out and report them."),
    background,
  }),
  output: orJob(ingested),
  run: async (args, { engine, signal, progress, caller, roots }) => {
    const request: IngestRequest = {
      name: args.name,
      source: sourceOf(args),
      format: args.format,
      mode: args.mode,
      schemaChange: args.schema_change,
      onBadRows: args.on_bad_rows,
    };
    const performed = await engine.perform("ingest", request, {
      signal,
      onProgress: progress,
      roots: args.path === undefined ? [] : await roots(),
      caller,
      background: args.background,
    });
    return "result" in performed ? performed.result : started(performed.jobId);
  },
  text: (result) =>
    result.job_id === undefined ? ingestedText(result as z.output<typeof ingested>) : startedText(result.job_id),
});

export function ingestedText(result: z.output<typeof ingested>): string {
  const { notes } = result;
  const size = `${countOf(result.rows, "row")}, ${bytesOf(result.bytes)}`;
  const lines = [
    result.unchanged
      ? `${result.name} is unchanged: version ${result.version} already holds this data (${size}).`
      : `${result.name} is at version ${result.version}: ${size}; ${countOf(result.rows_written, "row")} written.`,
  ];
  if (notes.dialect !== null) {
    lines.push(notes.dialect.header ? "The first line was taken as column names." : "There was no header line.");
  }
  if (notes.encoding !== null) lines.push(`Read as ${notes.encoding}.`);
  if (notes.skipped_rows !== null && notes.skipped_rows.count > 0) {
    const first = notes.skipped_rows.lines.map(({ line, reason }) => `line ${line}: ${reason}`);
    lines.push(`Left out ${countOf(notes.skipped_rows.count, "bad row")}:`, fence(first.join("\n")));
  }
  const facts = [
    ...notes.renamed_columns.map(({ from, to }) => `renamed: ${JSON.stringify(from)} → ${to}`),
    ...notes.converted.map(
      ({ column, from, to, reason }) => `converted: ${JSON.stringify(column)} from ${from} to ${to}. ${reason}`,
    ),
    ...notes.kept_as_text.map(
      ({ column, inferred, line, value, reason }) =>
        `kept as text: ${column} (looked like ${inferred}${line === null ? "" : `; line ${line}`} has ${JSON.stringify(value)}: ${reason})`,
    ),
  ];
  const columns = table(
    ["column", "type"],
    result.columns.map(({ name, type }) => [name, type]),
  );
  lines.push(fence([columns, ...facts].join("\n")));
  return lines.join("\n");
}

type Source = { path?: string; text?: string; sql?: string; upload?: string };

function sourceOf({
  path,
  text,
  sql,
  upload,
}: { [Name in keyof Source]: string | undefined }): IngestRequest["source"] {
  const given = [
    path === undefined ? [] : [{ path }],
    text === undefined ? [] : [{ text }],
    sql === undefined ? [] : [{ sql }],
    upload === undefined ? [] : [{ upload }],
  ].flat();
  const [source] = given;
  if (source !== undefined && given.length === 1) return source;
  throw new LakeError("invalid", "Give exactly one of path, text, sql and upload.", {
    hint: "path reads a file, text takes the data itself, sql keeps the result of a query, upload is what PUT /uploads returned.",
  });
}
